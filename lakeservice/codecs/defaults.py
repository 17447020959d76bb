"""Codecs that new arrays are stored with; docs/decisions/0004-codecs.md has the figures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from schemas.chunks import Codec

if TYPE_CHECKING:
    import numpy as np

_BLOCK_BYTES = 32 << 10  # times the element size; a small slice decodes few of them
_MAX_TYPESIZE = 255  # of a Blosc frame


def default_codecs(dtype: np.dtype[Any]) -> tuple[Codec, ...]:
    """Return the codec chain, in Zarr v3's words, that suits elements of this type.

    Its last step is a checksum, so that no reader takes a damaged chunk for numbers.
    """
    order = "big" if dtype.byteorder == ">" else "little"
    plain = dtype.itemsize == 1 or dtype.kind in "SV?"
    to_bytes = Codec("bytes") if plain else Codec("bytes", {"endian": order})
    return (
        to_bytes,
        Codec(
            "blosc",
            {
                "typesize": dtype.itemsize if 0 < dtype.itemsize <= _MAX_TYPESIZE else 1,
                "cname": "lz4",
                "clevel": 5,
                "shuffle": "bitshuffle",
                "blocksize": _BLOCK_BYTES,
            },
        ),
        Codec("crc32c"),
    )
