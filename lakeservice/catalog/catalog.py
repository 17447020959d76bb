"""The catalog: the tree at its newest version, and searches in it."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from lakeservice.catalog.answers import Distinct, Found
from lakeservice.catalog.conditions import Conditions
from lakeservice.catalog.database import remove_database
from lakeservice.catalog.distinct import DistinctValues
from lakeservice.catalog.limits import check_page, check_query
from lakeservice.catalog.ordering import Ordering
from lakeservice.catalog.rebuild import Resources, index_at, open_index, snapshot_batches
from lakeservice.catalog.slot import Slot
from lakeservice.catalog.values import value_at
from lakeservice.storage.snapshots import write_snapshot
from schemas.errors import ErrorKind, NotFoundError
from schemas.query import EVERYTHING, Page

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from pathlib import Path

    import numpy.typing as npt

    from lakeservice.catalog.index import Index
    from lakeservice.catalog.places import Bools
    from lakeservice.catalog.reading import Reading
    from lakeservice.storage.lake import Lake
    from schemas.commit import Commit
    from schemas.entry import Node
    from schemas.query import Query, SortKey

T = TypeVar("T")

_PAST_CATALOGS = 2
"""Catalogs of the past that are kept open."""


class Catalog:
    """All entries of a lake: by path, and by what their metadata say.

    It implements `storage.commits.State`. A search sees every commit that was
    applied before it began.
    """

    def __init__(self, lake: Lake, index: Index, slot: Slot | None, resources: Resources) -> None:
        self._lake = lake
        self._index = index
        self._slot = slot
        self._resources = resources
        self._past: dict[int, Catalog] = {}
        self._past_mutex = threading.Lock()

    @classmethod
    def open(
        cls,
        lake: Lake,
        cache: Path | None = None,
        *,
        memory_limit_mb: int = 400,
        threads: int = 2,
        rebuild: bool = False,
    ) -> Catalog:
        """Open the index of a lake and bring it up to the newest commit.

        Parameters
        ----------
        lake
            The lake; nothing is written to it.
        cache
            Folder where indexes are kept between starts; None keeps it in memory.
        memory_limit_mb
            Memory that DuckDB may take, in MB; the process takes more.
        threads
            Threads that one search may use.
        rebuild
            Throw the cached index away and make a new one. A server that is running has
            an index of its own, which is left alone.

        Raises
        ------
        UnavailableError
            ``store-unavailable``: the cache cannot be used, or the lake not be read.
        CorruptError
            ``corrupt-object``: the log is damaged.
        """
        slot = None if cache is None else Slot.take(cache, lake.id)
        resources = Resources(memory_limit_mb, threads)
        try:
            if rebuild and slot is not None:
                remove_database(slot.index)
            return cls(lake, open_index(lake, slot, resources), slot, resources)
        except BaseException:
            if slot is not None:
                slot.release()
            raise

    @property
    def version(self) -> int:
        """The version of the last commit applied; 0 for none."""
        return self._index.version

    def apply(self, commits: Sequence[Commit]) -> None:
        """Take over consecutive commits; quick, and seen by everybody at once.

        Raises
        ------
        CorruptError
            ``corrupt-object``: they do not follow the last one, or contradict it.
        """
        self._index.apply(commits)

    def nodes(self, paths: Sequence[str]) -> dict[str, Node]:
        """Return those of the nodes that exist; the root only if somebody has updated it."""
        return self._index.nodes(paths)

    def has_children(self, path: str, without: Collection[str] = ()) -> bool:
        """Tell whether a node has children other than the paths in ``without``."""
        return self._index.has_children(path, without)

    def count_children(self, paths: Sequence[str]) -> dict[str, int]:
        """Return how many children each node has; paths without a node are left out."""
        return self._index.count_children(paths)

    def answered_in(self, key: str) -> int | None:
        """Return the version that answered an idempotency key; None if none did."""
        return self._index.answered_in(key)

    def search(
        self,
        under: str = "",
        query: Query = EVERYTHING,
        *,
        sort: Sequence[SortKey] = (),
        page: Page | None = None,
        deep: bool = False,
        max_depth: int | None = None,
    ) -> Found:
        """Return a page of the nodes in a container that match.

        Parameters
        ----------
        under
            Path of the container, which is not among the nodes itself.
        query
            What must hold; all nodes by default.
        sort
            Keys to sort by, the most important first; then by creation.
        page
            Which part; the first 100 by default.
        deep
            Everything below the container, not only its children.
        max_depth
            Of a deep search, how many levels down; 1 is the children. None is all.

        Raises
        ------
        NotFoundError
            ``node-not-found``: no such container.
        InvalidRequestError
            ``bad-query``, ``bad-sort``, ``bad-cursor``, ``bad-request``.
        """
        with self._index.reading() as reading:
            levels = _levels(max_depth, deep=deep)
            numbers, cursor, count = self._page(reading, under, query, sort, page or Page(), levels)
            documents = reading.view.document[numbers].tolist()
            found = self._index.documents.nodes(documents)
        return Found([found[number] for number in documents], cursor, count)

    def names(
        self,
        under: str = "",
        query: Query = EVERYTHING,
        *,
        sort: Sequence[SortKey] = (),
        page: Page | None = None,
        deep: bool = False,
    ) -> list[str]:
        """Return the paths, relative to the container, of a page of nodes; raises like `search`."""
        with self._index.reading() as reading:
            levels = _levels(None, deep=deep)
            numbers, _, _ = self._page(reading, under, query, sort, page or Page(), levels)
            return reading.paths(numbers, self._number(reading, under))

    def count(
        self,
        under: str = "",
        query: Query = EVERYTHING,
        *,
        deep: bool = False,
        max_depth: int | None = None,
    ) -> int:
        """Return how many nodes match; raises like `search`."""
        check_query(query)
        levels = _levels(max_depth, deep=deep)
        with self._index.reading() as reading:
            mask = self._mask(reading, Conditions(reading), under, query, levels)
            return int(np.count_nonzero(mask))

    def knows(self, key: str) -> bool:
        """Tell whether any metadata ever had a value at a key."""
        with self._index.reading() as reading:
            return reading.keys.number(key) is not None

    def distinct(
        self,
        under: str = "",
        query: Query = EVERYTHING,
        keys: Sequence[str] = (),
        *,
        families: bool = False,
        specs: bool = False,
        counts: bool = False,
        deep: bool = False,
    ) -> Distinct:
        """Return the different values that the matching nodes have.

        Parameters
        ----------
        under, query, deep
            Which nodes, as for `search`.
        keys
            Metadata keys.
        families, specs
            Whether to list structure families and specs as well.
        counts
            Whether to say how many nodes have each value.

        Raises
        ------
        TooLargeError
            ``too-large``: more than 100 000 different values of one key.
        LakeError
            Like `search`.
        """
        check_query(query)
        with self._index.reading() as reading:
            levels = _levels(None, deep=deep)
            mask = self._mask(reading, Conditions(reading), under, query, levels)
            values = DistinctValues(reading, mask)
            found: dict[str, list[tuple[Any, int]]] = {}
            for key in keys:
                lists = values.lists(key)
                documents = {node: int(reading.view.document[node]) for node, _ in lists}
                examples = self._index.documents.nodes(documents.values())
                found[key] = values.scalars(key) + [
                    (value_at(examples[documents[node]].metadata, key)[1], count)
                    for node, count in lists
                ]
            found_families = values.families() if families else []
            found_specs = values.specs() if specs else []
        return Distinct(
            {key: _answered(some, counts) for key, some in found.items()},
            _answered(found_families, counts),
            _answered(found_specs, counts),
        )

    def as_of(self, version: int) -> Catalog:
        """Return the catalog as it was at a version, in memory, read only.

        Raises
        ------
        NotFoundError
            ``version-not-found``: no such version, or the log no longer has it.
        """
        with self._past_mutex:
            past = self._past.pop(version, None)
            if past is None:
                index = index_at(self._lake, version, self._slot, self._resources)
                past = Catalog(self._lake, index, None, self._resources)
            self._past[version] = past
            while len(self._past) > _PAST_CATALOGS:
                # Not closed: somebody may still search it. It goes when nobody has it any more.
                del self._past[next(iter(self._past))]
            return past

    def write_snapshot(self) -> int:
        """Write all nodes as they are now to the lake; return their version."""
        with self._index.reading() as reading:
            version = reading.view.version
            requests = self._index.requests()
            answered = ((key, answered) for key, answered in requests if answered <= version)
            write_snapshot(self._lake, version, snapshot_batches(self._index, reading), answered)
            return version

    def settle(self) -> None:
        """Write and merge now what would be done in the background, and wait for it."""
        self._index.settle()

    def close(self) -> None:
        """Stop what goes on in the background, and leave the index for the next start."""
        with self._past_mutex:
            self._past.clear()
        self._index.close()
        if self._slot is not None:
            self._slot.release()

    def _page(
        self,
        reading: Reading,
        under: str,
        query: Query,
        sort: Sequence[SortKey],
        page: Page,
        levels: int | None,
    ) -> tuple[npt.NDArray[np.int64], str | None, int]:
        check_query(query)
        check_page(sort, page)
        conditions = Conditions(reading)
        mask = self._mask(reading, conditions, under, query, levels)
        part = Ordering(reading, conditions, sort, query).page(
            mask, limit=page.limit, offset=page.offset, cursor=page.cursor
        )
        return part.nodes, part.cursor, int(np.count_nonzero(mask))

    def _mask(
        self,
        reading: Reading,
        conditions: Conditions,
        under: str,
        query: Query,
        levels: int | None,
    ) -> Bools:
        mask = reading.view.below(self._number(reading, under), levels)
        return mask if query == EVERYTHING else mask & conditions.mask(query)

    def _number(self, reading: Reading, path: str) -> int:
        number = self._index.number_of(path)
        if number is None or number >= reading.view.count or not reading.view.alive[number]:
            raise NotFoundError(ErrorKind.NODE_NOT_FOUND, f"no node {path!r}")
        return number


def _levels(max_depth: int | None, *, deep: bool) -> int | None:
    return max_depth if deep else 1


def _answered(values: Sequence[tuple[T, int]], counts: bool) -> list[tuple[T, int | None]]:
    return [(value, count if counts else None) for value, count in values]
