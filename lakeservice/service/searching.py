"""Searching: listings of the catalog and of what lies inside files, as one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from lakeservice.catalog import Catalog, Distinct, parse_query
from lakeservice.service.listing import Listing, list_inside
from lakeservice.service.start_keys import sorted_by_start, start_key, with_start_keys
from schemas.query import EVERYTHING, KeyPresent, Page, Query
from schemas.structures import ContainerStructure

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lakeservice.service.nodes import Nodes
    from schemas.entry import Node
    from schemas.query import SortKey
    from schemas.ticket import Search


class Searcher:
    """Answers searches; what is inside a file is searched in the file's tree.

    On runs, a bare key also means what the start document says; see `start_keys`.
    """

    def __init__(self, nodes: Nodes) -> None:
        self._nodes = nodes

    def children_counts(self, nodes: Sequence[Node], catalog: Catalog) -> list[int | None]:
        """Return how many children each container has; None for what is not a container."""
        plain = {
            node.path
            for node in nodes
            if isinstance(node.structure, ContainerStructure) and self._nodes.locate(node) is None
        }
        counted = catalog.count_children(list(plain)) if plain else {}
        return [
            counted.get(node.path, 0) if node.path in plain else self._count_inside(node)
            for node in nodes
        ]

    def search(self, container: Node, search: Search, catalog: Catalog) -> Listing:
        """Return a page of the nodes below a container that match."""
        inside = self._nodes.locate(container)
        if inside is not None:
            entry, inner = inside
            tree, query = self._nodes.tree(entry), query_of(search.query)
            return list_inside(entry, tree, inner, query, search) if tree else Listing()
        found = catalog.search(
            container.path,
            with_start_keys(query_of(search.query), catalog.knows),
            sort=self._sort(search, catalog),
            page=search.page,
            deep=search.deep,
            max_depth=search.max_depth,
        )
        return Listing(
            nodes=found.nodes, cursor=found.cursor, count=found.count if search.count else None
        )

    def names(self, container: Node, search: Search, catalog: Catalog) -> list[str]:
        """Return the names of a page of nodes, cheaper than the nodes."""
        if self._nodes.locate(container) is not None:
            return [node.name for node in self.search(container, search, catalog).nodes]
        return catalog.names(
            container.path,
            with_start_keys(query_of(search.query), catalog.knows),
            sort=self._sort(search, catalog),
            page=search.page,
        )

    def count(self, container: Node, search: Search, catalog: Catalog) -> int:
        """Return how many nodes match, over all pages."""
        if self._nodes.locate(container) is not None:
            whole = msgspec.structs.replace(search, count=True, page=Page(limit=0))
            return self.search(container, whole, catalog).count or 0
        query = with_start_keys(query_of(search.query), catalog.knows)
        return catalog.count(container.path, query, deep=search.deep, max_depth=search.max_depth)

    def distinct(
        self,
        container: Node,
        search: Search,
        catalog: Catalog,
        keys: Sequence[str],
        *,
        families: bool,
        specs: bool,
        counts: bool,
    ) -> Distinct:
        """Return the different values of metadata keys, families and specs."""
        is_there = self._is_there(search, catalog)
        meant = {key: start_key(key, catalog.knows, is_there) for key in keys}
        found = catalog.distinct(
            container.path,
            with_start_keys(query_of(search.query), catalog.knows),
            list(dict.fromkeys(meant.values())),
            families=families,
            specs=specs,
            counts=counts,
            deep=search.deep,
        )
        values = {key: found.metadata[there] for key, there in meant.items()}
        return Distinct(values, found.families, found.specs)

    def _count_inside(self, node: Node) -> int | None:
        if not isinstance(node.structure, ContainerStructure):
            return None
        inside = self._nodes.locate(node)
        tree = self._nodes.tree(inside[0]) if inside is not None else None
        return len(tree.children.get(inside[1], ())) if inside is not None and tree else 0

    def _sort(self, search: Search, catalog: Catalog) -> tuple[SortKey, ...]:
        return sorted_by_start(search.sort, catalog.knows, self._is_there(search, catalog))

    @staticmethod
    def _is_there(search: Search, catalog: Catalog) -> Callable[[str], bool]:
        return lambda key: catalog.count(search.under, KeyPresent(key), deep=search.deep) > 0


def query_of(query: str | Query | None) -> Query:
    """Return a query as a tree, whichever way it was asked."""
    if query is None:
        return EVERYTHING
    return parse_query(query) if isinstance(query, str) else query
