"""What can be asked of a lake, as typed calls."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from lakeservice.client.progress import progress_bar
from schemas.commit import Applied, Mutation
from schemas.entry import Node
from schemas.errors import ErrorKind, InvalidRequestError, LakeError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import pyarrow as pa

    from lakeservice.client.connection import Connection
    from lakeservice.client.uploads import Upload
    from schemas.direct import PlanArray, PlanTable
    from schemas.ticket import ReadArray, ReadRequest, Search

T = TypeVar("T")


class Described(msgspec.Struct):
    """A node, and how many children it has."""

    node: Node
    count: int | None = None
    """None where the node is no container."""


class Head(msgspec.Struct):
    """What precedes a page of nodes."""

    cursor: str | None = None
    count: int | None = None


class _Receipt(msgspec.Struct):
    receipt: str


_DESCRIBED = msgspec.json.Decoder(Described)
_HEAD = msgspec.json.Decoder(Head)
_NODES = msgspec.json.Decoder(list[Node])
_NAMES = msgspec.json.Decoder(list[str])
_COUNT = msgspec.json.Decoder(int)
_APPLIED = msgspec.json.Decoder(list[Applied])
_VERSIONS = msgspec.json.Decoder(list[tuple[str, int] | None])
_RECEIPT = msgspec.json.Decoder(_Receipt)


class Remote:
    """One lake, now or as of an earlier version; thread-safe and picklable.

    Parameters
    ----------
    connection
        Carries the calls.
    as_of
        Version of the lake to answer from; None for the present.
    """

    def __init__(self, connection: Connection, as_of: int | None = None) -> None:
        self.connection = connection
        self.as_of = as_of

    def __reduce__(self) -> tuple[Any, ...]:
        return Remote, (self.connection, self.as_of)

    def describe(self, path: str) -> Described:
        """Return a node; raises `NotFoundError` where there is none."""
        body = msgspec.json.encode({"path": path, "as_of": self.as_of})
        return _decoded(_DESCRIBED, self.connection.action("describe", body)[0])

    def versions(self, paths: Sequence[str]) -> list[tuple[str, int] | None]:
        """Return id and version of many nodes; None for one that is not there."""
        body = msgspec.json.encode({"paths": list(paths)})
        return _decoded(_VERSIONS, self.connection.action("versions", body)[0])

    def search(self, search: Search) -> tuple[Head, list[Node]]:
        """Return a page of nodes, and where the next one begins."""
        head, nodes = self.connection.action("search", self._body(search))
        return _decoded(_HEAD, head), _decoded(_NODES, nodes)

    def names(self, search: Search) -> list[str]:
        """Return the names of a page of nodes."""
        return _decoded(_NAMES, self.connection.action("names", self._body(search))[0])

    def count(self, search: Search) -> int:
        """Return how many nodes match, over all pages."""
        return _decoded(_COUNT, self.connection.action("count", self._body(search))[0])

    def distinct(self, search: Search, keys: Sequence[str], **wanted: bool) -> Any:
        """Return the different values of metadata keys, families and specs."""
        ask = {"search": self._of_now(search), "keys": list(keys), **wanted}
        answer = self.connection.action("distinct", msgspec.json.encode(ask))[0]
        return msgspec.json.decode(answer)

    def about(self) -> dict[str, Any]:
        """Return what the server says about itself."""
        answer: dict[str, Any] = msgspec.json.decode(self.connection.action("about", b"{}")[0])
        return answer

    def read(self, request: ReadRequest, consume: Callable[[Any], T], lane: int = 0) -> T:
        """Return what ``consume`` makes of the answer's stream; see `Connection.read`."""
        return self.connection.read(msgspec.json.encode(self._of_now(request)), consume, lane)

    def flight_info(self, request: ReadRequest) -> Any:
        """Return the ``FlightInfo`` of a read: its endpoints can be read side by side."""
        return self.connection.flight_info(msgspec.json.encode(self._of_now(request)))

    def message(self, request: ReadArray) -> Any:
        """Return a small array in one message: a line of JSON, and the elements."""
        body = msgspec.json.encode(self._of_now(request))
        return self.connection.action("read", body)[0]

    def plan(self, ask: PlanArray | PlanTable) -> Any:
        """Return which files hold the data of a node; `Unavailable` without direct delivery."""
        return self.connection.disk.plan(self.connection, ask)

    def batches(self, request: ReadRequest) -> Iterator[pa.RecordBatch]:
        """Yield the record batches of an answer as they arrive."""
        return self.connection.batches(msgspec.json.encode(self._of_now(request)))

    def commit(
        self, mutations: Sequence[Mutation | msgspec.Raw], receipts: Sequence[str] = ()
    ) -> list[Applied]:
        """Make mutations and staged data visible together, or none of them.

        Repeated after a lost connection, with one idempotency key: it is done once.
        """
        self._writable()
        ask = {"mutations": mutations, "receipts": receipts, "key": uuid.uuid4().hex}
        body = msgspec.json.encode(ask)
        try:
            return _decoded(_APPLIED, self.connection.action("commit", body)[0])
        finally:
            self.connection.disk.known.clear()

    def send(self, upload: Upload, *, progress: bool = False) -> Applied:
        """Send data and make it visible, once all of it has arrived."""
        return self.commit((), (self.stage(upload, progress=progress),))[-1]

    def stage(self, upload: Upload, *, progress: bool = False) -> str:
        """Send data, make nothing visible, and return a receipt for a commit."""
        self._writable()
        command = msgspec.structs.replace(upload.request, stage=True)
        with progress_bar(upload.request.path, upload.size_bytes, shown=progress) as moved:

            def batches() -> Iterator[pa.RecordBatch]:
                for batch in upload.batches():
                    yield batch
                    if moved is not None:
                        moved(batch.nbytes)

            answer = self.connection.write(
                msgspec.json.encode(command),
                upload.schema,
                batches,
                repeatable=upload.repeatable,
            )
        return _decoded(_RECEIPT, answer).receipt

    def _writable(self) -> None:
        if self.as_of is not None:
            raise InvalidRequestError(
                ErrorKind.BAD_REQUEST, f"version {self.as_of} is the past; write to the lake itself"
            )

    def _body(self, search: Search) -> bytes:
        return msgspec.json.encode(self._of_now(search))

    def _of_now(self, request: Any) -> Any:
        if self.as_of is None:
            return request
        return msgspec.structs.replace(request, as_of=self.as_of)


def _decoded(decoder: msgspec.json.Decoder[T], answer: Any) -> T:
    try:
        return decoder.decode(answer)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise LakeError(
            ErrorKind.BAD_REQUEST,
            f"the server's answer is not what this version understands: {error}",
        ) from None
