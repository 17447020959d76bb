"""What an ingest did, file by file and in all."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Literal, NamedTuple

State = Literal["added", "changed", "unchanged", "failed"]


class Failure(NamedTuple):
    """A file that is not in the lake, and why."""

    name: str
    """Path of the file as the caller would name it."""
    reason: str


class Step(NamedTuple):
    """One file is done: what a progress bar shows."""

    name: str
    state: State
    done: int
    """Files done so far, this one included."""
    total: int
    """Files there are."""
    bytes: int
    """Bytes of the files done so far."""


Progress = Callable[[Step], None]


@dataclasses.dataclass
class Summary:
    """The result of one ingest; a series of files counts as one."""

    added: int = 0
    changed: int = 0
    """Files that were in the lake already and are different now."""
    unchanged: int = 0
    failed: list[Failure] = dataclasses.field(default_factory=list)
    problems: list[Failure] = dataclasses.field(default_factory=list)
    """What is in the lake but not complete: a link that leads nowhere, a missing number."""
    bytes: int = 0
    """Bytes of the files that were added or changed."""
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        """Whether every file is in the lake."""
        return not self.failed
