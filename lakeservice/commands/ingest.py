"""Ingest from the command line: progress bar, summary, list of what failed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from ingest.ingest import ingest
from lakeservice.service import Service
from schemas.errors import ErrorKind, InvalidRequestError
from schemas.path import clean_path

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from rich.console import Console

    from ingest.committer import Committer
    from ingest.summary import Step, Summary
    from schemas.commit import Applied, Mutation
    from schemas.entry import Node

SHOWN_FAILURES = 200


class ServiceCommitter:
    """Commits what ingest made through a service in this process."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def describe(self, paths: Sequence[str]) -> dict[str, Node]:
        """Return the entries that exist at these paths."""
        self._service.refresh()
        return self._service.nodes.nodes(paths)

    def commit(
        self, mutations: Sequence[Mutation], *, key: str | None = None
    ) -> tuple[Applied, ...]:
        """Make mutations visible together."""
        return self._service.commit(mutations, key=key, principal="ingest", trusted=True)


def run_ingest(
    sources: Sequence[Path],
    *,
    lake: str,
    url: str,
    api_key: str,
    into: str,
    convert: bool,
    workers: int,
    cache: Path,
    console: Console,
) -> bool:
    """Ingest files into a lake; True when every file went in.

    With ``url``, the data is written into the lake and a running server makes it
    visible; without, this process does both.
    """
    if not lake:
        raise InvalidRequestError(
            ErrorKind.BAD_REQUEST, "say which lake with --lake; --url names a server beside it"
        )
    for source in sources:
        if not source.exists():
            raise InvalidRequestError(ErrorKind.UNREADABLE_FILE, f"there is no {source}")
    mode: Literal["register", "convert"] = "convert" if convert else "register"
    if url:
        from lakeservice.client.committer import ServerCommitter  # only this way needs the client

        with ServerCommitter(url, api_key) as committer:
            summary = ingest_shown(sources, lake, committer, into, mode, workers, console)
    else:
        with Service.open(lake, create=True, cache=cache) as service:
            committer_here = ServiceCommitter(service)
            summary = ingest_shown(sources, lake, committer_here, into, mode, workers, console)
    return not summary.failed


def ingest_shown(
    sources: Sequence[Path],
    lake: str,
    committer: Committer,
    into: str,
    mode: Literal["register", "convert"],
    workers: int,
    console: Console,
) -> Summary:
    """Ingest with a progress bar, then print what came of it."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(f"{mode} files", total=None)

        def progress(step: Step) -> None:
            bar.update(task, completed=step.done, total=step.total)

        summary = ingest(
            list(sources),
            lake,
            committer,
            into=clean_path(into),
            mode=mode,
            workers=workers,
            progress=progress,
        )
    show_summary(summary, console)
    return summary


def show_summary(summary: Summary, console: Console) -> None:
    """Print the counts, what could not be followed, and what failed with its reason."""
    rate = summary.bytes / max(summary.seconds, 1e-9) / 1e6
    console.print(
        f"{summary.added} added, {summary.changed} changed, {summary.unchanged} unchanged, "
        f"{len(summary.failed)} failed; {summary.bytes / 1e6:.1f} MB in {summary.seconds:.1f} s "
        f"({rate:.0f} MB/s)",
        highlight=False,
    )
    for title, rows in (("problems", summary.problems), ("failed", summary.failed)):
        if not rows:
            continue
        table = Table("file", "reason", title=title, title_justify="left")
        for name, reason in rows[:SHOWN_FAILURES]:
            table.add_row(str(name), str(reason))
        console.print(table, highlight=False)
        if len(rows) > SHOWN_FAILURES:
            console.print(f"… and {len(rows) - SHOWN_FAILURES} more")
