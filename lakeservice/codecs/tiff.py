"""Compressions of TIFF's strips and tiles, and the predictor before them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import imagecodecs
import numpy as np

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
    from collections.abc import Callable, Mapping

_library: Any = imagecodecs  # its stubs know less than it does
_HORIZONTAL, _FLOATING = 2, 3


class _Segment(Step):
    """A compressed strip or tile; writers may leave more bytes in it than it has pixels."""

    decoder: Callable[..., Any]

    def decode(self, encoded: Buffer, size: int | None) -> Buffer:
        """Return the decoded bytes, cut to ``size``."""
        decoded = flat(type(self).decoder(flat(encoded), out=self.limit))
        return decoded if size is None else sized(decoded[:size], size)

    def decode_into(self, encoded: Buffer, out: Bytes1D) -> None:
        """Decode into memory of exactly the decoded size."""
        try:
            decoded = type(self).decoder(flat(encoded), out=out)
        except Exception:
            # more bytes than pixels: decoded as far as they go, and cut
            out[:] = sized(self.decode(encoded, out.size), out.size)
        else:
            filled(decoded, out)


class PackBitsStep(_Segment):
    """Runs of equal bytes."""

    decoder = staticmethod(_library.packbits_decode)


class LzmaStep(_Segment):
    """LZMA."""

    decoder = staticmethod(_library.lzma_decode)


class DeflateStep(_Segment):
    """A zlib stream."""

    decoder = staticmethod(_library.deflate_decode)


class ZstdStep(_Segment):
    """A Zstandard frame."""

    decoder = staticmethod(_library.zstd_decode)


class PredictorStep(Step):
    """Differences of neighbours in a row (2), or of the bytes of floats sorted by place (3)."""

    def __init__(self, configuration: Mapping[str, Any], context: Context) -> None:
        super().__init__(configuration, context)
        self._kind = int(configuration.get("predictor", _HORIZONTAL))
        self._samples = int(configuration.get("samples", 1))
        axes = 1 if self._samples == 1 else 2
        self._row = context.chunk_shape[-axes] if len(context.chunk_shape) >= axes else 1
        self._dtype = context.dtype
        if self._kind not in (_HORIZONTAL, _FLOATING):
            raise DecodeError(f"a TIFF predictor {self._kind} is not known")

    def encoded_size(self, size: int) -> int:
        """As many."""
        return size

    def decode(self, encoded: Buffer, size: int | None) -> Buffer:
        """Return the decoded bytes."""
        payload = flat(encoded)
        shape = (-1, self._row, self._samples)
        if self._kind == _FLOATING:
            stored = payload.view(self._dtype.newbyteorder("=")).reshape(shape)
            values = _library.floatpred_decode(
                np.ascontiguousarray(stored), axis=-2, out=np.empty(stored.shape, stored.dtype)
            )
            return flat(np.ascontiguousarray(values.astype(self._dtype, copy=False)))
        # sums wrap around, also those of the bits of floats
        order = ">" if self._dtype.byteorder == ">" else "<"
        unsigned = np.dtype(f"{order}u{self._dtype.itemsize}")
        stored = payload.view(unsigned).reshape(shape)
        native = unsigned.newbyteorder("=")
        sums = np.add.accumulate(stored, axis=1, dtype=native)
        return flat(np.ascontiguousarray(sums.astype(unsigned, copy=False)))


# not here, so that files with it are converted: LZW, whose library writes beyond its memory on
# bytes that are not LZW's
STEPS: dict[str, Factory] = {
    "tiff.packbits": PackBitsStep,
    "tiff.lzma": LzmaStep,
    "tiff.deflate": DeflateStep,
    "tiff.zstd": ZstdStep,
    "tiff.predictor": PredictorStep,
}
