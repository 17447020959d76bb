"""Exceptions that the documentation lists: cases of Tiled's tests not passed, and why."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

NOT_ASKED = "Cases that cannot be asked of another server"
OTHERWISE = "Cases in which this server answers otherwise"
_ROW = re.compile(r"\| `(?P<case>test_[^`]+)` \| (?P<why>.+) \|")


@dataclass(frozen=True)
class Excepted:
    """One row of the page."""

    case: str
    """``test_array::test_name``, for all of its parameters, or with ``[parameters]``."""
    why: str
    asked: bool
    """Whether the case can be asked of a server that is not in the test's own process."""

    def covers(self, case: str) -> bool:
        """Tell whether a case is this one, or one of its parameters."""
        return case == self.case or case.startswith(f"{self.case}[")


def read_exceptions(page: Path) -> list[Excepted]:
    """Return the rows of both tables of the page.

    Raises
    ------
    ValueError
        A row is outside of both sections, or has no reason.
    """
    found, section = [], ""
    for line in page.read_text().splitlines():
        if line.startswith("#"):
            section = line.strip("# ")
        row = _ROW.fullmatch(line.strip())
        if row is None:
            continue
        if section not in (NOT_ASKED, OTHERWISE) or len(row["why"]) < 10:
            raise ValueError(f"{page.name}: a row without a place or a reason: {line[:120]}")
        found.append(Excepted(row["case"], row["why"], section == OTHERWISE))
    return found
