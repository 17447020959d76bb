"""``lakeservice demo``: make a run, ingest it, serve it, read it back, compare."""

from __future__ import annotations

import secrets
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from lakeservice.client import connect
from lakeservice.commands.ingest import run_ingest
from lakeservice.demo.generate import SIZES, Run, Size, generate
from lakeservice.demo.http import HttpReader
from lakeservice.demo.process import ServerProcess, free_ports
from lakeservice.demo.readings import Reader, Reading, Truth
from schemas.errors import CorruptError, ErrorKind, InvalidRequestError, LakeError

if TYPE_CHECKING:
    from collections.abc import Sequence

QUERY = "entry.plan_name = 'rotation_scan' AND entry.sample.temperature < 150"
CONTAINERS = {"raw": False, "converted": True}
"""Where the files go: left where they are, and converted."""


def run_demo(*, keep: bool, size: str, console: Console | None = None) -> int:
    """Run the whole demo and return its exit status: 0 when everything equals the files.

    Parameters
    ----------
    keep
        Leave the server running until it is interrupted.
    size
        One of `SIZES`.

    Raises
    ------
    InvalidRequestError
        ``bad-request``: there is no such size.
    """
    if size not in SIZES:
        raise InvalidRequestError(
            ErrorKind.BAD_REQUEST, f"no size {size!r}; there are {', '.join(SIZES)}"
        )
    console = console or Console()
    with tempfile.TemporaryDirectory(prefix="lakeservice-demo-") as folder:
        return Demo(Path(folder), SIZES[size], console).run(keep=keep)


class Demo:
    """One demo in a folder of its own."""

    def __init__(self, folder: Path, size: Size, console: Console) -> None:
        self._size = size
        self._console = console
        self._files = folder / "beamline"
        self._lake = folder / "lake"
        self._cache = folder / "cache"
        self._log = folder / "server.log"
        self._key = secrets.token_hex(16)

    def run(self, *, keep: bool) -> int:
        """Do everything; 0 when every reading equals the files."""
        run = self._generate()
        if not self._ingest():
            return 1
        http, flight = free_ports(2)
        url = f"http://127.0.0.1:{http}"
        command = [
            *(sys.executable, "-m", "lakeservice", "serve", str(self._lake)),
            *("--port", str(http), "--flight-port", str(flight)),
        ]
        environment = {"LAKE_CACHE": str(self._cache), "LAKE_API_KEY": self._key}
        with ServerProcess(command, f"{url}/api/v1/", self._log, environment) as server:
            self._say(
                f"serving {url} and grpc://127.0.0.1:{flight}, ready in {server.ready_s:.1f} s"
            )
            status = self._read_or_explain(run, url)
            self._say(f"the server used at most {server.peak_bytes / 1e6:.0f} MB of memory")
            if keep:
                self._leave_serving(url, server)
        return status

    def _generate(self) -> Run:
        began = time.perf_counter()
        run = generate(self._files, self._size)
        count = sum(path.is_file() for path in self._files.rglob("*"))
        self._say(
            f"a run of {self._size.frames} frames, {count} files, {run.size_bytes / 1e6:.0f} MB, "
            f"made in {time.perf_counter() - began:.1f} s"
        )
        return run

    def _ingest(self) -> bool:
        for under, convert in CONTAINERS.items():
            self._say(f"{'convert' if convert else 'register'} into {under}/")
            complete = run_ingest(
                [self._files],
                lake=str(self._lake),
                url="",
                api_key="",
                into=under,
                convert=convert,
                workers=2,
                cache=self._cache,
                console=self._console,
            )
            if not complete:
                return False
        return True

    def _read_or_explain(self, run: Run, url: str) -> int:
        try:
            return self._read(run, url)
        except LakeError:
            log = self._log.read_text(errors="replace").strip().splitlines()[-30:]
            self._say("the server's log ends with:")
            self._console.print("\n".join(log), highlight=False, markup=False, soft_wrap=True)
            raise

    def _read(self, run: Run, url: str) -> int:
        truth = Truth(run)
        http = HttpReader(url, self._key)
        with connect(url, api_key=self._key) as lake:
            began = time.perf_counter()
            found = [node.path for node in lake.search(QUERY)]
            taken = time.perf_counter() - began
            self._say(f"search {QUERY!r}: {', '.join(found)} in {taken * 1e3:.1f} ms")
            expected = [f"{under}/scan_0042" for under in CONTAINERS]
            if sorted(found) != sorted(expected):
                raise CorruptError(
                    ErrorKind.CORRUPT_OBJECT, f"the search found {found}, not {expected}"
                )
            readings = {
                under: list(Reader(lake, http, under, truth).readings()) for under in CONTAINERS
            }
        for under, lines in readings.items():
            self._console.print(_table(under, lines))
        wrong = sum(not line.equal for lines in readings.values() for line in lines)
        if wrong:
            self._console.print(f"[bold red]{wrong} readings differ from the files[/bold red]")
            return 1
        self._say("every reading equals the files, to the last bit")
        return 0

    def _leave_serving(self, url: str, server: ServerProcess) -> None:
        self._console.print(
            f'\nstill serving; in Python: lakeservice.connect("{url}", api_key="{self._key}")\n'
            f"in a browser: {url}/api/v1/?api_key={self._key}\n"
            "Ctrl-C ends it and removes its files",
            highlight=False,
            soft_wrap=True,
        )
        self._console.file.flush()
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            server.wait()
        except KeyboardInterrupt:
            self._say("ending")

    def _say(self, text: str) -> None:
        self._console.print(f"[cyan]·[/cyan] {text}", highlight=False, soft_wrap=True)


def _table(under: str, readings: Sequence[Reading]) -> Table:
    table = Table(title=f"{under}/", title_justify="left")
    for heading in ("read", "by", "MB", "ms", "GB/s", "equal"):
        numeric = heading in ("MB", "ms", "GB/s")
        table.add_column(heading, justify="right" if numeric else "left")
    for line in readings:
        table.add_row(
            line.what,
            line.via,
            f"{line.size_bytes / 1e6:.2f}",
            f"{line.seconds * 1e3:.1f}",
            f"{line.size_bytes / line.seconds / 1e9:.2f}",
            "[green]yes[/green]" if line.equal else "[bold red]NO[/bold red]",
        )
    return table
