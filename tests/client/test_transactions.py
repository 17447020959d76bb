"""Transactions: all or nothing, in one commit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from schemas.errors import ConflictError, ErrorKind, InvalidRequestError

if TYPE_CHECKING:
    from lakeservice.client import Container


def test_a_transaction_becomes_visible_at_its_end_in_one_version(home: Container) -> None:
    home.write_array("old", np.zeros((2, 3)))
    home.create_container("gone")
    with home.transaction() as t:
        t.create_container("run", metadata={"energy_ev": 12_000})
        t.write_array("run/image", np.eye(3), dims=("y", "x"))
        t.write_table("run/table", {"x": [1.0, 2.0]})
        t.write_sparse("run/sparse", [1.0], coords=[[0], [1]], shape=(2, 2))
        t.create_many((f"run/c{n}", {"n": n}) for n in range(3))
        t.append("old", np.ones((1, 3)))
        t.update_metadata("old", {"done": True})
        t.delete("gone")
        assert "run" not in home
        assert "gone" in home
    assert list(home["run"]) == ["c0", "c1", "c2", "image", "table", "sparse"]
    assert np.array_equal(home["run/image"], np.eye(3))
    assert home["run/table"].to_arrow().num_rows == 2
    assert home["run/sparse"].read().todense()[0, 1] == 1
    assert home["old"].shape == (3, 3)
    assert home["old"].metadata == {"done": True}
    assert "gone" not in home
    assert len({node.version for node in home["run"].values()} | {home["run"].version}) == 1
    assert len(t.applied) == 10


def test_an_exception_leaves_nothing_behind(home: Container) -> None:
    def measure() -> None:
        with home.transaction() as t:
            t.create_container("run")
            t.write_array("run/image", np.eye(3))
            raise RuntimeError("no beam")

    with pytest.raises(RuntimeError, match="no beam"):
        measure()
    assert list(home) == []


def test_one_refused_change_refuses_them_all(home: Container) -> None:
    home.create_container("taken")

    def write() -> None:
        with home.transaction() as t:
            t.create_container("free")
            t.write_array("array", np.eye(2))
            t.create_container("taken")

    with pytest.raises(ConflictError) as caught:
        write()
    assert caught.value.kind is ErrorKind.PATH_TAKEN
    assert list(home) == ["taken"]


def test_what_a_transaction_writes_is_said_when_writing_it(home: Container) -> None:
    with home.transaction() as t:
        t.write_array("a", np.eye(2), metadata={"said": True})
        for change in (t.delete, t.update_metadata):
            with pytest.raises(InvalidRequestError, match="is written by this transaction"):
                change("a")
    assert home["a"].metadata == {"said": True}


def test_a_transaction_is_used_once_and_in_its_context(home: Container) -> None:
    transaction = home.transaction()
    with pytest.raises(InvalidRequestError, match="not open"):
        transaction.create_container("a")
    with transaction:
        pass
    with pytest.raises(InvalidRequestError, match="not open"):
        transaction.create_container("a")
    with pytest.raises(InvalidRequestError, match="used once"), transaction:
        pass


def test_somebody_elses_change_in_between_is_a_conflict(home: Container) -> None:
    node = home.create_container("c", metadata={"n": 1})

    def write() -> None:
        with home.transaction() as t:
            t.update_metadata("c", {"mine": 1})
            node.update_metadata({"theirs": 1})

    with pytest.raises(ConflictError) as caught:
        write()
    assert caught.value.kind is ErrorKind.REVISION_CONFLICT
    assert node.refresh().metadata == {"n": 1, "theirs": 1}
