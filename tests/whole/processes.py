"""Servers and writers in processes of their own, which tests may kill."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from pathlib import Path

KEY = "test-key"


class ServerProcess:
    """``lakeservice serve`` on free ports, ended by its process id."""

    def __init__(self, path: Path, cache: Path, *options: str) -> None:
        command = [sys.executable, "-m", "lakeservice", "serve", str(path), "--port", "0"]
        command += ["--flight-port", "0", "--api-key", KEY, *options]
        self.began = time.monotonic()
        self.process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={"PATH": "/usr/bin:/bin", "LAKE_CACHE": str(cache), "COLUMNS": "200"},
        )
        self.url = self._url()
        self.ready_s = time.monotonic() - self.began

    def _url(self) -> str:
        lines: list[str] = []
        out = self.process.stdout
        assert out is not None
        watchdog = threading.Timer(60, self.process.kill)
        watchdog.start()
        for line in out:
            lines.append(line)
            if found := re.search(r"HTTP\s+(http://\S+)", line):
                watchdog.cancel()
                return found.group(1)
        watchdog.cancel()
        self.kill()
        raise RuntimeError("the server did not start: " + "".join(lines))

    def kill(self) -> None:
        """End it at once, whatever it is doing."""
        self.process.kill()
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()

    def stop(self) -> str:
        """Ask it to end, and return what else it printed."""
        self.process.terminate()
        rest, _ = self.process.communicate(timeout=30)
        return rest

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.kill()
