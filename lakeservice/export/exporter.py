"""What an exporter is: one form in which data is sent, by media type and by short names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lakeservice.export.prepared import Prepared
    from schemas.structures import StructureFamily

Piece = bytes | memoryview
"""A part of an answer, ready for the socket."""


@dataclass(frozen=True, kw_only=True)
class Option:
    """A query parameter that an exporter understands, with the words for its documentation."""

    name: str
    kind: type[str] | type[int] | type[float] | type[bool]
    description: str


@dataclass(frozen=True, kw_only=True)
class Exporter:
    """One way to write the nodes of one structure family.

    It is found by the entry points of the group ``lakeservice.exporters``. What
    it writes comes from a source (see `lakeservice.export.sources`): an
    `ArraySource` for arrays, a `TableSource` for tables, and so on. Libraries
    that are slow to import are imported when the first answer is written.
    """

    family: StructureFamily
    media_type: str
    names: tuple[str, ...] = ()
    """Short names, which are suffixes of file names too, without the dot; the first is usual."""
    content_type: str = ""
    """What is sent as Content-Type, where it is more than the media type."""
    spec: str | None = None
    """Only for nodes that promise this spec; its forms are looked at first."""
    write: Callable[[Any], Iterator[Piece]]
    """From a source to pieces, made one after another; none is empty."""
    size: Callable[[Any], int | None] = lambda _: None
    """Bytes of the answer, where that is known before it is made."""
    part: Callable[[Any, int, int], Iterator[Piece]] | None = None
    """From a source to the bytes ``start:stop`` of what `write` gives; needs `size`.

    Without it, a client that asks for a range waits until all that lies before is made.
    """
    prepare: Callable[[Any], Prepared] | None = None
    """From a source to the file that `write` gives, of which any range can be had."""
    quick: bool = True
    """Whether `prepare` is done before the data are read; then it is asked for every answer."""
    check: Callable[[Any], None] = lambda _: None
    """Refuses what this form cannot say (``unknown-format``), before anything is read."""
    options: tuple[Option, ...] = ()

    @property
    def sent_as(self) -> str:
        """The Content-Type of an answer in this form."""
        return self.content_type or self.media_type
