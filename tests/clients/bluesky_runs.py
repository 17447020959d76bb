"""Runs of a real RunEngine, written by TiledWriter and read back.

``python bluesky_runs.py URL KEY FOLDER [check …]`` prints one line of JSON for each check,
``{"name": …, "error": null or why}``. It runs in the environment of Tiled's clients, against
a server that knows nothing of it.
"""

from __future__ import annotations

import json
import sys
import threading
import traceback
import warnings
from pathlib import Path

import bluesky.plan_stubs as bps
import bluesky.plans as bp
import bluesky.preprocessors as bpp
import h5py
import numpy as np
import tifffile
from bluesky import RunEngine
from bluesky.callbacks.tiled_writer import TiledWriter
from bluesky_tiled_plugins import TiledWriter as PluginsWriter
from ophyd.sim import SynAxis, SynGauss, SynPeriodicSignal
from tiled.client import from_uri
from tiled.structures.core import Spec

warnings.simplefilter("ignore")


class Camera:
    """A detector that writes its frames into files while the run goes on."""

    parent = None

    def __init__(self, name, folder, kind, frames=1):
        self.name = name
        self.folder = Path(folder)
        self.kind = kind
        self.frames = frames
        self.written = []
        self._uid = None

    def describe(self):
        """Return the frames as a data key that lies in files."""
        shape = [self.frames, 5, 7]
        key = {"source": "sim", "dtype": "array", "shape": shape, "dtype_numpy": "<u2"}
        return {self.name: {**key, "external": "STREAM:"}}

    def read(self):
        """Return nothing: all data is in files."""
        return {}

    def read_configuration(self):
        """Return nothing."""
        return {}

    describe_configuration = read_configuration

    def trigger(self):
        """Write the frames of one event."""
        from ophyd.status import Status

        status = Status()
        number = len(self.written)
        block = np.arange(self.frames * 35, dtype="u2").reshape(-1, 5, 7) + 1000 * number
        self.written.append(block)
        getattr(self, f"write_{self.kind}")(number, block)
        status.set_finished()
        return status

    def write_hdf5(self, number, block):
        """Add frames to a dataset that grows."""
        with h5py.File(self.folder / "frames.h5", "a") as file:
            if "entry/data" not in file:
                file.create_dataset(
                    "entry/data", (0, 5, 7), "u2", maxshape=(None, 5, 7), chunks=(1, 5, 7)
                )
            dataset = file["entry/data"]
            dataset.resize(dataset.shape[0] + len(block), axis=0)
            dataset[-len(block) :] = block

    def write_tiff(self, number, block):
        """Write one more file."""
        tifffile.imwrite(self.folder / f"frame_{number:05d}.tif", block)

    def collect_asset_docs(self, index=None):
        """Tell where the frames of the last event lie."""
        count = len(self.written)
        if self._uid is None:
            self._uid = f"{self.name}-{id(self)}"
            yield "stream_resource", self._resource()
        yield (
            "stream_datum",
            {
                "uid": f"{self._uid}/{count}",
                "stream_resource": self._uid,
                "descriptor": "",
                "indices": {"start": count - 1, "stop": count},
                "seq_nums": {"start": 0, "stop": 0},
            },
        )

    def _resource(self):
        common = {"uid": self._uid, "data_key": self.name}
        if self.kind == "hdf5":
            return {
                **common,
                "mimetype": "application/x-hdf5",
                "uri": f"file://localhost{self.folder}/frames.h5",
                "parameters": {"dataset": "/entry/data", "chunk_shape": (1, 5, 7)},
            }
        return {
            **common,
            "mimetype": "multipart/related;type=image/tiff",
            "uri": f"file://localhost{self.folder}/",
            "parameters": {
                "template": "frame_{:05d}.tif",
                "chunk_shape": (self.frames, 5, 7),
                "join_method": "stack",
            },
        }

    def get_index(self):
        """Return how many events there were."""
        return len(self.written)


class Bench:
    """One server, one RunEngine, and the documents that it gave."""

    def __init__(self, url, key, folder):
        self.client = from_uri(url, api_key=key)
        self.engine = RunEngine()
        self.folder = Path(folder)
        self.motor = SynAxis(name="motor")
        self.other = SynAxis(name="other")
        self.detector = SynGauss("det", self.motor, "motor", center=0, Imax=1, sigma=1)
        self.number = 0

    def space(self):
        """Return a new folder."""
        self.number += 1
        folder = self.folder / f"run{self.number}"
        folder.mkdir()
        return folder

    def run(self, plan, make, batch):
        """Run a plan through a writer; returns the run as it is read, and its documents."""
        documents = []
        writer = make(self.client, batch_size=batch)
        one_at_a_time = threading.Lock()  # monitored signals speak from threads of their own

        def both(name, document):
            with one_at_a_time:
                if documents and documents[-1][0] == "stop":
                    return
                documents.append((name, document))
                writer(name, json.loads(json.dumps(document, default=_plain)))

        (uid,) = self.engine(plan, both)
        return self.client[uid], documents


def _plain(value):
    return value.tolist() if hasattr(value, "tolist") else str(value)


def events(documents, stream):
    """Return the events of a stream as columns."""
    uids = [d["uid"] for n, d in documents if n == "descriptor" and d["name"] == stream]
    found = [d for n, d in documents if n == "event" and d["descriptor"] in uids]
    for name, page in documents:
        if name == "event_page" and page["descriptor"] in uids:
            found += [
                {"data": {key: values[number] for key, values in page["data"].items()}}
                for number in range(len(page["seq_num"]))
            ]
    keys = found[0]["data"] if found else {}
    return {key: [event["data"][key] for event in found] for key in keys}


def equal_columns(run, documents, stream="primary"):
    """Compare the table of a stream with its events."""
    table = run[stream].base["internal"].read()
    for key, values in events(documents, stream).items():
        np.testing.assert_allclose(np.asarray(table[key]), values)
    return table


def equal_ends(run, documents):
    """Compare start and stop with what the run's metadata has."""
    start = next(d for n, d in documents if n == "start")
    stop = next(d for n, d in documents if n == "stop")
    assert run.metadata["start"]["uid"] == start["uid"]
    assert run.metadata["start"]["plan_name"] == start["plan_name"]
    assert run.metadata["stop"]["exit_status"] == stop["exit_status"]
    assert run.metadata["stop"]["num_events"] == stop["num_events"]


def check_count(bench, make, batch):
    """Count five times."""
    run, documents = bench.run(bp.count([bench.detector], 5), make, batch)
    equal_ends(run, documents)
    assert len(equal_columns(run, documents)) == 5
    assert [spec.name for spec in run.specs] == ["BlueskyRun"]


def check_scan(bench, make, batch):
    """Scan a motor."""
    plan = bp.scan([bench.detector], bench.motor, -1, 1, 7)
    run, documents = bench.run(plan, make, batch)
    equal_ends(run, documents)
    table = equal_columns(run, documents)
    np.testing.assert_allclose(table["motor"], np.linspace(-1, 1, 7))
    np.testing.assert_allclose(run["primary"]["motor"].read(), np.linspace(-1, 1, 7))
    assert run.start["plan_name"] == "scan"
    assert run.stop["exit_status"] == "success"


def check_grid_scan(bench, make, batch):
    """Scan two motors."""
    plan = bp.grid_scan([bench.detector], bench.motor, 0, 1, 2, bench.other, 0, 2, 3)
    run, documents = bench.run(plan, make, batch)
    table = equal_columns(run, documents)
    np.testing.assert_allclose(table["other"], [0, 1, 2] * 2)


def check_baseline(bench, make, batch):
    """Read a motor before and after."""
    plan = bpp.baseline_wrapper(bp.count([bench.detector], 2), [bench.other])
    run, documents = bench.run(plan, make, batch)
    assert set(run) == {"baseline", "primary"}
    assert len(equal_columns(run, documents, "baseline")) == 2


def check_monitor(bench, make, batch):
    """Follow a signal that changes by itself."""
    signal = SynPeriodicSignal(name="beat", period=0.05, period_jitter=0)

    def slow():
        yield from bps.sleep(0.3)
        yield from bps.trigger_and_read([bench.detector])

    plan = bpp.run_wrapper(slow(), md={"plan_name": "watch"})
    signal.start_simulation()
    run, documents = bench.run(bpp.monitor_during_wrapper(plan, [signal]), make, batch)
    assert set(run) >= {"beat_monitor", "primary"}, set(run)
    equal_columns(run, documents, "beat_monitor")


def _external(kind, frames):
    def check(bench, make, batch):
        camera = Camera("cam", bench.space(), kind, frames)
        plan = bp.count([camera, bench.detector], 4)
        run, documents = bench.run(plan, make, batch)
        equal_ends(run, documents)
        found = run["primary"]["cam"]
        truth = np.concatenate(camera.written)
        assert found.shape in (truth.shape, (4, frames, 5, 7)), found.shape
        truth = truth.reshape(found.shape)
        np.testing.assert_array_equal(found.read(), truth)
        np.testing.assert_array_equal(found[1], truth[1])
        assert len(found.data_sources()[0].assets) == (4 if kind == "tiff" else 1)
        equal_columns(run, documents)

    check.__doc__ = f"Read frames that lie in {kind} files, {frames} an event."
    return check


def check_documents(bench, make, batch):
    """Get back the documents that were sent."""
    run, sent = bench.run(bp.scan([bench.detector], bench.motor, 0, 1, 3), make, batch)
    got = list(run.documents())
    assert (got[0][0], got[-1][0]) == ("start", "stop")
    assert got[0][1]["uid"] == sent[0][1]["uid"]
    assert got[-1][1]["exit_status"] == "success"
    assert [n for n, _ in got].count("descriptor") == 1
    for key, values in events(sent, "primary").items():
        np.testing.assert_allclose(events(got, "primary")[key], values)


def check_databroker(bench, make, batch):
    """Ask in the ways of Databroker 1 and 2."""
    run, _ = bench.run(bp.scan([bench.detector], bench.motor, 0, 1, 3), make, batch)
    for accessor in (run, run.v2, run.v3):
        table = accessor["primary"].read()
        np.testing.assert_allclose(np.asarray(table["motor"]), [0, 0.5, 1])
    header = run.v1
    assert header is not None


def check_broker(bench, make, batch):
    """Find a run as ``databroker.v1`` finds it."""
    from databroker.v1 import Broker

    catalog = bench.client.create_container(
        f"raw{bench.number}{make.__module__[:9]}{batch}".replace(".", ""),
        specs=[Spec("CatalogOfBlueskyRuns", "3.0")],
    )
    writer = make(catalog, batch_size=batch)
    (uid,) = bench.engine(bp.scan([bench.detector], bench.motor, 0, 1, 3), writer, sample="Cu")
    broker = Broker(catalog)
    header = broker[uid]
    assert header.start["uid"] == uid
    assert header.stop["exit_status"] == "success"
    np.testing.assert_allclose(header.table()["motor"], [0, 0.5, 1])
    assert [found.start["uid"] for found in broker(sample="Cu")] == [uid]
    assert broker[-1].start["uid"] == uid


CHECKS = {
    "count": check_count,
    "scan": check_scan,
    "grid_scan": check_grid_scan,
    "baseline": check_baseline,
    "monitor": check_monitor,
    "hdf5": _external("hdf5", 1),
    "hdf5 of several frames": _external("hdf5", 3),
    "tiff": _external("tiff", 1),
    "tiff of several frames": _external("tiff", 3),
    "documents": check_documents,
    "databroker": check_databroker,
    "broker": check_broker,
}


def main():
    """Make all runs and print what came of them."""
    bench = Bench(*sys.argv[1:4])
    chosen = sys.argv[4:]
    for name, check in CHECKS.items():
        if chosen and name not in chosen:
            continue
        for make in (TiledWriter, PluginsWriter):
            for batch in (1, 10_000):
                error = None
                try:
                    check(bench, make, batch)
                except Exception:
                    error = traceback.format_exc()[-1500:]
                whose = make.__module__.partition(".")[0]
                told = {"name": f"{name}, {whose}, batches of {batch}", "error": error}
                print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main()
