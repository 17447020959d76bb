"""Serve a lake or a folder of files."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import quote

from ingest.indexer import IndexingProcesses
from lakeservice.codecs.memory import share_arenas
from lakeservice.commands.ingest import ServiceCommitter, show_summary
from lakeservice.commands.places import INNER_LAKE, Place, place_of
from lakeservice.server import Server
from lakeservice.service import Service

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console

    from lakeservice.config import Settings

logger = logging.getLogger(__name__)
WATCH_S = 2.0
"""Seconds between two looks at a watched folder."""


def run_server(
    path: str,
    settings: Settings,
    cache: Path,
    *,
    watch: bool,
    show_key: bool,
    console: Console,
) -> None:
    """Serve until a signal ends the process."""
    share_arenas()
    place = place_of(path)
    roots = settings.serve.roots
    if place.files is not None:
        roots = (*roots, str(place.files))
    indexer = IndexingProcesses()
    service = Service.open(
        place.lake,
        create=True,
        cache=cache,
        limits=settings.limits,
        roots=[address_of(root) for root in roots],
        indexer=indexer,
        show_paths=settings.serve.show_paths,
        raw_assets=settings.serve.raw_assets,
    )
    with contextlib.closing(indexer), service:
        server = Server(service, replace(settings.serve, roots=roots))
        follower = Follower(place, service, console, watch=watch)

        def ready() -> None:
            _announce(server, settings, place, console, show_key=show_key)
            follower.start()

        try:
            server.run(ready)
        finally:
            follower.stop()


def _announce(
    server: Server, settings: Settings, place: Place, console: Console, *, show_key: bool
) -> None:
    key = settings.serve.api_key
    console.print(f"serving {place.files or place.lake}", highlight=False, soft_wrap=True)
    console.print(f"  HTTP    {server.url}", highlight=False)
    console.print(
        f"  Flight  grpc://{server.url.partition('://')[2].rpartition(':')[0]}:{server.flight_port}",
        highlight=False,
    )
    if show_key and key is not None:
        console.print(f"  key     {key.reveal()}", highlight=False, soft_wrap=True)
        console.print(
            f'  python  lakeservice.connect("{server.url}", api_key="{key.reveal()}")',
            highlight=False,
            soft_wrap=True,
        )
    console.file.flush()


class Follower:
    """Registers the files of a served folder, once or for as long as the server runs."""

    def __init__(self, place: Place, service: Service, console: Console, *, watch: bool) -> None:
        self._place = place
        self._service = service
        self._console = console
        self._watch = watch
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin, in a thread."""
        if self._place.files is not None:
            self._thread = threading.Thread(target=self._follow, name="follow", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """End after the pass that is under way."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join()

    def _follow(self) -> None:
        seen: frozenset[tuple[str, int, int]] | None = None
        while not self._ended.is_set():
            try:
                present = self._look()
                if present != seen:
                    self._register()
                    seen = present
            except Exception:
                logger.exception("the folder could not be followed")
            if not self._watch:
                return
            self._ended.wait(WATCH_S)

    def _look(self) -> frozenset[tuple[str, int, int]]:
        found = set()
        for folder, folders, names in os.walk(self._place.files or ""):
            folders[:] = [name for name in folders if name != INNER_LAKE]
            for name in names:
                try:
                    status = os.stat(os.path.join(folder, name))
                except OSError:
                    continue
                found.add((os.path.join(folder, name), status.st_size, status.st_mtime_ns))
        return frozenset(found)

    def _register(self) -> None:
        from ingest.ingest import ingest  # only servers of folders need it

        if self._place.files is None:
            return
        summary = ingest(
            [self._place.files],
            self._place.lake,
            ServiceCommitter(self._service),
            mode="register",
        )
        if summary.added or summary.changed or summary.failed:
            show_summary(summary, self._console)


def address_of(root: str) -> str:
    """Return the ``file://`` URI of a folder, in the form that the files in it have."""
    from pathlib import Path as LocalPath

    path = LocalPath(root).expanduser().absolute().as_posix()
    return "file://localhost" + quote(path, safe="/", errors="surrogateescape")
