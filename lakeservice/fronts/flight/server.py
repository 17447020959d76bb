"""The Flight server: parse, ask the service, stream."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import msgspec
import pyarrow as pa
from pyarrow import flight

from lakeservice.codecs.memory import keep_freed
from lakeservice.fronts.flight import exchange
from lakeservice.fronts.flight.actions import ACTIONS, Actions, Body
from lakeservice.fronts.flight.arrays import (
    ENCODED_SCHEMA,
    TensorForm,
    answer_dims,
    encoded_batches,
    rows_of_batches,
)
from lakeservice.fronts.flight.direct import ACTIONS as DIRECT_ACTIONS
from lakeservice.fronts.flight.direct import DirectActions, DirectPolicy
from lakeservice.fronts.flight.guard import (
    MIDDLEWARE,
    CallerFactory,
    guarded,
    guarded_stream,
)
from lakeservice.fronts.flight.reduced import reduced_schema, reduced_stream
from lakeservice.fronts.received import checked
from lakeservice.service import Draft, Service, rows_of
from schemas.errors import ErrorKind, InvalidRequestError
from schemas.structures import ArrayStructure, ContainerStructure, family_of
from schemas.ticket import (
    AppendTo,
    ReadArray,
    ReadRequest,
    ReadTable,
    Search,
    WriteArray,
    WriteRequest,
    WriteTable,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lakeservice.access.keys import Authenticator
    from lakeservice.access.principals import Principal
    from schemas.entry import Node
    from schemas.selection import Selection

_READ: msgspec.json.Decoder[Any] = msgspec.json.Decoder(ReadRequest)
_WRITE: msgspec.json.Decoder[Any] = msgspec.json.Decoder(WriteRequest)
_SEARCH = msgspec.json.Decoder(Search)
_ACTIONS = {**ACTIONS, **DIRECT_ACTIONS}


class LakeFlightServer(flight.FlightServerBase):  # type: ignore[misc]
    """Arrow Flight over one service.

    Parameters
    ----------
    service
        The lake.
    authenticator
        Tells who a key belongs to; the same as on HTTP.
    host, port
        Where to listen; port 0 takes any free one, which ``.port`` then tells.
    about
        Document that the action ``about`` answers.
    direct
        Who may read the lake's files by itself, as `DirectActions` has it.
    """

    def __init__(
        self,
        service: Service,
        authenticator: Authenticator,
        *,
        host: str = "127.0.0.1",
        port: int = 8815,
        about: dict[str, Any] | None = None,
        direct: DirectPolicy = "auto",
    ) -> None:
        keep_freed()
        name = f"[{host}]" if ":" in host else host
        super().__init__(
            f"grpc://{name}:{port}", middleware={MIDDLEWARE: CallerFactory(authenticator)}
        )
        self._service = service
        self._actions = Actions(service, about or {})
        self._direct = DirectActions(service, direct, host)

    @guarded
    def list_flights(self, context: Any, criteria: bytes) -> Iterator[flight.FlightInfo]:
        """List the nodes that a search finds; criteria are a Search as JSON, or query text."""
        _principal(context).require("read:metadata")
        if criteria[:1] == b"{":
            search = _SEARCH.decode(criteria)
        else:
            search = Search(query=criteria.decode() or None)
        listing = self._service.search(search)
        return guarded_stream(self._listed(node) for node in listing.nodes)

    def _listed(self, node: Node) -> flight.FlightInfo:
        descriptor = flight.FlightDescriptor.for_path(*node.path.split("/"))
        metadata = {b"lake.node": msgspec.json.encode(self._actions.public(node))}
        schema = pa.schema([]).with_metadata(metadata)
        return flight.FlightInfo(schema, descriptor, [], -1, -1)

    @guarded
    def get_flight_info(
        self, context: Any, descriptor: flight.FlightDescriptor
    ) -> flight.FlightInfo:
        """Plan a read: the schema of the answer, and endpoints with signed tickets."""
        principal = _principal(context)
        principal.require("read:data")
        request = self._request(descriptor)
        node, tickets, rows = self._service.tickets(request, principal.name)
        schema = self._schema(node, request)
        expires = pa.scalar(
            int(self._service.signer.expiry(self._service.limits.ticket_s) * 1e9),
            pa.timestamp("ns", "UTC"),
        )
        endpoints = [
            flight.FlightEndpoint(ticket, [], expires, b"" if part is None else _rows_told(part))
            for ticket, part in tickets
        ]
        told = msgspec.json.encode({"id": node.id, "version": node.version})
        return flight.FlightInfo(
            schema, descriptor, endpoints, rows, -1, ordered=True, app_metadata=told
        )

    @guarded
    def get_schema(self, context: Any, descriptor: flight.FlightDescriptor) -> flight.SchemaResult:
        """Return the schema of what a read would answer."""
        _principal(context).require("read:metadata")
        request = self._request(descriptor)
        node = self._service.describe(request.path, as_of=request.as_of)
        return flight.SchemaResult(self._schema(node, request))

    def _request(self, descriptor: flight.FlightDescriptor) -> ReadRequest:
        if descriptor.descriptor_type == flight.DescriptorType.CMD:
            decoded: ReadRequest = _READ.decode(descriptor.command)
            return decoded
        path = "/".join(segment.decode() for segment in descriptor.path)
        node = self._service.describe(path)
        if isinstance(node.structure, ArrayStructure):
            return ReadArray(path=path)
        return ReadTable(path=path)

    def _schema(self, node: Node, request: ReadRequest) -> pa.Schema:
        if isinstance(request, ReadTable):
            reader = self._service.read_table(node, columns=request.columns, limit=0)
            with reader:
                return _table_schema(node, reader.schema)
        if not isinstance(request, ReadArray):
            return reduced_schema(self._service, node, request)
        selection = self._service.selection(node, request.selection)
        if request.delivery == "encoded":
            return self._encoded_schema(node, selection)
        return _form(node, selection).schema

    def _encoded_schema(self, node: Node, selection: Selection) -> pa.Schema:
        array = self._service.reader.array(node)
        layout = array.storage.layout
        document = {"selection": selection, "structure": array.structure, "layout": layout}
        return ENCODED_SCHEMA.with_metadata({b"lake.encoded": msgspec.json.encode(document)})

    @guarded
    def do_get(self, context: Any, ticket: flight.Ticket) -> flight.FlightDataStream:
        """Stream what a signed ticket, or a read request as JSON, asks for."""
        principal = _principal(context)
        principal.require("read:data")
        payload = ticket.ticket
        rows: tuple[int, int] | None = None
        if payload[:1] == b"{":
            request = _READ.decode(payload)
            node = self._service.describe(request.path, as_of=request.as_of)
        else:
            signed = self._service.signer.open_ticket(payload)
            if signed.principal != principal.name:
                raise InvalidRequestError(
                    ErrorKind.BAD_TICKET, "this ticket was given to somebody else; ask for your own"
                )
            request, rows = signed.request, signed.rows
            node = self._service.ticketed(signed)
        if isinstance(request, ReadTable):
            if rows is not None:
                request = msgspec.structs.replace(request, rows=rows)
            return self._table_stream(node, request)
        if not isinstance(request, ReadArray):
            return reduced_stream(self._service, node, request, context.is_cancelled)
        selection = self._service.selection(node, request.selection)
        if rows is not None:
            selection = rows_of(selection, rows)
        if request.delivery == "encoded":
            chunks = self._service.read_encoded(node, selection)
            return flight.GeneratorStream(
                self._encoded_schema(node, selection), guarded_stream(encoded_batches(chunks))
            )
        form = _form(node, selection)
        if selection.size * form.dtype.itemsize <= self._service.limits.small_bytes:
            whole = self._service.read_array_whole(node, selection)
            batches = list(form.batches([whole]))
            return flight.RecordBatchStream(pa.RecordBatchReader.from_batches(form.schema, batches))
        blocks = self._service.read_array(node, selection)
        return flight.GeneratorStream(form.schema, guarded_stream(form.batches(blocks)))

    def _table_stream(self, node: Node, request: ReadTable) -> flight.FlightDataStream:
        reader = self._service.read_table(
            node,
            columns=request.columns,
            where=request.where,
            limit=request.limit,
            partition=request.partition,
            rows=request.rows,
        )
        schema = _table_schema(node, reader.schema)
        return flight.GeneratorStream(schema, guarded_stream(_relabelled(reader, schema)))

    @guarded
    def do_put(
        self,
        context: Any,
        descriptor: flight.FlightDescriptor,
        reader: flight.MetadataRecordBatchReader,
        writer: flight.FlightMetadataWriter,
    ) -> None:
        """Write an array or a table, or append to one, as the descriptor's command says."""
        principal = _principal(context)
        principal.require("write:data")
        if descriptor.descriptor_type != flight.DescriptorType.CMD:
            raise InvalidRequestError(
                ErrorKind.BAD_REQUEST, "a put needs a command: a write request as JSON"
            )
        request = _WRITE.decode(descriptor.command)
        answered = self._service.answer(request.key)
        if answered is not None:
            for _ in _batches(reader):  # the client sends it all before it reads the answer
                pass
            writer.write(msgspec.json.encode(self._actions.brief(answered[-1])))
            return
        mutation = self._written(request, reader)
        if request.stage:
            receipt = self._service.signer.stage(mutation)
            writer.write(msgspec.json.encode({"receipt": receipt}))
            return
        applied = self._service.publish(mutation, key=request.key, principal=principal.name)
        writer.write(msgspec.json.encode(self._actions.brief(applied)))

    def _written(self, request: Any, reader: flight.MetadataRecordBatchReader) -> Any:
        service = self._service
        if isinstance(request, AppendTo):
            node = service.describe(request.path)
            if isinstance(node.structure, ArrayStructure):
                rows = rows_of_batches(_batches(reader), node.structure)
                return service.changes.append_rows(node, rows)
            if node.family in ("awkward", "ragged"):
                return service.nested.append(node, _reader(reader))
            return service.changes.tables.append(node, _reader(reader))
        draft = Draft(
            path=request.path,
            structure=request.structure or ContainerStructure(),
            metadata=request.metadata,
            specs=request.specs,
            parents=request.parents,
        )
        if isinstance(request, WriteArray):
            if not isinstance(draft.structure, ArrayStructure):
                raise InvalidRequestError(
                    ErrorKind.BAD_STRUCTURE,
                    f"write-array with the structure of a {family_of(draft.structure)}",
                )
            return service.writer.array(draft, rows_of_batches(_batches(reader), draft.structure))
        if isinstance(request, WriteTable):
            return service.writer.table(draft, _reader(reader))
        raise InvalidRequestError(ErrorKind.BAD_REQUEST, "not a write request")

    @guarded
    def do_exchange(
        self,
        context: Any,
        descriptor: flight.FlightDescriptor,
        reader: flight.MetadataRecordBatchReader,
        writer: flight.MetadataRecordBatchWriter,
    ) -> None:
        """Answer many small reads: batches of requests in, batches of answers out."""
        _principal(context).require("read:data")
        if descriptor.descriptor_type != flight.DescriptorType.CMD:
            raise InvalidRequestError(
                ErrorKind.BAD_REQUEST, "an exchange needs a command: JSON that says what to do"
            )
        exchange.check_command(descriptor.command)
        writer.begin(exchange.ANSWER_SCHEMA)
        for batch in exchange.answers(self._service, _batches(reader)):
            writer.write_batch(batch)

    @guarded
    def list_actions(self, context: Any) -> list[tuple[str, str]]:
        """Return the names of actions and what they do."""
        return [(name, text) for name, (_, text) in _ACTIONS.items()]

    @guarded
    def do_action(self, context: Any, action: flight.Action) -> Iterator[flight.Result]:
        """Answer an action: a JSON body in, JSON bodies out (MessagePack of direct delivery)."""
        principal = _principal(context)
        if action.type not in _ACTIONS:
            raise InvalidRequestError(
                ErrorKind.BAD_REQUEST,
                f"no action {action.type!r}; there are {', '.join(sorted(_ACTIONS))}",
            )
        scope, _ = _ACTIONS[action.type]
        principal.require(scope)
        if action.type in DIRECT_ACTIONS:
            ask = action.body.to_pybytes()
            found = self._direct.answer(action.type, ask, principal, context.peer())
            return iter([flight.Result(answer) for answer in found])
        body: Body = action.body.to_pybytes() or b"{}"
        answers = self._actions.answer(action.type, body, principal)
        encoded = (
            answer if isinstance(answer, bytes) else msgspec.json.encode(answer)
            for answer in answers
        )
        return iter([flight.Result(answer) for answer in encoded])


def _principal(context: Any) -> Principal:
    principal: Principal = context.get_middleware(MIDDLEWARE).principal
    return principal


def _form(node: Node, selection: Selection) -> TensorForm:
    structure = node.structure
    if not isinstance(structure, ArrayStructure):
        raise InvalidRequestError(ErrorKind.WRONG_FAMILY, f"{node.path!r} is not an array")
    return TensorForm(selection.shape, structure, answer_dims(structure, selection))


def _rows_told(rows: tuple[int, int]) -> bytes:
    return msgspec.json.encode({"rows": rows})


def _table_schema(node: Node, schema: pa.Schema) -> pa.Schema:
    document: dict[str, Any] = {"family": node.family}
    if node.family != "table":
        document["structure"] = node.structure
    kept = schema.metadata or {}
    return schema.with_metadata({**kept, b"lake.table": msgspec.json.encode(document)})


def _relabelled(
    reader: pa.RecordBatchReader, schema: pa.Schema
) -> Iterator[pa.RecordBatch | pa.Table]:
    # A generator stream sends the dictionaries of tables, but not those of batches.
    dictionaries = any(_has_dictionaries(field.type) for field in schema)
    with reader:
        for batch in reader:
            named = batch.replace_schema_metadata(schema.metadata)
            yield pa.Table.from_batches([named]) if dictionaries else named
            del batch, named  # before the next is decoded


def _has_dictionaries(dtype: pa.DataType) -> bool:
    if isinstance(dtype, pa.BaseExtensionType):
        dtype = dtype.storage_type
    inner = (dtype.field(number).type for number in range(dtype.num_fields))
    return pa.types.is_dictionary(dtype) or any(map(_has_dictionaries, inner))


def _batches(reader: flight.MetadataRecordBatchReader) -> Iterator[pa.RecordBatch]:
    return checked(_sent(reader))


def _sent(reader: flight.MetadataRecordBatchReader) -> Iterator[pa.RecordBatch]:
    with contextlib.suppress(StopIteration):
        while True:
            batch = reader.read_chunk().data
            if batch is not None:
                yield batch


def _reader(reader: flight.MetadataRecordBatchReader) -> pa.RecordBatchReader:
    return pa.RecordBatchReader.from_batches(reader.schema, _batches(reader))
