"""A server in a process of its own: started, waited for, measured, ended."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from typing import TYPE_CHECKING, Self

import urllib3

from lakeservice.demo.memory import peak_resident
from schemas.errors import ErrorKind, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

STOP_S = 15.0
"""How long a server may take to end before it is killed."""


def free_ports(count: int) -> list[int]:
    """Return ports of 127.0.0.1 that nobody listens on now."""
    listeners = [socket.socket() for _ in range(count)]
    try:
        for listener in listeners:
            listener.bind(("127.0.0.1", 0))
        return [listener.getsockname()[1] for listener in listeners]
    finally:
        for listener in listeners:
            listener.close()


class ServerProcess:
    """A server as a child process; usable as a context.

    Parameters
    ----------
    command
        Program and arguments.
    probe
        URL that answers with status 200 once the server is ready.
    log
        File for what the server prints.
    environment
        Variables on top of this process's own.
    """

    def __init__(
        self,
        command: Sequence[str],
        probe: str,
        log: Path,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._command = command
        self._probe = probe
        self._log = log
        self._environment = {**os.environ, **(environment or {})}
        self._process: subprocess.Popen[bytes] | None = None
        self.ready_s = float("nan")
        """Seconds from the start of the process to the first good answer."""

    def start(self, timeout_s: float = 180.0) -> Self:
        """Start the server and wait until it answers.

        Raises
        ------
        UnavailableError
            ``store-unavailable``: it ended, or did not answer in time.
        """
        began = time.perf_counter()
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                self._command, stdout=log, stderr=subprocess.STDOUT, env=self._environment
            )
        with urllib3.PoolManager(retries=False, timeout=5.0) as pool:
            while self._process.poll() is None and time.perf_counter() - began < timeout_s:
                try:
                    if pool.request("GET", self._probe).status == 200:
                        self.ready_s = time.perf_counter() - began
                        return self
                except urllib3.exceptions.HTTPError:
                    pass
                time.sleep(0.01)
        status = self._process.poll()
        self.stop()
        what = f"did not answer in {timeout_s:g} s" if status is None else f"ended with {status}"
        last = " / ".join(self._log.read_text(errors="replace").strip().splitlines()[-5:])
        raise UnavailableError(ErrorKind.STORE_UNAVAILABLE, f"the server {what}: {last}")

    @property
    def pid(self) -> int:
        """Process id of the running server."""
        if self._process is None:
            raise UnavailableError(ErrorKind.STORE_UNAVAILABLE, "the server is not running")
        return self._process.pid

    @property
    def peak_bytes(self) -> int:
        """Largest resident memory so far, in bytes; 0 where the system does not tell."""
        return peak_resident(self.pid)

    def wait(self) -> int:
        """Wait until the server ends by itself or is interrupted, and return its exit status."""
        return self._process.wait() if self._process is not None else 0

    def stop(self) -> None:
        """End the server; nothing happens where it has ended already."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()
