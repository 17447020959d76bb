"""``make profile``: where the time goes, in the server or the client, on a named dataset.

A sampling profiler (py-spy) looks at a process that is at work, which needs no rights beyond
one's own. It writes a flame graph, and a table of the functions that were running, with the
functions of C libraries among them.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.bench import prepare
from benchmarks.fast import files
from benchmarks.servers import Bench, ingest, say
from benchmarks.workload import WORKS
from lakeservice.demo.process import ServerProcess, free_ports

if TYPE_CHECKING:
    from collections.abc import Sequence

RATE = 100
"""Samples a second."""
SHOWN = 25
"""Functions in the table."""
KINDS = {
    "verify": r"crc32",
    "decode": r"blosc|lz4|zstd|inflate|bshuf|bitshuf|snappy|parquet",
    "read": r"readv|pread|\bread \(lib|ReadAt|open64",
    "wire": r"grpc|sendmsg|recvmsg|epoll|absl|arrow::flight|chttp2|arrow::ipc",
    # the memory functions of libc have no names where it is stripped
    "copy": r"memcpy|memmove|memset|_aligned_|raw_array_assign|0x[0-9a-f]+ \(libc",
}
"""What a function of a library does, by its name; what none of them matches is ``rest``."""
PYTHON = r"\.py(:\d+)?\)$"
WAITS = r"_p?wait\b|_?timedwait|acquire_lock|take_gil|^p?poll\b|^syscall\b|futex|::Wait|Park|sleep"
"""Functions in which a thread waits, though a sample may see it before it sleeps."""
INNERMOST = 3
"""How far inside such a function has to be: what polls may also call what sends."""


def main() -> None:
    """Profile, and print where the time went."""
    given = _arguments()
    bench = Bench(given.folder.absolute() / f"profile-{given.scale:g}", given.scale)
    _prepared(bench, given.data)
    given.results.mkdir(parents=True, exist_ok=True)
    name = f"profile-{given.data}-{given.side}-{given.delivery}"
    bench.plan["work"] = {"data": given.data, "delivery": given.delivery}
    flames = given.results / f"{name}.svg"
    stacks = bench.folder / "stacks.txt"
    rate = _recorded(bench, given.side, given.seconds, {"flamegraph": flames, "raw": stacks})
    text = (
        f"{given.data}, {given.delivery}, {given.side}, scale {given.scale:g}; "
        f"{rate:.3g} GB/s while it was watched\n\n"
        f"{table_of(stacks.read_text(encoding='utf-8'))}"
    )
    table = given.results / f"{name}.txt"
    table.write_text(text, encoding="utf-8")
    sys.stdout.write(text)
    say(f"written to {flames} and {table}")


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


def _recorded(bench: Bench, side: str, seconds: float, into: dict[str, Path]) -> float:
    """Record one side at work, in each of the forms; return GB/s of the work meanwhile."""
    command = bench.command(*free_ports(2))
    watched = [sys.executable, "-m", "benchmarks.watched"]
    probe = f"{bench.plan['url']}/api/v1/"
    server = ServerProcess(
        [*watched, *command[2:]], probe, bench.folder / "ours.log", bench.environment
    )
    plan = bench.folder / "plan.json"
    plan.write_text(json.dumps(bench.plan), encoding="utf-8")
    work = [*watched, "benchmarks.workload", str(plan)]
    with server, subprocess.Popen(work, text=True, stdout=subprocess.PIPE) as client:
        if client.stdout is None or client.stdout.readline() != "ready\n":
            raise SystemExit("the work did not begin")
        for form, path in into.items():
            _spy(client.pid if side == "client" else server.pid, form, seconds, path)
        client.terminate()
        told: dict[str, float] = json.loads(client.stdout.readline())
    return told["gb_s"]


def _spy(pid: int, form: str, seconds: float, into: Path) -> None:
    spy = [str(Path(sys.executable).with_name("py-spy")), "record", "--native"]
    spy += ["--rate", str(RATE), "--format", form, "--output", str(into)]
    spy += ["--duration", f"{seconds:.0f}", "--pid", str(pid)]
    answer = subprocess.run(spy, capture_output=True, text=True, check=False)
    if answer.returncode:
        raise SystemExit(f"py-spy: {answer.stderr}")


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
        kind = kind_of(names)
        if kind != "waits":
            own[re.sub(r":\d+\)$", ")", names[-1])] += int(count)
            kinds[kind] += int(count)
    total = max(1, sum(own.values()))
    lines = [f"{total} samples at {RATE} a second", "", "share  kind of work"]
    lines += [f"{count / total:5.1%}  {kind}" for kind, count in kinds.most_common()]
    lines += ["", "share  function"]
    lines += [f"{count / total:5.1%}  {name}" for name, count in own.most_common(SHOWN)]
    return "\n".join(lines) + "\n"


def kind_of(names: Sequence[str]) -> str:
    """Return what a stack does, by the functions of libraries at its inner end.

    Bytes that a decoder copies count as decoding, and those that gRPC copies as the wire.
    ``waits`` is no work, ``Python`` is the interpreter in code of a ``.py`` file.
    """
    outer = [number for number, name in enumerate(names) if re.search(PYTHON, name)]
    library = names[outer[-1] + 1 :] if outer else names
    if not library:
        return "Python"
    if any(re.search(WAITS, name) for name in library[-INNERMOST:]):
        return "waits"
    found = "rest"
    for name in reversed(library):
        for kind, pattern in KINDS.items():
            if found in ("rest", "copy") and re.search(pattern, name, re.IGNORECASE):
                found = kind
    return found


if __name__ == "__main__":
    main()
