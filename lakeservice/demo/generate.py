"""The files of a realistic run, as a beamline leaves them."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import h5py
import hdf5plugin
import numpy as np
import tifffile

from lakeservice.demo.detector import Detector

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

ENERGY_EV = 12_658.0
WAVELENGTH_A = 12_398.419_84 / ENERGY_EV
DATA = "entry/instrument/detector/data"
"""Where the image stack lies in the NeXus file (NXdetector)."""
MONITOR = "entry/monitor"
"""Where the monitor lies in it: an NXdata of columns, so also a table."""


@dataclass(frozen=True)
class Size:
    """How much a run holds."""

    frames: int
    """Frames of the image stack in the NeXus file."""
    height: int
    width: int
    tiff_frames: int
    """Files of the TIFF series."""
    rows: int
    """Lines of the CSV monitor."""


SIZES = {
    "small": Size(frames=24, height=270, width=320, tiff_frames=6, rows=2_000),
    "full": Size(frames=200, height=1080, width=1280, tiff_frames=24, rows=200_000),
}


@dataclass(frozen=True)
class Run:
    """What `generate` left behind."""

    folder: Path
    nexus: Path
    """NeXus HDF5: the stack (bitshuffle-LZ4, one frame a chunk), monitor, baseline, sample."""
    alignment: Path
    """A second, older scan: HDF5 with shuffle and gzip."""
    tiffs: tuple[Path, ...]
    """Numbered files of one frame each."""
    table: Path
    """CSV of a slow monitor."""

    @property
    def size_bytes(self) -> int:
        """Bytes on disk, all files together."""
        return sum(path.stat().st_size for path in self.folder.rglob("*") if path.is_file())


def generate(folder: Path, size: Size, *, seed: int = 42) -> Run:
    """Write the files of one run into a new folder; the same seed gives the same numbers."""
    folder.mkdir(parents=True)
    series = folder / "snapshots"
    series.mkdir()
    run = Run(
        folder=folder,
        nexus=folder / "scan_0042.nxs",
        alignment=folder / "alignment_0041.h5",
        tiffs=tuple(series / f"snapshot_{n:04d}.tif" for n in range(1, size.tiff_frames + 1)),
        table=folder / "ring_current.csv",
    )
    detector = Detector(size.height, size.width, seed=seed)
    _write_nexus(run.nexus, detector, size.frames, np.random.default_rng(seed))
    _write_alignment(run.alignment, detector)
    for path in run.tiffs:
        tifffile.imwrite(
            path,
            detector.frame(),
            compression="zlib",
            predictor=True,
            metadata={"exposure_s": 0.1},
        )
    _write_table(run.table, size.rows, np.random.default_rng(seed + 1))
    return run


def _write_nexus(path: Path, detector: Detector, frames: int, random: np.random.Generator) -> None:
    with h5py.File(path, "w") as file:
        file.attrs.update({"default": "entry", "creator": "lakeservice demo"})
        entry = _group(file, "entry", "NXentry", default="data")
        _scalars(
            entry,
            {
                "title": "lysozyme, rotation series",
                "definition": "NXmx",
                "entry_identifier": "scan_0042",
                "start_time": "2026-03-14T09:26:53+01:00",
                "end_time": "2026-03-14T09:27:33+01:00",
                "plan_name": "rotation_scan",
                "scan_id": 42,
            },
        )
        sample = _group(entry, "sample", "NXsample")
        _scalars(sample, {"name": "lysozyme", "chemical_formula": "C613 H959 N193 O185 S10"})
        _quantity(sample, "temperature", 100.0, "K")
        instrument = _group(entry, "instrument", "NXinstrument")
        _scalars(instrument, {"name": "demo beamline"})
        beam = _group(instrument, "beam", "NXbeam")
        _quantity(beam, "incident_energy", ENERGY_EV, "eV")
        _quantity(beam, "incident_wavelength", WAVELENGTH_A, "angstrom")
        camera = _group(instrument, "detector", "NXdetector")
        _scalars(camera, {"description": "photon counter", "saturation_value": 65_535})
        _quantity(camera, "distance", 0.185, "m")
        _quantity(camera, "count_time", 0.1, "s")
        _quantity(camera, "x_pixel_size", 75e-6, "m")
        _quantity(camera, "y_pixel_size", 75e-6, "m")
        stack = camera.create_dataset(
            "data",
            (frames, detector.height, detector.width),
            "<u2",
            chunks=(1, detector.height, detector.width),
            **hdf5plugin.Bitshuffle(cname="lz4"),
        )
        stack.attrs["units"] = "counts"
        for number, frame in enumerate(detector.frames(frames)):
            stack[number] = frame
        goniometer = _group(sample, "goniometer", "NXpositioner")
        omega = goniometer.create_dataset("omega", data=np.arange(frames) * 0.1)
        omega.attrs["units"] = "deg"
        view = _group(entry, "data", "NXdata", signal="data", axes=["omega", ".", "."])
        view["data"] = h5py.SoftLink(stack.name)
        view["omega"] = h5py.SoftLink(omega.name)
        monitor = _group(entry, "monitor", "NXdata", signal="counts", axes="time_s")
        _columns(monitor, _monitor(frames, random))
        baseline = _group(entry, "baseline", "NXcollection")
        for name, value, units in (
            ("ring_current", 300.2, "mA"),
            ("slit_gap", 0.05, "mm"),
            ("attenuator", 0.5, "mm"),
        ):
            _quantity(baseline, name, value, units)


def _write_alignment(path: Path, detector: Detector) -> None:
    with h5py.File(path, "w") as file:
        entry = _group(file, "entry", "NXentry", default="data")
        _scalars(entry, {"title": "alignment", "plan_name": "grid_scan", "scan_id": 41})
        view = _group(entry, "data", "NXdata", signal="data")
        view.create_dataset(
            "data",
            data=np.stack(list(detector.frames(4))),
            chunks=(1, detector.height // 2, detector.width // 2),
            shuffle=True,
            compression="gzip",
        )


def _write_table(path: Path, rows: int, random: np.random.Generator) -> None:
    columns = _monitor(rows, random)
    with path.open("w", newline="") as file:
        lines = csv.writer(file)
        lines.writerow(columns)
        lines.writerows(zip(*(column.tolist() for column in columns.values()), strict=True))


def _monitor(rows: int, random: np.random.Generator) -> dict[str, np.ndarray]:
    time_s = np.arange(rows) * 0.1
    current_ma = 300.0 - 1e-3 * time_s + random.normal(0.0, 0.01, rows)
    return {
        "time_s": time_s,
        "counts": random.poisson(current_ma * 40.0),
        "current_ma": current_ma,
        "shutter_open": (np.arange(rows) % 50 < 48).astype(np.int64),
    }


def _group(parent: Any, name: str, nexus_class: str, **attributes: Any) -> Any:
    group = parent.create_group(name)
    group.attrs["NX_class"] = nexus_class
    group.attrs.update(attributes)
    return group


def _scalars(group: Any, values: Mapping[str, str | int | float]) -> None:
    for name, value in values.items():
        group[name] = value


def _quantity(group: Any, name: str, value: float, units: str) -> None:
    group[name] = value
    group[name].attrs["units"] = units


def _columns(group: Any, columns: Mapping[str, np.ndarray]) -> None:
    for name, column in columns.items():
        group[name] = column
