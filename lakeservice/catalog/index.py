"""The index: follows commits in memory at once and in DuckDB in bulk."""

from __future__ import annotations

import contextlib
import logging
import threading
from typing import TYPE_CHECKING

import duckdb
import msgspec
import numpy as np

from lakeservice.catalog.batches import Batch, BatchWriter, Change
from lakeservice.catalog.columns import table
from lakeservice.catalog.database import fetch_columns
from lakeservice.catalog.documents import Documents
from lakeservice.catalog.keeper import Keeper
from lakeservice.catalog.keys import Keys
from lakeservice.catalog.lookup import Lookup
from lakeservice.catalog.places import ROOT_NUMBER, Places
from lakeservice.catalog.reading import Reading
from lakeservice.catalog.runs import Runs, Stopped
from lakeservice.storage.commits import fold
from schemas.errors import CorruptError, ErrorKind, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from lakeservice.catalog.batches import Written
    from lakeservice.catalog.database import Database
    from lakeservice.catalog.places import View
    from lakeservice.catalog.runs import Run
    from schemas.commit import Applied, Commit
    from schemas.entry import Node

_FLUSH_NODES = 5_000
"""So many changed nodes in memory are written in the background."""
_WAIT_NODES = 20_000
"""So many are written before anything else is taken over."""
_SUPERSEDED = 1_000
"""Documents of the past that are let be, at least."""
_PATIENCE = 3

logger = logging.getLogger(__name__)


class Index:
    """The tree at one version, in memory and in a database.

    A commit is taken over in memory, which takes microseconds; nodes are
    written to the database when there are many, when all is quiet, or when
    somebody searches. Whoever asks for nodes by path sees both.

    Parameters
    ----------
    database
        Where to keep it; what is in it is taken over.
    background
        Whether a thread of its own writes and merges while nobody asks.
    """

    def __init__(self, database: Database, *, background: bool) -> None:
        self._database = database
        self.documents = Documents(database)
        self.version = database.version
        """The version of the last commit applied; 0 for none."""
        self.mark = database.mark
        """What tells that commit from any other; empty where it is not known."""
        self._mutex = threading.RLock()
        """Held while what is in memory changes, and for a consistent look at it."""
        self._writing = threading.RLock()
        """Held by whoever writes to the database; taken before the mutex."""
        self._changes: dict[int, Change] = {}
        self._in_hand: dict[int, Change] = {}
        """Changes that are being written."""
        self._new_paths: list[str] = []
        self._new_requests: dict[str, int] = {}
        self._superseded: list[int] = []
        self._view: View | None = None
        self._places = Places(database.secret)
        self._requests = Lookup(database.secret)
        self._next_document = 0
        self._runs = Runs(database)
        self._keys = self._load()
        self._writer = BatchWriter(database, self._runs, self._keys, self._places, self._requests)
        self._kept_nodes = self._places.count
        self._kept_version = self.version
        self._tidying = threading.Lock()
        """Held by whoever merges; taken before the others."""
        self._stop = threading.Event()
        self._keeper = Keeper(self._tidy_all) if background else None

    def apply(self, commits: Sequence[Commit]) -> None:
        """Take over consecutive commits.

        Raises
        ------
        CorruptError
            ``corrupt-object``: they do not follow, or contradict what is there.
        """
        for commit in commits:
            with self._mutex:
                if commit.version != self.version + 1:
                    raise CorruptError(
                        ErrorKind.CORRUPT_OBJECT,
                        f"version {commit.version} of the log does not follow {self.version}",
                    )
                for line in commit.applied:
                    self._apply(line)
                for request in commit.requests:
                    if request.key is not None:
                        self._add_request(request.key, commit.version)
                self.version = commit.version
                self.mark = mark_of(commit)
                self._view = None
            self._make_room()

    def restore(
        self, nodes: Iterable[Node], requests: Iterable[tuple[str, int]], version: int
    ) -> None:
        """Take over all nodes, in the order of creation, as they were at a version.

        Raises
        ------
        CorruptError
            ``corrupt-object``: a node without a parent, or out of order.
        """
        last = -1
        for node in nodes:
            if node.seq < last:
                raise CorruptError(
                    ErrorKind.CORRUPT_OBJECT, "the nodes are not in the order of creation"
                )
            last = node.seq
            with self._mutex:
                self._changes[self._number_for(node)] = Change(node, searchable=True)
                self._view = None
            self._make_room()
        with self._mutex:
            for key, answered in requests:
                self._add_request(key, answered)
            self.version = version
        self.flush()

    def nodes(self, paths: Sequence[str]) -> dict[str, Node]:
        """Return those of the nodes that exist; the root only if somebody has updated it."""
        found: dict[str, Node] = {}
        stored: list[tuple[str, int]] = []
        with contextlib.ExitStack() as held:
            with self._mutex:
                held.enter_context(self._runs.leases.held())
                for path, number in zip(paths, self._places.find_many(paths), strict=True):
                    if number is None:
                        continue
                    change = self._changes.get(number) or self._in_hand.get(number)
                    if change is None:
                        if (document := self._places.document(number)) >= 0:
                            stored.append((path, document))
                    elif change.node is not None and change.node.path == path:
                        found[path] = change.node
            nodes = self.documents.nodes(document for _, document in stored)
        for path, document in stored:
            node = nodes.get(document)
            # Two paths may share a hash; the node says which of them it is at.
            if node is not None and node.path == path:
                found[path] = node
        return found

    def has_children(self, path: str, without: Collection[str] = ()) -> bool:
        """Tell whether a node has children other than the paths in ``without``."""
        with self._mutex:
            number = self._places.find(path)
            if number is None:
                return False
            count = self._places.children(number)
            if count and without:
                others = self._places.find_many(list(without))
                count -= sum(
                    other is not None and self._places.parent(other) == number for other in others
                )
            return count > 0

    def count_children(self, paths: Sequence[str]) -> dict[str, int]:
        """Return how many children each node has; paths without a node are left out."""
        with self._mutex:
            numbers = self._places.find_many(paths)
            return {
                path: self._places.children(number)
                for path, number in zip(paths, numbers, strict=True)
                if number is not None
            }

    def answered_in(self, key: str) -> int | None:
        """Return the version that answered an idempotency key; None if none did."""
        with self._mutex:
            version = self._new_requests.get(key)
            if version is not None or not self._requests.find(key):
                return version
        with self._database.cursor() as cursor:
            rows = cursor.execute(
                "SELECT version FROM requests WHERE hash = ? AND key = ?",
                [self._requests.hash_of(key), key],
            ).fetchall()
        return int(rows[0][0]) if rows else None

    def requests(self) -> Iterator[tuple[str, int]]:
        """Yield the answered idempotency keys with their versions."""
        self.flush()
        with self._database.cursor() as cursor:
            rows = cursor.execute("SELECT key, version FROM requests")
            while some := rows.fetchmany(10_000):
                yield from some

    def number_of(self, path: str) -> int | None:
        """Return the number of the node at a path; None if there is none."""
        with self._mutex:
            return self._places.find(path)

    @contextlib.contextmanager
    def reading(self) -> Iterator[Reading]:
        """Give a consistent sight of everything applied so far."""
        with contextlib.ExitStack() as held:
            view, runs = self._look(held)
            cursor = held.enter_context(self._database.cursor())
            yield Reading(view=view, runs=runs, keys=self._keys, cursor=cursor)

    def flush(self) -> None:
        """Write everything that is only in memory to the database.

        Raises
        ------
        UnavailableError
            ``store-unavailable``: it cannot be written; it stays in memory.
        """
        with self._writing:
            with self._mutex:
                if not self._changes and self._kept_version == self.version:
                    return
                self._in_hand, self._changes = self._changes, {}
                batch = Batch(
                    changes=self._in_hand,
                    version=self.version,
                    mark=self.mark,
                    nodes=self._places.columns(self._kept_nodes),
                    paths=list(self._new_paths),
                    requests=list(self._new_requests.items()),
                )
            try:
                written = self._writer.write(batch, self._next_document)
            except BaseException as error:
                with self._mutex:
                    self._changes = {**self._in_hand, **self._changes}
                    self._in_hand = {}
                if not isinstance(error, duckdb.Error):
                    raise
                logger.exception("the index could not be written")
                raise UnavailableError(
                    ErrorKind.STORE_UNAVAILABLE,
                    "the index cannot be written, so the newest entries cannot be searched; "
                    "is the disk of the cache full?",
                ) from error
            self._take_over(batch, written)

    def settle(self) -> None:
        """Write and merge until there is nothing left to tidy up."""
        self._tidy_all(quiet=True)

    def close(self) -> None:
        """Stop what goes on in the background, write what is in memory, and close the file."""
        self._stop.set()
        if self._keeper is not None:
            self._keeper.close()
        try:
            self.flush()
        except UnavailableError:
            logger.warning("the index was closed without its newest entries; they are in the log")
        self._database.close()

    def _apply(self, line: Applied) -> None:
        number = self._places.find(line.path)
        if line.op == "delete":
            if number is not None:
                for gone in self._places.remove(number):
                    self._changes[gone] = Change(None, searchable=True)
            return
        before = None
        if number is not None:
            before = self._at_hand(number, read=line.op == "append")
        node = fold(before, line)
        if node is None:
            return
        searchable = before is None or _searchable(before) != _searchable(node)
        if number is None:
            number = self._number_for(node)
        elif (earlier := self._changes.get(number)) is not None:
            searchable |= earlier.searchable
        self._changes[number] = Change(node, searchable)

    def _number_for(self, node: Node) -> int:
        if not node.path:
            return ROOT_NUMBER
        number = self._places.add(node.path, node.seq)
        if number is None:
            raise CorruptError(
                ErrorKind.CORRUPT_OBJECT,
                f"node {node.path!r} was created below a container that is not there",
            )
        self._new_paths.append(node.path)
        return number

    def _at_hand(self, number: int, *, read: bool) -> Node | None:
        change = self._changes.get(number) or self._in_hand.get(number)
        if change is not None:
            return change.node
        document = self._places.document(number)
        if read and document >= 0:
            return self.documents.nodes([document]).get(document)
        return self.documents.cached(document)

    def _add_request(self, key: str, version: int) -> None:
        self._new_requests[key] = version
        self._requests.add(key, version)

    def _make_room(self) -> None:
        """Have the changes in memory written when they are many."""
        most = _FLUSH_NODES if self._keeper is None else _WAIT_NODES
        if len(self._changes) >= most:
            try:
                self.flush()
            except UnavailableError:
                logger.warning("the newest entries stay in memory for now")
        elif self._keeper is not None:
            self._keeper.notify()

    def _look(self, held: contextlib.ExitStack) -> tuple[View, tuple[Run, ...]]:
        """Take a view of everything applied, all of it written, with a lease on it."""
        for _ in range(_PATIENCE):
            self.flush()
            with self._mutex:
                if not self._changes and not self._in_hand:
                    return self._look_now(held)
        # Commits come in faster than they are written: this time they wait.
        with self._writing, self._mutex:
            self.flush()
            return self._look_now(held)

    def _look_now(self, held: contextlib.ExitStack) -> tuple[View, tuple[Run, ...]]:
        if self._view is None:
            self._view = self._places.view(self.version)
        held.enter_context(self._runs.leases.held())
        return self._view, self._runs.all

    def _take_over(self, batch: Batch, written: Written) -> None:
        """Note in memory where a batch was written, all at once for whoever looks."""
        places, requests = self._places, self._requests
        versions = np.array([version for _, version in batch.requests], np.int64)
        places.paths.stage(written.path_hashes, batch.nodes["number"].astype(np.int64))
        requests.stage(written.request_hashes, versions)
        settled = [
            (lookup, lookup.sort(), newest)
            for lookup, newest in (
                (places.paths, self._kept_nodes + len(batch.paths) - 1),
                (requests, batch.version),
            )
            if lookup.is_long
        ]
        with self._mutex:
            for number in written.records:
                places.new_record(number)
            for number, document in written.documents:
                places.set_document(number, document)
            for lookup, arrays, newest in settled:
                lookup.settle(arrays, newest)
            if len(written.documents) < _FLUSH_NODES:
                for number, document in written.documents:
                    node = batch.changes[number].node
                    if node is not None:
                        self.documents.keep(document, node)
            self._superseded += written.superseded
            self._next_document += len(written.documents)
            self._runs.all = written.runs
            self._kept_nodes += len(batch.paths)
            self._kept_version = batch.version
            del self._new_paths[: len(batch.paths)]
            for key, version in batch.requests:
                if self._new_requests.get(key) == version:
                    del self._new_requests[key]
            self._in_hand = {}
            self._view = None

    def _load(self) -> Keys:
        with self._database.cursor() as cursor:
            keys = dict(cursor.execute("SELECT key, number FROM keys").fetchall())
            nodes = fetch_columns(cursor, "SELECT parent, seq, hash FROM nodes ORDER BY number")
            documents = fetch_columns(
                cursor, "SELECT number, node, record FROM documents ORDER BY number"
            )
            answered = fetch_columns(cursor, "SELECT hash, version FROM requests")
        if nodes["seq"].size or documents["number"].size:
            self._places.load(nodes, documents)
            self._next_document = 1 + int(documents["number"].max(initial=-1))
            self._superseded = self._places.superseded(documents)
        self._requests.stage(answered["hash"], answered["version"])
        self._requests.settle(self._requests.sort(), self.version)
        return Keys(keys)

    def _tidy_all(self, quiet: bool) -> None:
        """Do what can wait, piece by piece, until it is done or the catalog is being closed."""
        with self._tidying:
            while not self._stop.is_set() and self._tidy(quiet):
                pass

    def _tidy(self, quiet: bool) -> bool:
        """Do one piece of work that can wait; tell whether there may be more."""
        if len(self._changes) >= _FLUSH_NODES or (quiet and self._changes):
            self.flush()
        self._runs.leases.clear()
        chosen = self._runs.to_merge(idle=quiet)
        if chosen:
            with self._mutex:
                stale = self._places.stale_records()
            try:
                merged = self._runs.merge(chosen, stale, self._stop)
            except Stopped:
                return False
            with self._writing, self._mutex:
                self._runs.swap(chosen, merged)
            return True
        if quiet:
            self._drop_superseded()
            self._runs.leases.clear()
        return False

    def _drop_superseded(self) -> None:
        with self._mutex:
            if len(self._superseded) < max(_SUPERSEDED, self._places.count // 10):
                return
            gone, self._superseded = self._superseded, []
        self._runs.leases.retire(lambda: self._delete_documents(gone))

    def _delete_documents(self, numbers: list[int]) -> None:
        with self._writing, self._database.transaction() as cursor:
            cursor.register("gone", table(number=np.array(numbers, np.int64)))
            cursor.execute("DELETE FROM documents WHERE number IN (FROM gone)")
            cursor.unregister("gone")


def mark_of(commit: Commit) -> str:
    """Return what tells a commit from another one of the same version in another log."""
    return f"{commit.writer}:{commit.time_ns}"


def _searchable(node: Node) -> bytes:
    return msgspec.json.encode((node.metadata, node.specs, node.family, node.access_tags))
