"""Which codec for which numbers: stored size, and speed of encoding and decoding one chunk.

``python -m benchmarks.codecs`` prints a table; times are of the processor, one thread, the best
of several runs, so that a busy machine changes them little.
"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from lakeservice.codecs.chain import Chain
from schemas.chunks import ChunkLayout, Codec
from schemas.structures import DataType

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

SHAPE = (1080, 1280)
RUNS = 7


def chunks() -> dict[str, NDArray[Any]]:
    """Return one chunk of each kind of numbers that arrives at a facility."""
    rng = np.random.default_rng(7)
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]]
    radius = np.hypot(rows - SHAPE[0] / 2, columns - SHAPE[1] / 2)
    mean = 55 * np.exp(-radius / 400)
    counts = rng.poisson(mean)
    flat = rng.normal(1, 0.03, SHAPE)
    disc = np.clip(1 - (radius / 500) ** 2, 0, None)
    tomogram = disc + rng.normal(0, 0.05, SHAPE)
    return {
        "counts u2": counts.astype("u2"),
        "counts u4": counts.astype("u4"),
        "sparse u4": rng.poisson(0.02, SHAPE).astype("u4"),
        "signed i4": (counts - 30).astype("i4"),
        "counts f4": counts.astype("f4"),
        "corrected f4": (counts / flat).astype("f4"),
        "tomogram f4": tomogram.astype("f4"),
        "tomogram f8": tomogram,
        "sparse f4": np.where(counts > mean + 20, counts / flat, 0).astype("f4"),
        "ramp f8": np.linspace(0, 100, SHAPE[0] * SHAPE[1]).reshape(SHAPE),
        "time f8": np.cumsum(rng.normal(1e-3, 1e-7, SHAPE).reshape(-1)).reshape(SHAPE),
        "complex c8": (tomogram + 1j * tomogram[::-1]).astype("c8"),
    }


def chains(itemsize: int) -> dict[str, tuple[Codec, ...]]:
    """Return the candidates for elements of this size."""

    def blosc(cname: str, clevel: int, shuffle: str, blocksize: int = 32 << 10) -> Codec:
        settings = {"cname": cname, "clevel": clevel, "shuffle": shuffle}
        return Codec("blosc", {**settings, "typesize": itemsize, "blocksize": blocksize})

    return {
        "blosc lz4 bit": (blosc("lz4", 5, "bitshuffle"),),
        "blosc lz4 bit auto": (blosc("lz4", 5, "bitshuffle", 0),),
        "blosc lz4 byte": (blosc("lz4", 5, "shuffle"),),
        "blosc zstd1 bit": (blosc("zstd", 1, "bitshuffle"),),
        "blosc zstd1 byte": (blosc("zstd", 1, "shuffle"),),
        "blosc zstd1 byte auto": (blosc("zstd", 1, "shuffle", 0),),
        "blosc zstd3 byte": (blosc("zstd", 3, "shuffle"),),
        "zstd1": (Codec("zstd", {"level": 1}),),
        "lz4 + crc32c": (blosc("lz4", 5, "bitshuffle"), Codec("crc32c")),
    }


def main() -> None:
    """Print the table."""
    sys.stdout.write(f"{'chunk':14}{'codec':24}{'ratio':>7}{'encode':>9}{'decode':>9}  GB/s\n")
    for name, chunk in chunks().items():
        for label, codecs in chains(chunk.dtype.itemsize).items():
            layout = ChunkLayout(
                data_type=DataType.from_numpy(chunk.dtype),
                chunk_shape=chunk.shape,
                codecs=(Codec("bytes", {"endian": "little"}), *codecs),
            )
            chain = Chain(layout)
            encoded = chain.encode(chunk)
            out = np.ones_like(chunk)
            encode = _seconds(lambda chain=chain, chunk=chunk: chain.encode(chunk))  # type: ignore[misc]
            decode = _seconds(
                lambda chain=chain, encoded=encoded, out=out: chain.decode(  # type: ignore[misc]
                    encoded, out.shape, out=out
                )
            )
            ratio = chunk.nbytes / len(encoded)
            speeds = f"{chunk.nbytes / encode / 1e9:9.2f}{chunk.nbytes / decode / 1e9:9.2f}"
            sys.stdout.write(f"{name:14}{label:24}{ratio:7.2f}{speeds}\n")


def _seconds(task: Callable[[], object]) -> float:
    best = float("inf")
    for _ in range(RUNS):
        start = time.thread_time()
        task()
        best = min(best, time.thread_time() - start)
    return best


if __name__ == "__main__":
    main()
