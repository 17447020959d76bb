"""The codec chain of an array: one stored chunk to its elements, and back."""

from __future__ import annotations

import math
from collections import OrderedDict
from contextlib import contextmanager
from itertools import takewhile
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from lakeservice.codecs.decoding import decode_all, decode_some, naming_codec, read_some, unsealed
from lakeservice.codecs.extent import Held
from lakeservice.codecs.registry import step_of, unsupported
from lakeservice.codecs.runs import Cut
from lakeservice.codecs.steps import (
    Buffer,
    Bytes1D,
    Context,
    DecodeError,
    Step,
    flat,
    whole_elements,
)
from schemas.errors import CorruptError, ErrorKind, LakeError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from lakeservice.codecs.extent import Extent
    from schemas.chunks import ChunkLayout, Codec

_KEPT_SCRATCH = 8 << 20
_KEPT_SCRATCHES = 8
_MAX_CHAINS = 512


class _Scratch:
    """Memory that chunks are decoded into before they are cut, used again and again.

    It does not belong to threads: those of gRPC are new to Python with every call.
    """

    def __init__(self) -> None:
        self._kept: list[Bytes1D] = []

    @contextmanager
    def lent(self, size: int) -> Iterator[Bytes1D]:
        try:
            memory = self._kept.pop()
        except IndexError:
            memory = np.empty(size, np.uint8)
        if memory.size < size:
            memory = np.empty(size, np.uint8)
        yield memory[:size]
        if memory.size <= _KEPT_SCRATCH and len(self._kept) < _KEPT_SCRATCHES:
            self._kept.append(memory)


_SCRATCH = _Scratch()
_CHAINS: OrderedDict[bytes, Chain] = OrderedDict()


class Chain:
    """Decodes and encodes the chunks of one layout; safe to share between threads.

    Parameters
    ----------
    layout
        Element type, chunk shape and codecs.

    Raises
    ------
    InvalidRequestError
        ``unreadable-file``: a codec that this version does not know.
    """

    def __init__(self, layout: ChunkLayout) -> None:
        self.layout = layout
        self.dtype: np.dtype[Any] = layout.data_type.to_numpy()
        """Element type of decoded chunks."""
        self._steps: list[tuple[int, str, Step]] = []
        order: tuple[int, ...] | None = None
        shape = layout.chunk_shape
        for codec in layout.codecs:
            if codec.name == "bytes":
                self.dtype = _in_order(self.dtype, codec)
            elif codec.name == "transpose":
                chosen = tuple(int(axis) for axis in codec.configuration["order"])
                order = chosen if order is None else tuple(order[axis] for axis in chosen)
                shape = tuple(shape[axis] for axis in chosen)
            else:
                step = step_of(codec, Context(self.dtype, shape))
                self._steps.append((len(self._steps), codec.name, step))
        natural = order is None or order == tuple(range(len(order)))
        self._order = None if natural else order
        outwards = (step.is_seal for _, _, step in reversed(self._steps))
        self._seals = sum(1 for _ in takewhile(bool, outwards))
        self._clipped = layout.edge == "clipped"

    @classmethod
    def of(cls, layout: ChunkLayout) -> Chain:
        """Return a chain for this layout, the same one again where it was asked for lately."""
        key = msgspec.msgpack.encode(layout)
        chain = _CHAINS.get(key)
        if chain is None:
            chain = _CHAINS[key] = cls(layout)
            while len(_CHAINS) > _MAX_CHAINS:
                _CHAINS.popitem(last=False)
        return chain

    @staticmethod
    def supported(codecs: Sequence[Codec]) -> str | None:
        """Return None where every codec is known, else a sentence that says which is not."""
        return unsupported(codecs)

    @property
    def is_plain(self) -> bool:
        """Whether chunks are stored as they are, without any step."""
        return not self._steps

    @property
    def fill(self) -> NDArray[Any]:
        """The element that absent chunks consist of, as a 0-d array."""
        if not self.layout.fill_value:
            return np.zeros((), self.dtype)
        return np.frombuffer(self.layout.fill_value, self.dtype, 1).reshape(())

    def fill_into(self, target: NDArray[Any]) -> None:
        """Fill the place of an absent chunk."""
        fill = self.fill
        if target.dtype == fill.dtype:
            target, fill = whole_elements(target), whole_elements(fill)
        target[...] = fill

    def stored_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape in which a chunk with this extent in the array is stored."""
        return shape if self._clipped else self.layout.chunk_shape

    def stored_bytes(self, shape: tuple[int, ...]) -> int:
        """Return the decoded size of a chunk with this extent in the array."""
        return math.prod(self.stored_shape(shape)) * self.dtype.itemsize

    def decode(
        self,
        encoded: Buffer,
        shape: tuple[int, ...],
        *,
        filter_mask: int = 0,
        out: NDArray[Any] | None = None,
    ) -> NDArray[Any]:
        """Return the elements of a stored chunk.

        Parameters
        ----------
        encoded
            The chunk as stored.
        shape
            Extent of the chunk, cut at the array's end.
        filter_mask
            Bit i: codec i was left out for this chunk; ``bytes`` and ``transpose``
            do not count.
        out
            Array of ``shape`` that receives the elements, of any dtype that they
            can be assigned to; None makes a new one.

        Raises
        ------
        CorruptError
            ``corrupt-chunk``: the bytes do not decode to exactly this chunk.
        """
        if out is None:
            out = np.empty(shape, self.dtype)
        whole = tuple(slice(0, length, 1) for length in shape)
        self.decode_part(Held(encoded), shape, whole, out, filter_mask=filter_mask)
        return out

    def decode_part(
        self,
        encoded: Extent,
        shape: tuple[int, ...],
        source: tuple[slice, ...],
        target: NDArray[Any],
        *,
        filter_mask: int = 0,
        is_sealed: bool = True,
    ) -> None:
        """Put some elements of a stored chunk into their place.

        A chunk that fills ``target`` is decoded there; of others no more is read
        and decoded than needed where the codec allows it.

        Parameters
        ----------
        encoded
            The chunk as stored.
        shape
            Extent of the chunk, cut at the array's end.
        source
            Elements wanted; steps may be negative.
        target
            Their place, of the shape that ``source`` selects.
        is_sealed
            False where `unsealed` has taken the checksum off already.

        Raises
        ------
        CorruptError
            ``corrupt-chunk``: the bytes do not decode to exactly this chunk.
        """
        try:
            active = self._active(filter_mask)
            if is_sealed:
                encoded, active = unsealed(encoded, active)
            else:
                active = active[: len(active) - self._seals]
            self._decode_part(encoded, shape, source, target, active)
        except LakeError:
            raise
        except DecodeError as error:
            raise CorruptError(ErrorKind.CORRUPT_CHUNK, str(error)) from None

    def _decode_part(
        self,
        encoded: Extent,
        shape: tuple[int, ...],
        source: tuple[slice, ...],
        target: NDArray[Any],
        steps: list[tuple[str, Step]],
    ) -> None:
        stored = self.stored_shape(shape)
        size = math.prod(stored) * self.dtype.itemsize
        if size == 0 or target.size == 0:
            return
        if (
            target.shape == stored
            and target.dtype == self.dtype
            and self._order is None
            and target.flags.c_contiguous
            and all(part.step == 1 for part in source)
        ):
            decode_all(encoded, steps, flat(target), size)
            return
        order = self._order or tuple(range(len(stored)))
        dtype = self.dtype
        if dtype.names and target.dtype == dtype:
            target = whole_elements(target)
            dtype = target.dtype
        cut = Cut(
            tuple(stored[axis] for axis in order),
            dtype,
            tuple(source[axis] for axis in order),
        )
        if not steps and self._read_in_place(encoded, cut, target):
            return
        with _SCRATCH.lent(size) as scratch:
            if steps:
                decode_some(encoded, steps, cut, scratch)
                elements = cut.view(scratch, 0)
            else:
                elements = read_some(encoded, cut, scratch)
            target[...] = elements.transpose(_inverse(order)) if self._order else elements

    def _read_in_place(self, encoded: Extent, cut: Cut, target: NDArray[Any]) -> bool:
        """Read elements that are stored as they are wanted; tell whether they are."""
        if encoded.length != cut.whole:
            raise DecodeError(f"{encoded.length} bytes are stored instead of {cut.whole}")
        runs = cut.runs()
        low, high = runs[0][0], runs[-1][1]
        dense = high - low == cut.size and cut.ascending and self._order is None
        if not dense or target.dtype != cut.dtype or not target.flags.c_contiguous:
            return False
        encoded.read_into(low, flat(target))
        return True

    def _active(self, filter_mask: int) -> list[tuple[str, Step]]:
        return [(name, step) for bit, name, step in self._steps if not filter_mask >> bit & 1]

    @property
    def is_one_step(self) -> bool:
        """Whether one codec, and perhaps a checksum, make the stored bytes of C order."""
        inner = len(self._steps) - self._seals
        return inner == 1 and self._order is None

    @property
    def is_sealed(self) -> bool:
        """Whether a checksum of the stored bytes is the last step."""
        return self._seals > 0

    def unsealed(self, encoded: Buffer) -> Buffer:
        """Return a stored chunk without the checksum at its end, which has been compared.

        Raises
        ------
        CorruptError
            ``corrupt-chunk``: it is not the checksum of these bytes.
        """
        try:
            payload, _ = unsealed(Held(encoded), self._active(0))
            return payload.read(0, payload.length)
        except DecodeError as error:
            raise CorruptError(ErrorKind.CORRUPT_CHUNK, str(error)) from None

    def as_blosc(
        self, encoded: Buffer, shape: tuple[int, ...], *, filter_mask: int = 0
    ) -> memoryview | None:
        """Return a stored chunk as a Blosc frame of its elements, without decoding it.

        None where it is stored in another way, or is longer than its extent in the array.

        Parameters
        ----------
        shape
            Extent of the chunk, cut at the array's end.

        Raises
        ------
        CorruptError
            ``corrupt-chunk``: its header contradicts the array, or its checksum the bytes.
        """
        if not self.is_one_step or filter_mask or self.stored_shape(shape) != shape:
            return None
        try:
            payload, steps = unsealed(Held(encoded), self._active(0))
            name, step = steps[0]
            with naming_codec(name):
                return step.as_blosc(payload.read(0, payload.length), self.stored_bytes(shape))
        except DecodeError as error:
            raise CorruptError(ErrorKind.CORRUPT_CHUNK, str(error)) from None

    def encode(self, chunk: NDArray[Any]) -> bytes:
        """Return a chunk as it is to be stored.

        Parameters
        ----------
        chunk
            Elements; where chunks are stored whole, one that is cut at the
            array's end is padded with the fill value.
        """
        stored = self.stored_shape(chunk.shape)
        chunk = whole_elements(np.asarray(chunk, self.dtype))
        if chunk.shape != stored:
            padded = whole_elements(np.empty(stored, self.dtype))
            padded[...] = whole_elements(self.fill)
            padded[tuple(slice(0, length) for length in chunk.shape)] = chunk
            chunk = padded
        if self._order is not None:
            chunk = chunk.transpose(self._order)
        payload: Buffer = flat(np.ascontiguousarray(chunk))
        for _, _, step in self._steps:
            payload = step.encode(payload)
        return bytes(payload)


def _in_order(dtype: np.dtype[Any], codec: Codec) -> np.dtype[Any]:
    endian = codec.configuration.get("endian")
    if endian is None or dtype.names is not None:
        return dtype
    return dtype.newbyteorder("<" if endian == "little" else ">")


def _inverse(order: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(order.index(axis) for axis in range(len(order)))
