"""Codecs of Zarr version 2, by their names in numcodecs."""

from __future__ import annotations

import lzma
from typing import TYPE_CHECKING, Any

import imagecodecs
import numpy as np

from lakeservice.codecs.hdf5 import Bzip2Step, DeflateStep, ShuffleStep, streamed
from lakeservice.codecs.steps import (
    Buffer,
    Bytes1D,
    Context,
    DecodeError,
    Factory,
    Step,
    filled,
    flat,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

_library: Any = imagecodecs  # its stubs know less than it does
_NAMES = (
    "adler32",
    "astype",
    "bitround",
    "crc32",
    "delta",
    "fixedscaleoffset",
    "fletcher32",
    "jenkins_lookup3",
    "packbits",
    "quantize",
)
_SAME_SIZE = frozenset({"bitround", "quantize"})
_CHECKSUM_BYTES = {"adler32": 4, "crc32": 4, "fletcher32": 4, "jenkins_lookup3": 4}


class Lz4Step(Step):
    """One block of LZ4 after four bytes that say the decoded size."""

    def decode(self, encoded: Buffer, size: int | None) -> Buffer:
        """Return the decoded bytes."""
        source = flat(encoded)
        if source.size < 4:
            raise DecodeError(f"{source.size} bytes are too few for LZ4")
        stated = self.expect(int.from_bytes(source[:4].tobytes(), "little"), size)
        out = np.empty(stated, np.uint8)
        return filled(_library.lz4_decode(source[4:], out=out), out)

    def decode_into(self, encoded: Buffer, out: Bytes1D) -> None:
        """Decode into memory of exactly the decoded size."""
        source = flat(encoded)
        self.expect(int.from_bytes(source[:4].tobytes(), "little"), out.size)
        filled(_library.lz4_decode(source[4:], out=out), out)


class LzmaStep(Step):
    """An LZMA stream in one of the forms of Python's ``lzma``."""

    def decode(self, encoded: Buffer, size: int | None) -> Buffer:
        """Return the decoded bytes."""
        form = int(self.configuration.get("format", lzma.FORMAT_XZ))
        filters = self.configuration.get("filters") if form == lzma.FORMAT_RAW else None
        return streamed(lzma.LZMADecompressor(form, filters=filters), encoded, self.limit)


class V2ShuffleStep(ShuffleStep):
    """The byte shuffle, its element size being given by name."""

    def __init__(self, configuration: Mapping[str, Any], context: Context) -> None:
        super().__init__({"options": [int(configuration.get("elementsize", 4))]}, context)


class NumcodecsStep(Step):
    """Any codec of numcodecs, decoded by numcodecs."""

    def __init__(self, name: str, configuration: Mapping[str, Any], context: Context) -> None:
        super().__init__(configuration, context)
        import numcodecs  # 60 ms; only what Zarr 2 wrote with rare codecs needs it

        settings = dict(configuration)
        self._codec = numcodecs.get_codec({"id": name, **settings})
        self._name = name
        self._dtype = context.dtype

    def encoded_size(self, size: int) -> int | None:
        """Known for checksums and for what only rounds."""
        if self._name in _SAME_SIZE:
            return size
        return size + _CHECKSUM_BYTES[self._name] if self._name in _CHECKSUM_BYTES else None

    def decode(self, encoded: Buffer, size: int | None) -> Buffer:
        """Return the decoded bytes."""
        return flat(np.ascontiguousarray(self._codec.decode(flat(encoded))))


def _factory(name: str) -> Factory:
    def make(configuration: Mapping[str, Any], context: Context) -> Step:
        return NumcodecsStep(name, configuration, context)

    return make


STEPS: dict[str, Factory] = {
    **{name: _factory(name) for name in _NAMES},
    "bz2": Bzip2Step,
    "lz4": Lz4Step,
    "lzma": LzmaStep,
    "shuffle": V2ShuffleStep,
    "zlib": DeflateStep,
}
