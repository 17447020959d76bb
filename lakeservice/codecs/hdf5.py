"""HDF5's own filters and the byte compressors of its plugins, without HDF5."""

from __future__ import annotations

import bz2
import struct
from typing import TYPE_CHECKING, Any

import imagecodecs
import numpy as np

from lakeservice.codecs.blosc import BloscStep
from lakeservice.codecs.hdf5_bitshuffle import BitshuffleStep
from lakeservice.codecs.hdf5_blosc2 import Blosc2Step
from lakeservice.codecs.hdf5_packed import NbitStep, ScaleOffsetStep
from lakeservice.codecs.hdf5_zfp import ZfpStep
from lakeservice.codecs.shuffle import unshuffle_into
from lakeservice.codecs.steps import (
    Buffer,
    Bytes1D,
    Context,
    DecodeError,
    Factory,
    Step,
    filled,
    flat,
    sized,
)
from lakeservice.codecs.zarr import ZstdStep, inflated

if TYPE_CHECKING:
    import lzma
    from collections.abc import Callable, Mapping

_library: Any = imagecodecs  # its stubs know less than it does
_AEC_MSB, _AEC_PREPROCESS = 4, 8


def options_of(configuration: Mapping[str, Any], least: int = 0) -> list[int]:
    """Return the filter's client data, of which at least so many values are needed."""
    options = [int(value) for value in configuration.get("options", ())]
    if len(options) < least:
        raise DecodeError(f"a filter with {len(options)} options instead of {least}")
    return options


class DeflateStep(Step):
    """A zlib stream."""

    def decode(self, encoded: Buffer, size: int | None) -> Buffer:
        """Return the decoded bytes."""
        if size is not None:
            out = np.empty(size, np.uint8)
            self.decode_into(encoded, out)
            return out
        return inflated(encoded, 15, self.limit)

    def decode_into(self, encoded: Buffer, out: Bytes1D) -> None:
        """Decode into memory of exactly the decoded size."""
        filled(_library.deflate_decode(flat(encoded), raw=False, out=out), out)


class ShuffleStep(Step):
    """Bytes of elements sorted by their place in the element; a rest is left as it is."""

    def __init__(self, configuration: Mapping[str, Any], context: Context) -> None:
        super().__init__(configuration, context)
        options = options_of(configuration)
        self._itemsize = options[0] if options else context.dtype.itemsize

    def encoded_size(self, size: int) -> int:
        """As many."""
        return size

    def decode(self, encoded: Buffer, size: int | None) -> Buffer:
        """Return the decoded bytes."""
        shuffled = flat(encoded)
        out = np.empty(shuffled.size, np.uint8)
        unshuffle_into(shuffled, self._itemsize, out)
        return out

    def decode_into(self, encoded: Buffer, out: Bytes1D) -> None:
        """Decode into memory of exactly the decoded size."""
        unshuffle_into(sized(encoded, out.size), self._itemsize, out)


class Fletcher32Step(Step):
    """Four bytes of Fletcher's checksum after the payload."""

    is_seal = True

    def encoded_size(self, size: int) -> int:
        """Four bytes more."""
        return size + 4

    def decode(self, encoded: Buffer, size: int | None) -> Buffer:
        """Return the payload, when the checksum is its own."""
        whole = flat(encoded)
        if whole.size < 4:
            raise DecodeError(f"{whole.size} bytes are too few for a checksum")
        payload = whole[:-4]
        stated = int.from_bytes(whole[-4:].tobytes(), "little")
        found = int(_library.h5checksum_fletcher32(np.ascontiguousarray(payload)))
        # HDF5 before 1.6.3 wrote the two bytes of each half in the other order
        swapped = ((found & 0x00FF00FF) << 8) | ((found >> 8) & 0x00FF00FF)
        if stated not in (found, swapped):
            raise DecodeError("its Fletcher-32 checksum does not match")
        return payload if size is None else sized(payload, size)


class SzipStep(Step):
    """Rice coding of the CCSDS, after four bytes that say the decoded size.

    SZIP pads each scanline to whole blocks, and codes words of 32 and 64 bits byte
    by byte: https://gitlab.dkrz.de/k202009/libaec/-/blob/master/src/sz_compat.c.
    Its own decoder would fill the end of a stream that is cut with noise.
    """

    def __init__(self, configuration: Mapping[str, Any], context: Context) -> None:
        super().__init__(configuration, context)
        mask, self._block, self._bits, self._line = options_of(configuration, 4)[:4]
        if not 0 < self._block <= 64 or not self._line > 0 or not 0 < self._bits <= 64:
            raise DecodeError(f"SZIP of {self._bits} bits in blocks of {self._block}")
        self._planes = self._bits // 8 if self._bits in (32, 64) else 1
        self._flags = (_AEC_MSB if mask & 16 else 0) | (_AEC_PREPROCESS if mask & 32 else 0)

    def decode(self, encoded: Buffer, size: int | None) -> Buffer:
        """Return the decoded bytes."""
        source = flat(encoded)
        if source.size < 4:
            raise DecodeError(f"{source.size} bytes are too few for SZIP")
        stated = self.expect(int.from_bytes(source[:4].tobytes(), "little"), size)
        bits = 8 if self._planes > 1 else self._bits
        itemsize = 1 if bits <= 8 else 2 if bits <= 16 else 4
        blocks = -(-self._line // self._block)
        line, padded = self._line * itemsize, blocks * self._block * itemsize
        lines = -(-stated // line)
        decoded = flat(
            _library.aec_decode(
                source[4:].data,
                bitspersample=bits,
                flags=self._flags,
                blocksize=self._block,
                rsi=blocks,
                out=lines * padded,
            )
        )
        decoded = sized(decoded, lines * padded)
        if line != padded:
            decoded = decoded.reshape(lines, padded)[:, :line].reshape(-1)
        decoded = decoded[:stated]
        if self._planes == 1:
            return decoded
        out = np.empty(stated, np.uint8)
        unshuffle_into(decoded, self._planes, out)
        return out


class Lz4Step(Step):
    """Blocks of LZ4: 8 bytes of total size, 4 of block size, then each with its length."""

    def decode(self, encoded: Buffer, size: int | None) -> Buffer:
        """Return the decoded bytes."""
        source = flat(encoded)
        if source.size < 12:
            raise DecodeError(f"{source.size} bytes are too few for LZ4")
        total, block = struct.unpack(">QI", source[:12].data)
        self.expect(total, size)
        if not block:
            raise DecodeError("its LZ4 header says blocks of no bytes")
        out = np.empty(total, np.uint8)
        self._blocks(source, min(block, total), out)
        return out

    def _blocks(self, source: Bytes1D, block: int, out: Bytes1D) -> None:
        place = 12
        for start in range(0, out.size, block):
            part = out[start : start + block]
            if place + 4 > source.size:
                raise DecodeError("its LZ4 blocks are cut")
            length = int.from_bytes(source[place : place + 4].tobytes(), "big")
            place += 4
            if place + length > source.size:
                raise DecodeError("its LZ4 blocks are cut")
            stored = source[place : place + length]
            if length == part.size:
                part[:] = stored
            else:
                filled(_library.lz4_decode(stored, out=part), part)
            place += length


class _LibraryStep(Step):
    """A compressor that the library decodes in one call, into memory of the right size."""

    decoder: Callable[..., Any]

    def decode(self, encoded: Buffer, size: int | None) -> Buffer:
        """Return the decoded bytes."""
        if size is None:
            return flat(type(self).decoder(flat(encoded), out=self.limit))
        out = np.empty(size, np.uint8)
        self.decode_into(encoded, out)
        return out

    def decode_into(self, encoded: Buffer, out: Bytes1D) -> None:
        """Decode into memory of exactly the decoded size."""
        filled(type(self).decoder(flat(encoded), out=out), out)


class LzfStep(_LibraryStep):
    """LZF, the fast compressor that comes with h5py."""

    decoder = staticmethod(_library.lzf_decode)


class Bzip2Step(Step):
    """A bzip2 stream."""

    def decode(self, encoded: Buffer, size: int | None) -> Buffer:
        """Return the decoded bytes."""
        return streamed(bz2.BZ2Decompressor(), encoded, self.limit)


def streamed(
    stream: bz2.BZ2Decompressor | lzma.LZMADecompressor, encoded: Buffer, limit: int
) -> bytes:
    """Return what a stream decodes to, when that is all of it and below a limit."""
    decoded = stream.decompress(flat(encoded).data, limit)
    if not stream.eof:
        raise DecodeError("it is cut, or far larger than the chunk")
    return decoded


# not here, so that files with them are converted: sz and sz3 (their libraries end the process on
# bytes that are not theirs), sperr (it reads beyond its input), fcidecomp and htj2k (a damaged
# chunk keeps them busy for many seconds)
STEPS: dict[str, Factory] = {
    "hdf5.deflate": DeflateStep,
    "hdf5.shuffle": ShuffleStep,
    "hdf5.fletcher32": Fletcher32Step,
    "hdf5.szip": SzipStep,
    "hdf5.nbit": NbitStep,
    "hdf5.scaleoffset": ScaleOffsetStep,
    "hdf5.lzf": LzfStep,
    "hdf5.bzip2": Bzip2Step,
    "hdf5.blosc": BloscStep,
    "hdf5.blosc2": Blosc2Step,
    "hdf5.lz4": Lz4Step,
    "hdf5.bitshuffle": BitshuffleStep,
    "hdf5.zfp": ZfpStep,
    "hdf5.zstd": ZstdStep,
}
