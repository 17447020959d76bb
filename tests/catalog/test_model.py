"""The index against a plain dictionary: changes, searches, merges, restarts, the past."""

from __future__ import annotations

import random
import re
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from lakeservice.catalog import Catalog, distinct, ordering, runs, sort_columns
from lakeservice.catalog.matching import matches
from lakeservice.storage.committer import Committer
from lakeservice.storage.lake import Lake
from schemas import query as q
from schemas.commit import Create, Delete, Update
from schemas.entry import Node, Spec
from schemas.path import parent_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")

NAMES = ("a", "b", "é", "Z z", "0")
SPECS = ("NXsas", "NXmx", "own")
TEXTS = ("", "Fe", "fe 1", "scan", "fly_scan", "a%b", "Ünïcode wörd", "line\nbreak", "1")
NUMBERS = (
    0, 1, -1, 1.0, 0.5, -2.25, 1e300, 2**53, 2**53 + 1, 2**60 + 1, 2**60 + 2, -(2**62) - 1, 3e-9,
)  # fmt: skip
KEYS = ("x", "y", "x.y", "x.y.z", "s", "s.t", "never")
WORDS = ("fe", "FE", "scan", "fly", "wörd", "1", "line break", "nothing", "a b", "")
PATTERNS = ("^F", "e", "[0-9]", "n$", "(?i)FE", "a.b", "^$", "é|ö")
LIKES = ("%", "F%", "%e%", "_e", "a%b", "", "%\n%", "fe _")

seeds = st.integers(0, 2**32 - 1)


class Writer:
    """Metadata and queries by chance: dense, small in vocabulary, full of coincidences."""

    def __init__(self, seed: int) -> None:
        self.draw = random.Random(seed)

    def some(self, make: Callable[[], T], most: int, least: int = 0) -> list[T]:
        return [make() for _ in range(self.draw.randint(least, most))]

    def scalar(self) -> Any:
        pools: tuple[tuple[Any, ...], ...] = (NUMBERS, TEXTS, (True, False), (None,))
        return self.draw.choice(self.draw.choices(pools, (5, 5, 2, 1))[0])

    def value(self) -> Any:
        if self.draw.random() < 0.8:
            return self.scalar()
        return self.some(lambda: self.draw.choice([self.scalar(), [self.scalar()]]), 3)

    def document(
        self, names: tuple[str, ...] = ("x", "y", "s", "x.y", "s.t"), depth: int = 3
    ) -> Any:
        found: dict[str, Any] = {}
        for name in self.draw.sample(names, self.draw.randint(0, min(4, len(names)))):
            deeper = depth > 1 and self.draw.random() < 0.35
            found[name] = (
                self.document(("y", "z", "t", "y.z"), depth - 1) if deeper else self.value()
            )
        return found

    def key(self) -> str:
        return self.draw.choice(KEYS)

    def wanted(self) -> Any:
        return self.document(("y", "z"), 1) if self.draw.random() < 0.1 else self.value()

    def comparison(self) -> q.Query:
        value = self.draw.choice(NUMBERS if self.draw.random() < 0.6 else TEXTS)
        operators: tuple[q.Operator, ...] = ("lt", "le", "gt", "ge")
        return q.Comparison(self.key(), self.draw.choice(operators), value)

    def condition(self) -> q.Query:
        draw = self.draw
        makers: tuple[Callable[[], q.Query], ...] = (
            lambda: q.Eq(self.key(), self.wanted()),
            lambda: q.NotEq(self.key(), self.wanted()),
            self.comparison,
            self.comparison,
            lambda: q.In(self.key(), tuple(self.some(self.wanted, 3))),
            lambda: q.NotIn(self.key(), tuple(self.some(self.wanted, 3))),
            lambda: q.Contains(self.key(), self.scalar()),
            lambda: q.Like(self.key(), draw.choice(LIKES)),
            lambda: q.Regex(self.key(), draw.choice(PATTERNS), draw.random() < 0.5),
            lambda: q.KeyPresent(self.key(), draw.random() < 0.5),
            lambda: q.FullText(draw.choice(WORDS)),
            lambda: q.Specs((draw.choice(SPECS),), tuple(draw.sample(SPECS, draw.randint(0, 1)))),
            lambda: q.Family(draw.choice(("container", "array"))),
            lambda: q.Lookup(tuple(draw.sample(NAMES, draw.randint(0, 2)))),
        )
        return draw.choice(makers)()

    def query(self, depth: int = 2) -> q.Query:
        kind = self.draw.choice((q.And, q.Or, q.Not, None, None, None)) if depth else None
        if kind is None:
            return self.condition()
        inner = tuple(self.some(lambda: self.query(depth - 1), 3, least=1))
        if kind is q.Not:
            return q.Not(inner[0])
        return q.And(inner) if kind is q.And else q.Or(inner)

    def order(self) -> list[q.SortKey]:
        return self.some(
            lambda: q.SortKey(self.draw.choice((*KEYS, "id", "")), self.draw.random() < 0.5), 3
        )


def flat(metadata: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every dotted key with its value, in the order of the document."""
    for name, value in metadata.items():
        yield prefix + name, value
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{name}.")


def lookup(metadata: dict[str, Any], key: str) -> list[Any]:
    """The value at a key in a list, or nothing; of several, the first in the document."""
    return [value for found, value in flat(metadata) if found == key][:1]


def typed(value: Any) -> Any:
    """A value that equals another one if and only if the contract says so."""
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return (type(value).__name__, value)
    if isinstance(value, int | float):
        return ("number", value)
    if isinstance(value, dict):
        return ("object", {name: typed(inner) for name, inner in value.items()})
    return ("list", [typed(inner) for inner in value])


def tokens(text: str) -> set[str]:
    """The words of a text, found letter by letter."""
    spaced = "".join(letter if letter.isalnum() else " " for letter in text.casefold())
    return set(spaced.split())


def texts(value: Any) -> Iterator[str]:
    """Every text in a value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from texts(inner)


def like(pattern: str, text: str) -> bool:
    """SQL's LIKE by recursion."""
    if not pattern:
        return not text
    if pattern[0] == "%":
        return any(like(pattern[1:], text[at:]) for at in range(len(text) + 1))
    return bool(text) and pattern[0] in ("_", text[0]) and like(pattern[1:], text[1:])


def holds(query: q.Query, node: Node) -> bool:
    """The contract, word by word, slowly."""
    match query:
        case q.And(inner):
            return all(holds(one, node) for one in inner)
        case q.Or(inner):
            return any(holds(one, node) for one in inner)
        case q.Not(one):
            return not holds(one, node)
        case q.Specs(include, exclude):
            names = [spec.name for spec in node.specs]
            return all(n in names for n in include) and not any(n in names for n in exclude)
        case q.Family(family):
            return str(node.family) == family
        case q.Lookup(names):
            return node.path.split("/")[-1] in names
        case q.AccessTags(tags):
            return any(tag in node.access_tags for tag in tags)
        case q.FullText(text):
            there = set().union(*(tokens(found) for found in texts(node.metadata)))
            return tokens(text) <= there
        case q.KeyPresent(key, exists):
            return bool(lookup(node.metadata, key)) == exists
    found = lookup(node.metadata, query.key)
    if not found:
        return False
    value = found[0]
    match query:
        case q.Eq(_, other):
            return bool(typed(value) == typed(other))
        case q.NotEq(_, other):
            return bool(typed(value) != typed(other))
        case q.In(_, others):
            return any(typed(value) == typed(other) for other in others)
        case q.NotIn(_, others):
            return not any(typed(value) == typed(other) for other in others)
        case q.Comparison(_, operator, other):
            if typed(value)[0] != typed(other)[0]:
                return False
            below, equal = value < other, value == other
            answers: dict[str, bool] = {
                "lt": below, "le": below or equal, "gt": not below and not equal, "ge": not below,
            }  # fmt: skip
            return answers[operator]
        case q.Contains(_, other):
            if isinstance(value, str):
                return isinstance(other, str) and other in value
            return isinstance(value, list) and typed(other) in [typed(one) for one in value]
        case q.Like(_, pattern):
            return isinstance(value, str) and like(pattern, value)
        case q.Regex(_, pattern, sensitive):
            # RE2's $ is the very end of the text; Python's is also before a last newline.
            python = re.compile(pattern.replace("$", r"\Z"), 0 if sensitive else re.IGNORECASE)
            return isinstance(value, str) and python.search(value) is not None
    raise AssertionError(query)


def in_order(nodes: list[Node], sort: list[q.SortKey]) -> list[Node]:
    """Sort by one key after the other, the least important first."""
    nodes = sorted(nodes, key=lambda node: node.seq)
    for key in reversed(sort):
        if key.key == "":
            nodes.sort(key=lambda node: node.seq, reverse=key.descending)
            continue
        ranks: dict[str, tuple[int, Any]] = {}
        for node in nodes:
            found = [node.name] if key.key == "id" else lookup(node.metadata, key.key)
            kind = [("number", "str", "bool").index(k) for v in found
                    if (k := typed(v)[0]) in ("number", "str", "bool")]  # fmt: skip
            if kind:
                ranks[node.path] = (kind[0], found[0])
        present = [node for node in nodes if node.path in ranks]
        present.sort(key=lambda node: ranks[node.path], reverse=key.descending)
        nodes = present + [node for node in nodes if node.path not in ranks]
    return nodes


class IndexMachine(RuleBasedStateMachine):
    """A lake, its catalog, and a dictionary of all nodes that should be in it."""

    @initialize(seed=seeds)
    def begin(self, seed: int) -> None:
        self.patch = pytest.MonkeyPatch()
        # Small runs, so that a few entries make many and merge in several slices.
        for name, small in (("_DIRECT_ROWS", 40), ("_TAIL_ROWS", 25), ("_SAMPLE", 4),
                            ("_SLICE_ROWS", 8), ("_FAN_IN", 3)):  # fmt: skip
            self.patch.setattr(runs, name, small)
        self.patch.setattr(ordering, "_FEW", 2)
        self.patch.setattr(sort_columns, "_WINDOW", 12)
        self.patch.setattr(distinct, "_FEW", 3)
        self.folder = Path(tempfile.mkdtemp(prefix="lake-model-"))
        self.lake = Lake.create(str(self.folder / "lake"))
        self.model: dict[str, Node] = {}
        self.history: list[dict[str, Node]] = [{}]
        self.made = 0
        self.open()
        for turn in range(3):
            self.create(seed + turn)

    def open(self) -> None:
        self.catalog = Catalog.open(self.lake, self.folder / "cache")
        self.committer = Committer(self.lake, self.catalog)

    def teardown(self) -> None:
        if hasattr(self, "catalog"):
            self.catalog.close()
            self.patch.undo()
            shutil.rmtree(self.folder)

    def commit(self, *mutations: Any) -> None:
        for line in self.committer.commit(mutations):
            if line.op == "delete":
                for path in list(self.model):
                    if path == line.path or path.startswith(line.path + "/"):
                        del self.model[path]
            elif line.node is not None:
                # Through JSON, as another server would see it.
                self.model[line.path] = msgspec.json.decode(
                    msgspec.json.encode(line.node), type=Node
                )
        self.history.append(dict(self.model))

    @rule(seed=seeds)
    def create_some(self, seed: int) -> None:
        self.create(seed)

    def create(self, seed: int) -> None:
        by_chance = Writer(seed)
        taken = set(self.model)
        mutations = []
        for _ in range(by_chance.draw.randint(1, 12)):
            parent = by_chance.draw.choice(["", *sorted(self.model)])
            name = by_chance.draw.choice(NAMES)
            path = f"{parent}/{name}" if parent else name
            if path in taken or path.count("/") > 3:
                continue
            taken.add(path)
            self.made += 1
            specs = by_chance.draw.sample(SPECS, by_chance.draw.randint(0, 2))
            node = Node(
                path=path,
                id=f"n{self.made}",
                metadata=by_chance.document(),
                specs=tuple(Spec(spec) for spec in specs),
            )
            mutations.append(Create(node=node))
        if mutations:
            self.commit(*mutations)

    @precondition(lambda self: self.model)
    @rule(seed=seeds)
    def update(self, seed: int) -> None:
        by_chance = Writer(seed)
        path = by_chance.draw.choice(sorted(self.model))
        specs = tuple(Spec(spec) for spec in SPECS[: seed % 3]) if seed % 2 else None
        self.commit(Update(path=path, metadata=by_chance.document(), specs=specs))

    @precondition(lambda self: self.model)
    @rule(seed=seeds)
    def delete(self, seed: int) -> None:
        path = Writer(seed).draw.choice(sorted(self.model, key=lambda path: path.count("/"))[-9:])
        self.commit(Delete(path=path, recursive=True))

    @rule(seed=seeds, deep=st.booleans(), limit=st.integers(1, 5))
    def search(self, seed: int, deep: bool, limit: int) -> None:
        by_chance = Writer(seed)
        for _ in range(12):
            containers = [""] * 5 + sorted(self.model)
            under = "" if deep else by_chance.draw.choice(containers)
            self.check(under, by_chance.query(), by_chance.order(), deep, limit)

    @rule(seed=seeds, limit=st.integers(1, 5))
    def sort(self, seed: int, limit: int) -> None:
        by_chance = Writer(seed)
        for _ in range(3):
            self.check("", q.EVERYTHING, by_chance.order(), True, limit)

    def check(
        self, under: str, query: q.Query, sort: list[q.SortKey], deep: bool, limit: int
    ) -> None:
        expected = self.expected(self.model, under, query, deep)
        ordered_nodes = in_order(expected, sort)
        found: list[Node] = []
        page = q.Page(limit=limit)
        while True:
            answer = self.catalog.search(under, query, sort=sort, page=page, deep=deep)
            assert answer.count == len(expected)
            found += answer.nodes
            if answer.cursor is None:
                break
            page = q.Page(limit=limit, cursor=answer.cursor)
        assert found == ordered_nodes
        skipped = self.catalog.names(
            under, query, sort=sort, page=q.Page(limit=limit, offset=2), deep=deep
        )
        start = len(under) + 1 if under else 0
        assert skipped == [node.path[start:] for node in ordered_nodes[2 : 2 + limit]]
        assert self.catalog.count(under, query, deep=deep) == len(expected)
        assert [n for n in expected if matches(query, n)] == expected

    @rule(seed=seeds)
    def distinct(self, seed: int) -> None:
        by_chance = Writer(seed)
        query, key = by_chance.query(), by_chance.key()
        counts: list[list[Any]] = []
        for node in self.expected(self.model, "", query, deep=True):
            for value in lookup(node.metadata, key):
                if isinstance(value, dict):
                    continue
                known = next((one for one in counts if typed(one[0]) == typed(value)), None)
                if known is None:
                    counts.append(known := [value, 0])
                known[1] += 1
        found = self.catalog.distinct("", query, [key], counts=True, deep=True).metadata[key]
        assert len(found) == len(counts)
        for value, count in counts:
            assert [n for other, n in found if typed(other) == typed(value)] == [count]

    @rule(version=st.integers(0, 60))
    def look_back(self, version: int) -> None:
        version = min(version, len(self.history) - 1)
        past = self.catalog.as_of(version)
        expected = self.expected(self.history[version], "", q.EVERYTHING, deep=True)
        page = q.Page(limit=1000)
        assert past.search(page=page, deep=True).nodes == in_order(expected, [])

    @rule()
    def restart(self) -> None:
        self.catalog.close()
        self.open()

    @rule()
    def rebuild(self) -> None:
        self.catalog.close()
        shutil.rmtree(self.folder / "cache")
        self.open()

    @rule()
    def tidy_up(self) -> None:
        self.catalog.settle()

    @rule()
    def write_snapshot(self) -> None:
        assert self.catalog.write_snapshot() == len(self.history) - 1

    @invariant()
    def paths_lead_to_nodes(self) -> None:
        if not hasattr(self, "model"):
            return
        paths = [*self.model, "nothing", "a/nothing"]
        assert self.catalog.nodes(paths) == self.model
        assert self.catalog.version == len(self.history) - 1
        for path in self.model:
            children = [other for other in self.model if parent_of(other) == path]
            assert self.catalog.has_children(path) == bool(children)
            assert self.catalog.count_children([path])[path] == len(children)
            assert not self.catalog.has_children(path, without=children)

    @staticmethod
    def expected(model: dict[str, Node], under: str, query: q.Query, deep: bool) -> list[Node]:
        inside = [
            node
            for path, node in model.items()
            if (path.startswith(f"{under}/" if under else "") if deep else parent_of(path) == under)
        ]
        return [node for node in inside if holds(query, node)]


TestIndex = IndexMachine.TestCase
TestIndex.settings = settings(
    max_examples=6,
    stateful_step_count=20,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


def test_the_evaluator_of_this_test_knows_the_contract() -> None:
    node = Node(path="a/b", id="1", metadata={"x": 1, "s": {"t": "Fe 1"}, "l": [1, None]})
    assert holds(q.Eq("x", 1.0), node)
    assert not holds(q.Eq("x", True), node)
    assert not holds(q.NotEq("never", 1), node)
    assert holds(q.Not(q.Eq("never", 1)), node)
    assert holds(q.FullText("FE"), node)
    assert not holds(q.FullText("F"), node)
    assert holds(q.Eq("s", {"t": "Fe 1"}), node)
    assert holds(q.Contains("l", None), node)
