"""Direct delivery: how a client on the same disk learns which files hold the data of a node.

These documents are sent as MessagePack. Paths are bytes, as the file system has them.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from schemas.chunks import ChunkLayout
from schemas.query import Query
from schemas.structures import ArrayStructure

PROOF_PREFIX = "direct-"
"""How the name of a file begins that a client reads back to show that it sees the lake's disk."""
PROOF_BYTES = 32
"""Size of that file: nothing else is ever read back to a server."""
PAGE_CHUNKS = 1024
"""Chunks of an array that a page tells of; page ``n`` begins at chunk ``n * PAGE_CHUNKS``."""
MAX_PAGES = 8
"""Most pages that one answer holds."""


class Hello(msgspec.Struct, frozen=True, tag="hello", tag_field="do"):
    """A client asks whether it may read files by itself."""


class Seen(msgspec.Struct, frozen=True, kw_only=True, tag="seen", tag_field="do"):
    """A client shows that it has read the file of an offer."""

    token: bytes
    """As in the offer."""
    proof: bytes
    """SHA-256 of the file's bytes."""


DirectAsk = Hello | Seen


class Offer(msgspec.Struct, frozen=True, kw_only=True, tag="offer", tag_field="is"):
    """A file to be read back."""

    path: bytes
    """In the lake's folder; its name begins with `PROOF_PREFIX`, it has `PROOF_BYTES` bytes."""
    token: bytes
    """Signed; goes back with the proof."""


class Granted(msgspec.Struct, frozen=True, kw_only=True, tag="granted", tag_field="is"):
    """The client sees the lake's disk."""

    grant: bytes
    """A pass: signed, for whoever asked, for some time; sent with each question for files."""


class Unavailable(msgspec.Struct, frozen=True, tag="unavailable", tag_field="is"):
    """No direct delivery, of anything or of what was asked for."""

    reason: str


DirectAnswer = Offer | Granted | Unavailable


class Offered(msgspec.Struct, frozen=True, kw_only=True):
    """What the token of an offer stands for."""

    name: str
    """Name of the file."""
    digest: bytes
    """SHA-256 of its bytes."""
    principal: str
    expires: float
    """Seconds since 1970."""


class Pass(msgspec.Struct, frozen=True, kw_only=True):
    """What a grant stands for."""

    principal: str
    expires: float
    """Seconds since 1970."""


class LocalFile(msgspec.Struct, frozen=True, array_like=True):
    """A file, with what tells that it is still the one that was meant."""

    path: bytes
    """Below the folder of the lake, or absolute for a registered file."""
    size_bytes: int | None = None
    """None where any size is right, as for what is in the lake."""
    mtime_ns: int | None = None
    """Modification time in ns since 1970; None where any is right."""
    grows: bool = False
    """A larger and later file is no change."""


class PlanArray(msgspec.Struct, frozen=True, kw_only=True, tag="array", tag_field="do"):
    """Asks which files hold the chunks of an array."""

    path: str
    grant: bytes
    as_of: int | None = None
    pages: tuple[int, ...] = ()
    """Numbers of the pages wanted, at most `MAX_PAGES`."""
    id: str = ""
    """The node that is known already; empty where none is."""
    version: int = -1
    """The version of it that is known."""


class PlanTable(msgspec.Struct, frozen=True, kw_only=True, tag="table", tag_field="do"):
    """Asks which files hold the rows of a table."""

    path: str
    grant: bytes
    as_of: int | None = None
    id: str = ""
    """As in `PlanArray`."""
    version: int = -1
    """As in `PlanArray`."""
    where: str | Query | None = None
    """A condition to be read into a tree; the answer is whole then."""


PlanAsk = PlanArray | PlanTable


class ChunkPage(msgspec.Struct, frozen=True, kw_only=True):
    """Where consecutive chunks lie, in C order of the grid; one element of each column a chunk."""

    number: int
    """Of the page."""
    files: tuple[LocalFile, ...]
    """Those that the column ``file`` counts."""
    file: bytes
    """int32, little-endian: number in ``files``; -1 where the chunk is absent (fill value)."""
    offset: bytes
    """int64: first byte."""
    length: bytes
    """int64: number of bytes; -1 for all to the file's end."""
    filter_mask: bytes
    """uint32; bit i: codec i was left out. Empty where all are 0."""
    required: bytes
    """uint8: 1 where it is a loss that the file is not there, and not the fill value."""


class ArrayHead(msgspec.Struct, frozen=True, kw_only=True):
    """What is so for all chunks of one version of an array."""

    structure: ArrayStructure
    layout: ChunkLayout
    root: bytes
    """Folder of the lake."""


class ArrayPlan(msgspec.Struct, frozen=True, kw_only=True, tag="array", tag_field="is"):
    """Pages of the chunk table of one version of an array."""

    id: str
    version: int
    fresh_s: float
    """How long it may be used before asking again whether there is another version, in s."""
    head: ArrayHead | None
    """None where the version was known."""
    pages: tuple[ChunkPage, ...]


class TablePlan(msgspec.Struct, frozen=True, kw_only=True, tag="table", tag_field="is"):
    """The files of one version of a table, in the order of its rows."""

    id: str
    version: int
    fresh_s: float
    """As in `ArrayPlan`."""
    format: Literal["parquet", "arrow"]
    schema: bytes
    """The Arrow schema, serialised."""
    root: bytes
    """Folder of the lake."""
    files: tuple[LocalFile, ...]
    lengths: tuple[int | None, ...]
    """Rows of each file; None where only the file tells."""
    checksums: tuple[str | None, ...] = ()
    """``crc32:<hex>`` of the end of each Parquet file, where its metadata are; None where that
    is not known. As many as there are files, or none."""
    where: Query | None = None
    """The condition that was asked about, as a tree."""


class Unchanged(msgspec.Struct, frozen=True, kw_only=True, tag="unchanged", tag_field="is"):
    """The version that was known is the present one."""

    fresh_s: float
    """As in `ArrayPlan`."""


PlanAnswer = ArrayPlan | TablePlan | Unchanged | Unavailable
