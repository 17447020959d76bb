"""Addresses of nodes and of their data, for documents."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode

from lakeservice.fronts.http.partitions import told_partitions

if TYPE_CHECKING:
    from collections.abc import Iterable

    from schemas.entry import Node

HIDDEN = frozenset({"api_key"})
"""Query parameters that no link repeats."""


def node_link(base: str, route: str, path: str) -> str:
    """Return the address of a node at a route such as ``array/full``."""
    return f"{base}/{route}/{quote(path, safe='/')}"


def node_links(base: str, node: Node) -> dict[str, str]:
    """Return the links of a node by name; which there are depends on its family.

    ``block`` and ``partition`` are templates: the client puts numbers into the braces.
    """
    path, family = node.path, node.family
    links = {"self": node_link(base, "metadata", path)}
    if family == "container":
        links["search"] = node_link(base, "search", path)
        links["search_deep"] = node_link(base, "search-deep", path)
        links["full"] = node_link(base, "container/full", path)
    elif family in ("array", "sparse"):
        axes = range(len(getattr(node.structure, "shape", ())))
        block = ",".join(f"{{{axis}}}" for axis in axes)
        links["full"] = node_link(base, "array/full", path)
        links["block"] = node_link(base, "array/block", path) + f"?block={block}"
    elif family == "table":
        links["full"] = node_link(base, "table/full", path)
        told = f"?partition={{index}}&of={told_partitions(node)}"
        links["partition"] = node_link(base, "table/partition", path) + told
    elif family == "awkward":
        links["buffers"] = node_link(base, "awkward/buffers", path)
        links["full"] = node_link(base, "awkward/full", path)
    elif family == "ragged":
        links["full"] = node_link(base, "ragged/full", path)
        links["block"] = node_link(base, "ragged/block", path) + "?block={0}"
    return links


def page_link(address: str, params: Iterable[tuple[str, str]], **page: str | int) -> str:
    """Return the address of a page: the same question, with another place to begin.

    Parameters
    ----------
    params
        Query of the request; its own page and its API key are left out.
    page
        ``limit``, ``offset``, ``cursor``.
    """
    kept = [
        (name, value)
        for name, value in params
        if name not in HIDDEN and not name.startswith("page[")
    ]
    kept += [(f"page[{name}]", str(value)) for name, value in page.items()]
    return f"{address}?{urlencode(kept, safe='[]')}" if kept else address
