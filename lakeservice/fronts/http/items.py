"""Nodes as the items of an answer: the parts that were asked for, with contents inlined."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lakeservice.fronts.http.envelope import knows_sizes, source_documents, spec_documents
from lakeservice.fronts.http.links import node_links
from lakeservice.fronts.http.operations import FLAG_LINKS, Parameter
from lakeservice.fronts.http.partitions import told_partitions
from lakeservice.fronts.http.selecting import selector
from lakeservice.fronts.http.structures import structure_document
from schemas.errors import ErrorKind, InvalidRequestError
from schemas.query import Page
from schemas.ticket import Search

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from lakeservice.fronts.http.call import Call
    from schemas.entry import Node

FIELDS = frozenset(
    {
        "metadata",
        "structure_family",
        "structure",
        "count",
        "sorting",
        "specs",
        "data_sources",
        "access_tags",
    }
)
"""Parts of a node that ``fields=`` can name."""
DEFAULT_SORTING = [{"key": "", "direction": 1}]
"""Order in which a container lists its children: as they were created."""
INLINED_SORTING = [{"key": "_", "direction": 1}]
"""By this order, of a key that nothing has, Tiled's client knows that it need not ask again
for contents that it was sent."""
INLINED_SPECS = frozenset({"xarray_dataset"})
"""Containers that come with their contents unless ``max_depth`` says otherwise."""
MAX_DEPTH = 5
"""Most levels of contents in one answer."""
INLINED_CHILDREN = 500
"""A container with more children comes without its contents."""
INLINED_NODES = 5000
"""So many inlined nodes in one answer; containers after them come without their contents."""

SHOWN = (
    Parameter("fields", "texts", "Parts of each node to fill in; all where it is left out."),
    Parameter("select_metadata", "text", "JMESPath expression: the part of the metadata to send."),
    Parameter("max_depth", "integer", "Levels of contents to send with containers, 0 to 5."),
    Parameter("include_data_sources", "flag", "Add the data sources."),
    FLAG_LINKS,
)
"""Query parameters that say how nodes are shown."""


@dataclass(frozen=True)
class Shown:
    """How nodes are shown."""

    fields: frozenset[str]
    """Parts to fill in; the others are null."""
    asked: tuple[str, ...] | None
    """The fields as they were asked for; None where nothing was."""
    select: str | None = None
    """JMESPath expression over the metadata."""
    links: bool = True
    max_depth: int | None = None
    """Levels of contents that were asked for; None where nothing was."""

    @property
    def count_alone(self) -> bool:
        """Whether nothing but the number of nodes is asked for."""
        return self.asked == ("count",)


def read_shown(call: Call, *, levels: str | None = "max_depth") -> Shown:
    """Return how a request wants nodes to be shown.

    Parameters
    ----------
    levels
        Query parameter that limits inlined contents; None where it means something else.

    Raises
    ------
    InvalidRequestError
        ``bad-parameter``: a flag or number that is none, levels above `MAX_DEPTH`.
    """
    # ``field=`` is no other name for it: programs send it and read all fields.
    given = call.params.getlist("fields")
    fields = frozenset(given) & FIELDS if given else FIELDS - {"data_sources"}
    if call.flag("include_data_sources", False):
        fields |= {"data_sources"}
    max_depth = call.integer(levels) if levels else None
    if max_depth is not None and max_depth > MAX_DEPTH:
        raise InvalidRequestError(
            ErrorKind.BAD_PARAMETER, f"max_depth={max_depth}; at most {MAX_DEPTH} levels are sent"
        )
    return Shown(
        fields=fields,
        asked=tuple(sorted(fields & FIELDS)) if given else None,
        select=call.params.get("select_metadata") or None,
        links=not call.flag("omit_links", False),
        max_depth=max_depth,
    )


class Items:
    """Turns nodes into the items of one answer."""

    def __init__(self, call: Call, shown: Shown) -> None:
        self._call = call
        self._shown = shown
        self._left = INLINED_NODES
        self._select: Callable[[Mapping[str, Any]], Any] | None = None
        if shown.select is not None and "metadata" in shown.fields:
            self._select = selector(shown.select)

    def of(self, nodes: Sequence[Node], depth: int = 0) -> list[dict[str, Any]]:
        """Return nodes as items.

        Raises
        ------
        InvalidRequestError
            ``bad-parameter``: what is selected from the metadata cannot be had.
        """
        counts: Sequence[int | None] = (None,) * len(nodes)
        if self._shown.fields & {"structure", "count"}:
            counts = self._call.service.children_counts(nodes, as_of=self._call.as_of)
        return [self._item(node, count, depth) for node, count in zip(nodes, counts, strict=True)]

    def _item(self, node: Node, count: int | None, depth: int) -> dict[str, Any]:
        fields, family = self._shown.fields, node.family
        container = family == "container"
        structure, sorting = None, DEFAULT_SORTING if container else None
        if container and ("structure" in fields or "count" in fields):
            contents = self._contents(node, count or 0, depth)
            structure = {"contents": contents, "count": count}
            if contents is not None:
                sorting = INLINED_SORTING
        elif "structure" in fields:
            structure = structure_document(node.structure, partitions=told_partitions(node))
        assets = self._call.service.assets
        item: dict[str, Any] = {
            "id": node.name,
            "attributes": {
                "ancestors": node.path.split("/")[:-1],
                "structure_family": family if "structure_family" in fields else None,
                "specs": spec_documents(node.specs) if "specs" in fields else None,
                "metadata": self._metadata(node) if "metadata" in fields else None,
                "structure": structure,
                "access_tags": list(node.access_tags) if "access_tags" in fields else None,
                "sorting": sorting if "sorting" in fields else None,
                "data_sources": source_documents(
                    node, assets, sizes=knows_sizes(self._call.headers)
                )
                if "data_sources" in fields
                else None,
            },
        }
        if self._shown.links:
            every = node_links(self._call.base, node)
            item["links"] = every if "structure_family" in fields else {"self": every["self"]}
        item["meta"] = None
        return item

    def _metadata(self, node: Node) -> dict[str, Any]:
        if self._select is None:
            return node.metadata
        return {"selected": self._select(node.metadata)}

    def _contents(self, node: Node, count: int, depth: int) -> dict[str, Any] | None:
        """Return the children of a container by name; None where they are to be asked for."""
        if not self._inlines(node, depth) or count > min(INLINED_CHILDREN, self._left):
            return None
        page = Page(limit=INLINED_CHILDREN)
        found = self._call.service.search(
            Search(under=node.path, page=page, as_of=self._call.as_of)
        )
        if found.cursor is not None:
            return None
        self._left -= len(found.nodes)
        return {item["id"]: item for item in self.of(found.nodes, depth + 1)}

    def _inlines(self, node: Node, depth: int) -> bool:
        if self._shown.max_depth is not None:
            return depth < self._shown.max_depth
        return depth < MAX_DEPTH and any(spec.name in INLINED_SPECS for spec in node.specs)
