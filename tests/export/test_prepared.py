"""Answers that are kept as files: made once, gone when nobody holds them."""

from __future__ import annotations

import gc
import threading
from typing import TYPE_CHECKING

import pytest

from lakeservice.export.prepared import Kept, Prepared, written_out

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def answer(text: bytes = b"0123456789") -> Prepared:
    return written_out(iter((text[:4], text[4:])))


def test_ranges_are_those_of_the_whole() -> None:
    prepared = answer()
    assert prepared.size == 10
    assert b"".join(prepared.pieces()) == b"0123456789"
    assert b"".join(prepared.pieces(3, 6)) == b"345"


def test_the_file_is_gone_when_nobody_holds_it() -> None:
    kept = Kept(count=1)
    first = kept.get("a", answer)
    path = first.scratch.path
    reading = first.pieces()
    assert next(reading)
    del first
    kept.get("b", answer)
    gc.collect()
    assert path.exists()
    del reading
    gc.collect()
    assert not path.exists()


def test_an_answer_that_cannot_be_made_leaves_no_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    def pieces() -> Iterator[bytes]:
        yield b"some"
        raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        written_out(pieces())
    assert not list(tmp_path.iterdir())


def test_many_who_ask_at_once_wait_for_one() -> None:
    kept = Kept()
    made: list[int] = []
    started = threading.Barrier(8)

    def prepare() -> Prepared:
        made.append(1)
        return answer()

    def ask() -> None:
        started.wait()
        assert b"".join(kept.get("a", prepare).pieces()) == b"0123456789"

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made == [1]


def test_the_longest_unused_goes_first() -> None:
    kept = Kept(count=2)
    for tag in ("a", "b", "a", "c"):
        kept.get(tag, answer)
    assert [kept.holds(tag) for tag in "abc"] == [True, False, True]


def test_what_takes_too_much_room_goes() -> None:
    kept = Kept(room=3 << 20)
    for tag in "abc":
        kept.get(tag, lambda: answer(bytes(2 << 20)))
    assert [kept.holds(tag) for tag in "abc"] == [False, False, True]


def test_a_failure_is_not_kept() -> None:
    kept = Kept()

    def fail() -> Prepared:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        kept.get("a", fail)
    assert kept.get("a", answer).size == 10
