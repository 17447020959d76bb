"""Figures with their targets: a table for people, JSON for the next run to compare with.

``python -m benchmarks.report FILE`` prints the lines of such a JSON file as Markdown.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.timing import Values

Unit = Literal["GB/s", "ms", "s", "MB", "1/s", "files/s", "1"]
HIGHER_IS_BETTER = ("GB/s", "1/s", "files/s")
SERVER_MB = 600
"""What a server may have resident at most, whatever is asked of it."""


@dataclass(frozen=True)
class Target:
    """What a figure has to reach."""

    kind: Literal["times the peer", "at least", "at most"]
    value: float

    def __str__(self) -> str:
        if self.kind == "times the peer":
            return f"≥ {self.value:g} × Tiled"
        return f"{'≥' if self.kind == 'at least' else '≤'} {self.value:g}"


@dataclass(frozen=True)
class Limit:
    """What the same work reaches without a service around it, measured in the same run."""

    value: float
    """In the unit of the figure."""
    what: str
    """Who reached it: a bare loop, another library."""
    share: float | None = None
    """Part of it that the figure has to reach; None where it is told only."""


@dataclass(frozen=True)
class Figure:
    """One line of the table."""

    name: str
    unit: Unit
    ours: float
    peer: float | None = None
    """The same of Tiled, the better one where it was measured in two ways."""
    target: Target | None = None
    note: str = ""
    limit: Limit | None = None
    server_mb: float | None = None
    """Peak of our server's resident memory meanwhile; None where another line has it."""
    group: str = ""
    """Lines of one group stand together."""

    @property
    def ratio(self) -> float | None:
        """How many times better than the peer; None where it was not measured."""
        return self._times(self.peer)

    @property
    def share(self) -> float | None:
        """Part of the limit that is reached; None where there is none."""
        return None if self.limit is None else self._times(self.limit.value)

    @property
    def met(self) -> bool | None:
        """Whether all targets are met; None where there is none, or nothing to compare with.

        A server that used too much memory misses it, whatever the figure is.
        """
        verdicts = (self._meets_target(), self._meets_limit(), self._meets_memory())
        if False in verdicts:
            return False
        return True if True in verdicts[:2] else None

    def _times(self, other: float | None) -> float | None:
        if not other or not self.ours:
            return None
        better = self.ours / other
        return better if self.unit in HIGHER_IS_BETTER else 1 / better

    def _meets_target(self) -> bool | None:
        if self.target is None:
            return None
        if self.target.kind == "at least":
            return self.ours >= self.target.value
        if self.target.kind == "at most":
            return self.ours <= self.target.value
        return None if self.ratio is None else self.ratio >= self.target.value

    def _meets_limit(self) -> bool | None:
        if self.limit is None or self.limit.share is None or self.share is None:
            return None
        return self.share >= self.limit.share

    def _meets_memory(self) -> bool | None:
        return None if self.server_mb is None else self.server_mb <= SERVER_MB


COLUMNS = {
    "": "left",
    "unit": "left",
    "ours": "right",
    "Tiled": "right",
    "ratio": "right",
    "target": "left",
    "limit": "right",
    "share": "right",
    "of it": "left",
    "server": "right",
    "met": "left",
    "note": "left",
}


def show(figures: Sequence[Figure], title: str, console: Console | None = None) -> None:
    """Print the figures as a table; columns that are empty throughout are left out."""
    verdicts = {True: "[green]yes[/green]", False: "[bold red]no[/bold red]", None: ""}
    rows = [
        (
            figure.name,
            figure.unit,
            _number(figure.ours),
            _number(figure.peer),
            "" if figure.ratio is None else f"{figure.ratio:.1f} ×",
            str(figure.target or ""),
            "" if figure.limit is None else _number(figure.limit.value),
            "" if figure.share is None else f"{figure.share:.2f}",
            _share(figure.limit),
            "" if figure.server_mb is None else f"{figure.server_mb:.0f} MB",
            verdicts[figure.met],
            "; ".join(part for part in (_what(figure.limit), figure.note) if part),
        )
        for figure in figures
    ]
    table = Table(title=title, title_justify="left")
    used = [number for number, _ in enumerate(COLUMNS) if any(row[number] for row in rows)]
    for number, (name, justify) in enumerate(COLUMNS.items()):
        if number in used:
            table.add_column(name, justify="right" if justify == "right" else "left")
    for figure, following, row in zip(figures, [*figures[1:], None], rows, strict=True):
        ends = following is not None and following.group != figure.group
        table.add_row(*(row[number] for number in used), end_section=ends)
    (console or Console(width=200)).print(table)


def _share(limit: Limit | None) -> str:
    return "" if limit is None or limit.share is None else f"≥ {limit.share:g}"


def _what(limit: Limit | None) -> str:
    return "" if limit is None else f"limit: {limit.what}"


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def save(
    figures: Sequence[Figure],
    folder: Path,
    scale: float,
    measured: dict[str, dict[str, Values]] | None = None,
) -> Path:
    """Write the figures as JSON, with the machine and the commit, and return the file.

    Parameters
    ----------
    measured
        All that was measured, of which the figures show a part; None leaves it out.
    """
    now = datetime.now(UTC)
    document: dict[str, Any] = {
        "date": now.isoformat(timespec="seconds"),
        "commit": _commit(),
        "machine": machine(),
        "scale": scale,
        "figures": [
            asdict(figure) | {"ratio": figure.ratio, "share": figure.share, "met": figure.met}
            for figure in figures
        ],
        "measured": measured or {},
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{now:%Y%m%d-%H%M%S}.json"
    path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    return path


def summary(document: dict[str, Any]) -> str:
    """Return where and when a saved run was made, in a line."""
    of_machine = document["machine"]
    return (
        f"Commit {document['commit']}, {document['date'][:10]}, {of_machine['processor']}, "
        f"{of_machine['cores']} cores, {of_machine['memory_gb']:g} GB, scale {document['scale']:g}"
    )


def markdown(document: dict[str, Any], group: str = "") -> str:
    """Return the figures of a saved run as a Markdown table, without columns that are empty.

    Parameters
    ----------
    document
        What `save` wrote.
    group
        Lines of this group only; empty for all that have a target.
    """
    rows = [("", "ours", "Tiled", "ratio", "limit", "share", "server's peak")]
    for figure in document["figures"]:
        limit = figure["limit"]
        targets = figure["target"] or (limit and limit["share"])
        if figure["group"] != group if group else not targets:
            continue
        unit = "" if figure["unit"] == "1" else f" {figure['unit']}"
        cells = (
            figure["name"],
            f"{_number(figure['ours'])}{unit}",
            "" if figure["peer"] is None else f"{_number(figure['peer'])}{unit}",
            "" if figure["ratio"] is None else f"{_times_text(figure['ratio'])} ×",
            "" if limit is None else f"{_number(limit['value'])}{unit}, {limit['what']}",
            "" if figure["share"] is None else f"{figure['share']:.2f}",
            "" if figure["server_mb"] is None else f"{figure['server_mb']:.0f} MB",
        )
        rows.append(cells)
    used = [number for number in range(len(rows[0])) if any(row[number] for row in rows[1:])]
    lines = [f"| {' | '.join(row[number] for number in used)} |" for row in rows]
    lines.insert(1, f"|{'---|' * len(used)}")
    return "\n".join((f"{summary(document)}:", "", *lines)) + "\n"


def _times_text(ratio: float) -> str:
    return f"{ratio:,.0f}" if ratio >= 10 else f"{ratio:.1f}"


def machine() -> dict[str, Any]:
    """Return what the figures depend on: processor, cores, memory, Python."""
    model = platform.machine()
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            model = next(line.split(":", 1)[1].strip() for line in lines if "model name" in line)
    except (OSError, StopIteration):
        pass
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "processor": model,
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(memory / 1e9, 1),
        "python": platform.python_version(),
    }


def _commit() -> str:
    command = ["git", "describe", "--always", "--dirty"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    return answer.stdout.strip()


if __name__ == "__main__":
    saved = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    sys.stdout.write(markdown(saved, *sys.argv[2:3]))
