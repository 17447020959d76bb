"""Containers: nodes by key, search below them, and writes into them."""

from __future__ import annotations

from collections.abc import ItemsView, Iterable, Iterator, KeysView, Mapping, ValuesView
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from lakeservice.client.display import short_list
from lakeservice.client.families import node_at, unasked
from lakeservice.client.listing import SearchResult, query_of, sort_keys
from lakeservice.client.loading import Loading
from lakeservice.client.many import read_many
from lakeservice.client.node import LakeNode
from lakeservice.client.transaction import Transaction
from lakeservice.client.writes import Entry, Writes
from schemas.commit import Create, Mutation
from schemas.errors import NotFoundError
from schemas.query import Page, Query, SortKey
from schemas.structures import ContainerStructure, StructureFamily, family_of
from schemas.ticket import Search

if TYPE_CHECKING:
    import msgspec

    from lakeservice.client.uploads import Upload

NAMES_PAGE = 10_000
COMMIT_ENTRIES = 5_000
"""Entries that `Container.create_many` creates in one commit."""
_SHOWN = 8


class Container(LakeNode, Loading, Writes[Any], Mapping[str, Any]):
    """A node that holds other nodes, by key; keys may be whole paths below it."""

    family: ClassVar[StructureFamily] = "container"

    @property
    def structure(self) -> ContainerStructure:
        """Says only that it is a container."""
        return ContainerStructure()

    def __getitem__(self, key: str) -> Any:
        return node_at(self._remote, self._path_of(key))

    def __contains__(self, key: object) -> bool:
        if not isinstance(key, str):
            return False
        try:
            self._remote.describe(self._path_of(key))
        except NotFoundError:
            return False
        return True

    def __len__(self) -> int:
        return self._remote.count(Search(under=self._path))

    def __bool__(self) -> bool:
        return True

    def __iter__(self) -> Iterator[str]:
        offset = 0
        while True:
            page = Page(limit=NAMES_PAGE, offset=offset)
            names = self._remote.names(Search(under=self._path, page=page))
            yield from names
            if not names:
                return
            offset += len(names)

    def keys(self) -> KeysView[str]:
        """Return the keys of the children, in the order in which they were created."""
        return _Keys(self)

    def values(self) -> ValuesView[Any]:
        """Return the children; they are fetched page by page."""
        return _Values(self)

    def items(self) -> ItemsView[str, Any]:
        """Return pairs of key and child."""
        return _Items(self)

    def search(
        self,
        query: str | Query | None = None,
        *,
        sort: str | SortKey | Iterable[str | SortKey] | None = None,
        limit: int | None = None,
        deep: bool = True,
    ) -> SearchResult:
        """Find nodes by their metadata.

        Parameters
        ----------
        query
            Text such as ``"energy_ev > 12000 AND sample.name LIKE 'Fe%'"``, or a query of
            `schemas.query`; None finds everything.
        sort
            A metadata key, or several; ``-`` in front sorts from the largest down.
        limit
            At most so many nodes.
        deep
            Everything below, not only the children. What lies inside a file is
            found by searching in the file's node.

        Raises
        ------
        InvalidRequestError
            ``bad-query``, when the result is first looked at.
        """
        asked = Search(under=self._path, query=query_of(query), sort=sort_keys(sort), deep=deep)
        return SearchResult(self._remote, asked, limit)

    def distinct(
        self, *keys: str, query: str | Query | None = None, deep: bool = True
    ) -> dict[str, dict[Any, int]]:
        """Return the different values of metadata keys, and how many nodes have each.

        Parameters
        ----------
        keys
            Metadata keys, ``start.plan_name``.
        query
            Only among the nodes for which it holds.
        deep
            Everything below, not only the children.
        """
        asked = Search(under=self._path, query=query_of(query), deep=deep)
        answer = self._remote.distinct(asked, keys, counts=True)
        return {
            key: {item["value"]: item["count"] for item in found}
            for key, found in answer["metadata"].items()
        }

    def read_many(
        self,
        pairs: Iterable[tuple[str | LakeNode, Any]],
        delivery: Literal["auto", "direct", "decoded"] = "auto",
    ) -> list[Any]:
        """Read parts of many arrays, of any shapes and dtypes, in one call.

        Parameters
        ----------
        pairs
            An array (its key below this container, or the node), and a selection of it
            as `Array.read` takes it; None for all of it.
        delivery
            As in `Array.take`.

        Returns
        -------
        list of numpy.ndarray
            One array per pair, in order. Parts of one node are of one version of it.

        Raises
        ------
        LakeError
            What is wrong with the first pair that fails, which the message names:
            ``node-not-found``, ``wrong-family``, ``bad-slice``, ``corrupt-chunk``…
            Nothing half done is returned.
        """
        asked = [
            (key.path if isinstance(key, LakeNode) else self._path_of(key), selection)
            for key, selection in pairs
        ]
        return read_many(self._remote, asked, delivery)

    def create_many(
        self,
        entries: Iterable[Entry],
        *,
        parents: bool = True,
    ) -> int:
        """Create many containers with metadata, thousands in a commit.

        Parameters
        ----------
        entries
            Pairs ``(key, metadata)``, bare keys, or dicts with ``key``, ``metadata`` and
            ``specs``. May be longer than memory.
        parents
            Create missing containers above them too.

        Returns
        -------
        int
            How many were created. After an error those of earlier commits remain;
            a `transaction` creates all or none.
        """
        created = 0
        mutations: Iterator[msgspec.Raw] = self._encoded_creates(entries, parents=parents)
        with ThreadPoolExecutor(1, thread_name_prefix="lake-commit") as sender:
            committing: Future[int] | None = None
            try:
                while batch := list(islice(mutations, COMMIT_ENTRIES)):
                    if committing is not None:
                        created += committing.result()
                    committing = sender.submit(self._commit_all, batch)
            finally:  # what is on its way arrives, whatever has happened to the next
                self._known = None
                if committing is not None:
                    created += committing.result()
        return created

    def _commit_all(self, mutations: list[msgspec.Raw]) -> int:
        self._remote.commit(mutations)
        return len(mutations)

    def transaction(self) -> Transaction:
        """Return a context in which changes are collected and become visible together."""
        return Transaction(self._remote, self._path)

    def to_xarray(self) -> Any:
        """Return the arrays directly below as an `xarray.Dataset`, read when they are used."""
        from lakeservice.client.optional import needed  # xarray takes half a second

        needed("xarray", "xarray")
        from lakeservice.client.labelled import dataset

        return dataset(self)

    def _base(self) -> str:
        return self._path

    def _change(self, mutation: Mutation, path: str) -> LakeNode:
        self._remote.commit([mutation])
        self._known = None
        family = family_of(mutation.node.structure) if isinstance(mutation, Create) else "container"
        return unasked(self._remote, path, family)

    def _upload(self, upload: Upload, *, progress: bool) -> LakeNode:
        self._remote.send(upload, progress=progress)
        self._known = None
        request: Any = upload.request
        family = "table" if request.structure is None else family_of(request.structure)
        return unasked(self._remote, request.path, family)

    def _ipython_key_completions_(self) -> list[str]:
        return list(islice(self, 1000))

    def _facts(self) -> list[tuple[str, str]]:
        page = Page(limit=_SHOWN)
        names = self._remote.names(Search(under=self._path, page=page))
        count = len(self) if len(names) == _SHOWN else len(names)
        noun = "child" if count == 1 else "children"
        return [("children", f"{count} {noun} {short_list(names, count - len(names))}")]

    __eq__ = LakeNode.__eq__
    __hash__ = LakeNode.__hash__


class _Keys(KeysView[str]):
    def __init__(self, container: Container) -> None:
        super().__init__(container)
        self._container = container

    def __repr__(self) -> str:
        names = list(islice(self._container, 20))
        shown = short_list(names, len(self) - len(names))
        return f"<keys of {self._container.path or '/'!r}: {shown}>"


class _Values(ValuesView[Any]):
    def __init__(self, container: Container) -> None:
        super().__init__(container)
        self._container = container

    def __iter__(self) -> Iterator[Any]:
        return iter(self._container.search(deep=False))


class _Items(ItemsView[str, Any]):
    def __init__(self, container: Container) -> None:
        super().__init__(container)
        self._container = container

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        for node in self._container.search(deep=False):
            yield node.name, node
