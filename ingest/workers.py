"""Worker processes with limits: one that crashes or hangs takes only its own file with it."""

from __future__ import annotations

import dataclasses
import multiprocessing
import signal
import sys
import time
from collections import deque
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, Any

from ingest.job import Job, Outcome, discard, take
from lakeservice.storage.objects import Objects
from schemas.errors import LakeError, error_of

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Sequence
    from multiprocessing.process import BaseProcess

    from ingest.found import Format

_LONG_QUEUE = 8
_BEAT_S = 1.0
_LEAVE_S = 5.0


@dataclasses.dataclass(frozen=True)
class Limits:
    """What a worker may use."""

    silence_s: float = 60.0
    """A worker that neither finishes a file nor writes a block for so long is ended."""
    memory_mb: int = 4096
    """Memory of its own that a worker may have; not enforced where the system cannot."""


class Workers:
    """A few processes that take files into a lake.

    Parameters
    ----------
    count
        Number of processes; with 0 everything happens in this one, without limits.
    formats
        Formats that may be recognised, which have to be picklable; None for all installed.
    """

    def __init__(
        self,
        lake_uri: str,
        count: int,
        limits: Limits | None = None,
        formats: Sequence[Format] | None = None,
    ) -> None:
        self._lake_uri = lake_uri
        self._formats = formats
        self._limits = limits or Limits()
        self._objects = Objects.open(lake_uri)
        self._workers: list[_Worker] = []
        self._wanted = count

    def run(self, jobs: Iterable[Job]) -> Generator[tuple[Job, Outcome]]:
        """Yield the outcome of each job, in the order in which they finish.

        ``jobs`` may be a deque that grows while the outcomes are taken.

        Raises
        ------
        UnavailableError
            The store cannot be written; jobs that had not finished are undone.
        """
        queue = jobs if isinstance(jobs, deque) else deque(jobs)
        if self._wanted == 0:
            while queue:
                job = queue.popleft()
                yield job, take(job, self._objects, formats=self._formats)
            return
        try:
            yield from self._run(queue)
        finally:
            self.close()

    def _run(self, queue: deque[Job]) -> Generator[tuple[Job, Outcome]]:
        while queue or any(worker.jobs for worker in self._workers):
            self._hand_out(queue)
            for worker in self._ready():
                yield from self._listen(worker, queue)

    def _hand_out(self, queue: deque[Job]) -> None:
        busy = sum(len(worker.jobs) for worker in self._workers)
        while len(self._workers) < min(self._wanted, len(queue) + busy):
            self._workers.append(_Worker(self._lake_uri, self._limits, self._formats))
        # a second job each, so that none waits for the next; not at the end, where it might
        # wait behind a long one while another worker has nothing to do
        depths = (1, 2) if len(queue) > _LONG_QUEUE * self._wanted else (1,)
        for depth in depths:
            for worker in self._workers:
                while queue and len(worker.jobs) < depth:
                    worker.give(queue.popleft())

    def _ready(self) -> list[_Worker]:
        """Wait for a message, an end or the time limit of some worker."""
        busy = [worker for worker in self._workers if worker.jobs]
        limit = min(worker.heard for worker in busy) + self._limits.silence_s - time.monotonic()
        sources: dict[Any, _Worker] = {worker.connection: worker for worker in busy}
        found = wait(list(sources), timeout=max(0.0, limit))
        if found:
            return [sources[one] for one in found]
        late = time.monotonic() - self._limits.silence_s
        silent = [worker for worker in busy if worker.heard <= late]
        for worker in silent:
            worker.end()
            worker.reason = f"reading it took more than {self._limits.silence_s:g} s without a sign"
        return silent

    def _listen(self, worker: _Worker, queue: deque[Job]) -> Generator[tuple[Job, Outcome]]:
        try:
            message = worker.connection.recv()
        except (EOFError, OSError):
            yield from self._bury(worker, queue)
            return
        worker.heard = time.monotonic()
        if isinstance(message, Outcome):
            yield worker.jobs.popleft(), message
        elif isinstance(message, tuple):
            raise error_of(*message)

    def _bury(self, worker: _Worker, queue: deque[Job]) -> Generator[tuple[Job, Outcome]]:
        """Fail the file that a dead worker was at; give the others to somebody else."""
        self._workers.remove(worker)
        worker.end()
        reason = worker.reason or f"its reader crashed ({death_of(worker.process.exitcode)})"
        job = worker.jobs.popleft()
        queue.extendleft(reversed(worker.jobs))
        discard(job, self._objects)
        yield job, Outcome(job.number, reason=f"cannot read {job.paths[0].name!r}: {reason}")

    def close(self) -> None:
        """End the workers and undo what they were at."""
        workers, self._workers = self._workers, []
        for worker in workers:
            if worker.jobs:
                worker.end()
            else:
                worker.connection.close()  # it ends by itself
        for worker in workers:
            worker.process.join(_LEAVE_S)
            worker.end()
        for worker in workers:
            for job in worker.jobs:
                discard(job, self._objects)


class _Worker:
    def __init__(self, lake_uri: str, limits: Limits, formats: Sequence[Format] | None) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process: BaseProcess = context.Process(
            target=_work, args=(theirs, lake_uri, limits, formats), daemon=True, name="ingest"
        )
        self.process.start()
        theirs.close()
        self.jobs: deque[Job] = deque()
        self.heard = time.monotonic()
        self.reason: str | None = None

    def give(self, job: Job) -> None:
        if not self.jobs:
            self.heard = time.monotonic()
        self.jobs.append(job)
        try:
            self.connection.send(job)
        except OSError:
            return  # it has died; reading from it will say so

    def end(self) -> None:
        self.process.kill()
        self.process.join()
        self.connection.close()


def death_of(code: int | None) -> str:
    """Return in words how a process ended, by its exit code."""
    if code is None or code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"


def _work(
    connection: Connection[Any, Any],
    lake_uri: str,
    limits: Limits,
    formats: Sequence[Format] | None,
) -> None:
    """Take jobs until nobody gives any more; the body of a worker process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal's Ctrl-C is for the parent
    limit_memory(limits.memory_mb)
    objects = Objects.open(lake_uri)
    last = time.monotonic()

    def beat() -> None:
        nonlocal last
        if time.monotonic() - last > _BEAT_S:
            last = time.monotonic()
            connection.send(None)

    while True:
        try:
            job = connection.recv()
            connection.send(take(job, objects, beat, formats))
        except (EOFError, OSError):
            return
        except LakeError as error:
            connection.send((error.kind, error.message))
            return
        except Exception as error:  # a bug must not look like a crash of the reader
            connection.send(Outcome(job.number, reason=f"{type(error).__name__}: {error}"))


def limit_memory(memory_mb: int) -> None:
    """Let this process have so much memory of its own, where the system can hold it to that."""
    if sys.platform != "linux":
        return
    import resource  # there is none on Windows

    limit = memory_mb << 20
    _, most = resource.getrlimit(resource.RLIMIT_DATA)
    if most == resource.RLIM_INFINITY or limit < most:
        resource.setrlimit(resource.RLIMIT_DATA, (limit, most))
