"""A Bluesky run as the documents that it was made from, one JSON text a record (RFC 7464).

The layout is that of the writers for Tiled: the run's metadata hold ``start`` and
``stop``; each child is an event stream, its metadata the descriptor; below it lie
the table ``internal`` with one row an event, and one array for each data key whose
values are not in the table.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, Any

import msgspec

from lakeservice.export.exporter import Exporter
from lakeservice.export.file_series import series_of
from schemas.errors import ErrorKind, InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from lakeservice.export.exporter import Piece
    from lakeservice.export.sources import ArraySource, ContainerSource, Source, TableSource
    from schemas.entry import DataSource

RECORD_BYTES = 64 << 10
"""Records are sent together until they are about as long."""
ROWS = 1_000
"""Events of one stream that are read at a time."""
READ_BYTES = 4 << 20
"""Bytes of one array of a stream that are read at a time."""
_AT_THE_END = float("inf")
_INTERNAL = "internal"
_NOT_IN_DESCRIPTOR = frozenset({"_config_updates", "stream_name"})

Document = dict[str, Any]
Timed = tuple[float, str, Document]
"""A time to sort by, and a document with its name."""


def write_documents(run: ContainerSource) -> Iterator[Piece]:
    """Yield all documents of a run: start, descriptors and events in order of time, stop.

    What is not finite is null, because JSON has no word for it.
    """
    start = dict(run.metadata.get("start") or {})
    records = bytearray(_record("start", start))
    streams = [_stream(stream, start.get("uid")) for stream in _streams(run)]
    for _, name, document in heapq.merge(*streams, key=lambda timed: timed[0]):
        records += _record(name, document)
        if len(records) >= RECORD_BYTES:
            yield bytes(records)
            records.clear()
    stop = run.metadata.get("stop")
    if stop:
        records += _record("stop", dict(stop))
    if records:
        yield bytes(records)


def _record(name: str, document: Document) -> bytes:
    text = msgspec.json.encode({"name": name, "doc": document}, enc_hook=_json_value)
    return b"\x1e" + text + b"\n"


def _json_value(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else str(value)


def _streams(run: ContainerSource) -> list[Any]:
    """Return the streams of a run, also where an older writer put a node above them."""
    children: list[Any] = [child for child in run.children() if child.family == "container"]
    if len(children) == 1 and children[0].name == "streams" and not _is_stream(children[0]):
        children = [child for child in children[0].children() if child.family == "container"]
    return sorted(children, key=lambda child: child.name)


def _is_stream(source: Source) -> bool:
    return any(spec.name == "BlueskyEventStream" for spec in source.specs)


def _stream(stream: ContainerSource, run: str | None) -> Iterator[Timed]:
    """Yield the documents of one stream in order of time; what has no time comes last."""
    descriptors = descriptors_of(stream.metadata, stream.name, run)
    table: TableSource | None = None
    inside: dict[str, Any] = {}
    outside: dict[str, Any] = {}
    keys = stream.metadata.get("data_keys") or {}
    for child in stream.children():
        known: Any = child
        if child.name == _INTERNAL:
            table = known
        elif (keys.get(child.name) or {}).get("external"):
            outside[child.name] = known
        else:
            inside[child.name] = known
    timed = [(_seconds(one.get("time")), "descriptor", one) for one in descriptors]
    events = _events(table, inside, descriptors)
    yield from heapq.merge(timed, events, key=lambda one: one[0])
    uid = str(descriptors[0].get("uid", ""))
    for name, source in sorted(outside.items()):
        shape = tuple((keys.get(name) or {}).get("shape") or ())
        for kind, document in _resource(source, name, shape, run, uid):
            yield _AT_THE_END, kind, document


def descriptors_of(
    metadata: Mapping[str, Any], name: str, run: str | None
) -> Sequence[dict[str, Any]]:
    """Return the descriptor of a stream, and another for each change of its configuration.

    Parameters
    ----------
    metadata
        The stream's metadata: a descriptor, and ``_config_updates`` where there were any.
    name
        Name of the stream.
    run
        Uid of the run's start document.
    """
    first = {key: value for key, value in metadata.items() if key not in _NOT_IN_DESCRIPTOR}
    first["name"] = name
    if run is not None:
        first["run_start"] = run
    objects: dict[str, list[str]] = {}
    for key, described in (first.get("data_keys") or {}).items():
        if isinstance(described, dict) and described.get("object_name"):
            objects.setdefault(described["object_name"], []).append(key)
    first["object_keys"] = objects
    found = [first]
    for update in metadata.get("_config_updates") or ():
        found.append(_updated(found[-1], update))
    return found


def _updated(descriptor: dict[str, Any], update: Mapping[str, Any]) -> dict[str, Any]:
    changed = {key: update[key] for key in ("uid", "time") if key in update}
    configuration = dict(descriptor.get("configuration") or {})
    for device, given in (update.get("configuration") or {}).items():
        known = configuration.get(device) or {}
        configuration[device] = {
            **known,
            "data": {**known.get("data", {}), **given.get("data", {})},
            "timestamps": {**known.get("timestamps", {}), **given.get("timestamps", {})},
        }
    return {**descriptor, **changed, "configuration": configuration}


def _events(
    table: TableSource | None, arrays: Mapping[str, Any], descriptors: Sequence[Mapping[str, Any]]
) -> Iterator[Timed]:
    values = {name: _values(source) for name, source in sorted(arrays.items())}
    for number, row in enumerate(_rows(table, bool(values)), 1):
        sequence = row.get("seq_num", number)
        time = _seconds(row.get("time"))
        data = {
            key: value
            for key, value in row.items()
            if key not in ("seq_num", "time") and not key.startswith("ts_")
        }
        timestamps = {key: row.get(f"ts_{key}", time) for key in data}
        ended = False
        for name, elements in values.items():
            value = next(elements, _ENDED)
            if value is _ENDED:
                ended = True
                continue
            data[name] = value
            timestamps[name] = row.get(f"ts_{name}", time)
        if table is None and ended:
            return
        uid = _descriptor_at(descriptors, time)
        yield (
            time,
            "event",
            {
                "seq_num": sequence,
                "time": time,
                "uid": f"event-{uid}-{sequence}",
                "descriptor": uid,
                "data": data,
                "timestamps": timestamps,
            },
        )


_ENDED = object()


def _rows(table: TableSource | None, endless: bool) -> Iterator[dict[str, Any]]:
    """Yield the rows of a table; without one, empty rows for as long as anybody asks."""
    if table is None:
        while endless:
            yield {}
        return
    with table.read() as reader:
        for batch in reader:
            for start in range(0, batch.num_rows, ROWS):
                yield from batch.slice(start, ROWS).to_pylist()


def _values(source: Any) -> Iterator[Any]:
    """Yield what an array, or lists in a table, hold for each event."""
    if source.family == "array":
        yield from _array_values(source)
        return
    with source.read() as reader:
        for batch in reader:
            yield from batch.column(batch.num_columns - 1).to_pylist()


def _array_values(source: ArraySource) -> Iterator[Any]:
    if not source.shape:
        yield source.read().tolist()
        return
    row_bytes = source.dtype.itemsize
    for length in source.shape[1:]:
        row_bytes *= length
    step = max(1, min(ROWS, READ_BYTES // max(1, row_bytes)))
    for start in range(0, source.shape[0], step):
        yield from source.read((slice(start, start + step),)).tolist()


def _seconds(time: Any) -> float:
    """Return a time to sort by; what is no number is none."""
    try:
        return float(time or 0.0)
    except (TypeError, ValueError, OverflowError):
        return 0.0


def _descriptor_at(descriptors: Sequence[Mapping[str, Any]], time: float) -> str:
    """Return the uid of the descriptor that held at a time."""
    holding = descriptors[0]
    for later in descriptors[1:]:
        if _seconds(later.get("time")) <= time:
            holding = later
    return str(holding.get("uid", ""))


def _resource(
    source: Any, name: str, shape: tuple[int, ...], run: str | None, descriptor: str
) -> Iterator[tuple[str, Document]]:
    """Yield what tells of data that lie in files of their own: the files, and all their events."""
    data_source: DataSource | None = next(iter(source.data_sources), None)
    if data_source is None:
        return
    whole = source.shape if source.family == "array" else ()
    stacked = len(whole) == len(shape) + 1
    per_event = 1 if stacked or not shape else max(1, int(shape[0] or 1))
    count = whole[0] // per_event if whole else 1
    parameters: dict[str, Any] = {
        "join_method": "stack" if stacked else "concat",
        **data_source.parameters,
    }
    assets = sorted(data_source.assets, key=lambda asset: asset.num)
    named = [one for one in assets if one.parameter in ("data_uri", "data_uris")] or assets
    address, first = named[0].data_uri if named else "", 0
    series = series_of([one.data_uri for one in named])
    if series is not None and "template" not in parameters:
        # From these the writers make the names of the files again.
        address = series.folder
        parameters = {**parameters, "template": series.template}
        parameters.setdefault("chunk_shape", [1])
        first = series.start // per_event
    uid = f"sr-{descriptor}-{name}"
    yield (
        "stream_resource",
        {
            "data_key": name,
            "uid": uid,
            "run_start": run,
            "mimetype": data_source.mimetype,
            "parameters": parameters,
            "uri": address,
        },
    )
    yield (
        "stream_datum",
        {
            "uid": f"sd-{descriptor}-{name}-0",
            "stream_resource": uid,
            "descriptor": descriptor,
            "indices": {"start": first, "stop": first + count},
            "seq_nums": {"start": first + 1, "stop": first + count + 1},
        },
    )


class _Run(msgspec.Struct):
    start: dict[str, Any] | None = None
    stop: dict[str, Any] | None = None


class _Key(msgspec.Struct):
    shape: list[int | None] | None = None
    object_name: str | None = None


class _Device(msgspec.Struct):
    data: dict[str, Any] = {}
    timestamps: dict[str, Any] = {}


class _Update(msgspec.Struct):
    configuration: dict[str, _Device] | None = None


class _Descriptor(msgspec.Struct):
    data_keys: dict[str, _Key | None] | None = None
    configuration: dict[str, _Device | None] | None = None
    updates: list[_Update] | None = msgspec.field(default=None, name="_config_updates")


def check_run(run: ContainerSource) -> None:
    """Refuse what only says that it is a run.

    Raises
    ------
    InvalidRequestError
        ``unknown-format``: metadata that are no documents.
    """
    try:
        msgspec.convert(run.metadata, _Run)
        for stream in _streams(run):
            msgspec.convert(stream.metadata, _Descriptor)
    except msgspec.ValidationError as error:
        raise InvalidRequestError(
            ErrorKind.UNKNOWN_FORMAT,
            f"{run.name!r} is no run of Bluesky: {error}; choose another format",
        ) from None


DOCUMENTS = Exporter(
    family="container",
    media_type="application/json-seq",
    names=("json-seq",),
    spec="BlueskyRun",
    write=write_documents,
    check=check_run,
)
