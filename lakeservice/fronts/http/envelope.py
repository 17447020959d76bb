"""Tiled's envelope, and the parts of nodes that several documents have."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from lakeservice.fronts.http.partitions import told_partitions
from lakeservice.fronts.http.structures import structure_document

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.datastructures import Headers

    from lakeservice.service.assets import Assets, Behind
    from schemas.entry import DataSource, Node, Spec

_TILED = re.compile(r"python-tiled/([0-9]{1,9})\.([0-9]{1,9})\.([0-9]{1,9})")


def envelope(
    content: Any, links: dict[str, Any] | None = None, meta: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Return a document in the envelope that all answers share."""
    return {"data": content, "error": None, "links": links, "meta": {} if meta is None else meta}


def spec_documents(specs: Sequence[Spec]) -> list[dict[str, Any]]:
    """Return specs as they are sent."""
    return [{"name": spec.name, "version": spec.version} for spec in specs]


def source_documents(
    node: Node, assets: Assets | None = None, *, sizes: bool = True
) -> list[dict[str, Any]]:
    """Return the data sources of a node, with the files behind it where it is told who knows.

    Parameters
    ----------
    sizes
        Whether the files' sizes are among it; see `knows_sizes`.
    """
    structure = structure_document(node.structure, partitions=told_partitions(node))
    documents = [
        _source_document(number, source, node.family, structure, assets)
        for number, source in enumerate(node.data_sources, 1)
    ]
    if not sizes:
        for document in documents:
            for asset in document["assets"]:
                del asset["size"]
    return documents


def knows_sizes(headers: Headers) -> bool:
    """Tell whether a client takes assets with sizes; Tiled's before 0.2.13 fails on them."""
    match = _TILED.match(headers.get("user-agent", ""))
    return match is None or tuple(map(int, match.groups())) >= (0, 2, 13)


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
