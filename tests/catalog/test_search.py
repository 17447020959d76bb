"""Searches: what is found, in which order, page by page."""

from __future__ import annotations

import operator as python_operator
import random
from typing import TYPE_CHECKING, Any

import msgspec
import pyarrow as pa
import pytest

from lakeservice.catalog import parse_query
from lakeservice.catalog.matching import matches
from schemas.chunks import Part, TableStorage
from schemas.commit import Append, Delete, Update
from schemas.entry import DataSource, Spec
from schemas.errors import ErrorKind, InvalidRequestError, LakeError, NotFoundError, TooLargeError
from schemas.query import (
    MAX_DEPTH,
    And,
    Comparison,
    Contains,
    Eq,
    Family,
    FullText,
    In,
    KeyPresent,
    Like,
    Lookup,
    Not,
    NotEq,
    Or,
    Page,
    Query,
    Regex,
    SortKey,
    Specs,
)
from schemas.structures import TableStructure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from schemas.query import Operator
    from tests.catalog.conftest import Tree

BIG = 2**60


def fill(tree: Tree) -> Tree:
    """Six entries with values of every kind at the same keys."""
    tree.commit(
        tree.node("r0", {"n": 3, "t": "Fe2O3 powder", "deep": {"er": 1.5}, "l": [1, "b", None]}),
        tree.node(
            "r1", {"n": 1.0, "t": "scan_1", "deep": {"er": "x"}, "l": ["b"]}, specs=("NXsas",)
        ),
        tree.node("r2", {"n": "3", "t": "Ünïcode", "deep": {}}, specs=("NXsas", "own")),
        tree.node("r3", {"n": True, "t": None, "l": []}),
        tree.node("r4", {"n": BIG + 1, "t": "100%", "deep": {"er": 1.5}}),
        tree.node("box/inner", {"n": BIG, "t": "fe"}),
    )
    return tree


@pytest.fixture
def runs(tree: Tree) -> Tree:
    """Six entries, to be changed."""
    return fill(tree)


@pytest.fixture(scope="module")
def kept_runs(
    tmp_path_factory: pytest.TempPathFactory, make_tree: Callable[[Path], Tree]
) -> Iterator[Tree]:
    """The same six entries, not to be changed."""
    made = make_tree(tmp_path_factory.mktemp("kept"))
    yield fill(made)
    made.catalog.close()


@pytest.mark.parametrize(
    ("query", "names"),
    [
        (Eq("n", 3), ["r0"]),
        (Eq("n", 3.0), ["r0"]),
        (Eq("n", 1), ["r1"]),
        (Eq("n", True), ["r3"]),
        (Eq("n", "3"), ["r2"]),
        (Eq("n", BIG), []),
        (Eq("n", BIG + 1), ["r4"]),
        (Eq("n", float("nan")), []),
        (Eq("t", None), ["r3"]),
        (Eq("deep", {"er": 1.5}), ["r0", "r4"]),
        (Eq("deep", {"er": 1.5, "more": 1}), []),
        (Eq("deep", {}), ["r2"]),
        (Eq("l", [1.0, "b", None]), ["r0"]),
        (Eq("l", []), ["r3"]),
        (NotEq("n", 3), ["r1", "r2", "r3", "r4"]),
        (NotEq("deep.er", 1.5), ["r1"]),
        (Comparison("n", "lt", BIG + 1), ["r0", "r1"]),
        (Comparison("n", "ge", BIG + 1), ["r4"]),
        (Comparison("n", "gt", BIG + 1), []),
        (Comparison("n", "le", 1), ["r1"]),
        (Comparison("t", "gt", "s"), ["r1", "r2"]),
        (In("n", (3, "3", True, BIG + 1, None, [2])), ["r0", "r2", "r3", "r4"]),
        (In("n", ()), []),
        (Contains("l", "b"), ["r0", "r1"]),
        (Contains("l", None), ["r0"]),
        (Contains("l", 1), ["r0"]),
        (Contains("l", True), []),
        (Contains("t", "powder"), ["r0"]),
        (Contains("t", "%"), ["r4"]),
        (Like("t", "%e2%"), ["r0"]),
        (Like("t", "scan_1"), ["r1"]),
        (Like("t", "_n_code"), ["r2"]),
        (Regex("t", "^[A-Z]"), ["r0"]),
        (Regex("t", "^ü", case_sensitive=False), ["r2"]),
        (KeyPresent("deep"), ["r0", "r1", "r2", "r4"]),
        (KeyPresent("t"), ["r0", "r1", "r2", "r3", "r4"]),
        (KeyPresent("deep.er", exists=False), ["r2", "r3", "box"]),
        (FullText("FE2O3"), ["r0"]),
        (FullText("powder fe2o3"), ["r0"]),
        (FullText("fe"), []),
        (FullText("scan"), ["r1"]),
        (FullText("b"), ["r0", "r1"]),
        (FullText("ünïcode"), ["r2"]),
        (FullText("%"), ["r0", "r1", "r2", "r3", "r4", "box"]),
        (Specs(include=("NXsas",)), ["r1", "r2"]),
        (Specs(include=("NXsas",), exclude=("own",)), ["r1"]),
        (Specs(), ["r0", "r1", "r2", "r3", "r4", "box"]),
        (Family("array"), []),
        (Family("container"), ["r0", "r1", "r2", "r3", "r4", "box"]),
        (Lookup(("r3", "inner", "none")), ["r3"]),
        (Eq("never", 1), []),
        (NotEq("never", 1), []),
        (Not(Eq("never", 1)), ["r0", "r1", "r2", "r3", "r4", "box"]),
        (And(()), ["r0", "r1", "r2", "r3", "r4", "box"]),
        (Or(()), []),
        (Or((Eq("n", 3), Not(KeyPresent("l")))), ["r0", "r2", "r4", "box"]),
    ],
    ids=str,
)
def test_a_condition_finds_what_the_contract_says(
    kept_runs: Tree, query: Query, names: list[str]
) -> None:
    assert kept_runs.names(query) == names
    assert kept_runs.catalog.count(query=query) == len(names)
    nodes = kept_runs.catalog.search().nodes
    assert [node.name for node in nodes if matches(query, node)] == names


def test_a_key_with_dots_is_found_both_ways(tree: Tree) -> None:
    tree.add("a", {"x.y": 1, "x": {"y": 2, "z": "word"}})
    tree.add("b", {"x": {"y": 2}, "x.y": 1})
    assert tree.names(Eq("x.y", 1)) == ["a"]
    assert tree.names(Eq("x.y", 2)) == ["b"]
    assert tree.names(Eq("x.z", "word")) == ["a"]


def test_metadata_come_back_in_their_own_order(tree: Tree) -> None:
    metadata = {"z": 1, "a": {"y": [1.0, 2], "b": None}, "m": "text"}
    tree.add("run", metadata)
    found = tree.catalog.search().nodes[0].metadata
    assert msgspec.json.encode(found) == msgspec.json.encode(metadata)


def test_numbers_come_before_text_before_booleans_and_nothing_comes_last(kept_runs: Tree) -> None:
    assert kept_runs.names(sort=[SortKey("n")]) == ["r1", "r0", "r4", "r2", "r3", "box"]
    assert kept_runs.names(sort=[SortKey("n", descending=True)]) == [
        "r3",
        "r2",
        "r4",
        "r0",
        "r1",
        "box",
    ]


def test_equal_values_are_in_order_of_creation_in_both_directions(tree: Tree) -> None:
    for name in "cabd":
        tree.add(name, {"same": 1, "other": name in "ab"})
    assert tree.names(sort=[SortKey("same")]) == ["c", "a", "b", "d"]
    assert tree.names(sort=[SortKey("same", descending=True)]) == ["c", "a", "b", "d"]
    assert tree.names(sort=[SortKey("same"), SortKey("id")]) == ["a", "b", "c", "d"]
    assert tree.names(sort=[SortKey("other"), SortKey("", descending=True)]) == ["d", "c", "b", "a"]
    assert tree.names(sort=[SortKey("never"), SortKey("id", descending=True)]) == list("dcba")


@pytest.mark.parametrize("descending", [False, True])
def test_integers_beyond_the_precision_of_floats_sort_exactly(
    tree: Tree, descending: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lakeservice.catalog.ordering._FEW", 0)
    numbers = [BIG + number for number in range(-20, 20)] + [
        float(BIG),
        1,
        -BIG - 1,
        -BIG,
        -BIG + 1,
    ]
    random.Random(1).shuffle(numbers)
    tree.commit(*(tree.node(f"n{at}", {"ns": number}) for at, number in enumerate(numbers)))
    expected = sorted(range(len(numbers)), key=numbers.__getitem__, reverse=descending)
    found: list[str] = []
    page = Page(limit=7)
    while page.cursor is not None or not found:
        answer = tree.catalog.search(sort=[SortKey("ns", descending)], page=page)
        found += [node.name for node in answer.nodes]
        page = Page(limit=7, cursor=answer.cursor)
    assert found == [f"n{at}" for at in expected]
    assert tree.catalog.count(query=Comparison("ns", "lt", BIG)) == 24
    assert tree.catalog.count(query=Comparison("ns", "le", BIG)) == 26
    assert tree.catalog.count(query=Comparison("ns", "gt", -BIG)) == 43
    assert tree.catalog.count(query=Comparison("ns", "ge", -BIG)) == 44


def test_an_update_leaves_a_node_at_its_place_in_the_order_of_creation(tree: Tree) -> None:
    for name in "abc":
        tree.add(name, {"k": 1})
    tree.update("a", {"k": 2})
    assert tree.names() == ["a", "b", "c"]
    assert tree.names(Eq("k", 1)) == ["b", "c"]
    assert tree.names(Eq("k", 2)) == ["a"]


@pytest.mark.parametrize(
    "sort",
    [(), ("",), ("-",), ("n",), ("-n",), ("t", "-n"), ("id",), ("-id",), ("never",)],
    ids=str,
)
@pytest.mark.parametrize("limit", [1, 7, 100])
def test_pages_follow_one_another_though_entries_come_and_go(
    tree: Tree, sort: tuple[str, ...], limit: int
) -> None:
    draw = random.Random(limit)
    values = [1, 2, 2.5, "a", "b", "é", True, None, [1]]

    def metadata() -> dict[str, Any]:
        return {key: draw.choice(values) for key in ("n", "t") if draw.random() < 0.8}

    tree.commit(*(tree.node(f"old-{number}", metadata()) for number in range(60)))
    keys = [SortKey(key.removeprefix("-"), key.startswith("-")) for key in sort]
    whole = tree.names(sort=keys, page=Page(limit=1000))
    assert sorted(whole) == sorted(f"old-{number}" for number in range(60))
    seen: list[str] = []
    gone: set[str] = set()
    page = Page(limit=limit)
    for turn in range(200):
        found = tree.catalog.search(sort=keys, page=page)
        seen += [node.name for node in found.nodes if node.name.startswith("old")]
        if found.cursor is None:
            break
        page = Page(limit=limit, cursor=found.cursor)
        if turn % 5 == 0:
            tree.add(f"new-{turn}", metadata())
            leaving = draw.choice([name for name in whole if name not in gone])
            gone.add(leaving)
            tree.delete(leaving)
    staying = [name for name in whole if name not in gone]
    assert [name for name in seen if name not in gone] == staying
    assert len(set(seen)) == len(seen)


def test_a_cursor_of_another_order_or_of_nobody_is_refused(kept_runs: Tree) -> None:
    cursor = kept_runs.catalog.search(page=Page(limit=1), sort=[SortKey("n")]).cursor
    for bad, sort in [
        (cursor, []),
        (cursor, [SortKey("t")]),
        ("nonsense", []),
        ("é", []),
        ("", []),
    ]:
        with pytest.raises(InvalidRequestError) as caught:
            kept_runs.catalog.search(page=Page(cursor=bad), sort=sort)
        assert caught.value.kind is ErrorKind.BAD_CURSOR


@pytest.mark.parametrize(
    ("page", "names"),
    [
        (Page(limit=0), []),
        (Page(limit=2), ["r0", "r1"]),
        (Page(limit=2, offset=4), ["r4", "box"]),
        (Page(limit=2, offset=6), []),
        (Page(limit=2, offset=10**12), []),
    ],
)
def test_a_page_is_a_part_of_the_listing(kept_runs: Tree, page: Page, names: list[str]) -> None:
    found = kept_runs.catalog.search(page=page)
    assert [node.name for node in found.nodes] == names
    assert found.count == 6
    assert (found.cursor is not None) == (page.limit == 2 and page.offset == 0)


def test_deep_looks_below_containers_and_names_are_relative(runs: Tree) -> None:
    runs.add("box/b/c/d", {"n": 7})
    assert runs.names(Eq("n", 7)) == []
    assert runs.names(Eq("n", 7), deep=True) == ["d"]
    assert runs.names(under="box") == ["inner", "b"]
    assert runs.catalog.names("box", deep=True) == ["inner", "b", "b/c", "b/c/d"]
    assert runs.catalog.names(deep=True)[-3:] == ["box/b", "box/b/c", "box/b/c/d"]
    assert runs.catalog.count("box", deep=True) == 4
    assert runs.catalog.count("box/b") == 1


def test_a_deleted_container_takes_along_what_is_below_and_may_come_again(runs: Tree) -> None:
    runs.add("box/b/c", {"n": 7})
    runs.catalog.count()
    runs.delete("box")
    assert runs.catalog.count(query=Eq("n", 7), deep=True) == 0
    assert not runs.catalog.has_children("box")
    assert runs.catalog.nodes(["box", "box/b/c"]) == {}
    runs.add("box/b", {"n": 8})
    assert runs.catalog.names("box", deep=True) == ["b"]
    assert runs.catalog.count_children(["", "box", "nothing"]) == {"": 6, "box": 1}


def test_distinct_values_are_counted_by_kind(runs: Tree) -> None:
    runs.add("r5", {"n": 3.0, "l": ["b"]})
    found = runs.catalog.distinct(keys=["n", "l", "deep", "never"], counts=True)
    assert found.metadata["n"] == [(1, 1), (3, 2), (BIG + 1, 1), ("3", 1), (True, 1)]
    assert sorted(found.metadata["l"], key=repr) == [(["b"], 2), ([1, "b", None], 1), ([], 1)]
    assert found.metadata["deep"] == []
    assert found.metadata["never"] == []
    deep = runs.catalog.distinct(
        query=Not(Eq("n", 3)), keys=["t"], families=True, specs=True, counts=True, deep=True
    )
    assert deep.metadata["t"] == [
        ("100%", 1), ("fe", 1), ("scan_1", 1), ("Ünïcode", 1), (None, 1),
    ]  # fmt: skip
    assert deep.families == [("container", 6)]
    assert deep.specs[0] == ([], 4)
    assert deep.specs[1:] == [([Spec("NXsas")], 1), ([Spec("NXsas"), Spec("own")], 1)]
    plain = runs.catalog.distinct(keys=["n"])
    assert plain.metadata["n"][0] == (1, None)


def test_too_many_distinct_values_are_refused(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lakeservice.catalog.distinct.MAX_VALUES", 3)
    tree.commit(*(tree.node(f"n{number}", {"uid": f"u{number}"}) for number in range(4)))
    with pytest.raises(TooLargeError, match="narrow the search down"):
        tree.catalog.distinct(keys=["uid"])


def test_an_append_changes_the_answer_but_not_what_is_found(tree: Tree) -> None:
    part = Part(name="data/t/0.parquet", length=10)
    source = DataSource(mimetype="application/x-parquet", storage=TableStorage(parts=(part,)))
    structure = TableStructure.from_arrow(pa.schema([("x", pa.int64())]), rows=10)
    create = tree.node("t", {"k": 1}, structure=structure)
    node = msgspec.structs.replace(create.node, id="t", data_sources=(source,))
    tree.commit(msgspec.structs.replace(create, node=node))
    for number in range(1, 4):
        assert tree.names(And((Eq("k", 1), Family("table")))) == ["t"]
        more = Part(name=f"data/t/{number}.parquet", length=5)
        tree.commit(Append(path="t", parts=(more,)))
    found = tree.catalog.search().nodes[0]
    assert isinstance(found.structure, TableStructure)
    assert (found.structure.rows, found.revision) == (25, 4)
    assert tree.reopen().nodes(["t"])["t"] == found


def test_the_root_is_described_once_somebody_has_updated_it(tree: Tree) -> None:
    assert tree.catalog.nodes([""]) == {}
    tree.add("a", {"k": 1})
    tree.update("", {"title": "all runs"})
    tree.update("", {"title": "still all runs"})
    assert tree.catalog.nodes([""])[""].metadata == {"title": "still all runs"}
    assert tree.catalog.count(deep=True) == 1
    assert tree.catalog.count(query=KeyPresent("title"), deep=True) == 0
    assert tree.reopen().nodes([""])[""].revision == 3
    assert tree.names(Eq("k", 1)) == ["a"]


def test_specs_and_metadata_can_change_one_without_the_other(tree: Tree) -> None:
    tree.add("a", {"k": 1}, specs=("old",))
    tree.catalog.count()
    tree.commit(Update(path="a", specs=(Spec("new"),)))
    assert tree.names(Specs(include=("new",))) == ["a"]
    assert tree.names(Specs(include=("old",))) == []
    assert tree.names(Eq("k", 1)) == ["a"]
    tree.update("a", {"k": True})
    assert tree.names(Eq("k", 1)) == []


def test_a_search_below_nothing_is_an_error(tree: Tree) -> None:
    tree.add("gone")
    tree.commit(Delete(path="gone"))
    for under in ("nothing", "gone"):
        with pytest.raises(NotFoundError, match=under) as caught:
            tree.catalog.search(under)
        assert caught.value.kind is ErrorKind.NODE_NOT_FOUND


def _deep(levels: int) -> Query:
    query: Query = Eq("n", 1)
    for _ in range(levels):
        query = Not(query)
    return query


@pytest.mark.parametrize(
    "query",
    [
        Regex("t", "("),
        Regex("t", "a{5000}"),
        Or((Regex("t", "["), Eq("n", 1))),
        _deep(MAX_DEPTH + 1),
        And(tuple(Eq("n", number) for number in range(1025))),
        Eq("t", "x" * 70_000),
        Eq("t", "\ud800"),
        Comparison("n", "like", 1),  # type: ignore[arg-type]
        Comparison("n", "lt", [1]),  # type: ignore[arg-type]
        Eq("n", object()),
        Family("nonsense"),  # type: ignore[arg-type]
    ],
    ids=lambda query: type(query).__name__,
)
def test_a_query_that_cannot_be_is_refused_and_the_next_one_answered(
    kept_runs: Tree, query: Query
) -> None:
    for ask in (kept_runs.catalog.search, kept_runs.catalog.count, kept_runs.catalog.distinct):
        with pytest.raises(InvalidRequestError) as caught:
            ask("", query)
        assert caught.value.kind is ErrorKind.BAD_QUERY
    assert kept_runs.names(Eq("n", 3)) == ["r0"]
    assert kept_runs.names(_deep(MAX_DEPTH)) == ["r1"]


@pytest.mark.parametrize(
    ("sort", "page"),
    [
        ([], Page(limit=-1)),
        ([], Page(offset=-1)),
        ([SortKey("a")] * 17, Page()),
    ],
)
def test_a_page_that_cannot_be_is_refused(kept_runs: Tree, sort: list[SortKey], page: Page) -> None:
    with pytest.raises(LakeError):
        kept_runs.catalog.search(sort=sort, page=page)


HOSTILE = (
    "'; DROP TABLE nodes; --",
    '"',
    "$1",
    "?",
    "%s",
    "{0}",
    "\x00",
    "\\",
    "\U0001d518\U0001d52b",
    "a" * 5000,
)


@pytest.mark.parametrize("text", HOSTILE, ids=repr)
def test_sql_in_keys_and_values_is_only_text(tree: Tree, text: str) -> None:
    tree.add("a", {text: text, "list": [text], "deep": {text: {text: 1}}})
    tree.add("b", {"other": 1})
    assert tree.names(Eq(text, text)) == ["a"]
    assert tree.names(Contains("list", text)) == ["a"]
    assert tree.names(Eq(f"deep.{text}.{text}", 1)) == ["a"]
    assert tree.names(NotEq(text, "x"), sort=[SortKey(text)]) == ["a"]
    assert tree.names(Like(text, text)) == ["a"]
    tree.names(FullText(text))
    assert tree.catalog.distinct(keys=[text]).metadata[text] == [(text, None)]
    quoted = text.replace('"', '""'), text.replace("'", "''")
    if "\x00" not in text:
        assert tree.names(parse_query(f"\"{quoted[0]}\" = '{quoted[1]}'")) == ["a"]


def test_very_deep_and_very_wide_metadata_are_kept(tree: Tree) -> None:
    deep: dict[str, Any] = {"end": 1}
    for _ in range(150):
        deep = {"d": deep}
    wide = {f"key {number}": number for number in range(5_000)}
    tree.add("deep", deep)
    tree.add("wide", wide)
    assert tree.catalog.nodes(["deep", "wide"])["deep"].metadata == deep
    assert tree.names(Eq("key 4321", 4321)) == ["wide"]
    assert tree.names(KeyPresent("d.d.d")) == ["deep"]
    assert tree.reopen().nodes(["wide"])["wide"].metadata == wide


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("operator", ["gt", "ge", "lt", "le"])
def test_a_page_from_the_end_of_the_numbers_is_that_of_sorting_them_all(
    tree: Tree, descending: bool, operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lakeservice.catalog.ordering._FEW", 0)
    monkeypatch.setattr("lakeservice.catalog.sort_columns._WINDOW", 48)
    draw = random.Random(operator)
    numbers = [draw.choice([draw.random(), round(draw.random(), 1)]) for _ in range(300)]
    tree.commit(*(tree.node(f"n{at}", {"e": number}) for at, number in enumerate(numbers)))
    bound = 0.1 if operator in ("gt", "ge") else 0.9
    query = Comparison("e", operator, bound)
    compare = getattr(python_operator, operator)
    held = [at for at, number in enumerate(numbers) if compare(number, bound)]
    expected = sorted(held, key=numbers.__getitem__, reverse=descending)
    sort, page = [SortKey("e", descending)], Page(limit=9)
    found: list[str] = []
    for _ in range(8):
        answer = tree.catalog.search(query=query, sort=sort, page=page)
        found += [node.name for node in answer.nodes]
        page = Page(limit=9, cursor=answer.cursor)
    assert found == [f"n{at}" for at in expected[:72]]
