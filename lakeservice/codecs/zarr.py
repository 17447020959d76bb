"""The codecs of Zarr's core: Blosc, zstd, gzip and the CRC-32C checksum."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any

import imagecodecs
import numpy as np
import zstandard
from crc32c import crc32c

from lakeservice.codecs.blosc import BloscStep
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

if TYPE_CHECKING:
    from collections.abc import Mapping


_library: Any = imagecodecs  # its stubs know less than it does


def inflated(encoded: Buffer, window: int, limit: int) -> bytes:
    """Return what a zlib or gzip stream decodes to, when that is all of it and below a limit."""
    stream = zlib.decompressobj(window)
    decoded = stream.decompress(flat(encoded).data, limit)
    if not stream.eof:
        raise DecodeError("it is cut, or far larger than the chunk")
    return decoded


class ZstdStep(Step):
    """A Zstandard frame."""

    def __init__(self, configuration: Mapping[str, Any], context: Context) -> None:
        super().__init__(configuration, context)
        self._level = configuration.get("level", 1)

    def decode(self, encoded: Buffer, size: int | None) -> Buffer:
        """Return the decoded bytes."""
        source = flat(encoded)
        stated = zstandard.frame_content_size(source.data)
        out = np.empty(self.limit if stated < 0 else self.expect(stated, size), np.uint8)
        decoded = flat(_library.zstd_decode(source, out=out))
        return decoded if size is None else sized(decoded, size)

    def decode_into(self, encoded: Buffer, out: Bytes1D) -> None:
        """Decode into memory of exactly the decoded size."""
        filled(_library.zstd_decode(flat(encoded), out=out), out)

    def encode(self, decoded: Buffer) -> Buffer:
        """Return a Zstandard frame."""
        result: Buffer = _library.zstd_encode(flat(decoded), self._level)
        return result


class GzipStep(Step):
    """A gzip member, as RFC 1952 says."""

    def __init__(self, configuration: Mapping[str, Any], context: Context) -> None:
        super().__init__(configuration, context)
        self._level = configuration.get("level", 5)

    def decode(self, encoded: Buffer, size: int | None) -> Buffer:
        """Return the decoded bytes."""
        return inflated(encoded, 31, self.limit)

    def decode_into(self, encoded: Buffer, out: Bytes1D) -> None:
        """Decode into memory of exactly the decoded size."""
        filled(_library.gzip_decode(flat(encoded), out=out), out)

    def encode(self, decoded: Buffer) -> Buffer:
        """Return a gzip member."""
        result: Buffer = _library.gzip_encode(flat(decoded), self._level)
        return result


class Crc32cStep(Step):
    """Four bytes of CRC-32C after the payload, little-endian."""

    is_seal = True

    def encoded_size(self, size: int) -> int:
        """Four bytes more."""
        return size + 4

    def decode(self, encoded: Buffer, size: int | None) -> Buffer:
        """Return the payload, when the checksum is its own."""
        payload = flat(encoded)
        if payload.size < 4:
            raise DecodeError(f"{payload.size} bytes are too few for a checksum")
        content = payload[:-4]
        if _crc32c(content) != int.from_bytes(payload[-4:].data, "little"):
            raise DecodeError("its CRC-32C checksum does not match")
        return content if size is None else sized(content, size)

    def encode(self, decoded: Buffer) -> Buffer:
        """Return the payload and its checksum."""
        return bytes(decoded) + _crc32c(decoded).to_bytes(4, "little")


def _crc32c(payload: Buffer) -> int:
    return crc32c(np.ascontiguousarray(flat(payload)).data)  # other threads run meanwhile


STEPS: dict[str, Factory] = {
    "blosc": BloscStep,
    "zstd": ZstdStep,
    "gzip": GzipStep,
    "crc32c": Crc32cStep,
}
