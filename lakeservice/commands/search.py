"""Search from the command line, in a lake or on a server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from rich.table import Table

from schemas.query import Page, SortKey
from schemas.ticket import Search

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from rich.console import Console


def run_search(
    query: str,
    *,
    lake: str,
    url: str,
    api_key: str,
    under: str,
    sort: list[str],
    limit: int,
    show: list[str],
    as_json: bool,
    cache: Path,
    console: Console,
) -> None:
    """Print the nodes that match, everywhere below ``under``."""
    keys = tuple(SortKey(key.lstrip("-+"), key.startswith("-")) for key in sort)
    if url or not lake:
        import lakeservice

        connection = lakeservice.connect(url or "http://127.0.0.1:8000", api_key or None)
        container = connection[under] if under else connection
        found: Iterable[Any] = container.search(query or None, sort=sort, limit=limit, deep=True)
        rows = [(node.path, node.family, node.metadata) for node in found]
    else:
        from lakeservice.service import Service

        with Service.open(lake, cache=cache) as service:
            listing = service.search(
                Search(
                    under=under,
                    query=query or None,
                    sort=keys,
                    page=Page(limit=limit),
                    deep=True,
                )
            )
            rows = [(node.path, str(node.family), node.metadata) for node in listing.nodes]
    if as_json:
        for path, family, metadata in rows:
            document = {"path": path, "structure_family": family, "metadata": metadata}
            console.file.write(msgspec.json.encode(document).decode() + "\n")
        return
    table = Table("path", "family", *show)
    for path, family, metadata in rows:
        table.add_row(path, family, *(_text(metadata, key) for key in show))
    console.print(table, highlight=False)
    console.print(f"{len(rows)} shown" + (f" (limit {limit})" if len(rows) == limit else ""))


def _text(metadata: dict[str, Any], key: str) -> str:
    value: Any = metadata
    for part in key.split("."):
        if not isinstance(value, dict) or part not in value:
            return ""
        value = value[part]
    return str(value)
