"""Runs of Bluesky as documents; event-model's own validators say whether they are."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from lakeservice.export.bluesky import DOCUMENTS
from lakeservice.export.file_series import series_of
from schemas.entry import Asset, DataSource, Spec
from tests.export.memory import InMemoryArray, InMemoryContainer, InMemoryTable, written

START = {"uid": "run-1", "time": 1.0, "plan_name": "scan"}
STOP = {"uid": "stop-1", "time": 9.0, "run_start": "run-1", "exit_status": "success"}


def key(shape: list[int], **more: Any) -> dict[str, Any]:
    return {"source": "SIM", "dtype": "number", "shape": shape, "object_name": "det", **more}


def stream(name: str, time: float, below: list[Any], **metadata: Any) -> InMemoryContainer:
    return InMemoryContainer(
        name=name,
        specs=(Spec("BlueskyEventStream", "3.0"),),
        metadata={"uid": f"desc-{name}", "time": time, "hints": {}, **metadata},
        below=below,
    )


def table(times: list[float], **columns: list[Any]) -> InMemoryTable:
    rows = {"seq_num": list(range(1, len(times) + 1)), "time": times, **columns}
    return InMemoryTable(name="internal", table=pa.table(rows))


def documents(*streams: Any, stop: Any = STOP) -> list[tuple[str, dict[str, Any]]]:
    metadata = {"start": START} | ({"stop": stop} if stop else {})
    run = InMemoryContainer(name="run-1", metadata=metadata, below=streams)
    records = written(DOCUMENTS, run).split(b"\x1e")
    assert records[0] == b""
    return [(one["name"], one["doc"]) for one in map(json.loads, records[1:])]


def test_events_carry_their_values_and_times() -> None:
    primary = stream(
        "primary",
        2.0,
        [table([3.0, 4.0], det=[0.5, None], ts_det=[2.5, 3.5])],
        data_keys={"det": key([])},
    )
    found = documents(primary)
    assert [name for name, _ in found] == ["start", "descriptor", "event", "event", "stop"]
    assert found[0][1] == START
    assert found[-1][1] == STOP
    assert found[1][1]["run_start"] == "run-1"
    assert found[1][1]["name"] == "primary"
    assert found[1][1]["object_keys"] == {"det": ["det"]}
    assert found[2][1] == {
        "seq_num": 1,
        "time": 3.0,
        "uid": "event-desc-primary-1",
        "descriptor": "desc-primary",
        "data": {"det": 0.5},
        "timestamps": {"det": 2.5},
    }


def test_streams_are_merged_in_order_of_time() -> None:
    primary = stream("primary", 2.0, [table([3.0, 7.0])], data_keys={})
    monitor = stream("monitor", 2.5, [table([2.6, 5.0])], data_keys={})
    names = [
        (name, doc.get("descriptor") or doc.get("uid")) for name, doc in documents(primary, monitor)
    ]
    assert names == [
        ("start", "run-1"),
        ("descriptor", "desc-primary"),
        ("descriptor", "desc-monitor"),
        ("event", "desc-monitor"),
        ("event", "desc-primary"),
        ("event", "desc-monitor"),
        ("event", "desc-primary"),
        ("stop", "stop-1"),
    ]


def test_arrays_beside_the_table_come_back_into_the_events() -> None:
    images = np.arange(12.0).reshape(2, 2, 3)
    below = [
        table([3.0, 4.0], ts_image=[2.5, 3.5]),
        InMemoryArray(name="image", array=images),
    ]
    found = documents(stream("primary", 2.0, below, data_keys={"image": key([2, 3])}))
    events = [doc for name, doc in found if name == "event"]
    assert [event["data"]["image"] for event in events] == images.tolist()
    assert [event["timestamps"]["image"] for event in events] == [2.5, 3.5]


def test_arrays_without_a_table_are_events_too() -> None:
    below = [InMemoryArray(name="image", array=np.ones((3, 2)))]
    found = documents(stream("primary", 2.0, below, data_keys={"image": key([2])}))
    assert [doc["seq_num"] for name, doc in found if name == "event"] == [1, 2, 3]


def test_files_of_a_detector_are_a_resource_and_one_datum() -> None:
    source = DataSource(
        mimetype="application/x-hdf5",
        parameters={"dataset": "entry/data"},
        assets=(Asset(data_uri="asset:0/img.h5", parameter="data_uris"),),
    )
    image = InMemoryArray(name="img", array=np.ones((4, 2, 2)), data_sources=(source,))
    data_keys = {"img": key([2, 2], external="STREAM:")}
    found = documents(stream("primary", 2.0, [image], data_keys=data_keys))
    assert [name for name, _ in found] == [
        "start",
        "descriptor",
        "stream_resource",
        "stream_datum",
        "stop",
    ]
    resource, datum = found[2][1], found[3][1]
    assert resource["mimetype"] == "application/x-hdf5"
    assert resource["parameters"] == {"dataset": "entry/data", "join_method": "stack"}
    assert datum["stream_resource"] == resource["uid"]
    assert datum["indices"] == {"start": 0, "stop": 4}
    assert datum["seq_nums"] == {"start": 1, "stop": 5}


def test_numbered_files_are_told_as_a_pattern() -> None:
    assets = tuple(
        Asset(
            num=number,
            data_uri=f"file://localhost/d/run2_{number + 8:03d}.tif",
            parameter="data_uris",
        )
        for number in range(4)
    )
    source = DataSource(mimetype="multipart/related;type=image/tiff", assets=assets)
    image = InMemoryArray(name="img", array=np.ones((4, 2, 2)), data_sources=(source,))
    data_keys = {"img": key([1, 2, 2], external="STREAM:")}
    found = documents(stream("primary", 2.0, [image], data_keys=data_keys))
    resource, datum = found[2][1], found[3][1]
    uri, template = resource["uri"], resource["parameters"]["template"]
    first = datum["indices"]["start"]
    assert [uri + template % (first + n) for n in range(4)] == [one.data_uri for one in assets]
    assert datum["indices"]["stop"] - first == 4


@pytest.mark.parametrize("names", [["a/1.tif"], ["a/1.tif", "a/3.tif"], ["a/x.tif", "a/y.tif"]])
def test_files_that_are_no_series_are_none(names: list[str]) -> None:
    assert series_of(names) is None


def test_a_change_of_configuration_is_a_descriptor_of_its_own() -> None:
    configuration = {"det": {"data": {"gain": 1, "mode": "a"}, "timestamps": {"gain": 1.0}}}
    update = {
        "uid": "desc-2",
        "time": 3.5,
        "configuration": {"det": {"data": {"gain": 2}, "timestamps": {"gain": 3.4}}},
    }
    primary = stream(
        "primary",
        2.0,
        [table([3.0, 4.0])],
        data_keys={},
        configuration=configuration,
        _config_updates=[update],
    )
    found = documents(primary)
    assert [name for name, _ in found] == [
        "start",
        "descriptor",
        "event",
        "descriptor",
        "event",
        "stop",
    ]
    assert found[3][1]["configuration"]["det"]["data"] == {"gain": 2, "mode": "a"}
    assert found[1][1]["configuration"]["det"]["data"] == {"gain": 1, "mode": "a"}
    assert found[4][1]["descriptor"] == "desc-2"
    assert "_config_updates" not in found[1][1]


def test_streams_of_the_older_layout_are_found() -> None:
    primary = stream("primary", 2.0, [table([3.0])], data_keys={})
    found = documents(InMemoryContainer(name="streams", below=[primary]))
    assert [name for name, _ in found] == ["start", "descriptor", "event", "stop"]


def test_a_run_under_way_has_no_stop() -> None:
    assert [name for name, _ in documents(stop=None)] == ["start"]
