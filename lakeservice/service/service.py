"""The service: one lake, answered for every front."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from lakeservice.access.stored_keys import KeyStore
from lakeservice.catalog import Catalog
from lakeservice.config import Limits
from lakeservice.export.prepared import Kept
from lakeservice.service.assets import Assets
from lakeservice.service.changes import Changes
from lakeservice.service.direct import Direct
from lakeservice.service.following import Following
from lakeservice.service.live import Hub
from lakeservice.service.nested_changes import NestedChanges
from lakeservice.service.nodes import Nodes
from lakeservice.service.planned_nodes import PlannedNodes
from lakeservice.service.promises import check_composite, check_promises, is_composite
from lakeservice.service.publishing import Publisher
from lakeservice.service.reading import Reader
from lakeservice.service.reductions import Reductions
from lakeservice.service.registering import (
    Indexer,
    Registrar,
    folders_of,
    is_registered,
    refuse_broken,
)
from lakeservice.service.searching import Searcher, query_of
from lakeservice.service.snapshots import Snapshots
from lakeservice.service.sparse_changes import SparseChanges
from lakeservice.service.tickets import Signer
from lakeservice.service.writing import Draft, Writer
from lakeservice.storage.committer import Committer
from lakeservice.storage.files import FileReader
from lakeservice.storage.lake import Lake
from schemas.errors import ConflictError, ErrorKind, InvalidRequestError
from schemas.selection import Selection, parse_selection
from schemas.structures import family_of
from schemas.ticket import ReadArray, ReadRequest, ReadTable, Search

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    import numpy as np
    import pyarrow as pa

    from lakeservice.catalog import Distinct
    from lakeservice.service.array_plans import Plan
    from lakeservice.service.events import Delivery
    from lakeservice.service.listing import Listing
    from lakeservice.service.row_plans import RowPlan
    from lakeservice.storage.arrays import EncodedChunk
    from schemas.commit import Append, Applied, Create, Mutation
    from schemas.entry import DataSource, Node
    from schemas.query import Query
    from schemas.ticket import Ticket


class Service:
    """Describe, search, plan, read and write one lake; every method is thread-safe.

    Parameters
    ----------
    lake
        The lake, opened.
    cache
        Folder for the index; None keeps the index in memory.
    limits
        What one request may use.
    roots
        ``file://`` URIs of folders in which clients may register files.
    secret
        Key that signs tickets; None makes a random one.
    indexer
        Looks into files that clients register; None where they register none.
    show_paths
        Tell clients in which folders files lie.
    raw_assets
        Give clients files as they are.
    """

    def __init__(
        self,
        lake: Lake,
        *,
        cache: Path | None = None,
        limits: Limits | None = None,
        roots: Sequence[str] = (),
        secret: bytes | None = None,
        indexer: Indexer | None = None,
        show_paths: bool = False,
        raw_assets: bool = True,
    ) -> None:
        self.limits = limits or Limits()
        self.lake = lake
        self.catalog = Catalog.open(
            lake,
            cache,
            memory_limit_mb=self.limits.index_memory_mb,
            threads=self.limits.threads,
        )
        self.nodes = Nodes(self.catalog, lake.objects)
        self._searcher = Searcher(self.nodes)
        self.keys = KeyStore(lake.objects)
        self.live = Hub(
            self.nodes.version,
            window_s=self.limits.live_s,
            window_bytes=self.limits.live_bytes,
        )
        self.committer = Committer(lake, self.nodes, listener=self.live.record)
        self.following = Following(self.live, self.committer.follow)
        files = FileReader(confines=folders_of(roots) or None)
        self.reader = Reader(lake.objects, files, self.limits)
        self.reductions = Reductions(self.reader)
        self.writer = Writer(lake.objects, self.nodes)
        self.changes = Changes(lake.objects)
        self.nested = NestedChanges(lake.objects)
        self.sparse = SparseChanges(lake.objects)
        self.publisher = Publisher(lake.objects, self.committer, roots)
        self.registrar = Registrar(lake.objects, self.nodes, self._commit_reindexed, roots, indexer)
        self.assets = Assets(
            lake.objects, files, self.registrar, show_paths=show_paths, raw=raw_assets
        )
        self.signer = Signer(secret, lasts_s=self.limits.ticket_s)
        self.direct = Direct(
            lake.objects,
            self.reader,
            files,
            self.signer,
            fresh_s=self.limits.direct_fresh_ms / 1000,
        )
        self.kept = Kept()
        self._planned = PlannedNodes()
        self._snapshots = Snapshots(self.catalog, self.limits.snapshot_commits)

    @classmethod
    def open(
        cls,
        uri: str,
        *,
        create: bool = False,
        cache: Path | None = None,
        limits: Limits | None = None,
        roots: Sequence[str] = (),
        indexer: Indexer | None = None,
        show_paths: bool = False,
        raw_assets: bool = True,
    ) -> Self:
        """Open the lake at a path or URI, and its index.

        Raises
        ------
        InvalidRequestError
            ``not-a-lake`` (unless ``create``), ``newer-lake``.
        """
        try:
            lake = Lake.open(uri)
        except InvalidRequestError as error:
            if not create or error.kind is not ErrorKind.NOT_A_LAKE:
                raise
            lake = Lake.create(uri)
        return cls(
            lake,
            cache=cache,
            limits=limits,
            roots=roots,
            indexer=indexer,
            show_paths=show_paths,
            raw_assets=raw_assets,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Finish what is under way and let go of the index."""
        self.following.close()
        self.direct.close()
        self.committer.close()
        self._snapshots.close()
        self.kept.clear()
        self.catalog.close()

    def refresh(self) -> int:
        """Apply what other servers committed; returns the log version that answers now show."""
        return self.committer.follow()

    def describe(self, path: str, *, as_of: int | None = None) -> Node:
        """Return the node at a path: an entry, a node inside a file, or a column of a table.

        Parameters
        ----------
        as_of
            Log version to look at; None for the present.

        Raises
        ------
        NotFoundError
            ``node-not-found``, ``version-not-found``.
        """
        self.refresh()
        node = self.nodes.describe(path, self._at(as_of))
        if as_of is None and is_registered(node) and self.registrar.fresh(self.nodes.entry(node)):
            node = self.nodes.describe(path)
        if "/" in node.id:
            refuse_broken(node)
            node = self.reader.sized(node)
        return node

    def children_count(self, node: Node) -> int | None:
        """Return how many children a container has; None for what is not a container."""
        return self.children_counts([node])[0]

    def children_counts(
        self, nodes: Sequence[Node], *, as_of: int | None = None
    ) -> list[int | None]:
        """Return `children_count` of each node, with one question to the index."""
        return self._searcher.children_counts(nodes, self._catalog(as_of))

    def search(self, search: Search) -> Listing:
        """Return a page of the nodes below ``search.under`` that match.

        Raises
        ------
        InvalidRequestError
            ``bad-query``, ``bad-sort``, ``bad-cursor``.
        NotFoundError
            ``node-not-found``: no such container.
        """
        container = self.describe(search.under, as_of=search.as_of)
        refuse_broken(container)
        return self._searcher.search(container, search, self._catalog(search.as_of))

    def names(self, search: Search) -> list[str]:
        """Return the names (last segments) of a page of nodes, cheaper than the nodes."""
        container = self.describe(search.under, as_of=search.as_of)
        refuse_broken(container)
        return self._searcher.names(container, search, self._catalog(search.as_of))

    def count(self, search: Search) -> int:
        """Return how many nodes match, over all pages."""
        container = self.describe(search.under, as_of=search.as_of)
        return self._searcher.count(container, search, self._catalog(search.as_of))

    def distinct(
        self,
        search: Search,
        keys: Sequence[str],
        *,
        families: bool = False,
        specs: bool = False,
        counts: bool = False,
    ) -> Distinct:
        """Return the different values of metadata keys, families and specs below a container."""
        container = self.describe(search.under, as_of=search.as_of)
        return self._searcher.distinct(
            container,
            search,
            self._catalog(search.as_of),
            keys,
            families=families,
            specs=specs,
            counts=counts,
        )

    def query(self, query: str | Query | None) -> Query:
        """Return a query as a tree, whichever way it was asked."""
        return query_of(query)

    def selection(self, node: Node, text: str | None) -> Selection:
        """Return the selection that a text means for this array."""
        return parse_selection(text, self.reader.structure(node).shape)

    def plan(self, node: Node, selection: Selection, *, encoded: bool = False) -> Plan:
        """Return what a read costs and how it can be split; touches no data."""
        return self.reader.plan(node, selection, encoded=encoded)

    def tickets(
        self, request: ReadRequest, principal: str
    ) -> tuple[Node, list[tuple[bytes, tuple[int, int] | None]], int]:
        """Plan a read: the node, a signed ticket and its rows per endpoint, and the rows in all."""
        node = self.describe(request.path, as_of=request.as_of)
        parts: tuple[tuple[int, int] | None, ...] = (None,)
        rows = -1
        if isinstance(request, ReadArray):
            selection = self.selection(node, request.selection)
            plan = self.plan(node, selection, encoded=request.delivery == "encoded")
            rows = plan.rows
            if len(plan.parts) > 1:
                parts = plan.parts
            self._planned.keep(node)
        elif isinstance(request, ReadTable):
            planned = self.plan_table(node, request)
            if request.limit is None:
                parts = planned.parts
                rows = planned.rows if request.where is None else -1
        signed = self.signer.tickets(request, node, parts, principal)
        return node, list(zip(signed, parts, strict=True)), rows

    def ticketed(self, ticket: Ticket) -> Node:
        """Return the node in the version that a ticket is for.

        Raises
        ------
        ConflictError
            ``revision-conflict``: it has another version now, and this server does not
            remember the one that was planned.
        NotFoundError
            ``node-not-found``: likewise, and there is no such node any more.
        """
        path = ticket.request.path
        planned = self._planned.get(path, ticket.id, ticket.version)
        if planned is not None:
            return planned
        node = self.describe(path, as_of=ticket.request.as_of)
        if (node.id, node.version) != (ticket.id, ticket.version):
            raise ConflictError(
                ErrorKind.REVISION_CONFLICT,
                f"{path!r} has changed since the ticket was made; ask for a new one",
            )
        return node

    def plan_table(self, node: Node, request: ReadTable) -> RowPlan:
        """Return which ranges of rows can be read side by side; see `Reader.plan_table`."""
        return self.reader.plan_table(
            node,
            columns=request.columns,
            where=None if request.where is None else self.query(request.where),
            partition=request.partition,
            rows=request.rows,
        )

    def read_array(self, node: Node, selection: Selection) -> Iterator[np.ndarray[Any, Any]]:
        """Yield the selected elements in C order in bounded blocks; see `Reader.read_array`."""
        return self.reader.read_array(node, selection)

    def read_array_whole(self, node: Node, selection: Selection) -> np.ndarray[Any, Any]:
        """Return the selected elements as one array."""
        return self.reader.read_array_whole(node, selection)

    def read_array_each(
        self, node: Node, selections: Sequence[Selection], outs: Sequence[np.ndarray[Any, Any]]
    ) -> None:
        """Fill an array per selection; see `Reader.read_array_each`."""
        self.reader.read_array_each(node, selections, outs)

    def read_encoded(self, node: Node, selection: Selection) -> Iterator[EncodedChunk]:
        """Yield the stored chunks that a selection touches."""
        return self.reader.read_encoded(node, selection)

    def read_table(
        self,
        node: Node,
        *,
        columns: Sequence[str] | None = None,
        where: str | Query | None = None,
        limit: int | None = None,
        partition: int | None = None,
        rows: tuple[int, int] | None = None,
    ) -> pa.RecordBatchReader:
        """Return a reader of the rows that match, projected."""
        return self.reader.read_table(
            node,
            columns=None if columns is None else tuple(columns),
            where=None if where is None else self.query(where),
            limit=limit,
            partition=partition,
            rows=rows,
        )

    def commit(
        self,
        mutations: Sequence[Mutation],
        *,
        key: str | None = None,
        principal: str | None = None,
        trusted: bool = False,
        note: Delivery | None = None,
    ) -> tuple[Applied, ...]:
        """Make mutations visible together, then tell who listens; see `Publisher.commit`."""
        check_promises(mutations, self.describe, self.search)
        applied = self.publisher.commit(
            mutations, key=key, principal=principal, trusted=trusted, note=note
        )
        self._snapshots.consider()
        return applied

    def publish(
        self, written: Create | Append, *, key: str | None = None, principal: str | None = None
    ) -> Applied:
        """Make data visible that `writer` wrote; see `Publisher.publish`."""
        applied = self.publisher.publish(written, key=key, principal=principal)
        self._snapshots.consider()
        return applied

    def answer(self, key: str | None) -> tuple[Applied, ...] | None:
        """Return what a request with this idempotency key was answered; None where it is new.

        Asked before an upload: a client that repeats one gets its answer without sending
        the data a second time into the lake.
        """
        if key is None:
            return None
        self.refresh()
        version = self.nodes.answered_in(key)
        commit = self.lake.log.read(version) if version is not None else None
        if commit is None:
            return None
        asked = [number for number, request in enumerate(commit.requests) if request.key == key]
        return tuple(applied for applied in commit.applied if applied.request in asked)

    def write_array(
        self,
        draft: Draft,
        rows: Iterable[np.ndarray[Any, Any]],
        *,
        key: str | None = None,
        principal: str | None = None,
    ) -> Applied:
        """Write an array and make it visible."""
        create = self.writer.array(draft, rows)
        return self.publish(create, key=key, principal=principal)

    def write_table(
        self,
        draft: Draft,
        reader: pa.RecordBatchReader,
        *,
        key: str | None = None,
        principal: str | None = None,
    ) -> Applied:
        """Write a table (or sparse, awkward, ragged data in Arrow form) and make it visible."""
        create = self.writer.table(draft, reader)
        return self.publish(create, key=key, principal=principal)

    def create_empty(
        self, draft: Draft, *, key: str | None = None, principal: str | None = None
    ) -> Applied:
        """Create a node whose data is written later; an array reads as zeros until then."""
        if is_composite(draft.specs):
            check_composite(family_of(draft.structure), ())
        create = self.writer.empty(draft)
        return self.publish(create, key=key, principal=principal)

    def register(
        self,
        draft: Draft,
        source: DataSource,
        *,
        key: str | None = None,
        principal: str | None = None,
    ) -> Applied:
        """Make a node of files that a client names; see `Registrar.create`."""
        create = self.registrar.create(draft, source)
        return self.publish(create, key=key, principal=principal)

    def _commit_reindexed(self, mutation: Mutation) -> None:
        self.commit([mutation], principal="indexer", trusted=True)

    def _catalog(self, as_of: int | None) -> Catalog:
        return self._at(as_of) or self.catalog

    def _at(self, as_of: int | None) -> Catalog | None:
        if as_of is None or as_of == self.catalog.version:
            return None
        return self.catalog.as_of(as_of)
