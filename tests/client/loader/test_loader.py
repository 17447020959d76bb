"""Loaders over arrays: the data is NumPy's, the order is known, a state goes on exactly."""

from __future__ import annotations

import inspect
import json
import pickle
import re
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lakeservice.client import Container
from lakeservice.client.loader import Batch, Loader
from schemas.errors import ConflictError, ErrorKind, InvalidRequestError

if TYPE_CHECKING:
    from lakeservice.client import Lake

    from .conftest import DataSet

SHUFFLES: list[Any] = [False, True, "full"]


@pytest.mark.parametrize("shuffle", SHUFFLES)
def test_batches_hold_the_data_of_numpy(frames: DataSet, shuffle: Any) -> None:
    loader = frames.home.loader(frames.nodes, batch_size=6, shuffle=shuffle, window=10)
    assert (len(loader), loader.samples) == (7, 40)
    seen = []
    for step, batch in enumerate(loader):
        assert (batch.epoch, batch.step, batch.size) == (0, step, 4 if step == 6 else 6)
        assert batch.data.dtype == np.uint16
        assert np.array_equal(batch["data"], frames.expected(batch))
        seen += [tuple(sample) for sample in batch.indices.tolist()]
    assert sorted(seen) == [(n, r) for n, a in enumerate(frames.arrays) for r in range(len(a))]


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_state_goes_on_with_exactly_the_next_batch(frames: DataSet, data: st.DataObject) -> None:
    settings_of_both = {
        "batch_size": data.draw(st.integers(1, 50)),
        "shuffle": data.draw(st.sampled_from(SHUFFLES)),
        "window": data.draw(st.integers(1, 50)),
        "seed": data.draw(st.integers(0, 1000)),
    }
    prefetch = data.draw(st.integers(0, 4))
    epoch = data.draw(st.integers(0, 3))
    first = frames.home.loader(frames.nodes, prefetch=prefetch, **settings_of_both)
    first.set_epoch(epoch)
    whole = [batch.indices.tolist() for batch in first]
    stop = data.draw(st.integers(0, len(first)))
    first.set_epoch(epoch)
    running = iter(first)
    for _ in range(stop):
        next(running)
    state = json.loads(json.dumps(first.state_dict()))
    first.close()
    world_size = data.draw(st.integers(1, 5))
    rest: list[list[Any]] = [[] for _ in whole[stop:]]
    for rank in range(world_size):
        other = frames.home.loader(
            frames.nodes, prefetch=1, rank=rank, world_size=world_size, **settings_of_both
        )
        other.load_state_dict(state)
        other.set_epoch(epoch)  # as a loop over epochs does
        shares = list(other)
        assert [batch.step for batch in shares] == list(range(stop, len(first)))
        for found, batch in zip(rest, shares, strict=True):
            assert np.array_equal(batch.data, frames.expected(batch) if batch.size else batch.data)
            found += batch.indices.tolist()
        assert (other.epoch, other.step) == (epoch + 1, 0)
    assert rest == whole[stop:]


def test_the_same_seed_epoch_and_step_give_the_same_batch(frames: DataSet) -> None:
    one = frames.home.loader(frames.nodes, batch_size=8, shuffle=True, window=16, seed=5)
    other = frames.home.loader(frames.nodes, batch_size=8, shuffle=True, window=16, seed=5)
    list(other)
    for step in (4, 0, 2):
        assert np.array_equal(one.batch(step, 7).data, other.batch(step, 7).data)
    assert not np.array_equal(one.batch(0, 0).indices, one.batch(0, 1).indices)


def test_epochs_follow_one_another_and_may_be_chosen(frames: DataSet) -> None:
    loader = frames.home.loader(frames.nodes, batch_size=40, shuffle=True)
    orders = [next(iter(loader)).indices.tolist() for _ in range(2)]
    assert orders[0] == orders[1]  # a loop that was broken off begins the same epoch again
    found = []
    for epoch in range(3):
        assert loader.epoch == epoch
        found += [batch.indices.tolist() for batch in loader]
    assert found[0] == orders[0]
    assert found[0] != found[1] != found[2]
    loader.set_epoch(1)
    assert next(iter(loader)).indices.tolist() == found[1]


def test_a_rank_without_a_share_gets_an_empty_batch_and_as_many_steps(frames: DataSet) -> None:
    ranks = [
        frames.home.loader(frames.nodes, batch_size=39, rank=rank, world_size=3)
        for rank in range(3)
    ]
    last = [list(loader)[-1] for loader in ranks]
    assert [batch.data.shape for batch in last] == [(1, 6, 5), (0, 6, 5), (0, 6, 5)]


def test_a_short_batch_is_left_out_where_that_is_wanted(frames: DataSet) -> None:
    loader = frames.home.loader(frames.nodes, batch_size=12, drop_last=True)
    assert [batch.size for batch in loader] == [12, 12, 12]


def test_two_axes_may_count_samples(home: Container) -> None:
    stack = np.random.default_rng(0).integers(0, 9000, (4, 5, 3, 2)).astype("i4")
    node = home.write_array("stack", stack, chunks=(1, 2, 3, 2))
    loader = home.loader(node, batch_size=6, sample_axes=2, shuffle=True, window=8)
    assert (loader.samples, loader.sample_shape) == (20, (3, 2))
    flat = stack.reshape(20, 3, 2)
    for batch in loader:
        assert np.array_equal(batch.data, flat[batch.indices[:, 1]])


def test_samples_may_be_single_numbers_of_any_byte_order(home: Container) -> None:
    node = home.write_array("line", np.arange(100, dtype=">f8"))
    loader = home.loader(node, batch_size=30, shuffle="full")
    found = np.concatenate([batch.data for batch in loader])
    assert found.dtype.isnative
    assert sorted(found.tolist()) == list(range(100))


def test_nodes_are_found_by_paths_queries_and_searches(frames: DataSet) -> None:
    home = frames.home
    by_path = home.loader(["n0", "n2"], batch_size=5)
    assert [node.name for node in by_path.nodes] == ["n0", "n2"]
    by_query = home.loader("sample.class = 'ring'", batch_size=5)
    assert [node.name for node in by_query.nodes] == ["n1", "n3"]
    found = home.search("sample.class = 'blank'", sort="-angle")
    by_search = home.loader(found, batch_size=5)
    assert [node.name for node in by_search.nodes] == ["n4", "n2", "n0"]


@pytest.mark.parametrize(
    ("wanted", "kind", "message"),
    [
        ([], "bad-request", "nothing to load: the list of nodes is empty"),
        ("angle > 1000", "bad-request", "nothing to load: the query 'angle > 1000' finds no array"),
        (["n1"], "bad-request", "1 nodes, and no sample"),
        (["n0", "other", "n2", "third"], "bad-structure", r"/other' are uint16 of shape \(6, 4\)"),
        (["n0", "bytes"], "bad-structure", r"/bytes' are uint8 of shape \(6, 5\); uint16 of shape"),
        (["n0", "rows"], "wrong-family", r"/rows' is table, and that of .*/n0' array"),
        (["inner"], "wrong-family", "/inner' is container"),
        (["n0", "scalar"], "bad-structure", "scalar' has 0 axes"),
        (["nothing"], "node-not-found", "nothing"),
    ],
)
def test_what_cannot_be_loaded_is_named(
    frames: DataSet, wanted: Any, kind: str, message: str
) -> None:
    home = frames.home
    home.write_array("other", np.zeros((3, 6, 4), "u2"))
    home.write_array("third", np.zeros((3, 6, 3), "u2"))
    home.write_array("bytes", np.zeros((3, 6, 5), "u1"))
    home.write_array("scalar", np.zeros((), "u2"))
    home.write_table("rows", {"a": [1]})
    home.create_container("inner")
    with pytest.raises(Exception, match=message) as caught:
        home.loader(wanted, batch_size=2)
    assert caught.value.kind == kind  # type: ignore[attr-defined]


def test_a_node_that_changes_is_named_and_gives_no_data(frames: DataSet) -> None:
    loader = frames.home.loader(frames.nodes, batch_size=5, prefetch=0)
    running = iter(loader)
    next(running)
    frames.home["n4"].append(np.zeros((1, 6, 5), "u2"))
    for step in (1, 2, 3):
        batch = next(running)
        assert batch.step == step
        assert np.array_equal(batch.data, frames.expected(batch))
    with pytest.raises(ConflictError, match=r"step 4 of epoch 0: .*/n4' has changed") as caught:
        next(running)
    assert caught.value.kind is ErrorKind.REVISION_CONFLICT


def test_a_node_that_is_deleted_or_replaced_is_named(frames: DataSet) -> None:
    loader = frames.home.loader(["n0"], batch_size=5)
    frames.home["n0"].delete()
    with pytest.raises(ConflictError, match="/n0' is gone"):
        loader.batch(0)
    frames.home.write_array("n0", frames.arrays[0])
    with pytest.raises(ConflictError, match="/n0' is another node now"):
        loader.batch(0)


def test_the_past_can_be_loaded_after_a_change(lake: Lake, frames: DataSet) -> None:
    then = lake.as_of(max(node.version for node in frames.nodes))
    loader = then[frames.home.path].loader([f"n{n}" for n in range(5)], batch_size=40)
    frames.home["n4"].append(np.zeros((1, 6, 5), "u2"))
    (batch,) = loader
    assert np.array_equal(batch.data, frames.expected(batch))


def test_nodes_of_another_version_of_the_lake_are_refused(lake: Lake, frames: DataSet) -> None:
    then = lake.as_of(frames.nodes[0].version)
    with pytest.raises(InvalidRequestError, match="/n0' is of another lake, or of another version"):
        frames.home.loader([then[frames.nodes[0].path]], batch_size=2)


def test_a_state_of_other_data_or_settings_is_refused_and_says_why(frames: DataSet) -> None:
    def loader(nodes: Any = frames.nodes, **changed: Any) -> Any:
        return frames.home.loader(
            nodes, **{"batch_size": 5, "shuffle": True, "window": 9, "seed": 1, **changed}
        )

    state = loader().state_dict()
    for other, message in [
        (loader(seed=2), "seed is 1 in the state and 2 here"),
        (loader(batch_size=6), "batch_size is 5 in the state and 6 here"),
        (loader(window=8), "window is 9"),
        (loader(shuffle="full"), "shuffle is True"),
        (loader(frames.nodes[::-1]), "fingerprint|the data"),
        (loader(["n0"]), "the number of nodes is 5 in the state and 1 here"),
    ]:
        with pytest.raises(InvalidRequestError, match=message):
            other.load_state_dict(state)
    with pytest.raises(InvalidRequestError, match="no state of a loader"):
        loader().load_state_dict({})
    with pytest.raises(InvalidRequestError, match="an epoch has 8 steps"):
        loader().load_state_dict({**state, "step": 9})


def test_a_loader_goes_through_pickle_with_its_place(frames: DataSet) -> None:
    loader = frames.home.loader(
        frames.nodes, batch_size=7, shuffle=True, seed=3, rank=1, world_size=2
    )
    loader.load_state_dict({**loader.state_dict(), "epoch": 2, "step": 3})
    again = pickle.loads(pickle.dumps(loader))
    assert (again.epoch, again.step, again.rank, again.world_size) == (2, 3, 1, 2)
    for batch, other in zip(loader, again, strict=True):
        assert np.array_equal(batch.data, other.data)


def test_an_error_of_the_transform_comes_at_its_step_and_it_can_go_on(frames: DataSet) -> None:
    broken = True

    def transform(batch: Any) -> Any:
        if batch.step == 2 and broken:
            raise KeyError("not found")
        return batch.step

    loader = frames.home.loader(frames.nodes, batch_size=8, transform=transform, prefetch=3)
    running = iter(loader)
    assert [next(running), next(running)] == [0, 1]
    for _ in range(2):
        with pytest.raises(KeyError, match="not found") as caught:
            next(running)
        assert caught.value.__notes__ == ["while making the batch of step 2 of epoch 0"]
    assert loader.state_dict()["step"] == 2
    broken = False
    assert list(running) == [2, 3, 4]


@pytest.mark.parametrize("prefetch", [0, 2])
def test_an_exhausted_iterator_in_a_transform_does_not_end_the_epoch(
    frames: DataSet, prefetch: int
) -> None:
    few = iter(range(2))
    loader = frames.home.loader(
        frames.nodes, batch_size=8, transform=lambda _: next(few), prefetch=prefetch, threads=1
    )
    running = iter(loader)
    assert [next(running), next(running)] == [0, 1]
    with pytest.raises(RuntimeError, match="StopIteration in step 2 of epoch 0"):
        next(running)
    assert loader.epoch == 0


def test_batches_go_through_pickle(frames: DataSet) -> None:
    batch = frames.home.loader(frames.nodes, batch_size=8, labels="angle").batch(1)
    again = pickle.loads(pickle.dumps(batch))
    assert np.array_equal(again["data"], batch["data"])
    assert again["label"].tolist() == batch["label"].tolist()
    assert (again.step, again.size, repr(again)) == (1, 8, repr(batch))


@pytest.mark.parametrize("prefetch", [0, 1, 5])
def test_no_thread_is_left_when_the_consumer_stops(frames: DataSet, prefetch: int) -> None:
    def ours() -> int:
        return sum(thread.name.startswith("lake-loader") for thread in threading.enumerate())

    with frames.home.loader(frames.nodes, batch_size=2, prefetch=prefetch) as loader:
        for batch in loader:
            if batch.step == 3:
                break
        assert ours() <= prefetch
    assert ours() == 0
    list(loader)
    running = iter(loader)
    next(running)
    running.close()  # type: ignore[attr-defined]
    assert ours() == 0
    assert list(running) == []


@pytest.mark.parametrize("prefetch", [0, 2])
def test_a_loader_that_is_closed_in_mid_epoch_stays_at_its_step(
    frames: DataSet, prefetch: int
) -> None:
    loader = frames.home.loader(frames.nodes, batch_size=8, prefetch=prefetch)
    running = iter(loader)
    next(running)
    loader.close()
    assert next(running, None) is None
    assert (loader.epoch, loader.step) == (0, 1)
    other = iter(loader)
    next(other)
    assert next(running, None) is None
    assert (loader.epoch, loader.step) == (0, 1)


def test_integers_of_numpy_are_whole_numbers_too(frames: DataSet) -> None:
    settings: Any = {"batch_size": np.int64(8), "seed": np.uint64(3), "window": np.int32(5)}
    loader = frames.home.loader(frames.nodes, shuffle=True, **settings)
    loader.set_epoch(np.int64(2))  # type: ignore[arg-type]
    next(iter(loader))
    state = json.loads(json.dumps(loader.state_dict()))
    loader.load_state_dict(state)
    assert (loader.epoch, loader.first_step) == (2, 1)
    mistakes: tuple[dict[str, Any], ...] = ({"batch_size": 8.0}, {"seed": 0.5}, {"threads": 0})
    for wrong in mistakes:
        with pytest.raises(InvalidRequestError, match=f"{next(iter(wrong))}="):
            frames.home.loader(frames.nodes, **{"batch_size": 8, **wrong})


def test_rank_and_world_size_belong_together(frames: DataSet) -> None:
    with pytest.raises(InvalidRequestError, match="give both"):
        frames.home.loader(frames.nodes, batch_size=2, rank=0)


def test_the_reference_names_every_option_and_member() -> None:
    page = Path(__file__).parents[3] / "docs" / "reference" / "client.md"
    section = page.read_text(encoding="utf-8").split("## Loaders")[1].split("\n## ")[0]
    words = set(re.findall(r"\w+", section))
    options = set(inspect.signature(Container.loader).parameters) - {"self"}
    members = {name for cls in (Loader, Batch) for name in vars(cls) if not name.startswith("_")}
    assert (options | members) - words == {"handed_out"}
