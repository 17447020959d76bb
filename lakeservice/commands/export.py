"""Export one array or table to a file, from a lake or from a server."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from lakeservice.export.registry import exporters_of
from lakeservice.service import Service
from lakeservice.service.sources import ArrayRows, source_of
from schemas.errors import ErrorKind, InvalidRequestError
from schemas.selection import Selection, parse_selection, select

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    import pyarrow as pa
    from rich.console import Console

    from schemas.entry import DataSource, Spec
    from schemas.structures import StructureFamily

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
    source: Any = source_of(service, node)
    if isinstance(source, ArrayRows):
        source = replace(source, selection=service.selection(node, select or None))
    else:
        _no_slice(select)
    _write(source, node.family, [spec.name for spec in node.specs], file, target)


def _from_server(
    url: str, api_key: str, path: str, select: str, file: BinaryIO, target: Path
) -> None:
    import lakeservice

    node: Any = lakeservice.connect(url or "http://127.0.0.1:8000", api_key or None)[path]
    source: Any
    if node.family == "array":
        source = _RemoteArray(node, parse_selection(select or None, node.shape))
    else:
        _no_slice(select)
        source = _RemoteTable(node)
    _write(source, node.family, (), file, target)


def _write(
    source: Any, family: StructureFamily, specs: Sequence[str], file: BinaryIO, target: Path
) -> None:
    suffix = target.suffix.lstrip(".").lower()
    known = exporters_of(family, specs)
    exporter = next((one for one in known if suffix in one.names), None)
    if exporter is None:
        names = ", ".join(f".{one.names[0]}" for one in known if one.names)
        raise InvalidRequestError(
            ErrorKind.UNKNOWN_FORMAT,
            f"cannot write {family} data as {target.suffix!r}; there are {names or 'no formats'}",
        )
    exporter.check(source)
    for piece in exporter.write(source):
        file.write(piece)


@dataclass(frozen=True)
class _Remote:
    """A node of a server as a source."""

    node: Any
    options: Mapping[str, str] = field(default_factory=dict, kw_only=True)

    @property
    def name(self) -> str:
        return str(self.node.path.rpartition("/")[2])

    @property
    def family(self) -> StructureFamily:
        family: StructureFamily = self.node.family
        return family

    @property
    def metadata(self) -> Mapping[str, Any]:
        metadata: Mapping[str, Any] = self.node.metadata
        return metadata

    @property
    def specs(self) -> Sequence[Spec]:
        return ()

    @property
    def data_sources(self) -> Sequence[DataSource]:
        return ()

    @property
    def problem(self) -> str | None:
        return None


@dataclass(frozen=True)
class _RemoteArray(_Remote):
    selection: Selection

    @property
    def shape(self) -> tuple[int, ...]:
        return self.selection.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        dtype: np.dtype[Any] = self.node.dtype
        return dtype

    @property
    def dims(self) -> tuple[str, ...] | None:
        return None

    def blocks(self) -> Iterator[np.ndarray[Any, Any]]:
        index = self.selection.as_index()
        first = self.selection.axes[0] if self.selection.axes else None
        if first is None or first.drop:
            yield self.node.read(index)
            return
        row_bytes = max(1, self.selection.size // max(1, first.count) * self.dtype.itemsize)
        step = max(1, ROWS_BYTES // row_bytes)
        positions = range(first.start, first.start + first.count * first.step, first.step)
        for start in range(0, first.count, step):
            yield self.node.read((_slice(positions[start : start + step]), *index[1:]))

    def read(self, index: Any = ()) -> np.ndarray[Any, Any]:
        part = self.selection.part(select(index, self.shape))
        return np.asarray(self.node.read(part.as_index()))


@dataclass(frozen=True)
class _RemoteTable(_Remote):
    def read(self, columns: tuple[str, ...] | None = None) -> pa.RecordBatchReader:
        return self.node.batches() if columns is None else self.node.batches(columns=list(columns))


def _slice(positions: range) -> slice:
    stop = positions.stop
    return slice(positions.start, stop if stop >= 0 else None, positions.step)


def _no_slice(select: str) -> None:
    if select:
        raise InvalidRequestError(ErrorKind.BAD_SLICE, "a table has no axes; leave --slice out")
