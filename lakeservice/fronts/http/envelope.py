"""Nodes in Tiled's envelope: id, attributes, links."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lakeservice.fronts.http.links import node_links
from lakeservice.fronts.http.partitions import told_partitions
from lakeservice.fronts.http.structures import structure_document

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lakeservice.fronts.http.call import Call
    from lakeservice.service.assets import Assets, Behind
    from schemas.entry import DataSource, Node, Spec

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


def envelope(
    content: Any, links: dict[str, Any] | None = None, meta: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Return a document in the envelope that all answers share."""
    return {"data": content, "error": None, "links": links, "meta": {} if meta is None else meta}


def wanted_fields(call: Call) -> frozenset[str] | None:
    """Return the parts of nodes that a request names; None where it does not say."""
    given = call.params.getlist("fields")
    return frozenset(given) & FIELDS if given else None


def items(
    call: Call,
    nodes: Sequence[Node],
    fields: frozenset[str] | None,
    *,
    data_sources: bool = False,
    links: bool = True,
) -> list[dict[str, Any]]:
    """Return nodes as the items of a listing.

    Parameters
    ----------
    fields
        Parts to fill in; None for all but the data sources. The others are null.
    data_sources
        Add the data sources too.
    links
        Whether each item has its links.
    """
    chosen = FIELDS - {"data_sources"} if fields is None else fields
    if data_sources:
        chosen = chosen | {"data_sources"}
    counts: Sequence[int | None] = (None,) * len(nodes)
    if chosen & {"structure", "count"}:
        counts = call.service.children_counts(nodes)
    return [
        _item(call.base, node, count, chosen, call.service.assets, links=links)
        for node, count in zip(nodes, counts, strict=True)
    ]


def _item(
    base: str,
    node: Node,
    count: int | None,
    fields: frozenset[str],
    assets: Assets,
    *,
    links: bool,
) -> dict[str, Any]:
    family = node.family
    container = family == "container"
    structure = None
    if "structure" in fields:
        structure = structure_document(
            node.structure, count=count, partitions=told_partitions(node)
        )
    elif "count" in fields and container:
        structure = {"contents": None, "count": count}
    item: dict[str, Any] = {
        "id": node.name,
        "attributes": {
            "ancestors": node.path.split("/")[:-1],
            "structure_family": family if "structure_family" in fields else None,
            "specs": spec_documents(node.specs) if "specs" in fields else None,
            "metadata": node.metadata if "metadata" in fields else None,
            "structure": structure,
            "access_tags": list(node.access_tags) if "access_tags" in fields else None,
            "sorting": DEFAULT_SORTING if container and "sorting" in fields else None,
            "data_sources": source_documents(node, assets) if "data_sources" in fields else None,
        },
    }
    if links:
        every = node_links(base, node)
        item["links"] = every if "structure_family" in fields else {"self": every["self"]}
    item["meta"] = None
    return item


def spec_documents(specs: Sequence[Spec]) -> list[dict[str, Any]]:
    """Return specs as they are sent."""
    return [{"name": spec.name, "version": spec.version} for spec in specs]


def source_documents(node: Node, assets: Assets | None = None) -> list[dict[str, Any]]:
    """Return the data sources of a node, with the files behind it where it is told who knows."""
    structure = structure_document(node.structure, partitions=told_partitions(node))
    return [
        _source_document(number, source, node.family, structure, assets)
        for number, source in enumerate(node.data_sources, 1)
    ]


def _source_document(
    number: int,
    source: DataSource,
    family: str,
    structure: dict[str, Any],
    assets: Assets | None,
) -> dict[str, Any]:
    return {
        "id": number,
        "structure_family": family,
        "structure": structure,
        "mimetype": source.mimetype,
        "parameters": source.parameters,
        "properties": source.properties,
        "assets": [_asset_document(behind, assets) for behind in assets.of(source)]
        if assets is not None
        else [],
        "management": source.management,
    }


def _asset_document(behind: Behind, assets: Assets) -> dict[str, Any]:
    asset = behind.asset
    return {
        "data_uri": assets.address(behind),
        "is_directory": asset.is_directory,
        "size": asset.size_bytes,
        "parameter": asset.parameter,
        "num": asset.num,
        "id": behind.id,
    }
