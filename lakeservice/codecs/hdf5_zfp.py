"""HDF5's ZFP filter: floating-point arrays, mostly with loss."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import imagecodecs
import numpy as np

from lakeservice.codecs.steps import Buffer, Context, DecodeError, Step, flat

if TYPE_CHECKING:
    from collections.abc import Mapping

_library: Any = imagecodecs  # its stubs know less than it does
_SHORT_BITS, _LONG_BITS = 96, 148  # header with a mode of 12 bits, or of 64
_LONG_MODE = 0xFFF


class ZfpStep(Step):
    """A ZFP stream whose header is kept in the filter's options.

    Options: a version, then the header as ZFP wrote it;
    https://h5z-zfp.readthedocs.io/en/latest/cd_vals.html
    """

    def __init__(self, configuration: Mapping[str, Any], context: Context) -> None:
        super().__init__(configuration, context)
        options = [int(value) for value in configuration.get("options", ())]
        words = struct.pack(f"<{len(options[1:])}I", *options[1:])
        if not words.startswith(b"zfp\x05") or len(words) < _SHORT_BITS // 8:
            raise DecodeError("a ZFP filter without ZFP's header")
        header = int.from_bytes(words, "little")
        self._bits = _LONG_BITS if header >> 84 & _LONG_MODE == _LONG_MODE else _SHORT_BITS
        self._header = header & ((1 << self._bits) - 1)
        # ZFP reads on blindly where a stream is cut: never let it leave this memory
        self._room = 2 * context.size + 65536

    def decode(self, encoded: Buffer, size: int | None) -> Buffer:
        """Return the decoded bytes."""
        payload = flat(encoded)
        whole, rest = divmod(self._bits, 8)
        stream = np.zeros(whole + 1 + payload.size + self._room, np.uint8)
        head = self._header.to_bytes(whole + 1, "little")
        stream[: whole + 1] = np.frombuffer(head, np.uint8)
        if rest:
            stream[whole : whole + payload.size] |= payload << np.uint8(rest)
            stream[whole + 1 : whole + 1 + payload.size] |= payload >> np.uint8(8 - rest)
        else:
            stream[whole : whole + payload.size] = payload
        decoded = _library.zfp_decode(stream)
        return flat(np.ascontiguousarray(decoded))
