"""What lies below a container, in one walk, parents before children."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from schemas.errors import ErrorKind, InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lakeservice.export.sources import ContainerSource

MAX_NODES = 100_000
"""Most nodes that one file is made of."""


@dataclass(frozen=True)
class Step:
    """One node below a container."""

    path: tuple[str, ...]
    """Names from the container down, its own left out."""
    source: Any
    """The node; see `lakeservice.export.sources` for what each family has."""


def walk(container: ContainerSource) -> Iterator[Step]:
    """Yield everything below a container, each node after the one that holds it.

    A container that cannot be looked into, as behind a broken link, is yielded alone.

    Raises
    ------
    InvalidRequestError
        ``too-large``: there are more than `MAX_NODES`.
    """
    waiting: list[Iterator[Step]] = [_steps((), container)]
    seen = 0
    while waiting:
        step = next(waiting[-1], None)
        if step is None:
            waiting.pop()
            continue
        seen += 1
        if seen > MAX_NODES:
            raise InvalidRequestError(
                ErrorKind.TOO_LARGE,
                f"more than {MAX_NODES} nodes for one file; ask for a container further down, "
                "or for some children with field=",
            )
        yield step
        if step.source.family == "container" and step.source.problem is None:
            waiting.append(_steps(step.path, step.source))


def _steps(path: tuple[str, ...], container: Any) -> Iterator[Step]:
    for child in container.children():
        yield Step((*path, child.name), child)
