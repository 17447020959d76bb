"""The limit of every read from local files: a bare loop that reads chunks and decodes them."""

from __future__ import annotations

import itertools
import json
import math
import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import imagecodecs
import numpy as np
from crc32c import crc32c

if TYPE_CHECKING:
    from pathlib import Path

THREADS = os.cpu_count() or 1
"""One for each core, as the engine of servers and clients has them."""
CHECKSUM_BYTES = 4
_library: Any = imagecodecs  # its stubs know less than it does


class DecodeLoop:
    """A thread for each core, which read the chunks of a Zarr v3 array and decode them in place.

    Nothing is planned, looked up or asked: the chunks are whole rows, of Blosc, and may end with
    a CRC-32C, which is compared.

    Parameters
    ----------
    folder
        The array's folder, with its ``zarr.json``.
    """

    def __init__(self, folder: Path) -> None:
        described = json.loads((folder / "zarr.json").read_text(encoding="utf-8"))
        self.shape: tuple[int, ...] = tuple(described["shape"])
        self.dtype = np.dtype(described["data_type"])
        rows, *rest = described["chunk_grid"]["configuration"]["chunk_shape"]
        codecs = [codec["name"] for codec in described["codecs"]]
        if codecs[:2] != ["bytes", "blosc"] or tuple(rest) != self.shape[1:]:
            raise SystemExit(f"the bare loop does not know {codecs} with chunks of {rest}")
        if self.shape[0] % rows:
            raise SystemExit(f"the bare loop wants whole chunks: {self.shape[0]} rows by {rows}")
        self.has_checksum = "crc32c" in codecs
        self._rows = rows
        zeros = "/".join(["0"] * len(rest))
        self._files = [
            str(folder / "c" / str(number) / zeros) for number in range(self.shape[0] // rows)
        ]
        self._longest = max(os.stat(file).st_size for file in self._files)

    @property
    def size_bytes(self) -> int:
        """Bytes of the array."""
        return math.prod(self.shape) * int(self.dtype.itemsize)

    def read(self) -> np.ndarray:
        """Return the array in fresh memory."""
        out = np.empty(self.shape, self.dtype)
        self.into(out)
        return out

    def into(self, out: np.ndarray, *, verify: bool = True) -> None:
        """Decode everything into ``out``; ``verify`` compares checksums where chunks have them."""
        count = itertools.count()
        with ThreadPoolExecutor(THREADS) as threads:
            for done in [threads.submit(self._work, count, out, verify) for _ in range(THREADS)]:
                done.result()

    def _work(self, count: Any, out: np.ndarray, verify: bool) -> None:
        held = np.empty(self._longest, np.uint8)
        for number in count:
            if number >= len(self._files):
                return
            opened = os.open(self._files[number], os.O_RDONLY)
            try:
                length = os.readv(opened, [held.data])
            finally:
                os.close(opened)
            stored = held[:length]
            if self.has_checksum:
                stored = held[: length - CHECKSUM_BYTES]
                told = int.from_bytes(held[length - CHECKSUM_BYTES : length].tobytes(), "little")
                if verify and crc32c(stored.data) != told:
                    raise SystemExit(f"chunk {number} is damaged")
            rows = out[number * self._rows : (number + 1) * self._rows]
            _library.blosc_decode(stored, numthreads=1, out=rows.reshape(-1).view(np.uint8))
