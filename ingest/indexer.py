"""Processes that look into registered files for a server: started when needed, kept, limited."""

from __future__ import annotations

import multiprocessing
import signal
import threading
import time
from typing import TYPE_CHECKING, Any

from ingest.source import unreadable
from ingest.workers import Limits, death_of, limit_memory
from lakeservice.storage.objects import Objects
from schemas.errors import ErrorKind, LakeError, UnavailableError, error_of
from schemas.registration import Registered

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from multiprocessing.process import BaseProcess

    from schemas.registration import Registration

_BEAT_S = 1.0
LIMITS = Limits(silence_s=60.0, memory_mb=2048)
"""What a process may use: a client waits for it."""


class IndexingProcesses:
    """A few processes that files are looked into with; thread-safe, one file a process.

    Nothing is started before the first file comes. A process that crashes, takes too
    much memory or is silent for too long is ended; the file that it was at is refused,
    and the next one gets a new process.

    Parameters
    ----------
    count
        Most processes at a time; further files wait.
    limits
        What each of them may use.
    """

    def __init__(self, count: int = 2, limits: Limits = LIMITS) -> None:
        self._limits = limits
        self._free = threading.BoundedSemaphore(count)
        self._lock = threading.Lock()
        self._idle: list[_Process] = []
        self._closed = False

    def index(self, asked: Registration) -> Registered:
        """Return what registered files hold; raises like `Registrar.register`.

        Raises
        ------
        UnavailableError
            ``busy``: the server is ending.
        """
        with self._free:
            process = self._taken()
            try:
                answer = process.ask(asked, self._limits)
            except BaseException:
                process.end()
                raise
            self._back(process)
        if isinstance(answer, Registered):
            return answer
        raise error_of(*answer)

    def close(self) -> None:
        """End the processes."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for process in idle:
            process.end()

    def _taken(self) -> _Process:
        with self._lock:
            if self._closed:
                raise UnavailableError(ErrorKind.BUSY, "the server is ending; try another")
            while self._idle:
                process = self._idle.pop()
                if process.is_alive:
                    return process
                process.end()
        return _Process(self._limits)

    def _back(self, process: _Process) -> None:
        with self._lock:
            if not self._closed:
                self._idle.append(process)
                return
        process.end()


class _Process:
    def __init__(self, limits: Limits) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process: BaseProcess = context.Process(
            target=_serve, args=(theirs, limits.memory_mb), daemon=True, name="indexer"
        )
        self._process.start()
        theirs.close()

    @property
    def is_alive(self) -> bool:
        return self._process.is_alive()

    def ask(self, asked: Registration, limits: Limits) -> Registered | tuple[ErrorKind, str]:
        name = asked.assets[0].data_uri.rpartition("/")[2] if asked.assets else "the files"
        heard = time.monotonic()
        try:
            self._connection.send(asked)
            while True:
                left = heard + limits.silence_s - time.monotonic()
                if not self._connection.poll(max(0.0, left)):
                    self.end()
                    raise unreadable(
                        name, f"reading it took more than {limits.silence_s:g} s without a sign"
                    )
                message: Any = self._connection.recv()
                heard = time.monotonic()
                if message is not None:
                    answer: Registered | tuple[ErrorKind, str] = message
                    return answer
        except (EOFError, OSError):
            self.end()
            how = death_of(self._process.exitcode)
            raise unreadable(name, f"its reader crashed ({how})") from None

    def end(self) -> None:
        self._process.kill()
        self._process.join()
        self._connection.close()


def _serve(connection: Connection[Any, Any], memory_mb: int) -> None:
    """Look into files until nobody asks any more; the body of a process."""
    from ingest.registering import Registrar  # all readers, 1 s: not in the server's process

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal's Ctrl-C is for the parent
    limit_memory(memory_mb)
    registrar = Registrar()
    lakes: dict[str, Objects] = {}
    last = time.monotonic()

    def beat() -> None:
        nonlocal last
        if time.monotonic() - last > _BEAT_S:
            last = time.monotonic()
            connection.send(None)

    while True:
        try:
            asked: Registration = connection.recv()
        except (EOFError, OSError):
            return
        try:
            objects = lakes.setdefault(asked.lake, Objects.open(asked.lake))
            answer: Any = registrar.register(asked, objects, beat)
        except LakeError as error:
            answer = (error.kind, error.message)
        except Exception as error:  # readers of foreign formats raise whatever they like
            answer = (ErrorKind.UNREADABLE_FILE, _told(error, asked))
        try:
            connection.send(answer)
        except OSError:
            return


def _told(error: Exception, asked: Registration) -> str:
    """Return why files could not be read, without the folders that they lie in."""
    if isinstance(error, MemoryError):
        return "reading the file needs more memory than a reader may have"
    text = " ".join(f"cannot read the file: {error or type(error).__name__}".split())
    for root in sorted(asked.roots, key=len, reverse=True):
        text = text.replace(f"{root}/", "")
    return text[:1000]
