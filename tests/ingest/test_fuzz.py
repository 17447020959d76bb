"""Damaged files of every format: an entry, or a reason; never a crash."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.testing import ScratchLake
from schemas.errors import LakeError
from schemas.structures import ArrayStructure

if TYPE_CHECKING:
    from collections.abc import Callable

STACK = (np.arange(3 * 20 * 24) * 7 % 4099).astype("u2").reshape(3, 20, 24)
TABLE = pa.table({"n": [1, 2, None], "s": ["a", None, "ccc"], "l": [[1], [], None]})
_LARGEST = 64 << 20


def _stream(path: Path) -> None:
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, TABLE.schema) as writer:
        writer.write_table(TABLE)


SAMPLES: dict[str, Callable[[Path], object]] = {
    "npy": lambda path: np.save(path, np.asfortranarray(STACK)),
    "npz": lambda path: np.savez(path, x=STACK, y=STACK),
    "npz-deflated": lambda path: np.savez_compressed(path, x=STACK, y=STACK),
    "tiff": lambda path: tifffile.imwrite(path, STACK, photometric="minisblack"),
    "tiff-lzw": lambda path: tifffile.imwrite(
        path, STACK, photometric="minisblack", compression="lzw", predictor=2, rowsperstrip=8
    ),
    "tiff-ome": lambda path: tifffile.imwrite(
        path, STACK, ome=True, photometric="minisblack", compression="zlib", tile=(16, 16)
    ),
    "tiff-imagej": lambda path: tifffile.imwrite(
        path, STACK, imagej=True, metadata={"axes": "ZYX"}
    ),
    "parquet": lambda path: pq.write_table(TABLE, path),
    "arrow": lambda path: pyarrow.feather.write_feather(TABLE, path, compression="lz4"),
    "arrow-plain": lambda path: pyarrow.feather.write_feather(
        TABLE, path, compression="uncompressed"
    ),
    "arrow-stream": _stream,
    "text": lambda path: path.write_text("# a: 1\n# x y\n" + "1.5 2\n2.5 4\n" * 40),
    "csv": lambda path: path.write_text('name,x\n"a, b",1\n"c",2\n' * 20),
}


@cache
def sample(name: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        SAMPLES[name](Path(folder) / f"sample.{name[:3]}")
        (path,) = Path(folder).iterdir()
        return path.read_bytes()


@st.composite
def damaged(draw: st.DrawFn, payload: bytes) -> bytes:
    """A few bytes overwritten, swapped for telling ones, taken out or added; perhaps cut off."""
    result = bytearray(payload)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(result)))
        # headers and footers are where readers can be led astray
        at = draw(st.sampled_from([at, at % 300, max(0, len(result) - 1 - at % 300)]))
        new = draw(
            st.one_of(
                st.binary(min_size=1, max_size=8),
                st.sampled_from(
                    [b"\0" * 4, b"\xff" * 4, b"\xff" * 8, b"\x7f\xff\xff\xff", b"\x80"]
                ),
            )
        )
        gone = draw(st.sampled_from([len(new), len(new), 0, 2 * len(new)]))
        result[at : at + gone] = new
    if draw(st.booleans()):
        del result[draw(st.integers(0, len(result))) :]
    return bytes(result)


@pytest.mark.parametrize("name", SAMPLES)
def test_damaged_files_are_read_or_refused(
    name: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("fuzz")
    lake = ScratchLake(folder / "lake")
    count = 0

    @settings(max_examples=20, deadline=None)
    @given(payload=damaged(sample(name)), mode=st.sampled_from(["register", "convert"]))
    def try_one(payload: bytes, mode: str) -> None:
        nonlocal count
        count += 1
        path = folder / f"f{count}"
        path.write_bytes(payload)
        summary = lake.ingest(path, mode=mode)  # type: ignore[arg-type]
        assert summary.added + len(summary.failed) == 1
        for failure in summary.failed:
            assert failure.reason
            assert str(folder) not in failure.reason
        if summary.added:
            read_all(lake, f"f{count}")
        path.unlink()

    try_one()


def read_all(lake: ScratchLake, path: str) -> None:
    """Read everything that an entry holds; it may refuse, but in our words."""
    inner = lake.inner(path)
    for inside in inner or [""]:
        node = inner[inside] if inner else lake.node(path)
        structure = node.structure
        if isinstance(structure, ArrayStructure) and structure.size_bytes > _LARGEST:
            continue
        try:
            lake.read(path, inside)
        except (LakeError, TypeError):
            continue
