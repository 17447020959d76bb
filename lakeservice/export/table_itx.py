"""Tables as Igor text: one wave a column, which Igor Pro loads as they are.

Numbers are doubles, times are Igor's seconds since 1904, text waves hold the rest.
"""

from __future__ import annotations

import datetime
import math
from typing import TYPE_CHECKING

import pyarrow as pa

from lakeservice.export.exporter import Exporter
from lakeservice.export.igor import wave_name
from lakeservice.export.table_cells import cells

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lakeservice.export.exporter import Piece
    from lakeservice.export.sources import TableSource
    from lakeservice.export.table_cells import Cell

ROWS = 4_096
_EPOCH = datetime.datetime(1904, 1, 1)  # noqa: DTZ001  Igor knows no time zones


def write(source: TableSource) -> Iterator[Piece]:
    """Yield Igor text: first the waves of numbers side by side, then each wave of text."""
    with source.read() as reader:
        schema = reader.schema
    names = list(dict.fromkeys(schema.names))
    waves = dict(zip(names, wave_names(names), strict=True))
    kinds = {
        name: _plain(schema.field(schema.get_all_field_indices(name)[0]).type) for name in names
    }
    numbers = [name for name in names if _is_number(kinds[name])]
    yield b"IGOR\r"
    if numbers:
        yield from _block(source, numbers, "/D", waves)
    for name in names:
        if name not in numbers:
            yield from _block(source, [name], "/T", waves)
    times = [waves[name] for name in numbers if _is_time(kinds[name])]
    for wave in times:
        yield f'X SetScale d, 0, 0, "dat", {wave}\r'.encode()


def wave_names(names: Sequence[str]) -> list[str]:
    """Return what the waves are called in Igor: quoted, none too long, none twice."""
    taken: set[str] = set()
    found = []
    for name in names:
        wave, number = wave_name(name), 0
        while wave.lower() in taken:
            number += 1
            wave = wave_name(name, f"_{number}")
        taken.add(wave.lower())
        found.append(f"'{wave}'")
    return found


def _block(
    source: TableSource, names: Sequence[str], flag: str, waves: dict[str, str]
) -> Iterator[Piece]:
    head = ", ".join(waves[name] for name in names)
    yield f"WAVES{flag}\t{head}\rBEGIN\r".encode()
    value = _text if flag == "/T" else _number
    with source.read(tuple(names)) as reader:
        for batch in reader:
            for start in range(0, batch.num_rows, ROWS):
                columns = [map(value, cells(one.slice(start, ROWS))) for one in batch.columns]
                lines = ["\t" + "\t".join(row) for row in zip(*columns, strict=True)]
                if lines:
                    yield ("\r".join(lines) + "\r").encode("utf-8", "replace")
    yield b"END\r"


def _number(value: Cell) -> str:
    if value is None or isinstance(value, str):  # a date that is text has no number
        return "NaN"
    if isinstance(value, datetime.date):
        whole = value if isinstance(value, datetime.datetime) else _midnight(value)
        return repr((whole - _EPOCH).total_seconds())
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("INF" if value > 0 else "-INF")
    return repr(int(value) if isinstance(value, bool) else value)


def _midnight(value: datetime.date) -> datetime.datetime:
    return datetime.datetime.combine(value, datetime.time())


def _text(value: Cell) -> str:
    text = "" if value is None else str(value)
    for plain, written in (
        ("\\", "\\\\"),
        ('"', '\\"'),
        ("\r", "\\r"),
        ("\n", "\\n"),
        ("\t", "\\t"),
    ):
        text = text.replace(plain, written)
    return f'"{text}"'


def _is_number(kind: pa.DataType) -> bool:
    numeric = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)
    others = pa.types.is_decimal(kind) or pa.types.is_duration(kind) or pa.types.is_null(kind)
    return bool(numeric or others or _is_time(kind))


def _is_time(kind: pa.DataType) -> bool:
    return bool(pa.types.is_timestamp(kind) or pa.types.is_date(kind))


def _plain(kind: pa.DataType) -> pa.DataType:
    if isinstance(kind, pa.BaseExtensionType):
        return _plain(kind.storage_type)
    return kind.value_type if pa.types.is_dictionary(kind) else kind


ITX = Exporter(family="table", media_type="application/x-igor-itx", names=("itx",), write=write)
