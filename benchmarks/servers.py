"""Both servers as processes, and both clients as processes that ask them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from benchmarks.timing import seconds
from lakeservice.demo.process import ServerProcess, free_ports

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.timing import Values

LAKESERVICE = (sys.executable, "-m", "lakeservice")
KEY = "akeyforthisrunonly"


@dataclass
class Bench:
    """A folder with the files and lakes of one scale, and what the clients are told."""

    folder: Path
    scale: float
    plan: dict[str, Any] = field(default_factory=dict)

    @property
    def files(self) -> Path:
        """Folder of the detector's files, which both servers read."""
        return self.folder / "files"

    @property
    def lake(self) -> Path:
        """Our lake."""
        return self.folder / "lake"

    @property
    def environment(self) -> dict[str, str]:
        """Where our index is kept: away from the user's own."""
        return {"LAKE_CACHE": str(self.folder / "cache")}

    def ours(self) -> ServerProcess:
        """Return our server, not started."""
        port, flight_port = free_ports(2)
        url = f"http://127.0.0.1:{port}"
        self.plan |= {"url": url, "key": KEY}
        command = [
            *(*LAKESERVICE, "serve", str(self.lake), "--api-key", KEY),
            *("--port", str(port), "--flight-port", str(flight_port)),
        ]
        return ServerProcess(command, f"{url}/api/v1/", self.folder / "ours.log", self.environment)

    def tiled(self, python: Path) -> ServerProcess:
        """Return Tiled over its catalog in a file, not started."""
        (port,) = free_ports(1)
        url = f"http://127.0.0.1:{port}"
        self.plan |= {"url": url, "key": KEY}
        store = self.folder / "tiled"
        store.mkdir(exist_ok=True)
        database = store / "catalog.db"
        command = [
            *(str(python), "-m", "tiled", "serve", "catalog", str(database)),
            *(["--init"] if not database.exists() else []),
            *("--write", str(store / "data"), "--read", str(self.files)),
            *("--read", str(self.folder / "more")),
            *("--api-key", KEY, "--port", str(port)),
        ]
        return ServerProcess(command, f"{url}/api/v1/", self.folder / "tiled.log")

    def ask(self, python: str | Path, client: str, name: str) -> Values:
        """Run one measurement of a client in a process of its own and return what it found."""
        plan = self.folder / "plan.json"
        plan.write_text(json.dumps(self.plan), encoding="utf-8")
        command = [str(python), "-m", f"benchmarks.{client}", name, str(plan)]
        answer = subprocess.run(command, stdout=subprocess.PIPE, check=True)
        values: Values = json.loads(answer.stdout.splitlines()[-1])
        return values


def ingest(bench: Bench, mode: str, files: Path, lake: Path) -> float:
    """Ingest files into a lake of ours, ``register`` or ``convert``; return the seconds it took."""
    command = [*LAKESERVICE, "ingest", str(files), "--lake", str(lake)]
    command += ["--into", f"{mode}ed", f"--{mode}"]
    environment = {**os.environ, **bench.environment}
    return seconds(lambda: subprocess.run(command, env=environment, check=True))


def search_index(bench: Bench, entries: int) -> dict[str, Any]:
    """Fill an index alone, search it, and return what `benchmarks.search` found."""
    found = bench.folder / "index.json"
    command = [sys.executable, "-m", "benchmarks.search", "--entries", str(entries)]
    subprocess.run([*command, "--json", str(found)], check=True, stdout=subprocess.DEVNULL)
    values: dict[str, Any] = json.loads(found.read_text(encoding="utf-8"))
    return values


def say(what: str) -> None:
    """Tell on standard error what is being done."""
    sys.stderr.write(f"· {what}\n")
    sys.stderr.flush()
