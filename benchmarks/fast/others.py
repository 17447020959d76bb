"""Other readers on the same local files, without any server; runs in the peer's environment.

``python -m benchmarks.fast.others NAME PLAN`` prints one JSON object.
"""

from __future__ import annotations

import importlib.util
import io
import os
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import hdf5plugin  # noqa: F401  (its filters)
import numpy as np

from benchmarks.timing import answer, contest

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.timing import Values

INSIDE = "entry/data/data"
SHARD_FRAMES = 250
SHUFFLED = 1000
"""Frames that webdataset holds to draw from."""
BATCH = 64


def zarr_python(plan: dict[str, Any]) -> Values:
    """Read our converted stack with zarr-python, with its own codecs."""
    return _zarr(plan, "zarr.core.codec_pipeline.BatchedCodecPipeline")


def zarrs(plan: dict[str, Any]) -> Values:
    """Read our converted stack with zarr-python on the codecs of zarrs, written in Rust."""
    return _zarr(plan, "zarrs.ZarrsCodecPipeline")


def _zarr(plan: dict[str, Any], pipeline: str) -> Values:
    import zarr
    from zarr.core.buffer.cpu import NDBuffer

    cores = os.cpu_count() or 1
    zarr.config.set({"codec_pipeline.path": pipeline, "threading.max_workers": cores})
    array: Any = zarr.open_array(plan["stack_zarr"], mode="r")
    return _whole(
        plan,
        array.shape,
        array.dtype,
        lambda: array[:],
        lambda out: array.get_basic_selection(..., out=NDBuffer.from_numpy_array(out)),
    )


def tensorstore(plan: dict[str, Any]) -> Values:
    """Read our converted stack with TensorStore."""
    import tensorstore as ts

    where = {"driver": "file", "path": f"{plan['stack_zarr']}/"}
    array = ts.open({"driver": "zarr3", "kvstore": where}, open=True, read=True).result()
    return _whole(
        plan,
        array.shape,
        array.dtype.numpy_dtype,
        lambda: array.read().result(),
        lambda out: ts.array(out).write(array).result(),
    )


def of_h5py(plan: dict[str, Any]) -> Values:
    """Read the stack's HDF5 file with h5py and hdf5plugin."""
    with h5py.File(plan["stack_h5"]) as file:
        dataset = file[INSIDE]
        return _whole(plan, dataset.shape, dataset.dtype, lambda: dataset[:], dataset.read_direct)


def _whole(
    plan: dict[str, Any],
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    fresh: Callable[[], Any],
    into: Callable[[np.ndarray], object],
) -> Values:
    """Read into memory used before, then into fresh memory, as our own client does."""
    size = int(np.prod(shape)) * dtype.itemsize
    taken = {"touched": _touched(plan, np.full(shape, 1, dtype), into)}
    taken |= contest({"fresh": fresh})
    return {f"{name}_gb_s": size / seconds / 1e9 for name, seconds in taken.items()}


def _touched(plan: dict[str, Any], out: np.ndarray, into: Callable[[np.ndarray], object]) -> float:
    into(out)
    with h5py.File(plan["stack_h5"]) as file:
        if not np.array_equal(out[-1], file[INSIDE][len(out) - 1]):
            raise SystemExit("the last frame differs")
    return contest({"touched": lambda: into(out)})["touched"]


def webdataset(plan: dict[str, Any]) -> Values:
    """Load shuffled frames from tar shards, in this process and with two workers."""
    if importlib.util.find_spec("torch") is None:
        return {"missing": "torch"}
    import webdataset as wds

    with h5py.File(plan["examples_h5"]) as file:
        shards = _shards(Path(plan["shards"]), file[INSIDE])
        shape, size = file[INSIDE].shape[1:], file[INSIDE].nbytes
    values: Values = {}
    for workers in (0, 2):
        frames = (
            wds.WebDataset(shards, shardshuffle=len(shards), seed=1, empty_check=False)
            .shuffle(SHUFFLED)
            .map(lambda sample: np.frombuffer(sample["raw"], "<u2").reshape(shape))
            .batched(BATCH, collation_fn=np.stack, partial=True)
        )
        loaded = wds.WebLoader(frames, batch_size=None, num_workers=workers)

        def epoch(loaded: Any = loaded) -> None:
            if sum(batch.nbytes for batch in loaded) != size:
                raise SystemExit("not every frame came")

        taken = contest({"epoch": epoch}, rounds=2)["epoch"]
        values[f"workers{workers}_gb_s"] = size / taken / 1e9
    return values


def _shards(folder: Path, frames: Any) -> list[str]:
    """Write the frames as raw bytes into tar files, where they are not there yet."""
    files = []
    for start in range(0, len(frames), SHARD_FRAMES):
        path = folder / f"{start:06}.tar"
        files.append(str(path))
        if path.exists():
            continue
        folder.mkdir(exist_ok=True)
        with tarfile.open(path.with_suffix(".part"), "w") as shard:
            for number in range(start, min(start + SHARD_FRAMES, len(frames))):
                payload = frames[number].tobytes()
                member = tarfile.TarInfo(f"{number:06}.raw")
                member.size = len(payload)
                shard.addfile(member, io.BytesIO(payload))
        path.with_suffix(".part").rename(path)
    return files


if __name__ == "__main__":
    answer(globals())
