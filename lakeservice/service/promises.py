"""Specs whose promise is checked when they are given: ``composite``."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from schemas.commit import Create, Update
from schemas.errors import ErrorKind, InvalidRequestError, LakeError
from schemas.query import Page
from schemas.structures import TableStructure
from schemas.ticket import Search

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from lakeservice.service.listing import Listing
    from schemas.commit import Mutation
    from schemas.entry import Node, Spec
    from schemas.structures import StructureFamily

COMPOSITE = "composite"
"""A container whose children, and the columns of its tables, are one flat set of names."""
PAGE = 300
MAX_CHILDREN = 10_000
"""A container with more children cannot be a composite."""


def check_promises(
    mutations: Iterable[Mutation],
    describe: Callable[[str], Node],
    search: Callable[[Search], Listing],
) -> None:
    """Refuse changes that give a node a spec whose promise it does not keep.

    Raises
    ------
    InvalidRequestError
        ``bad-metadata``: a composite that is no container, or has containers in it,
        or two things of one name.
    """
    for mutation in mutations:
        if isinstance(mutation, Create) and is_composite(mutation.node.specs):
            check_composite(mutation.node.family, ())
        elif isinstance(mutation, Update) and is_composite(mutation.specs or ()):
            try:
                node = describe(mutation.path)
            except LakeError:
                continue  # the commit tells it
            if not is_composite(node.specs):
                check_composite(node.family, _children(node, search))


def check_composite(family: StructureFamily, children: Iterable[Node]) -> None:
    """Refuse what is no composite; see `check_promises`."""
    if family != "container":
        raise _bad(f"Composite spec can be assigned only to containers, not to {family}")
    names: Counter[str] = Counter()
    for child in children:
        if child.family == "container":
            raise _bad(
                f"Nested containers are not allowed in a composite, and {child.name!r} is one"
            )
        names[child.name] += 1
        if isinstance(child.structure, TableStructure):
            names.update(child.structure.columns)
        if len(names) > MAX_CHILDREN:
            raise _bad(f"more than {MAX_CHILDREN} names are too many for a composite")
    repeated = [name for name, count in names.items() if count > 1]
    if repeated:
        raise _bad(
            "names of children and of columns are one set in a composite. "
            f"Found conflicting names: {repeated[:20]}; rename them first"
        )


def is_composite(specs: Sequence[Spec]) -> bool:
    """Tell whether a node with these specs promises to be a composite."""
    return any(spec.name == COMPOSITE for spec in specs)


def _children(node: Node, search: Callable[[Search], Listing]) -> Iterator[Node]:
    page = Page(limit=PAGE)
    while True:
        found = search(Search(under=node.path, page=page))
        yield from found.nodes
        if found.cursor is None:
            return
        page = Page(limit=PAGE, cursor=found.cursor)


def _bad(message: str) -> InvalidRequestError:
    return InvalidRequestError(ErrorKind.BAD_METADATA, message)
