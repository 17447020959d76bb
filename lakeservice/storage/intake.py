"""Buffers of nested data as a client sends them, checked while they are written into the lake."""

from __future__ import annotations

import zipfile
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from lakeservice.storage.forms import parse_form
from schemas.chunks import Part
from schemas.errors import ErrorKind, InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from numpy.typing import NDArray

    from lakeservice.storage.archives import ArchiveReader
    from lakeservice.storage.forms import Form
    from lakeservice.storage.objects import Objects

FORM, LENGTH = "form", "length"
"""Files beside the buffers in an archive that says itself what it is."""
FORM_BYTES = 32 << 20
_TAG = np.dtype("i1")


def told_form(upload: ArchiveReader) -> Any:
    """Return the form that an archive holds; None where it holds none.

    Raises
    ------
    InvalidRequestError
        ``bad-body``: it is no JSON document.
    """
    if FORM not in upload.entries:
        return None
    try:
        document = msgspec.json.decode(upload.whole(FORM, FORM_BYTES))
        return msgspec.json.decode(document) if isinstance(document, str) else document
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise _bad("the archive's form is not a JSON document") from None


def told_length(upload: ArchiveReader) -> int | None:
    """Return the number of rows that an archive tells; None where it does not."""
    if LENGTH not in upload.entries:
        return None
    return int.from_bytes(upload.whole(LENGTH, 8), "big")


class BufferWriter:
    """Writes one part of nested data as one object: an archive of buffers, form and length.

    Parameters
    ----------
    objects
        The lake's objects.
    name
        Object name.
    form
        Awkward's form, every node with its key.
    """

    def __init__(self, objects: Objects, name: str, form: Mapping[str, Any]) -> None:
        self._objects = objects
        self.name = name
        """Object name."""
        self._document = form
        self.form: Form = parse_form(form)
        """The form, taken apart."""

    def write(self, length: int, buffers: Mapping[str, Iterable[bytes]]) -> Part:
        """Write buffers that are known to be right."""
        with self._objects.open_output(self.name) as out, _opened(out) as archive:
            self._head(archive, length)
            for name in self.form.names():
                with _file(archive, name) as file:
                    for piece in buffers[name]:
                        file.write(piece)
        return self._part(length)

    def take(self, upload: ArchiveReader, length: int) -> Part:
        """Write the buffers of an archive, as far as the form leads.

        Raises
        ------
        InvalidRequestError
            ``bad-body``: a buffer is missing or too short, has a name that the form
            does not know, or holds positions that lead nowhere.
        """
        unknown = set(upload.entries) - set(self.form.names()) - {FORM, LENGTH}
        if unknown:
            raise _bad(
                f"the archive holds {sorted(unknown)[0][:80]!r}, which is no buffer of the form"
            )
        with self._objects.open_output(self.name) as out, _opened(out) as archive:
            self._head(archive, length)
            _Intake(upload, archive).node(self.form, length)
        return self._part(length)

    def _head(self, archive: zipfile.ZipFile, length: int) -> None:
        with _file(archive, LENGTH) as file:
            file.write(length.to_bytes(8, "big"))
        with _file(archive, FORM) as file:
            file.write(msgspec.json.encode(self._document))

    def _part(self, length: int) -> Part:
        size = self._objects.size(self.name)
        return Part(name=self.name, length=length, size_bytes=size, complete=True)


def _opened(out: Any) -> zipfile.ZipFile:
    return zipfile.ZipFile(out, "w", zipfile.ZIP_STORED)


def _file(archive: zipfile.ZipFile, name: str) -> Any:
    # A date of its own would make two archives of the same data differ.
    return archive.open(zipfile.ZipInfo(name), "w", force_zip64=True)


class _Intake:
    def __init__(self, upload: ArchiveReader, archive: zipfile.ZipFile) -> None:
        self._upload = upload
        self._archive = archive

    def node(self, form: Form, length: int) -> None:
        """Take the buffers of a node of so many elements, and of all that it leads to."""
        match form.kind:
            case "Numpy":
                name = form.buffers[0]
                for _ in self._numbers(name, form.dtype, length * form.row):
                    pass
            case "Empty":
                if length:
                    raise _bad(f"node {form.key!r} is empty, but {length} elements are wanted")
            case "ListOffset":
                self.node(form.contents[0], self._offsets(form, length))
            case "List":
                self.node(form.contents[0], self._pairs(form, length))
            case "Regular":
                self.node(form.contents[0], length * form.size)
            case "Indexed" | "IndexedOption":
                least = 0 if form.kind == "Indexed" else None
                self.node(form.contents[0], self._index(form, length, least))
            case "Union":
                for content, inner in zip(form.contents, self._union(form, length), strict=True):
                    self.node(content, inner)
            case _:
                count = -(-length // 8) if form.kind == "BitMasked" else length
                for name in form.buffers:
                    for _ in self._numbers(name, _TAG, count):
                        pass
                for content in form.contents:
                    self.node(content, length)

    def _offsets(self, form: Form, length: int) -> int:
        name = form.buffers[0]
        if not length and not self._size(name):
            return 0
        last = 0
        for offsets in self._numbers(name, form.dtype, length + 1):
            wide = offsets.astype(np.int64)
            if wide[0] < last or (np.diff(wide) < 0).any():
                raise _bad(f"offsets in {name!r} are negative or go backwards")
            last = int(wide[-1])
        return last

    def _pairs(self, form: Form, length: int) -> int:
        first, second = form.buffers
        inner = 0
        pairs = zip(
            self._numbers(first, form.dtype, length, write=False),
            self._numbers(second, form.dtype, length, write=False),
            strict=True,
        )
        for starts, stops in pairs:
            if (starts < 0).any() or (starts > stops).any():
                raise _bad(f"{first!r} and {second!r} hold lists that end before they begin")
            inner = max(inner, int(stops.max(initial=0)))
        for name in form.buffers:
            for _ in self._numbers(name, form.dtype, length):
                pass
        return inner

    def _index(self, form: Form, length: int, least: int | None) -> int:
        name = form.buffers[-1]
        inner = 0
        for index in self._numbers(name, form.dtype, length):
            if least is not None and (index < least).any():
                raise _bad(f"positions in {name!r} are negative")
            inner = max(inner, int(index.max(initial=-1)) + 1)
        return inner

    def _union(self, form: Form, length: int) -> list[int]:
        inner = [0] * len(form.contents)
        pairs = zip(
            self._batched(form.buffers[0], _TAG, length),
            self._batched(form.buffers[1], form.dtype, length),
            strict=True,
        )
        for tags, index in pairs:
            if (tags < 0).any() or (tags >= len(inner)).any() or (index < 0).any():
                raise _bad(f"{form.buffers[0]!r} names contents that the union does not have")
            for number in range(len(inner)):
                chosen = index[tags == number]
                inner[number] = max(inner[number], int(chosen.max(initial=-1)) + 1)
        for name, dtype in zip(form.buffers, (_TAG, form.dtype), strict=True):
            for _ in self._numbers(name, dtype, length):
                pass
        return inner

    def _batched(self, name: str, dtype: np.dtype[Any], count: int) -> Iterator[NDArray[Any]]:
        """Yield elements in batches that do not depend on their size."""
        held = np.empty(0, dtype)
        for numbers in self._numbers(name, dtype, count, write=False):
            held = np.concatenate([held, numbers])
            while len(held) >= _BATCH:
                yield held[:_BATCH]
                held = held[_BATCH:]
        if len(held):
            yield held

    def _size(self, name: str) -> int:
        entry = self._upload.entries.get(name)
        return entry.size if entry is not None else 0

    def _numbers(
        self, name: str, dtype: np.dtype[Any], count: int, *, write: bool = True
    ) -> Iterator[NDArray[Any]]:
        """Yield the elements of a buffer, and write them where they are wanted."""
        wanted = count * dtype.itemsize
        if self._size(name) < wanted:
            told = "missing" if name not in self._upload.entries else "too short"
            raise _bad(
                f"buffer {name!r} is {told}: the form leads to {count} elements of {dtype} in it, "
                f"{wanted} bytes, and {self._size(name)} are there"
            )
        if not write:
            yield from self._taken(name, dtype, wanted)
            return
        with _file(self._archive, name) as file:
            for numbers in self._taken(name, dtype, wanted):
                file.write(numbers.view(np.uint8).data)
                yield numbers

    def _taken(self, name: str, dtype: np.dtype[Any], wanted: int) -> Iterator[NDArray[Any]]:
        if not wanted:
            return
        held = b""
        for piece in self._upload.pieces(name):
            held = held + piece if held else piece
            part = held[: min(wanted, len(held) // dtype.itemsize * dtype.itemsize)]
            held = held[len(part) :]
            wanted -= len(part)
            if part:
                yield np.frombuffer(part, dtype)
            # Read to the end all the same: the checksum stands for all of it.
            held = held if wanted else b""


_BATCH = 1 << 17


def _bad(message: str) -> InvalidRequestError:
    return InvalidRequestError(ErrorKind.BAD_BODY, message)
