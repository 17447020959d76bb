"""``make profile``: where the time goes, in the server or the client, on a named dataset.

A sampling profiler (py-spy) starts the process that is looked at, which needs no rights beyond
one's own. It writes a flame graph, and a table of the functions that were running, with the
functions of C libraries among them.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import urllib3

from benchmarks.bench import prepare
from benchmarks.fast import files
from benchmarks.servers import Bench, ingest, say
from benchmarks.workload import WORKS
from lakeservice.demo.process import free_ports

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

RATE = 200
"""Samples a second."""
SHOWN = 25
"""Functions in the table."""
READY_S = 60.0
KINDS = {
    "verify": r"crc32",
    "decode": r"blosc|lz4|zstd|inflate|bshuf|bitshuf|shuffle|snappy|parquet",
    "read": r"readv|pread|os_read|\bread \(lib|__libc_read|ReadAt|open64",
    "copy": r"memcpy|memmove|memset|_aligned_|copyto|DOUBLE_to|raw_array_assign",
    "wire": r"grpc|tcp_|sendmsg|recvmsg|epoll|absl|flight|Flight|protobuf|chttp2",
}
"""What a function does, by its name; what none of them matches is ``rest``."""


def main() -> None:
    """Profile, and print where the time went."""
    given = _arguments()
    bench = Bench(given.folder.absolute() / f"profile-{given.scale:g}", given.scale)
    _prepared(bench, given.data)
    given.results.mkdir(parents=True, exist_ok=True)
    name = f"profile-{given.data}-{given.side}-{given.delivery}"
    bench.plan["work"] = {"data": given.data, "delivery": given.delivery, "seconds": given.seconds}
    flames = given.results / f"{name}.svg"
    _recorded(bench, given.side, "flamegraph", flames)
    stacks = bench.folder / "stacks.txt"
    did = _recorded(bench, given.side, "raw", stacks)
    text = table_of(stacks.read_text(encoding="utf-8"))
    head = f"{given.data}, {given.delivery}, {given.side}, scale {given.scale:g}: {did.strip()}\n\n"
    (given.results / f"{name}.txt").write_text(head + text, encoding="utf-8")
    sys.stdout.write(head + text)
    say(f"written to {flames} and {flames.with_suffix('.txt')}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks.profiling", description=__doc__)
    parser.add_argument("--data", choices=sorted(WORKS), default="stack")
    parser.add_argument("--side", choices=("server", "client"), default="client")
    parser.add_argument("--delivery", default="auto", help="auto, direct, encoded or decoded")
    parser.add_argument("--scale", type=float, default=0.1, help="0.1 for a tenth of the data")
    parser.add_argument("--seconds", type=float, default=10.0, help="how long is watched")
    parser.add_argument("--folder", type=Path, default=Path(".bench"))
    parser.add_argument("--results", type=Path, default=Path("benchmarks/results"))
    return parser.parse_args()


def _prepared(bench: Bench, data: str) -> None:
    """Make the data and the lake, where they are not there yet."""
    groups = ("loader",) if data == "loader" else ()
    prepare(bench)
    files.prepare(bench, groups)
    ready = bench.folder / f"ingested-{'more' if groups else 'files'}"
    if ready.exists():
        return
    if not (bench.folder / "ingested-files").exists():
        for mode in ("register", "convert"):
            ingest(bench, mode, bench.files, bench.lake)
        (bench.folder / "ingested-files").touch()
    files.ingest_more(bench, groups)
    ready.touch()


def _recorded(bench: Bench, side: str, form: str, into: Path) -> str:
    """Run the work with one side under the profiler; return what the work printed."""
    spy = [str(Path(sys.executable).with_name("py-spy")), "record", "--native", "--nonblocking"]
    spy += ["--rate", str(RATE), "--format", form, "--output", str(into)]
    plan = bench.folder / "plan.json"
    work = [sys.executable, "-m", "benchmarks.workload", str(plan)]
    if side == "client":
        with bench.ours():
            plan.write_text(json.dumps(bench.plan), encoding="utf-8")
            return _output([*spy, "--", *work])
    with _watched_server(bench, spy):
        plan.write_text(json.dumps(bench.plan), encoding="utf-8")
        return _output(work)


def _output(command: Sequence[str]) -> str:
    answer = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return next(line for line in answer.stdout.splitlines() if line.startswith("{"))


@contextmanager
def _watched_server(bench: Bench, spy: Sequence[str]) -> Iterator[None]:
    """Serve under the profiler, which writes its file when the server has ended."""
    port, flight_port = free_ports(2)
    server = bench.command(port, flight_port)
    with (bench.folder / "profiled.log").open("wb") as log:
        watching = subprocess.Popen(
            [*spy, "--", *server], stdout=log, stderr=log, env=bench.all_environment
        )
    try:
        _wait(f"{bench.plan['url']}/api/v1/", watching)
        yield
    finally:
        for child in psutil.Process(watching.pid).children():
            child.terminate()
        watching.wait()


def _wait(url: str, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + READY_S
    with urllib3.PoolManager(retries=False, timeout=5.0) as pool:
        while time.monotonic() < until and process.poll() is None:
            try:
                if pool.request("GET", url).status == 200:
                    return
            except urllib3.exceptions.HTTPError:
                pass
            time.sleep(0.05)
    raise SystemExit("the server did not start under the profiler; see profiled.log")


def table_of(stacks: str) -> str:
    """Return which functions were running, and what kind of work that was, as text.

    Parameters
    ----------
    stacks
        A line per stack: functions from the outermost to the one that ran, with
        semicolons between, and how often it was seen.
    """
    own: Counter[str] = Counter()
    kinds: Counter[str] = Counter()
    for line in stacks.splitlines():
        functions, _, count = line.rpartition(" ")
        names = functions.split(";")
        own[re.sub(r":\d+\)$", ")", names[-1])] += int(count)
        kinds[kind_of(names)] += int(count)
    total = max(1, sum(own.values()))
    lines = [f"{total} samples at {RATE} a second", "", "share  kind of work"]
    lines += [f"{count / total:5.1%}  {kind}" for kind, count in kinds.most_common()]
    lines += ["", "share  function"]
    lines += [f"{count / total:5.1%}  {name}" for name, count in own.most_common(SHOWN)]
    return "\n".join(lines) + "\n"


def kind_of(names: Sequence[str]) -> str:
    """Return what a stack does, by its innermost function that tells."""
    for name in reversed(names):
        for kind, pattern in KINDS.items():
            if re.search(pattern, name):
                return kind
    return "rest"


if __name__ == "__main__":
    main()
