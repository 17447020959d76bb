"""Files into the lake: walk, read in worker processes, commit in batches."""

from __future__ import annotations

import dataclasses
import secrets
import time
from collections import deque
from typing import TYPE_CHECKING

from ingest.job import Job, Mode, Outcome, discard
from ingest.recognise import checked, installed_formats
from ingest.state import Known, compare, made_from
from ingest.summary import Failure, Progress, State, Step, Summary
from ingest.walk import Candidate, Walk, Walker
from ingest.workers import Limits, Workers
from lakeservice.storage.layout import new_id
from lakeservice.storage.objects import Objects
from schemas.commit import Create, Delete, Mutation, Update
from schemas.errors import LakeError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from ingest.committer import Committer
    from ingest.found import Format
    from schemas.entry import DataSource, Node

_DESCRIBED_AT_ONCE = 1000
_COMMITTED_AT_ONCE = 500
_COMMIT_S = 1.0
_RETRIES_S = (0.2, 1.0, 5.0)


def ingest(
    sources: Sequence[Path],
    lake_uri: str,
    committer: Committer,
    *,
    into: str = "",
    mode: Mode = "register",
    workers: int = 2,
    progress: Progress | None = None,
    limits: Limits | None = None,
    formats: Sequence[Format] | None = None,
) -> Summary:
    """Put files and folders into a lake; what is there and has not changed stays as it is.

    Parameters
    ----------
    sources
        Files and folders. What is in a single folder comes directly below
        ``into``; of several sources, each folder becomes a container.
    lake_uri
        Where data objects are written.
    committer
        Makes the entries.
    into
        Path of the container that everything goes into; made where it is missing.
    mode
        ``"register"`` leaves the bytes in the files, ``"convert"`` copies them.
    workers
        Processes that read; 0 reads in this one, where a crash would end it.
    progress
        Called after each file.
    limits
        What a worker may use.
    formats
        Formats that may be recognised; None for all that are installed.

    Raises
    ------
    InvalidRequestError
        ``bad-path``: ``into`` is no path; ``bad-setting``: formats that contradict each other.
    UnavailableError
        The lake cannot be written. What was committed until then stays.
    """
    started = time.monotonic()
    known = installed_formats() if formats is None else checked(formats)
    objects = Objects.open(lake_uri)
    walk = Walker(known, skip=objects.root).run(sources, into)
    run = _Run(walk, objects, committer, mode, progress)
    run.plan(walk.candidates)
    outcomes = Workers(lake_uri, workers, limits, formats).run(run.queue)
    try:
        for job, outcome in outcomes:
            run.take(job, outcome)
        run.flush()
    except KeyboardInterrupt:
        run.flush()
        raise
    except BaseException:
        run.drop()
        raise
    finally:
        outcomes.close()
    run.summary.seconds = time.monotonic() - started
    return run.summary


@dataclasses.dataclass
class _Ready:
    """An entry whose data are written and that waits for its commit."""

    job: Job
    outcome: Outcome
    mutations: list[Mutation]


class _Run:
    """One ingest under way."""

    def __init__(
        self,
        walk: Walk,
        objects: Objects,
        committer: Committer,
        mode: Mode,
        progress: Progress | None,
    ) -> None:
        self.queue: deque[Job] = deque()
        self.summary = Summary(failed=list(walk.failed), problems=list(walk.problems))
        self._walk = walk
        self._objects = objects
        self._committer = committer
        self._mode = mode
        self._progress = progress
        self._total = len(walk.candidates)
        self._done = 0
        self._jobs = 0
        self._bytes = 0
        self._existing: dict[int, Node] = {}
        self._ready: list[_Ready] = []
        self._touched: list[Mutation] = []
        self._flushed = time.monotonic()

    def plan(self, candidates: Sequence[Candidate]) -> None:
        """Compare candidates with the lake, and queue those that are new or have changed."""
        for start in range(0, len(candidates), _DESCRIBED_AT_ONCE):
            some = candidates[start : start + _DESCRIBED_AT_ONCE]
            paths = [path for one in some for path in (one.node_path, one.short_path) if path]
            known = self._committer.describe(paths)
            for candidate in some:
                self._decide(candidate, known)

    def _decide(self, candidate: Candidate, known: Mapping[str, Node]) -> None:
        kept = known.get(candidate.short_path) if candidate.short_path else None
        if kept is not None and made_from(kept, candidate.paths[0]):
            node: Node | None = kept
        else:
            node = known.get(candidate.node_path)
        if node is not None:
            found = compare(node, candidate, self._mode, self._objects)
            if found.is_ours:
                self._again(candidate, node, found)
            else:
                reason = f"{node.path!r} is another entry; give this file another name"
                self._fail(candidate.name, reason)
            return
        self._queue(candidate, candidate.node_path, new_id())

    def _again(self, candidate: Candidate, node: Node, found: Known) -> None:
        if not found.is_same:
            job = self._queue(candidate, node.path, node.id, generation=secrets.token_hex(4))
            self._existing[job.number] = node
            return
        if found.touched is not None:
            self._touched.append(Update(path=node.path, id=node.id, data_sources=found.touched))
        self.summary.unchanged += 1
        self._step(candidate.name, "unchanged")
        if found.left_out:
            self._stand_alone(candidate.name, found.left_out)

    def _queue(
        self, candidate: Candidate, node_path: str, node_id: str, *, generation: str = ""
    ) -> Job:
        job = Job(
            number=self._jobs,
            paths=candidate.paths,
            name=candidate.name,
            node_path=node_path,
            node_id=node_id,
            generation=generation,
            mode=self._mode,
        )
        self._jobs += 1
        self.queue.append(job)
        return job

    def take(self, job: Job, outcome: Outcome) -> None:
        """Take over what a worker has made of a job."""
        self.summary.problems += [Failure(job.name, problem) for problem in outcome.problems]
        if outcome.left_out:
            self._stand_alone(job.name, outcome.left_out)
        if outcome.reason is not None:
            self._fail(job.name, outcome.reason)
        elif outcome.node is None:
            self._done += 1  # a series that was none; its members follow
        else:
            mutations = self._mutations(job, outcome.node)
            self._ready.append(_Ready(job, outcome, mutations))
        if len(self._ready) >= _COMMITTED_AT_ONCE or time.monotonic() - self._flushed > _COMMIT_S:
            self.flush()

    def _stand_alone(self, series: str, paths: Sequence[Path]) -> None:
        folder = series.rpartition("/")[0]
        alone = [
            Candidate(
                (path,), self._walk.names[path], f"{folder}/{path.name}" if folder else path.name
            )
            for path in paths
        ]
        self._total += len(alone)
        self.plan(alone)

    def _mutations(self, job: Job, node: Node) -> list[Mutation]:
        existing = self._existing.get(job.number)
        if existing is None:
            return [*self._superseded(job), Create(node=node, parents=True)]
        return [
            Update(
                path=node.path,
                id=existing.id,
                expected_revision=existing.revision,
                metadata=_with_annotations(node, existing),
                specs=node.specs,
                structure=node.structure,
                data_sources=node.data_sources,
            )
        ]

    def _superseded(self, job: Job) -> list[Mutation]:
        """Return what removes the entries of files that are now part of a new stack."""
        if len(job.paths) < 2:
            return []
        gone: list[Mutation] = []
        paths = {self._walk.names[path]: path for path in job.paths}
        names = list(paths)
        for start in range(0, len(names), _DESCRIBED_AT_ONCE):
            found = self._committer.describe(names[start : start + _DESCRIBED_AT_ONCE])
            gone += [
                Delete(path=path, id=node.id, expected_revision=node.revision)
                for path, node in found.items()
                if made_from(node, paths[path])
            ]
        return gone

    def flush(self) -> None:
        """Commit what is ready."""
        if self._touched:
            touched, self._touched = self._touched, []
            self._send(touched)
        ready = sorted(self._ready, key=lambda one: one.job.number)
        if ready:
            self._commit(ready)
        self._flushed = time.monotonic()

    def _commit(self, ready: list[_Ready]) -> None:
        """Commit some entries; those that are refused are found by halving, and fail alone."""
        try:
            self._send([mutation for one in ready for mutation in one.mutations])
        except UnavailableError:
            for one in ready:
                self._ready.remove(one)  # perhaps committed: their data must stay
            raise
        except LakeError as error:
            if len(ready) > 1:
                middle = len(ready) // 2
                self._commit(ready[:middle])
                self._commit(ready[middle:])
                return
            self._ready.remove(ready[0])
            discard(ready[0].job, self._objects)
            self._fail(ready[0].job.name, str(error))
            return
        for one in ready:
            self._ready.remove(one)
            self._committed(one)

    def _committed(self, one: _Ready) -> None:
        state: State = "changed" if one.job.number in self._existing else "added"
        if state == "added":
            self.summary.added += 1
        else:
            self.summary.changed += 1
        self.summary.bytes += one.outcome.bytes
        self._bytes += one.outcome.bytes
        self._step(one.job.name, state)

    def _send(self, mutations: Sequence[Mutation]) -> None:
        """Commit, and ask again with the same key where nobody knows whether it was done."""
        key = f"ingest-{secrets.token_hex(10)}"
        for pause in (*_RETRIES_S, None):
            try:
                self._committer.commit(mutations, key=key)
            except UnavailableError:
                if pause is None:
                    raise
                time.sleep(pause)
            else:
                return

    def drop(self) -> None:
        """Delete the data of entries that were not committed."""
        ready, self._ready = self._ready, []
        for one in ready:
            discard(one.job, self._objects)

    def _fail(self, name: str, reason: str) -> None:
        self.summary.failed.append(Failure(name, reason))
        self._step(name, "failed")

    def _step(self, name: str, state: State) -> None:
        self._done += 1
        if self._progress is not None:
            self._progress(Step(name, state, self._done, self._total, self._bytes))


def _with_annotations(node: Node, existing: Node) -> dict[str, object]:
    """Return the metadata of the new header, with the keys that people have added."""
    source: DataSource = existing.data_sources[0]
    from_header = set(source.properties.get("header_keys", existing.metadata))
    added = {key: value for key, value in existing.metadata.items() if key not in from_header}
    return {**added, **node.metadata}
