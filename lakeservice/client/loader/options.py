"""What a loader is asked for, beside its nodes."""

from __future__ import annotations

import operator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self

from schemas.errors import ErrorKind, InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from lakeservice.client.loader.batch import Batch
    from lakeservice.client.loader.order import Shuffle


_WHOLE = (
    "batch_size",
    "seed",
    "window",
    "rank",
    "world_size",
    "sample_axes",
    "prefetch",
    "threads",
)


@dataclass(frozen=True, kw_only=True)
class Options:
    """How batches are made; `Container.loader` says what each means."""

    batch_size: int
    shuffle: Shuffle = False
    seed: int = 0
    window: int | None = None
    rank: int | None = None
    world_size: int | None = None
    sample_axes: int = 1
    columns: str | Sequence[str] | None = None
    labels: str | tuple[str, str] | Mapping[str, str | tuple[str, str]] | None = None
    classes: Sequence[Any] | Mapping[str, Sequence[Any]] | None = None
    transform: Callable[[Batch], Any] | None = None
    prefetch: int = 2
    threads: int | None = None
    allocate: Callable[[int], Any] | None = None
    drop_last: bool = False

    def __post_init__(self) -> None:
        for name in _WHOLE:
            given = getattr(self, name)
            if given is not None:  # NumPy's integers become Python's: JSON carries them
                object.__setattr__(self, name, whole(name, given))
        if self.prefetch < 0:
            raise _bad(f"prefetch={self.prefetch}; it must not be negative")
        if self.threads is not None and self.threads < 1:
            raise _bad(f"threads={self.threads}; it must be 1 or more")

    def of_rank(self, rank: int, world_size: int) -> Self:
        """Return the same options for a rank that is known."""
        return replace(self, rank=rank, world_size=world_size)


def whole(name: str, given: Any) -> int:
    """Return a whole number as an `int`, whatever type of integer it is.

    Raises
    ------
    InvalidRequestError
        ``bad-request``: it is none.
    """
    try:
        return operator.index(given)
    except TypeError:
        raise _bad(f"{name}={given!r}; it is a whole number") from None


def _bad(message: str) -> InvalidRequestError:
    return InvalidRequestError(ErrorKind.BAD_REQUEST, message)
