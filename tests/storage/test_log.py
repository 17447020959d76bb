"""The log: what was put is read back to the byte, and damage never passes for a commit."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from lakeservice.storage.encoding import COMPRESS_ABOVE, decode_commit, encode_commit
from lakeservice.storage.lake import Lake
from lakeservice.storage.layout import log_name
from lakeservice.storage.log import Log
from lakeservice.storage.objects import Objects
from lakeservice.storage.remote import RemoteStore
from schemas.chunks import Part
from schemas.commit import Applied, Commit, Request
from schemas.entry import Node
from schemas.errors import CorruptError, ErrorKind, UnavailableError

if TYPE_CHECKING:
    from pathlib import Path


def commit_of(version: int, nodes: int = 1, writer: str = "w") -> Commit:
    """A commit that creates some nodes."""
    return Commit(
        version=version,
        writer=writer,
        time_ns=version * 1000,
        requests=(Request(key=f"key-{version}"),),
        applied=tuple(
            Applied(
                op="create",
                path=f"{version}-{number}",
                id=f"id{number}",
                revision=1,
                version=version,
                node=Node(path=f"{version}-{number}", id=f"id{number}", metadata={"é": number}),
            )
            for number in range(nodes)
        ),
    )


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


@given(metadata=st.dictionaries(st.text(), json_values, max_size=5), copies=st.integers(0, 300))
@settings(max_examples=50, deadline=None)
def test_a_commit_is_read_as_it_was_written(metadata: dict[str, Any], copies: int) -> None:
    node = Node(path="a/b", id="i", metadata=metadata)
    lines = (
        Applied(op="create", path="a/b", id="i", revision=1, node=node),
        Applied(op="append", path="a/b", id="i", revision=2, parts=(Part(name="n", length=3),)),
    )
    commit = Commit(
        version=3,
        writer="w",
        time_ns=5,
        requests=(Request(key="k", fingerprint="f", principal="ü"),),
        applied=lines * copies,
    )
    assert decode_commit(encode_commit(commit), 3) == commit


def test_a_small_log_object_is_json_lines_for_anybody_and_a_large_one_zstd() -> None:
    small, large = encode_commit(commit_of(1)), encode_commit(commit_of(1, nodes=1000))
    header, line = [json.loads(text) for text in small.splitlines()]
    assert header["version"] == 1
    assert line["node"]["metadata"] == {"é": 0}
    plain = zstandard.ZstdDecompressor().decompress(large)
    assert len(plain) > COMPRESS_ABOVE
    assert len(large) < len(plain) / 10
    assert len(plain.splitlines()) == 1001


@pytest.mark.parametrize("nodes", [1, 100], ids=["plain", "compressed"])
def test_a_cut_at_any_byte_is_noticed(nodes: int) -> None:
    payload = encode_commit(commit_of(7, nodes))
    for length in range(len(payload)):
        with pytest.raises(CorruptError, match="version 7 of the lake's log is damaged"):
            decode_commit(payload[:length], 7)


@pytest.mark.parametrize("nodes", [1, 40], ids=["plain", "compressed"])
def test_a_flipped_bit_is_noticed_or_does_no_harm(nodes: int) -> None:
    commit = commit_of(7, nodes)
    payload = encode_commit(commit)
    for position in range(len(payload)):
        damaged = bytearray(payload)
        damaged[position] ^= 1 << position % 8
        try:
            # A few bits of a zstd frame mean nothing; then the commit must be whole.
            assert decode_commit(bytes(damaged), 7) == commit
        except CorruptError as error:
            assert error.kind is ErrorKind.CORRUPT_OBJECT


@given(st.binary(max_size=300))
@settings(max_examples=200, deadline=None)
def test_arbitrary_bytes_are_no_commit(payload: bytes) -> None:
    for start in (b"", b'{"crc32":"', b"\x28\xb5\x2f\xfd"):
        with pytest.raises(CorruptError):
            decode_commit(start + payload, 1)


def test_an_object_under_the_name_of_another_version_is_corruption() -> None:
    with pytest.raises(CorruptError, match="it holds version 7"):
        decode_commit(encode_commit(commit_of(7)), 8)


def test_a_damaged_commit_stops_followers_and_names_its_version(tmp_path: Path) -> None:
    lake = Lake.create(str(tmp_path))
    for version in (1, 2, 3):
        assert lake.log.put(commit_of(version))
    (tmp_path / log_name(2)).write_bytes(b"")
    followed = lake.log.follow(0)
    assert next(followed).version == 1
    with pytest.raises(CorruptError, match="version 2"):
        next(followed)


def test_only_one_commit_gets_a_version() -> None:
    log = Lake.create("memory://").log
    assert log.put(commit_of(1, writer="first"))
    assert not log.put(commit_of(1, writer="second"))
    found = log.read(1)
    assert found is not None
    assert found.writer == "first"


def test_following_gives_all_that_is_new_and_nothing_else() -> None:
    log = Lake.create("memory://").log
    assert list(log.follow(0)) == []
    commits = [commit_of(version) for version in range(1, 6)]
    for commit in commits:
        log.put(commit)
    assert list(log.follow(0)) == commits
    assert list(log.follow(3)) == commits[3:]
    assert list(log.follow(5)) == []
    assert log.read(6) is None


@given(st.integers(0, 300), st.integers(0, 300))
@settings(max_examples=60, deadline=None)
def test_the_head_is_found_from_any_version_that_exists(newest: int, known: int) -> None:
    objects = Objects.open("memory://")
    for version in range(1, newest + 1):
        objects.put(log_name(version), b"x")
    assert Log(objects).head(min(known, newest)) == newest


def test_the_head_is_found_when_the_oldest_commits_have_expired() -> None:
    objects = Objects.open("memory://")
    for version in range(50, 61):
        objects.put(log_name(version), b"x")
    objects.put(f"snapshots/{50:020d}.parquet", b"x")
    assert Log(objects).head() == 60


class LostAnswers(RemoteStore):
    """A store whose answers to exclusive writes get lost; what happened is up to ``happens``."""

    happens: bool
    repeats = False

    def put_if_absent(self, name: str, payload: bytes) -> bool:
        if self.happens:
            super().put_if_absent(name, payload)
        if self.repeats:
            return super().put_if_absent(name, payload)
        raise UnavailableError(ErrorKind.STORE_UNAVAILABLE, "timed out")


def test_a_commit_whose_answer_was_lost_is_found_again() -> None:
    store = LostAnswers.open("memory://")
    store.happens = True
    log = Log(Objects(store, "memory://"))
    assert log.put(commit_of(1))
    store.repeats = True
    assert log.put(commit_of(2))
    assert not log.put(commit_of(2, writer="other"))


def test_a_commit_that_did_not_happen_is_an_error() -> None:
    store = LostAnswers.open("memory://")
    store.happens = False
    log = Log(Objects(store, "memory://"))
    with pytest.raises(UnavailableError, match="timed out"):
        log.put(commit_of(1))
    assert log.read(1) is None


def test_a_commit_of_which_nothing_can_be_learned_says_so() -> None:
    class Silent(LostAnswers):
        def get(self, name: str) -> bytes | None:
            raise UnavailableError(ErrorKind.STORE_UNAVAILABLE, "timed out")

    store = Silent.open("memory://")
    store.happens = True
    with pytest.raises(UnavailableError, match="not known whether it was made"):
        Log(Objects(store, "memory://")).put(commit_of(1))
