"""Files into a lake: what a second run does, what a failure leaves behind."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile

from ingest.ingest import ingest
from ingest.recognise import installed_formats
from ingest.testing import ScratchLake, assert_same_values
from ingest.workers import Limits
from lakeservice.storage.check import check
from schemas.commit import Create, Update
from schemas.entry import Node
from schemas.errors import ConflictError, ErrorKind, InvalidRequestError, UnavailableError
from tests.ingest.crashing import MisbehavingFormat

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ingest.summary import Step
    from schemas.commit import Applied, Mutation


def save(folder: Path, name: str, values: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    with path.open("wb") as file:
        np.save(file, values)
    return path


def data_names(lake: ScratchLake) -> list[str]:
    return [name for name, _ in lake.lake.objects.list("data")]


class TestAgain:
    def test_a_changed_file_is_a_new_revision_of_the_same_node(self, tmp_path: Path) -> None:
        path = save(tmp_path / "in", "a.npy", np.arange(4))
        lake = ScratchLake(tmp_path / "lake")
        lake.ingest(path)
        before = lake.node("a")
        save(tmp_path / "in", "a.npy", np.arange(5))
        summary = lake.ingest(path)
        after = lake.node("a")
        assert (summary.changed, summary.added) == (1, 0)
        assert (after.id, after.revision) == (before.id, before.revision + 1)
        assert_same_values(lake.read("a"), np.arange(5))

    def test_converted_data_of_a_changed_file_do_not_overwrite_the_old(
        self, tmp_path: Path
    ) -> None:
        path = save(tmp_path / "in", "a.npy", np.arange(4))
        lake = ScratchLake(tmp_path / "lake")
        lake.ingest(path, mode="convert")
        before = data_names(lake)
        save(tmp_path / "in", "a.npy", np.arange(5))
        lake.ingest(path, mode="convert")
        assert set(before) < set(data_names(lake))
        assert all(name.startswith(f"data/{lake.node('a').id}/") for name in data_names(lake))
        assert_same_values(lake.read("a"), np.arange(5))

    def test_a_registered_file_may_be_converted_later(self, tmp_path: Path) -> None:
        path = save(tmp_path / "in", "a.npy", np.arange(4))
        lake = ScratchLake(tmp_path / "lake")
        lake.ingest(path)
        assert lake.node("a").data_sources[0].management == "external"
        assert lake.ingest(path, mode="convert").changed == 1
        assert lake.node("a").data_sources[0].management == "immutable"
        path.unlink()
        assert_same_values(lake.read("a"), np.arange(4))

    def test_a_converted_file_that_was_only_touched_is_the_same(self, tmp_path: Path) -> None:
        path = save(tmp_path / "in", "a.npy", np.arange(4))
        lake = ScratchLake(tmp_path / "lake")
        lake.ingest(path, mode="convert")
        names = data_names(lake)
        os.utime(path, (1, 1))
        assert lake.ingest(path, mode="convert").unchanged == 1
        assert data_names(lake) == names
        version = lake.state.version
        assert lake.ingest(path, mode="convert").unchanged == 1
        assert lake.state.version == version

    def test_what_people_added_to_the_metadata_stays(self, tmp_path: Path) -> None:
        (tmp_path / "a.csv").write_text("# temperature: 5\nx,y\n1,2\n")
        lake = ScratchLake(tmp_path / "lake")
        lake.ingest(tmp_path / "a.csv")
        note = {**lake.node("a").metadata, "quality": "good"}
        lake.commit([Update(path="a", metadata=note)])
        (tmp_path / "a.csv").write_text("# pressure: 7\nx,y\n1,2\n3,4\n")
        lake.ingest(tmp_path / "a.csv")
        assert lake.node("a").metadata == {"quality": "good", "pressure": 7}

    def test_a_folder_that_moved_is_found_again(self, tmp_path: Path) -> None:
        save(tmp_path / "in", "a.npy", np.arange(4))
        lake = ScratchLake(tmp_path / "lake")
        lake.ingest(tmp_path / "in")
        shutil.move(tmp_path / "in", tmp_path / "moved")
        assert lake.ingest(tmp_path / "moved").changed == 1
        assert_same_values(lake.read("a"), np.arange(4))

    def test_another_file_of_the_same_name_is_refused(self, tmp_path: Path) -> None:
        save(tmp_path / "one", "a.npy", np.arange(4))
        save(tmp_path / "two", "a.npy", np.arange(5))
        lake = ScratchLake(tmp_path / "lake")
        lake.ingest(tmp_path / "one")
        summary = lake.ingest(tmp_path / "two")
        assert "'a' is another entry" in summary.failed[0].reason
        assert_same_values(lake.read("a"), np.arange(4))

    def test_an_entry_that_somebody_made_is_left_alone(self, tmp_path: Path) -> None:
        lake = ScratchLake(tmp_path / "lake")
        lake.commit([Create(node=Node(path="a", id="mine"))])
        summary = lake.ingest(save(tmp_path, "a.npy", np.arange(4)))
        assert len(summary.failed) == 1
        assert lake.node("a").id == "mine"

    def test_a_new_file_of_the_same_stem_does_not_move_the_old_one(self, tmp_path: Path) -> None:
        save(tmp_path / "in", "a.npy", np.arange(4))
        lake = ScratchLake(tmp_path / "lake")
        lake.ingest(tmp_path / "in")
        (tmp_path / "in" / "a.csv").write_text("x,y\n1,2\n")
        summary = lake.ingest(tmp_path / "in")
        assert (summary.added, summary.unchanged) == (1, 1)
        assert lake.paths() == ["a", "a.csv"]
        save(tmp_path / "in", "a.npy", np.arange(5))
        assert lake.ingest(tmp_path / "in").changed == 1
        assert lake.paths() == ["a", "a.csv"]
        assert_same_values(lake.read("a"), np.arange(5))


class Refusing(ScratchLake):
    """A lake whose commits go wrong as told."""

    refuse: str = ""
    outages: int = 0
    keys: list[str | None]

    def commit(
        self, mutations: Sequence[Mutation], *, key: str | None = None
    ) -> tuple[Applied, ...]:
        self.keys = [*getattr(self, "keys", []), key]
        if self.outages:
            self.outages -= 1
            raise UnavailableError(ErrorKind.STORE_UNAVAILABLE, "try again later")
        for mutation in mutations:
            if isinstance(mutation, Create) and mutation.node.path == self.refuse:
                raise ConflictError(ErrorKind.PATH_TAKEN, "somebody was first")
        return super().commit(mutations, key=key)


class TestFailures:
    def test_one_refused_entry_does_not_hold_up_the_others(self, tmp_path: Path) -> None:
        for number in range(7):
            np.savez_compressed(tmp_path / f"f{number}.npz", x=np.arange(number))
        lake = Refusing(tmp_path / ".lake")
        lake.refuse = "f3"
        summary = lake.ingest(tmp_path)
        assert summary.added == 6
        assert [(failure.name, failure.reason) for failure in summary.failed] == [
            ("f3.npz", "somebody was first")
        ]
        owners = {name.split("/")[1] for name in data_names(lake)}
        assert owners == {node.id for node in lake.state}

    def test_an_outage_is_waited_out_with_the_same_key(self, tmp_path: Path) -> None:
        lake = Refusing(tmp_path / ".lake")
        lake.outages = 1
        assert lake.ingest(save(tmp_path, "a.npy", np.arange(3))).added == 1
        assert len(lake.keys) == 2
        assert len(set(lake.keys)) == 1
        assert lake.keys[0]

    def test_a_file_that_cannot_be_read_leaves_nothing_behind(self, tmp_path: Path) -> None:
        path = tmp_path / "a.csv"
        path.write_text("x y\n" + "1 2\n" * 300_000 + "1 2 3\n")
        lake = ScratchLake(tmp_path / "lake")
        assert len(lake.ingest(path).failed) == 1
        assert data_names(lake) == []
        assert lake.paths() == []

    def test_an_impossible_container_is_refused_before_anything_is_read(
        self, tmp_path: Path
    ) -> None:
        lake = ScratchLake(tmp_path / "lake")
        with pytest.raises(InvalidRequestError, match=r"'\.\.'"):
            lake.ingest(tmp_path, into="../up")

    def test_progress_is_told_file_by_file(self, tmp_path: Path) -> None:
        save(tmp_path, "a.npy", np.arange(3))
        (tmp_path / "b.txt").write_bytes(b"\0\1\2")
        lake = ScratchLake(tmp_path / ".lake")
        steps: list[Step] = []
        ingest([tmp_path], lake.lake.uri, lake, workers=0, progress=steps.append)
        assert sorted((step.name, step.state) for step in steps) == [
            ("a.npy", "added"),
            ("b.txt", "failed"),
        ]
        assert sorted(step.done for step in steps) == [1, 2]
        assert {step.total for step in steps} == {2}


class TestWorkers:
    def test_many_files_are_taken_by_two_processes(self, tmp_path: Path) -> None:
        for number in range(40):
            save(tmp_path / "in", f"f{number}.npy", np.arange(number))
        lake = ScratchLake(tmp_path / "lake")
        summary = lake.ingest(tmp_path / "in", into="raw/today", workers=2)
        assert (summary.added, summary.failed) == (40, [])
        assert_same_values(lake.read("raw/today/f7"), np.arange(7))
        assert lake.node("raw").family == "container"

    def test_a_crash_a_hang_and_an_explosion_take_only_their_own_file(self, tmp_path: Path) -> None:
        folder = tmp_path / "in"
        folder.mkdir()
        for word in ("crash", "hang", "memory", "raise", "good"):
            (folder / f"{word}.bad").write_text(f"BAD:{word}")
        for number in range(6):
            save(folder, f"f{number}.npy", np.arange(number))
        lake = ScratchLake(tmp_path / "lake")
        summary = ingest(
            [folder],
            lake.lake.uri,
            lake,
            workers=2,
            limits=Limits(silence_s=6, memory_mb=2048),
            formats=[*installed_formats(), MisbehavingFormat()],
        )
        reasons = {failure.name: failure.reason for failure in summary.failed}
        assert summary.added == 7
        assert set(reasons) == {"crash.bad", "hang.bad", "memory.bad", "raise.bad"}
        assert "SIGSEGV" in reasons["crash.bad"]
        assert "more than 6 s" in reasons["hang.bad"]
        assert "memory" in reasons["memory.bad"]
        assert reasons["raise.bad"] == "cannot read 'raise.bad': raise.bad is not to my taste"


@pytest.mark.parametrize("mode", ["register", "convert"])
def test_everything_that_was_written_is_referred_to_and_there(tmp_path: Path, mode: Any) -> None:
    lake = ScratchLake(tmp_path / "lake")
    for length in (20_000, 30_000):
        folder = tmp_path / "in"
        save(folder, "one.npy", np.arange(length))
        np.savez_compressed(folder / "several.npz", x=np.arange(length), y=np.arange(3))
        (folder / "table.csv").write_text("x,y\n" + "1,2\n" * length)
        tifffile.imwrite(folder / "image.tif", np.ones((100, length // 100)), compression="zlib")
        assert not lake.ingest(folder, mode=mode).failed
        report = check(lake.lake, older_than_s=0)
        assert (report.broken, report.garbage) == ((), ())
