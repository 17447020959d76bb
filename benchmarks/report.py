"""Figures with their targets: a table for people, JSON for the next run to compare with."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

Unit = Literal["GB/s", "ms", "s", "MB", "1/s", "files/s", "1"]
HIGHER_IS_BETTER = ("GB/s", "1/s", "files/s")


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
class Figure:
    """One line of the table."""

    name: str
    unit: Unit
    ours: float
    peer: float | None = None
    """The same of Tiled, the better one where it was measured in two ways."""
    target: Target | None = None
    note: str = ""

    @property
    def ratio(self) -> float | None:
        """How many times better than the peer; None where it was not measured."""
        if not self.peer or not self.ours:
            return None
        better = self.ours / self.peer
        return better if self.unit in HIGHER_IS_BETTER else 1 / better

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None where there is none, or no peer to compare with."""
        if self.target is None:
            return None
        if self.target.kind == "at least":
            return self.ours >= self.target.value
        if self.target.kind == "at most":
            return self.ours <= self.target.value
        return None if self.ratio is None else self.ratio >= self.target.value


def show(figures: Sequence[Figure], title: str, console: Console | None = None) -> None:
    """Print the figures as a table."""
    table = Table(title=title, title_justify="left")
    for name in ("", "unit", "ours", "Tiled", "ratio", "target", "met", ""):
        table.add_column(name, justify="right" if name in ("ours", "Tiled", "ratio") else "left")
    verdicts = {True: "[green]yes[/green]", False: "[bold red]no[/bold red]", None: ""}
    for figure in figures:
        table.add_row(
            figure.name,
            figure.unit,
            _number(figure.ours),
            _number(figure.peer),
            "" if figure.ratio is None else f"{figure.ratio:.1f} ×",
            str(figure.target or ""),
            verdicts[figure.met],
            figure.note,
        )
    (console or Console(width=160)).print(table)


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def save(figures: Sequence[Figure], folder: Path, scale: float) -> Path:
    """Write the figures as JSON, with the machine and the commit, and return the file."""
    now = datetime.now(UTC)
    document: dict[str, Any] = {
        "date": now.isoformat(timespec="seconds"),
        "commit": _commit(),
        "machine": machine(),
        "scale": scale,
        "figures": [
            asdict(figure) | {"ratio": figure.ratio, "met": figure.met} for figure in figures
        ],
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{now:%Y%m%d-%H%M%S}.json"
    path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    return path


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
