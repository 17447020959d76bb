"""Direct delivery: who sees the lake's disk is told which files hold the data of a node."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np

from lakeservice.codecs.grid import Piece
from lakeservice.service.direct_tables import table_plan
from lakeservice.storage.layout import TEMPORARY
from schemas.chunks import Inline
from schemas.direct import (
    MAX_PAGES,
    PAGE_CHUNKS,
    PROOF_BYTES,
    PROOF_PREFIX,
    ArrayHead,
    ArrayPlan,
    ChunkPage,
    Granted,
    LocalFile,
    Offer,
    Offered,
    Seen,
    Unavailable,
    Unchanged,
)
from schemas.errors import LakeError

if TYPE_CHECKING:
    from lakeservice.service.reading import Reader
    from lakeservice.service.tickets import Signer
    from lakeservice.storage.arrays import StoredArray
    from lakeservice.storage.files import FileReader
    from lakeservice.storage.locations import ByteRange
    from lakeservice.storage.objects import Objects
    from schemas.direct import DirectAnswer, PlanAnswer, PlanArray, PlanTable
    from schemas.entry import Node
    from schemas.query import Query

_OFFER_S = 10.0
_MOST_OFFERS = 64
_ELSEWHERE = Unavailable("this client does not see the lake's folder")


class Direct:
    """Gives passes to clients on the same disk, and tells their holders where chunks lie.

    Thread-safe.

    Parameters
    ----------
    objects
        The lake's objects.
    reader
        Opens the arrays of nodes.
    files
        Knows which registered files may be read.
    signer
        Signs offers and passes.
    fresh_s
        How long clients use what they were told before they ask again, in s.
    """

    def __init__(
        self,
        objects: Objects,
        reader: Reader,
        files: FileReader,
        signer: Signer,
        *,
        fresh_s: float = 1.0,
    ) -> None:
        self._objects = objects
        self._root = b"" if objects.root is None else os.fsencode(objects.root.absolute())
        self._reader = reader
        self._files = files
        self._signer = signer
        self.fresh_s = fresh_s
        self._offered: dict[str, float] = {}
        self._lock = threading.Lock()

    def offer(self, principal: str) -> DirectAnswer:
        """Put a file into the lake's folder that only who sees this disk can read back."""
        if not self._root:
            return Unavailable("the lake is not on a local disk")
        self._sweep(_OFFER_S)
        if len(self._offered) >= _MOST_OFFERS:
            return Unavailable("too many clients ask at once")
        nonce = secrets.token_bytes(PROOF_BYTES)
        name = f"{TEMPORARY}/{PROOF_PREFIX}{secrets.token_hex(12)}"
        try:
            self._objects.put(name, nonce, durable=False)
        except LakeError:
            return Unavailable("this server cannot write into the lake's folder")
        with self._lock:
            self._offered[name] = time.monotonic()
        offered = Offered(
            name=name,
            digest=hashlib.sha256(nonce).digest(),
            principal=principal,
            expires=self._signer.expiry(_OFFER_S),
        )
        path = self._root + b"/" + name.encode()
        return Offer(path=path, token=self._signer.offer(offered))

    def grant(self, seen: Seen, principal: str) -> DirectAnswer:
        """Return a pass to a client that has read back the file of its offer, once.

        Raises
        ------
        InvalidRequestError
            ``bad-ticket``: not this server's offer, or one to somebody else.
        AccessError
            ``ticket-expired``.
        """
        offered = self._signer.open_offer(seen.token, principal)
        with self._lock:
            known = self._offered.pop(offered.name, None)
        if known is None:
            return _ELSEWHERE
        self._delete([offered.name])
        if not hmac.compare_digest(seen.proof, offered.digest):
            return _ELSEWHERE
        return Granted(grant=self._signer.grant(principal))

    def admit(self, grant: bytes, principal: str) -> None:
        """Refuse a pass that is not this principal's.

        Raises
        ------
        InvalidRequestError
            ``bad-ticket``: not this server's pass, or one of somebody else.
        AccessError
            ``ticket-expired``.
        """
        self._signer.open_grant(grant, principal)

    def plan(self, ask: PlanArray, node: Node) -> PlanAnswer:
        """Return pages of the chunk table of a node; the caller's pass was looked at before.

        Raises
        ------
        InvalidRequestError
            ``wrong-family``: not an array.
        CorruptError
            ``asset-missing``: a registered file that may not be read.
        """
        known = (node.id, node.version) == (ask.id, ask.version)
        if known and not ask.pages:
            return Unchanged(fresh_s=self.fresh_s)
        self._reader.structure(node)
        if node.data_sources and "column" in node.data_sources[0].parameters:
            return Unavailable("a column of a table has no chunks of its own")
        array = self._reader.array(node)
        if isinstance(array.storage.location, Inline) or not self._root:
            return Unavailable("this array does not lie in files")
        head = ArrayHead(structure=array.structure, layout=array.storage.layout, root=self._root)
        pages = -(-array.grid.size // PAGE_CHUNKS)
        wanted = [number for number in ask.pages[:MAX_PAGES] if 0 <= number < pages]
        return ArrayPlan(
            id=node.id,
            version=node.version,
            fresh_s=self.fresh_s,
            head=None if known else head,
            pages=tuple(self._page(array, number) for number in wanted),
        )

    def plan_table(self, ask: PlanTable, node: Node, where: Query | None) -> PlanAnswer:
        """Return the files of a table; the caller's pass was looked at before.

        Parameters
        ----------
        where
            The condition that is asked about, as a tree.

        Raises
        ------
        InvalidRequestError
            ``wrong-family``: it has no rows.
        CorruptError
            ``asset-missing``: a registered file that may not be read.
        """
        if where is None and (node.id, node.version) == (ask.id, ask.version):
            return Unchanged(fresh_s=self.fresh_s)
        table = self._reader.table(node)
        return table_plan(
            node, table, self._files, root=self._root, fresh_s=self.fresh_s, where=where
        )

    def close(self) -> None:
        """Take back what was offered."""
        self._sweep(0.0)

    def _sweep(self, age_s: float) -> None:
        before = time.monotonic() - age_s
        with self._lock:
            old = [name for name, made in self._offered.items() if made <= before]
            for name in old:
                del self._offered[name]
        self._delete(old)

    def _delete(self, names: list[str]) -> None:
        """Delete files of offers; of use to nobody any more, they may as well stay."""
        with suppress(LakeError):
            self._objects.delete(names)

    def _page(self, array: StoredArray, number: int) -> ChunkPage:
        grid = array.grid
        first = number * PAGE_CHUNKS
        positions = [grid.position(n) for n in range(first, min(first + PAGE_CHUNKS, grid.size))]
        pieces = [Piece(position, *grid.bounds(position), (), ()) for position in positions]
        places = array.ranges(pieces)
        numbers: dict[str | int, int] = {}
        files: list[LocalFile] = []
        for place in places:
            key = _key(place)
            if place is not None and key not in numbers:
                numbers[key] = len(files)
                files.append(self._file(array, place))
        masks = [0 if place is None else place.filter_mask for place in places]
        return ChunkPage(
            number=number,
            files=tuple(files),
            file=_column([numbers.get(_key(place), -1) for place in places], "<i4"),
            offset=_column([0 if place is None else place.offset for place in places], "<i8"),
            length=_column([_length(place) for place in places], "<i8"),
            filter_mask=_column(masks, "<u4") if any(masks) else b"",
            required=_column([place is not None and _required(place) for place in places], "u1"),
        )

    def _file(self, array: StoredArray, place: ByteRange) -> LocalFile:
        if place.name is not None:
            return LocalFile(place.name.encode())
        asset = array.asset(place.asset)
        path = os.fsencode(self._files.path(asset))
        return LocalFile(path, asset.size_bytes, asset.mtime_ns, asset.grows)


def _key(place: ByteRange | None) -> str | int:
    if place is None:
        return -1
    return place.asset if place.name is None else place.name


def _required(place: ByteRange) -> bool:
    return place.required or place.name is None


def _length(place: ByteRange | None) -> int:
    return -1 if place is None or place.length is None else place.length


def _column(values: list[int] | list[bool], dtype: str) -> bytes:
    return np.array(values, dtype).tobytes()
