"""Arrays as they are stored: Blosc chunks go to clients that decode them themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lakeservice.export.raw import RAW
from lakeservice.fronts.http.call import Reply
from lakeservice.fronts.http.compression import accepted
from lakeservice.service.sources import ArrayRows

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lakeservice.export.exporter import Exporter, Piece
    from lakeservice.fronts.http.call import Call
    from lakeservice.service.node_source import NodeSource

BLOSC = "blosc2"
"""Content encoding whose decoder takes Blosc frames of either version, one after another."""
SMALLEST = 4096
"""Shorter answers are decoded here, in bytes."""
WHOLE_BYTES = 8 << 20
"""Answers of so many decoded bytes are gathered, so that their length is told."""
PIECE_BYTES = 1 << 20
"""Longer answers are sent in pieces of at least this size."""


def as_stored(call: Call, source: NodeSource, form: Exporter) -> Reply | None:
    """Return an array in stored chunks; None where it has to be decoded here.

    The answer is what the raw form gives, in the content encoding ``blosc2``:
    nothing is decoded on this side.
    """
    if form is not RAW or not isinstance(source, ArrayRows) or "range" in call.headers:
        return None
    size = source.selection.size * source.dtype.itemsize
    if size < SMALLEST or BLOSC not in accepted(call.headers):
        return None
    frames = call.service.reader.read_frames(source.node, source.selection)
    if frames is None:
        return None
    headers = {"Content-Encoding": BLOSC}
    if size <= WHOLE_BYTES:
        return Reply(b"".join(frames), form.sent_as, headers=headers)
    return Reply(_gathered(frames), form.sent_as, headers=headers)


def _gathered(frames: Iterator[Piece]) -> Iterator[Piece]:
    held: list[Piece] = []
    size = 0
    for frame in frames:
        held.append(frame)
        size += len(frame)
        if size >= PIECE_BYTES:
            yield b"".join(held)
            held, size = [], 0
    if held:
        yield b"".join(held)
