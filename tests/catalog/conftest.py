"""Catalogs over lakes in a temporary folder."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import pytest

from lakeservice.catalog import Catalog
from lakeservice.storage.committer import Committer
from lakeservice.storage.lake import Lake
from schemas.commit import Create, Delete, Update
from schemas.entry import Node, Spec
from schemas.structures import ContainerStructure, Structure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from schemas.commit import Applied, Mutation

CONTAINER = ContainerStructure()


class Tree:
    """A lake with its catalog, and short words for changing it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.cache = folder / "cache"
        self.lake = Lake.create(str(folder / "lake"))
        self._ids = itertools.count()
        self.open()

    def open(self, cache: Path | None = None) -> Catalog:
        self.catalog = Catalog.open(self.lake, cache or self.cache)
        self.committer = Committer(self.lake, self.catalog)
        return self.catalog

    def reopen(self) -> Catalog:
        self.catalog.close()
        return self.open()

    def commit(self, *mutations: Mutation, key: str | None = None) -> tuple[Applied, ...]:
        return self.committer.commit(mutations, key=key)

    def node(
        self,
        path: str,
        metadata: dict[str, Any] | None = None,
        *,
        specs: tuple[str, ...] = (),
        structure: Structure = CONTAINER,
    ) -> Create:
        node = Node(
            path=path,
            id=f"node-{next(self._ids)}",
            metadata=metadata or {},
            specs=tuple(Spec(name) for name in specs),
            structure=structure,
        )
        return Create(node=node, parents=True)

    def add(self, path: str, metadata: dict[str, Any] | None = None, **others: Any) -> None:
        self.commit(self.node(path, metadata, **others))

    def update(self, path: str, metadata: dict[str, Any]) -> None:
        self.commit(Update(path=path, metadata=metadata))

    def delete(self, path: str) -> None:
        self.commit(Delete(path=path, recursive=True))

    def names(self, query: Any = None, under: str = "", **others: Any) -> list[str]:
        asked = (under,) if query is None else (under, query)
        return [node.name for node in self.catalog.search(*asked, **others).nodes]


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Tree]:
    """An empty lake with an open catalog."""
    made = Tree(tmp_path)
    yield made
    made.catalog.close()


@pytest.fixture(scope="session")
def make_tree() -> Callable[[Path], Tree]:
    """What makes a lake with an open catalog in a folder; the caller closes the catalog."""
    return Tree
