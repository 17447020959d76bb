"""Committers on one lake, in any order of any requests, against a plain dict."""

from __future__ import annotations

import uuid
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from lakeservice.storage.commits import MemoryState
from lakeservice.storage.committer import Committer, _Pending
from lakeservice.storage.lake import Lake
from lakeservice.storage.layout import new_id
from lakeservice.storage.mutations import normal
from schemas.chunks import ArrayStorage, ChunkLayout, Part, ZarrParts
from schemas.commit import Append, Applied, Create, Delete, Mutation, Request, Update
from schemas.entry import DataSource, Node
from schemas.errors import ConflictError, ErrorKind, LakeError
from schemas.structures import ArrayStructure, DataType

LAYOUT = ChunkLayout(data_type=DataType(kind="u", itemsize=1), chunk_shape=(2,))


@dataclass(frozen=True)
class Wanted:
    """What the model knows of a node."""

    id: str
    metadata: dict[str, Any]
    revision: int = 1
    rows: tuple[int, ...] | None = None
    """Rows of each part of an array; None for a container."""


Model = dict[str, Wanted]


class Refused(Exception):
    """The model's word for an error."""

    def __init__(self, kind: ErrorKind) -> None:
        super().__init__(kind)
        self.kind = kind


def after(model: Model, mutations: list[Mutation]) -> Model:
    """Return the model after a request, or raise what it must be refused with."""
    model = dict(model)
    for mutation in mutations:
        if isinstance(mutation, Create):
            create(model, mutation)
            continue
        path = mutation.path
        if path not in model:
            raise Refused(ErrorKind.NODE_NOT_FOUND)
        before = model[path]
        if mutation.id not in (None, before.id):
            raise Refused(ErrorKind.REVISION_CONFLICT)
        if isinstance(mutation, Append):
            if before.rows is None:
                raise Refused(ErrorKind.WRONG_FAMILY)
            rows = before.rows + tuple(part.length for part in mutation.parts)
            model[path] = replace(before, rows=rows, revision=before.revision + 1)
            continue
        if mutation.expected_revision not in (None, before.revision):
            raise Refused(ErrorKind.REVISION_CONFLICT)
        if isinstance(mutation, Update):
            metadata = before.metadata if mutation.metadata is None else mutation.metadata
            model[path] = replace(before, metadata=metadata, revision=before.revision + 1)
        else:
            below = [other for other in model if other.startswith(f"{path}/")]
            if below and not mutation.recursive:
                raise Refused(ErrorKind.NOT_EMPTY)
            for gone in [path, *below]:
                del model[gone]
    return model


def create(model: Model, mutation: Create) -> None:
    """Add a node to a model, with its parents where they are asked for."""
    node = mutation.node
    if node.path in model:
        raise Refused(ErrorKind.PATH_TAKEN)
    segments = node.path.split("/")
    above = ["/".join(segments[:depth]) for depth in range(1, len(segments))]
    if any(path in model and model[path].rows is not None for path in above):
        raise Refused(ErrorKind.PARENT_NOT_CONTAINER)
    for path in above:
        if path not in model:
            if not mutation.parents:
                raise Refused(ErrorKind.NODE_NOT_FOUND)
            model[path] = Wanted(id="", metadata={})  # the committer draws its id
    rows = (3,) if isinstance(node.structure, ArrayStructure) else None
    model[node.path] = Wanted(id=node.id, metadata=node.metadata, rows=rows)


segments = st.lists(st.sampled_from("ab"), min_size=1, max_size=3)
paths = segments.map("/".join)
metadata = st.dictionaries(st.sampled_from(["x", "y"]), st.integers(0, 3), max_size=2)


def container(path: str, parents: bool, content: dict[str, Any]) -> Create:
    """A new container."""
    return Create(node=Node(path=path, id=new_id(), metadata=content), parents=parents)


def array(path: str, parents: bool) -> Create:
    """A new array of one part with 3 rows in chunks of 2."""
    node_id = new_id()
    location = ZarrParts(parts=(Part(name=f"data/{node_id}/0", length=3),))
    storage = ArrayStorage(layout=LAYOUT, location=location)
    structure = ArrayStructure.from_numpy((3,), np.dtype("u1"), (2,))
    source = DataSource(mimetype="application/x-zarr", storage=storage)
    node = Node(path=path, id=node_id, structure=structure, data_sources=(source,))
    return Create(node=node, parents=parents)


def mutations(model: Model) -> st.SearchStrategy[Mutation]:
    """Mutations of which most can be done and some cannot."""
    taken = st.sampled_from(sorted(model)) if model else paths
    known = st.one_of(taken, taken, taken, paths)
    right = st.builds(
        lambda path, wrong: wrong or (model[path].revision if path in model else 1),
        known,
        st.none() | st.integers(1, 3),
    )
    ids = st.sampled_from([None, None, None, "another"])
    return st.one_of(
        st.builds(container, paths, st.booleans(), metadata),
        st.builds(container, paths, st.just(True), metadata),
        st.builds(array, paths, st.booleans()),
        st.builds(
            lambda p, i, r, m: Update(path=p, id=i, expected_revision=r, metadata=m),
            known,
            ids,
            st.none() | right,
            metadata,
        ),
        st.builds(
            lambda p, n: Append(path=p, parts=(Part(name="", length=n),)),
            known,
            st.integers(1, 4),
        ),
        st.builds(
            lambda p, e, r: Delete(path=p, expected_revision=e, recursive=r),
            known,
            st.none() | right,
            st.booleans(),
        ),
    )


def rebuilt(path: str) -> st.SearchStrategy[list[Mutation]]:
    """A subtree goes and comes again, or its children go and then it goes itself."""
    below = st.sampled_from([f"{path}/a", f"{path}/b", f"{path}/a/b"])
    return st.one_of(
        st.tuples(
            below.map(lambda p: [container(p, True, {"old": 1})]),
            st.just([Delete(path=path, recursive=True)]),
            st.builds(lambda m: [container(path, False, m)], metadata),
            st.just([]) | below.map(lambda p: [Update(path=p, metadata={"x": 9})]),
            st.just([]) | below.map(lambda p: [container(p, True, {})]),
            st.just([Delete(path=path)]),
        ),
        st.tuples(
            st.just([Delete(path=f"{path}/a", recursive=True)]),
            st.just([]) | st.builds(lambda m: [container(f"{path}/b", False, m)], metadata),
            st.just([]) | st.just([Delete(path=f"{path}/b", recursive=True)]),
            st.just([Delete(path=path)]),
        ),
    ).map(lambda steps: [mutation for step in steps for mutation in step])


def draw_request(data: st.DataObject, model: Model) -> list[Mutation]:
    """Draw a request, each mutation with a view to what the ones before will have done."""
    request: list[Mutation] = []
    planned: list[Mutation] = []
    for _ in range(data.draw(st.integers(1, 7))):
        if not planned and model and data.draw(st.booleans()):
            planned = data.draw(st.sampled_from(sorted(model)).flatmap(rebuilt))
        mutation = planned.pop(0) if planned else data.draw(mutations(model))
        if isinstance(mutation, Append):
            owner = model[mutation.path].id if mutation.path in model else "nobody"
            parts = tuple(
                Part(name=f"data/{owner}/{new_id()}", length=part.length) for part in mutation.parts
            )
            mutation = Append(path=mutation.path, parts=parts)
        try:
            model = after(model, [mutation])
        except Refused:
            if data.draw(st.integers(0, 3)):
                continue
        request.append(mutation)
    return request or [container("a", False, {})]


either = st.integers(0, 1)


class Committers(RuleBasedStateMachine):
    """Two committers, each with its own state, that learn of each other by the log only."""

    def __init__(self) -> None:
        super().__init__()
        self.uri = f"memory://{uuid.uuid4()}"
        Lake.create(self.uri)
        self.model: Model = {}
        self.commits = 0
        self.answers: dict[str, tuple[list[Mutation], tuple[Applied, ...]]] = {}
        self.states: list[MemoryState] = []
        self.committers: list[Committer] = []
        for _ in range(2):
            self.states.append(MemoryState())
            self.committers.append(Committer(Lake.open(self.uri), self.states[-1]))

    @rule(data=st.data())
    def commit_by_the_first(self, data: st.DataObject) -> None:
        self.commit(0, data, keyed=False)

    @rule(data=st.data())
    def commit_by_the_second(self, data: st.DataObject) -> None:
        self.commit(1, data, keyed=False)

    @rule(who=either, data=st.data())
    def commit_with_a_key(self, who: int, data: st.DataObject) -> None:
        self.commit(who, data, keyed=True)

    def commit(self, who: int, data: st.DataObject, *, keyed: bool) -> None:
        """Send one request to one of the committers and to the model."""
        request = draw_request(data, self.model)
        key = f"key {len(self.answers)}" if keyed else None
        outcome: tuple[Applied, ...] | LakeError
        try:
            outcome = self.committers[who].commit(request, key=key)
        except LakeError as error:
            outcome = error
        done = self.take(request, outcome)
        self.commits += done
        if key is not None and done and not isinstance(outcome, LakeError):
            assert {line.version for line in outcome} == {self.commits}
            self.answers[key] = (request, outcome)

    @rule(who=either, data=st.data())
    def commit_together(self, who: int, data: st.DataObject) -> None:
        """Several requests have queued and share one commit, each on its own feet."""
        batch = []
        model = self.model
        for _ in range(data.draw(st.integers(2, 4))):
            request = draw_request(data, model)
            batch.append(_Pending(Request(), [normal(mutation) for mutation in request]))
            with suppress(Refused):
                model = after(model, request)
        self.committers[who]._commit(batch)
        done = [self.take(pending.mutations, pending.outcome) for pending in batch]
        self.commits += any(done)

    def take(self, request: list[Mutation], outcome: tuple[Applied, ...] | LakeError) -> bool:
        """Compare an outcome with the model's, and take it over; tell whether it was done."""
        try:
            expected = after(self.model, request)
        except Refused as refused:
            assert isinstance(outcome, LakeError)
            assert outcome.kind is refused.kind
            return False
        assert not isinstance(outcome, LakeError), outcome
        made = {line.path: line.id for line in outcome if line.op == "create"}
        self.model = {
            path: wanted if wanted.id else replace(wanted, id=made[path])
            for path, wanted in expected.items()
        }
        return True

    @rule(who=either, data=st.data())
    def repeat(self, who: int, data: st.DataObject) -> None:
        """A client repeats a request, to either server; another one takes its key."""
        if self.answers:
            key = data.draw(st.sampled_from(sorted(self.answers)))
            request, answer = self.answers[key]
            assert self.committers[who].commit(request, key=key) == answer
            with pytest.raises(ConflictError, match="belongs to another request"):
                self.committers[who].commit([container("never", False, {})], key=key)

    @rule(who=either)
    def crash(self, who: int) -> None:
        """A server dies and another one starts from the log."""
        self.states[who] = MemoryState()
        self.committers[who] = Committer(Lake.open(self.uri), self.states[who])

    @rule(who=either)
    def follow(self, who: int) -> None:
        assert self.committers[who].follow() == self.commits
        self.compare(self.states[who])

    @invariant()
    def the_log_alone_gives_the_model(self) -> None:
        state = MemoryState()
        state.apply(list(Lake.open(self.uri).log.follow(0)))
        assert state.version == self.commits
        self.compare(state)

    def compare(self, state: MemoryState) -> None:
        """Compare a state that is up to date with the model."""
        nodes = {node.path: node for node in state}
        assert nodes.keys() == self.model.keys()
        assert len({node.seq for node in nodes.values()}) == len(nodes)
        for path, wanted in self.model.items():
            node = nodes[path]
            assert (node.id, node.metadata, node.revision) == (
                wanted.id,
                wanted.metadata,
                wanted.revision,
            )
            children = [other for other in nodes if other.rpartition("/")[0] == path]
            assert state.has_children(path) == bool(children)
            assert not state.has_children(path, without=children)
            if wanted.rows is not None:
                assert isinstance(node.structure, ArrayStructure)
                sizes = [min(2, rows - at) for rows in wanted.rows for at in range(0, rows, 2)]
                assert node.structure.explicit_chunks() == (tuple(sizes),)


TestCommitters = Committers.TestCase
TestCommitters.settings = settings(max_examples=25, stateful_step_count=40, deadline=None)
