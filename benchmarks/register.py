"""How many files a second are registered: a folder of small NeXus files, read by workers.

``python -m benchmarks.register --files 1000 --datasets 50 --workers 2``
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import h5py
import numpy as np

from ingest.ingest import ingest
from ingest.testing import ScratchLake

_COLUMNS = 10
_POINTS = 101


def write_file(path: Path, datasets: int, seed: int) -> None:
    """Write one scan: a small image stack, columns of one length, and scalars with units."""
    random = np.random.default_rng(seed)
    with h5py.File(path, "w") as file:
        entry = _group(file, "entry", "NXentry")
        entry["title"] = f"scan {seed}"
        detector = _group(_group(entry, "instrument", "NXinstrument"), "detector", "NXdetector")
        detector.create_dataset(
            "data", data=random.poisson(3, (10, 64, 64)).astype("u2"), chunks=(1, 64, 64),
            compression="gzip", compression_opts=1,
        )  # fmt: skip
        columns = _group(entry, "data", "NXdata")
        for number in range(_COLUMNS):
            columns[f"column_{number}"] = random.normal(size=_POINTS)
        positioners = _group(entry, "positioners", "NXcollection")
        for number in range(datasets - _COLUMNS - 2):
            value = positioners.create_dataset(f"motor_{number}", data=random.normal())
            value.attrs["units"] = "mm"


def _group(parent: h5py.Group, name: str, nexus_class: str) -> h5py.Group:
    group = parent.create_group(name)
    group.attrs["NX_class"] = nexus_class
    return group


def main() -> None:
    """Write the files, register them, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--datasets", type=int, default=50)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="where to work; a temporary folder by default")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        files = Path(folder) / "files"
        files.mkdir()
        for number in range(options.files):
            write_file(files / f"scan_{number:05}.h5", options.datasets, number)
        lake = ScratchLake(Path(folder) / "lake")
        summary = ingest([files], lake.lake.uri, lake, workers=options.workers)
        started = time.perf_counter()
        again = ingest([files], lake.lake.uri, lake, workers=options.workers)
        again_s = time.perf_counter() - started
        objects = list(lake.lake.objects.list("data"))
    failed = [failure.reason for failure in summary.failed[:3]]
    print(
        f"{summary.added} files of {options.datasets} datasets registered by {options.workers} "
        f"workers in {summary.seconds:.2f} s: {summary.added / summary.seconds:.0f} files/s; "
        f"{len(objects) / max(1, summary.added):.1f} objects and "
        f"{sum(size for _, size in objects) / max(1, summary.added) / 1e3:.1f} kB a file; "
        f"again, unchanged: {again.unchanged / again_s:.0f} files/s; failed: {failed}"
    )


if __name__ == "__main__":
    main()
