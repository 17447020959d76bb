"""Codecs of Zarr version 2, by their names in numcodecs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import imagecodecs
import numpy as np

from lakeservice.codecs.hdf5 import DeflateStep, ShuffleStep
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
    "bz2",
    "crc32",
    "delta",
    "fixedscaleoffset",
    "fletcher32",
    "jenkins_lookup3",
    "lzma",
    "packbits",
    "quantize",
)
_SAME_SIZE = frozenset({"bitround", "quantize"})
_CHECKSUM_BYTES = {"adler32": 4, "crc32": 4, "fletcher32": 4, "jenkins_lookup3": 4}


class Lz4Step(Step):
    """One block of LZ4 after four bytes that say the decoded size."""

    def __init__(self, _configuration: Mapping[str, Any], _context: Context) -> None:
        pass

    def decode(self, encoded: Buffer, size: int | None) -> Buffer:
        """Return the decoded bytes."""
        source = flat(encoded)
        if source.size < 4:
            raise DecodeError(f"{source.size} bytes are too few for LZ4")
        stated = int.from_bytes(source[:4].tobytes(), "little")
        if size is not None and stated != size:
            raise DecodeError(f"its LZ4 header says {stated} bytes instead of {size}")
        out = np.empty(stated, np.uint8)
        return filled(_library.lz4_decode(source[4:], out=out), out)

    def decode_into(self, encoded: Buffer, out: Bytes1D) -> None:
        """Decode into memory of exactly the decoded size."""
        source = flat(encoded)
        if source.size < 4 or int.from_bytes(source[:4].tobytes(), "little") != out.size:
            raise DecodeError(f"its LZ4 header does not say {out.size} bytes")
        filled(_library.lz4_decode(source[4:], out=out), out)


class V2ShuffleStep(ShuffleStep):
    """The byte shuffle, its element size being given by name."""

    def __init__(self, configuration: Mapping[str, Any], context: Context) -> None:
        super().__init__({"options": [int(configuration.get("elementsize", 4))]}, context)


class NumcodecsStep(Step):
    """Any codec of numcodecs, decoded by numcodecs."""

    def __init__(self, name: str, configuration: Mapping[str, Any], context: Context) -> None:
        import numcodecs  # 60 ms; only what Zarr 2 wrote with rare codecs needs it

        settings = dict(configuration)
        if name == "crc32c":
            settings.setdefault("location", "end")
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
    "lz4": Lz4Step,
    "shuffle": V2ShuffleStep,
    "zlib": DeflateStep,
}
