"""TensorFlow and Ray Data get the same samples, where they are installed."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

if TYPE_CHECKING:
    from .conftest import DataSet


def loader_of(frames: DataSet, **changed: Any) -> Any:
    return frames.home.loader(
        frames.nodes, **{"batch_size": 6, "shuffle": True, "labels": "sample.class", **changed}
    )


@pytest.mark.filterwarnings("ignore")
def test_tensorflow_gets_the_batches_with_their_signature(frames: DataSet) -> None:
    tf = pytest.importorskip("tensorflow", reason="TensorFlow is not installed")
    dataset = loader_of(frames).tensorflow()
    assert dataset.element_spec["data"] == tf.TensorSpec((None, 6, 5), tf.uint16)
    assert dataset.element_spec["label"] == tf.TensorSpec((None,), tf.string)
    expected = loader_of(frames)
    for _ in range(2):
        found = list(dataset.as_numpy_iterator())
        for batch, other in zip(found, expected, strict=True):
            assert np.array_equal(batch["data"], other.data)
            assert [text.decode() for text in batch["label"]] == other["label"].tolist()


@pytest.mark.filterwarnings("ignore")
def test_ray_reads_ranges_of_steps_in_tasks(
    frames: DataSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray = pytest.importorskip("ray", reason="Ray is not installed")
    pytest.importorskip("ray.data", reason="Ray Data is not installed")
    root = str(Path(__file__).parents[3])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([root, *filter(None, sys.path)]))
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        rows = ray.data.read_datasource(loader_of(frames).ray(), override_num_blocks=3).take_all()
    finally:
        ray.shutdown()
    assert len(rows) == 40
    assert len({(row["node"], row["row"]) for row in rows}) == 40
    for row in rows:
        assert np.array_equal(row["data"], frames.arrays[row["node"]][row["row"]])
        assert row["label"] == ("ring" if row["node"] % 2 else "blank")
