"""Containers: keys, search, writes, metadata."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from lakeservice.client import Array, Container, Lake, SearchResult, connect
from lakeservice.client import container as container_module
from lakeservice.client import listing as listing_module
from schemas.errors import AccessError, ConflictError, ErrorKind, InvalidRequestError, NotFoundError
from schemas.query import And, Comparison, Eq, SortKey

RUNS = 250
PLANS = ("fly", "scan", "scan", "scan", "scan")


@pytest.fixture(scope="module")
def runs(lake: Lake) -> Container:
    """Runs with an energy that falls, a plan and a nested sample."""
    lake.create_many(
        (f"runs/{n:03d}", {"energy_ev": 20_000 - n, "plan": PLANS[n % 5], "n": {"m": n}})
        for n in range(RUNS)
    )
    found = lake["runs"]
    assert isinstance(found, Container)
    return found


def test_a_container_is_a_mapping(home: Container) -> None:
    home.write_array("b", np.eye(2))
    home.create_container("a/inner", metadata={"x": 1})
    assert list(home) == ["b", "a"]
    assert list(home.keys()) == ["b", "a"]
    assert len(home) == 2
    assert "b" in home
    assert "a/inner" in home
    assert "c" not in home
    assert not home.__contains__(3)
    assert isinstance(home["b"], Array)
    assert home["a"]["inner"] == home["a/inner"]
    assert home.get("c") is None
    assert [node.path for node in home.values()] == [home["b"].path, home["a"].path]
    assert dict(home.items()).keys() == {"a", "b"}
    assert bool(home)


def test_long_lists_of_keys_come_page_by_page(
    runs: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(container_module, "NAMES_PAGE", 60)
    assert list(runs) == [f"{n:03d}" for n in range(RUNS)]
    assert len(runs) == RUNS
    assert repr(runs.keys()).endswith("… 230 more]>")


def test_a_search_is_a_sequence(runs: Container, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing_module, "FIRST_PAGE", 7)
    monkeypatch.setattr(listing_module, "NEXT_PAGE", 20)
    found = runs.search(Eq("plan", "fly"))
    assert isinstance(found, SearchResult)
    assert len(found) == 50
    assert [node.metadata["n"]["m"] for node in found] == list(range(0, RUNS, 5))
    assert found[3].name == "015"
    assert found[-1].name == "245"
    assert [node.name for node in found[2:4]] == ["010", "015"]
    assert found
    assert not runs.search(Eq("plan", "none"))
    with pytest.raises(IndexError):
        found[50]
    with pytest.raises(IndexError):
        runs.search(Eq("plan", "none"))[0]


def test_a_search_sorts_and_ends_at_its_limit(runs: Container) -> None:
    low = Comparison("energy_ev", "lt", 19_900)
    for sort in ("energy_ev", ["energy_ev"], SortKey("energy_ev")):
        found = runs.search(low, sort=sort, limit=3)
        assert [node.metadata["energy_ev"] for node in found] == [19_751, 19_752, 19_753]
        assert len(found) == 3
    down = runs.search(And((low,)), sort="-energy_ev", limit=1)
    assert [node.name for node in down] == ["101"]
    assert len(runs.search(low, limit=0)) == 0
    with pytest.raises(InvalidRequestError, match="limit"):
        runs.search(limit=-1)


def test_a_search_goes_deep_unless_told_otherwise(home: Container) -> None:
    home.create_container("a/b/c", metadata={"deep": True})
    assert home.search(Eq("deep", True)).paths == [f"{home.path}/a/b/c"]
    assert len(home.search(Eq("deep", True), deep=False)) == 0
    assert home.search(deep=False).paths == [f"{home.path}/a"]


def test_a_result_looks_like_its_first_nodes(runs: Container) -> None:
    found = runs.search(Eq("plan", "fly"))
    assert repr(found).startswith("<SearchResult of 50>\n  <Container 'runs/000'")
    assert repr(found).endswith("… 40 more")
    assert "runs/000" in found._repr_html_()


def test_what_is_not_there_is_not_found(lake: Lake) -> None:
    with pytest.raises(NotFoundError, match="no node 'no/such'"):
        lake["no/such"]
    with pytest.raises(KeyError):
        lake["no/such"]


@pytest.mark.parametrize("key", ["..", "a/../b", "a\nb", "x" * 5000])
def test_bad_paths_are_refused_by_kind(lake: Lake, key: str) -> None:
    for use in (lake.__getitem__, lake.create_container):
        with pytest.raises(InvalidRequestError) as caught:
            use(key)
        assert caught.value.kind is ErrorKind.BAD_PATH


def test_unicode_and_spaces_are_fine_in_a_key(home: Container) -> None:
    home.create_container("Größe Å/größe 1")
    assert list(home["Größe Å"]) == ["größe 1"]


def test_the_root_is_the_lake(lake: Lake) -> None:
    assert lake.path == ""
    assert lake[""] == Container(lake._remote, "")
    assert "/" in repr(lake) or lake.url in repr(lake)
    assert lake.about["lake"]


def test_an_existing_path_is_a_conflict(home: Container) -> None:
    home.write_array("a", np.eye(2))
    for write in (
        lambda: home.write_array("a", np.eye(2)),
        lambda: home.create_container("a"),
        lambda: home.write_table("a", {"x": [1]}),
        lambda: home.create_many(["a"]),
    ):
        with pytest.raises(ConflictError) as caught:
            write()
        assert caught.value.kind is ErrorKind.PATH_TAKEN
    with pytest.raises(ConflictError) as caught:
        home.create_container("a/below")
    assert caught.value.kind is ErrorKind.PARENT_NOT_CONTAINER


def test_missing_parents_are_made_unless_told_otherwise(home: Container) -> None:
    home.write_array("x/y/a", np.eye(2))
    assert "a" in home["x/y"]
    with pytest.raises(NotFoundError):
        home.write_array("p/q/a", np.eye(2), parents=False)


def test_metadata_is_merged_replaced_and_removed(home: Container) -> None:
    node = home.create_container("c", metadata={"a": 1, "sample": {"name": "Fe", "t": 3}})
    node.update_metadata({"sample": {"t": None, "p": np.float32(0.5)}, "b": [1, 2]})
    assert node.metadata == {"a": 1, "sample": {"name": "Fe", "p": 0.5}, "b": [1, 2]}
    assert node.revision == 2
    node.update_metadata({"z": 1}, replace=True, specs=["NXsas"])
    assert node.metadata == {"z": 1}
    assert [spec.name for spec in node.specs] == ["NXsas"]
    assert node.updated is not None
    assert node.created is not None
    assert node.created <= node.updated


def test_concurrent_updates_are_all_merged(home: Container) -> None:
    node = home.create_container("c")
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda n: home["c"].update_metadata({f"k{n}": n}), range(12)))
    assert node.refresh().metadata == {f"k{n}": n for n in range(12)}


def test_metadata_of_the_root_can_be_changed(lake: Lake) -> None:
    lake.update_metadata({"facility": "here"})
    assert lake.metadata["facility"] == "here"


def test_a_container_is_deleted_with_all_below_only_when_asked(home: Container) -> None:
    node = home.create_container("c")
    home.write_array("c/a", np.eye(2))
    with pytest.raises(ConflictError) as caught:
        node.delete()
    assert caught.value.kind is ErrorKind.NOT_EMPTY
    node.delete(recursive=True)
    assert "c" not in home


def test_many_are_created_in_some_commits(home: Container, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(container_module, "COMMIT_ENTRIES", 30)
    entries: list[Any] = [(f"a{n}", {"n": n, "x": float("nan")}) for n in range(70)]
    entries += [{"key": "b", "metadata": {"n": np.int64(70)}, "specs": ["S"]}, "c"]
    assert home.create_many(entries) == 72
    assert len(home) == 72
    assert home["a69"].metadata == {"n": 69, "x": "nan"}
    assert home["b"].specs[0].name == "S"
    with pytest.raises(InvalidRequestError, match="an entry to create is"):
        home.create_many([("a", {}, 3)])  # type: ignore[list-item]


def test_the_past_can_be_read_and_not_written(home: Container, lake: Lake) -> None:
    home.create_container("c", metadata={"n": 1})
    version = home["c"].version
    home["c"].update_metadata({"n": 2})
    past = lake.as_of(version)
    assert past[f"{home.path}/c"].metadata == {"n": 1}
    with pytest.raises(InvalidRequestError, match="is the past"):
        past.create_container("new")


def test_nodes_and_results_pickle(home: Container) -> None:
    home.write_array("a", np.eye(3))
    copies = pickle.loads(pickle.dumps([home, home["a"], home.search()]))
    assert copies[0] == home
    assert np.array_equal(copies[1], np.eye(3))
    assert copies[2].paths == [f"{home.path}/a"]
    assert len({home, copies[0]}) == 1


def test_a_wrong_key_is_refused_and_a_missing_one_too(lake: Lake) -> None:
    for key in ("wrong", None):
        with pytest.raises(AccessError) as caught:
            connect(lake.url, key)
        assert caught.value.kind is ErrorKind.UNAUTHENTICATED


def test_a_container_shows_its_children(home: Container) -> None:
    assert repr(home).endswith(" 0 children []>")
    home.create_many(f"c{n}" for n in range(11))
    assert "11 children ['c0', 'c1'," in repr(home)
    assert repr(home).endswith("'c7', … 3 more]>")
    assert "11 children" in home._repr_html_()
    assert home._ipython_key_completions_()[0] == "c0"
