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
    failures: list[str] = field(default_factory=list)
    """Measurements that ended with an error: their lines are missing."""

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

    @property
    def all_environment(self) -> dict[str, str]:
        """The same, with all that this process has."""
        return {**os.environ, **self.environment}

    def ours(self) -> ServerProcess:
        """Return our server, not started."""
        command = self.command(*free_ports(2))
        probe = f"{self.plan['url']}/api/v1/"
        return ServerProcess(command, probe, self.folder / "ours.log", self.environment)

    def command(self, port: int, flight_port: int) -> list[str]:
        """Return what starts our server; the plan tells its address."""
        self.plan |= {"url": f"http://127.0.0.1:{port}", "key": KEY}
        return [
            *(*LAKESERVICE, "serve", str(self.lake), "--api-key", KEY),
            *("--port", str(port), "--flight-port", str(flight_port)),
        ]

    def tiled(self, python: Path) -> ServerProcess:
        """Return Tiled over its catalog in a file, not started."""
        (port,) = free_ports(1)
        url = f"http://127.0.0.1:{port}"
        self.plan |= {"url": url, "key": KEY}
        store, more = self.folder / "tiled", self.folder / "more"
        store.mkdir(exist_ok=True)
        database = store / "catalog.db"
        command = [
            *(str(python), "-m", "tiled", "serve", "catalog", str(database)),
            *(["--init"] if not database.exists() else []),
            *("--write", str(store / "data"), "--read", str(self.files)),
            *(("--read", str(more)) if more.exists() else ()),
            *("--api-key", KEY, "--port", str(port)),
        ]
        return ServerProcess(command, f"{url}/api/v1/", self.folder / "tiled.log")

    def ask(self, python: str | Path, client: str, name: str) -> Values:
        """Run one measurement of a client in a process of its own and return what it found.

        Nothing is found where it ends with an error, which `failures` then names.
        """
        plan = self.folder / "plan.json"
        plan.write_text(json.dumps(self.plan), encoding="utf-8")
        command = [str(python), "-m", f"benchmarks.{client}", name, str(plan)]
        answer = subprocess.run(command, stdout=subprocess.PIPE, check=False)
        if answer.returncode:
            self.fail(f"{client} {name}")
            return {}
        values: Values = json.loads(answer.stdout.splitlines()[-1])
        return values

    def fail(self, what: str) -> None:
        """Note that a measurement has failed; the others go on."""
        say(f"FAILED: {what}")
        self.failures.append(what)


def ingest(bench: Bench, mode: str, files: Path, lake: Path) -> float:
    """Ingest files into a lake of ours, ``register`` or ``convert``; return the seconds it took."""
    command = [*LAKESERVICE, "ingest", str(files), "--lake", str(lake)]
    command += ["--into", f"{mode}ed", f"--{mode}"]
    return seconds(lambda: subprocess.run(command, env=bench.all_environment, check=True))


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
