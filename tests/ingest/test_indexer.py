"""Processes that look into files: kept, replaced when they die, ended when they are silent."""

from __future__ import annotations

import multiprocessing
from contextlib import closing
from typing import TYPE_CHECKING

import h5py
import numpy as np
import pytest

from ingest.indexer import IndexingProcesses
from ingest.workers import Limits
from schemas.entry import Asset
from schemas.errors import ErrorKind, LakeError
from schemas.registration import Registration
from schemas.structures import ArrayStructure

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def asked(tmp_path: Path) -> Registration:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x"] = np.arange(5)
    return Registration(
        lake=str(tmp_path / "lake"),
        node_id="n1",
        generation="g1",
        mimetype="application/x-hdf5",
        declared=ArrayStructure.from_numpy((5,), np.dtype("<i8")),
        parameters={"dataset": "x"},
        assets=(Asset(data_uri=f"file://localhost{tmp_path}/a.h5", parameter="data_uris"),),
        roots=(str(tmp_path),),
    )


def running() -> set[int]:
    return {
        child.pid
        for child in multiprocessing.active_children()
        if child.name == "indexer" and child.pid
    }


def test_a_process_is_started_with_the_first_file_kept_and_replaced_when_it_died(
    asked: Registration,
) -> None:
    before = running()
    with closing(IndexingProcesses(count=1)) as processes:
        assert running() == before
        assert processes.index(asked).structure == asked.declared
        (first,) = running() - before
        assert processes.index(asked).structure == asked.declared
        assert running() - before == {first}
        for child in multiprocessing.active_children():
            if child.pid == first:
                child.kill()
                child.join()
        assert processes.index(asked).structure == asked.declared
        assert running() - before != {first}
    assert running() == before


def test_a_reader_that_gives_no_sign_is_ended(asked: Registration) -> None:
    before = running()
    with (
        closing(IndexingProcesses(count=1, limits=Limits(silence_s=0))) as processes,
        pytest.raises(LakeError, match="without a sign") as caught,
    ):
        processes.index(asked)
    assert caught.value.kind is ErrorKind.UNREADABLE_FILE
    assert running() == before
