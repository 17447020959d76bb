"""Export one array or table to a file, from a lake or from a server."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any, BinaryIO

from lakeservice.export.npy import write_npy
from lakeservice.export.tables import write_table
from lakeservice.service import Service
from schemas.errors import ErrorKind, InvalidRequestError
from schemas.selection import parse_selection

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console

ROWS_BYTES = 64 << 20
"""Part of an array that is asked of a server at a time."""


def run_export(
    path: str,
    target: Path,
    *,
    lake: str,
    url: str,
    api_key: str,
    select: str,
    cache: Path,
    console: Console,
) -> None:
    """Write a node to ``target``; the file appears when it is whole."""
    partial = target.with_name(f".{target.name}.partial")
    try:
        with partial.open("wb") as file:
            if lake and not url:
                with Service.open(lake, cache=cache) as service:
                    _from_service(service, path, select, file, target)
            else:
                _from_server(url, api_key, path, select, file, target)
        os.replace(partial, target)
    except BaseException:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise
    console.print(f"{target}: {target.stat().st_size} bytes", highlight=False, soft_wrap=True)


def _from_service(service: Service, path: str, select: str, file: BinaryIO, target: Path) -> None:
    node = service.describe(path)
    if node.family == "array":
        _only_npy(target)
        structure = service.reader.structure(node)
        selection = service.selection(node, select or None)
        blocks = service.read_array(node, selection)
        write_npy(file, selection.shape, structure.dtype, blocks)
    else:
        _no_slice(select)
        with service.read_table(node) as reader:
            write_table(file, _kind(target), reader.schema, reader)


def _from_server(
    url: str, api_key: str, path: str, select: str, file: BinaryIO, target: Path
) -> None:
    import lakeservice

    node: Any = lakeservice.connect(url or "http://127.0.0.1:8000", api_key or None)[path]
    if node.family == "array":
        _only_npy(target)
        selection = parse_selection(select or None, node.shape)
        index = selection.as_index()
        first = selection.axes[0] if selection.axes else None
        if first is None or first.drop:
            blocks = iter([node.read(index)])
        else:
            row_bytes = max(1, selection.size // max(1, first.count) * node.dtype.itemsize)
            step = max(1, ROWS_BYTES // row_bytes)
            starts = range(0, first.count, step)
            positions = range(first.start, first.start + first.count * first.step, first.step)
            blocks = (
                node.read((_slice(positions[start : start + step]), *index[1:])) for start in starts
            )
        write_npy(file, selection.shape, node.dtype, blocks)
    else:
        _no_slice(select)
        reader = node.batches()
        write_table(file, _kind(target), reader.schema, reader)


def _slice(positions: range) -> slice:
    stop = positions.stop
    return slice(positions.start, stop if stop >= 0 else None, positions.step)


def _kind(target: Path) -> str:
    return target.suffix.lstrip(".").lower()


def _only_npy(target: Path) -> None:
    if _kind(target) != "npy":
        raise InvalidRequestError(
            ErrorKind.UNKNOWN_FORMAT, f"cannot write an array as {target.suffix!r}; there is .npy"
        )


def _no_slice(select: str) -> None:
    if select:
        raise InvalidRequestError(ErrorKind.BAD_SLICE, "a table has no axes; leave --slice out")
