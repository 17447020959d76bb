"""Mutations as they may enter the log: of the declared types, in JSON's values, clean paths."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from lakeservice.storage.forms import check_awkward, check_ragged
from lakeservice.storage.layout import ROOT_ID, data_prefix, is_id
from schemas.chunks import ArrayStorage, Indexed, Part, TableStorage, ZarrParts
from schemas.commit import Create, Mutation
from schemas.errors import ErrorKind, InvalidRequestError
from schemas.path import clean_path
from schemas.structures import (
    ArrayStructure,
    AwkwardStructure,
    RaggedStructure,
    Structure,
    TableStructure,
)

if TYPE_CHECKING:
    from schemas.entry import DataSource

_decoder: msgspec.json.Decoder[Mutation] = msgspec.json.Decoder(Mutation)


def normal(mutation: Mutation) -> Mutation:
    """Return a mutation exactly as every reader of the log will see it.

    A log object that cannot be decoded would stop every server, so a mutation
    goes through its own encoding before it is let in.

    Raises
    ------
    InvalidRequestError
        ``bad-metadata``: a value that JSON does not have, NaN and infinities among
        them; ``bad-path``; ``bad-request``: a field of another type than declared,
        or an id that is none.
    """
    try:
        encoded = msgspec.json.encode(mutation, enc_hook=_plain)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise InvalidRequestError(
            ErrorKind.BAD_METADATA, f"the request holds a value that JSON does not have: {error}"
        ) from None
    try:
        decoded = _decoder.decode(encoded)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise InvalidRequestError(
            ErrorKind.BAD_REQUEST, f"the request is malformed: {error}"
        ) from None
    if decoded != mutation:
        _refuse_non_finite(msgspec.to_builtins(mutation, enc_hook=_plain, str_keys=True), ())
    return _clean(decoded)


def check_structure(structure: Structure) -> None:
    """Refuse a structure that contradicts itself.

    Raises
    ------
    InvalidRequestError
        ``bad-structure``.
    """
    if isinstance(structure, ArrayStructure):
        structure.check()
    elif isinstance(structure, AwkwardStructure):
        check_awkward(structure)
    elif isinstance(structure, RaggedStructure):
        check_ragged(structure)
    elif isinstance(structure, TableStructure):
        names = tuple(structure.to_arrow().names)
        if names != structure.columns:
            raise InvalidRequestError(
                ErrorKind.BAD_STRUCTURE,
                f"columns are {list(structure.columns)}, but the Arrow schema has {list(names)}",
            )


def check_sources(node_id: str, sources: tuple[DataSource, ...]) -> None:
    """Refuse data sources whose stored objects are not the node's own.

    Raises
    ------
    InvalidRequestError
        ``bad-request``: an object outside ``data/<node id>/``.
    """
    for source in sources:
        for name in stored_names(source):
            check_own(node_id, name)
        location = source.storage.location if isinstance(source.storage, ArrayStorage) else None
        if isinstance(location, ZarrParts) and location.rewritten is not None:
            check_own(node_id, location.rewritten)


def check_own(node_id: str, name: str) -> None:
    """Refuse an object name that is not below ``data/<node id>/``."""
    if not name.startswith(f"{data_prefix(node_id)}/") or any(
        segment in ("", ".", "..") for segment in name.split("/")
    ):
        raise InvalidRequestError(
            ErrorKind.BAD_REQUEST,
            f"object {name!r} does not belong to the node with id {node_id!r}; "
            f"its objects lie below {data_prefix(node_id)}/",
        )


def stored_parts(source: DataSource) -> tuple[Part, ...]:
    """Return the parts in the lake that a data source consists of."""
    storage = source.storage
    if isinstance(storage, TableStorage):
        return storage.parts
    if isinstance(storage, ArrayStorage) and isinstance(storage.location, ZarrParts):
        return storage.location.parts
    return ()


def stored_names(source: DataSource) -> list[str]:
    """Return the objects and prefixes in the lake that a data source refers to."""
    names = [part.name for part in stored_parts(source)]
    if source.tree is not None:
        names.append(source.tree)
    if isinstance(source.storage, ArrayStorage) and isinstance(source.storage.location, Indexed):
        names.append(source.storage.location.index)
    return names


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} objects cannot be stored as metadata")


def _refuse_non_finite(value: Any, keys: tuple[str, ...]) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        where = ".".join(keys[keys.index("metadata") + 1 :] if "metadata" in keys else keys)
        raise InvalidRequestError(
            ErrorKind.BAD_METADATA,
            f"the value at {where!r} is {value}, which JSON does not have; "
            "write null or the text of it",
        )
    if isinstance(value, dict):
        for key, inner in value.items():
            _refuse_non_finite(inner, (*keys, str(key)))
    elif isinstance(value, list | tuple):
        for inner in value:
            _refuse_non_finite(inner, keys)


def _clean(mutation: Mutation) -> Mutation:
    replace = msgspec.structs.replace
    if isinstance(mutation, Create):
        node = mutation.node
        if not is_id(node.id) or node.id == ROOT_ID:
            raise InvalidRequestError(
                ErrorKind.BAD_REQUEST,
                f"{node.id!r} is no id of a node: up to 64 letters, digits, '-' and '_'",
            )
        path = clean_path(node.path)
        return mutation if path == node.path else replace(mutation, node=replace(node, path=path))
    path = clean_path(mutation.path)
    return mutation if path == mutation.path else replace(mutation, path=path)
