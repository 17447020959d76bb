"""Forms of nested data: which buffers there are, of which types, and how one leads to the next.

A form is Awkward Array's description of its buffers as a JSON object
(https://awkward-array.org/doc/main/user-guide/how-to-convert-buffers.html).
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from schemas.errors import ErrorKind, InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from schemas.structures import AwkwardStructure, RaggedStructure

MAX_DEPTH = 64
"""Deepest nesting of a form."""
MAX_NODES = 100_000
"""Most nodes of a form."""
_CLASS = re.compile(
    r"(Numpy|Empty|Regular|ListOffset|List|Record|IndexedOption|Indexed|ByteMasked|BitMasked|"
    r"Unmasked|Union)Array(?:8_)?(32|U32|64)?"
)
_INDEX = {"i8": "i1", "u8": "u1", "i32": "<i4", "u32": "<u4", "i64": "<i8"}
_OLD_INDEX = {"32": "i32", "U32": "u32", "64": "i64"}
_BUFFERS = {
    "Numpy": ("data",),
    "ListOffset": ("offsets",),
    "List": ("starts", "stops"),
    "Indexed": ("index",),
    "IndexedOption": ("index",),
    "ByteMasked": ("mask",),
    "BitMasked": ("mask",),
    "Union": ("tags", "index"),
}
_INDEX_FIELD = {
    "ListOffset": "offsets",
    "List": "starts",
    "Indexed": "index",
    "IndexedOption": "index",
    "Union": "index",
}


@dataclass(frozen=True)
class Form:
    """One node of a form."""

    kind: str
    """Awkward's class without ``Array`` and sizes: ``ListOffset``."""
    key: str
    """Names the node's buffers: ``node0`` has ``node0-offsets``."""
    dtype: np.dtype[Any]
    """Of an element of ``data``, ``offsets``, ``starts``, ``stops`` or ``index``."""
    contents: tuple[Form, ...] = ()
    fields: tuple[str, ...] | None = None
    """Names of a record's contents; None for a tuple."""
    inner_shape: tuple[int, ...] = ()
    size: int = 0
    """Length of each list of a ``Regular`` node."""
    least_first: bool = True
    """Whether the first element of a ``BitMasked`` node is the lowest bit of a byte."""
    valid_when: bool = True
    """What a mask holds where an element is there."""
    text: str | None = None
    """``__array__`` of its parameters: ``string``, ``categorical``…"""

    @property
    def row(self) -> int:
        """Numbers in one element of a ``Numpy`` node."""
        return math.prod(self.inner_shape)

    @property
    def buffers(self) -> tuple[str, ...]:
        """Names of the node's own buffers."""
        return tuple(f"{self.key}-{name}" for name in _BUFFERS.get(self.kind, ()))

    def nodes(self) -> Iterator[Form]:
        """Yield this node and all below it, parents first."""
        yield self
        for content in self.contents:
            yield from content.nodes()

    def names(self) -> list[str]:
        """Return the names of all buffers, those of parents first."""
        return [name for node in self.nodes() for name in node.buffers]


def parse_form(document: Any) -> Form:
    """Return a form from its JSON object.

    Nodes without a key of their own are numbered as Awkward does: ``node0`` is the
    outermost, parents before children.

    Raises
    ------
    InvalidRequestError
        ``bad-structure``: it is no form, or deeper or larger than is accepted.
    """
    parser = _Parser()
    form = parser.node(document, 0)
    names = form.names()
    if len(set(names)) != len(names):
        raise _bad("two nodes of the form have one form_key; every node needs its own")
    return form


def numbered_form(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return a form in which every node has a key; what has one keeps it."""
    count = 0

    def walk(node: Any) -> Any:
        nonlocal count
        if isinstance(node, str):
            node = {"class": "NumpyArray", "primitive": node, "inner_shape": [], "parameters": {}}
        number, count = count, count + 1
        named = {**node, "form_key": node.get("form_key") or f"node{number}"}
        if "content" in node:
            named["content"] = walk(node["content"])
        contents = node.get("contents")
        if isinstance(contents, dict):
            named["contents"] = {name: walk(content) for name, content in contents.items()}
        elif contents is not None:
            named["contents"] = [walk(content) for content in contents]
        return named

    parse_form(document)
    named: dict[str, Any] = walk(dict(document))
    return named


def ragged_form(structure: RaggedStructure) -> dict[str, Any]:
    """Return the form in which ragged data lie: lists by offsets, fixed inner axes in place."""
    primitive = structure.data_type.to_numpy().newbyteorder("=").name
    form: dict[str, Any] | None = None
    inner: list[int] = []
    for axis in range(len(structure.shape) - 1, 0, -1):
        length = structure.shape[axis]
        if length is not None and form is None:
            inner.insert(0, length)
            continue
        if form is None:
            form = _leaf(primitive, inner)
        described = {"content": form, "parameters": {}}
        if length is None:
            form = {"class": "ListOffsetArray", "offsets": "i64", **described}
        else:
            form = {"class": "RegularArray", "size": length, **described}
    return numbered_form(form or _leaf(primitive, inner))


def check_awkward(structure: AwkwardStructure) -> None:
    """Refuse a structure that contradicts itself.

    Raises
    ------
    InvalidRequestError
        ``bad-structure``.
    """
    if not 0 <= structure.length < 1 << 62:
        raise _bad(f"awkward data of length {structure.length}")
    parse_form(structure.form)


def check_ragged(structure: RaggedStructure) -> None:
    """Refuse a structure that contradicts itself.

    Raises
    ------
    InvalidRequestError
        ``bad-structure``.
    """
    shape, chunks = structure.shape, structure.chunks
    if not shape or shape[0] is None:
        raise _bad("ragged data have at least one axis, and the first has a length")
    if len(shape) > 32 or any(length is not None and length < 0 for length in shape):
        raise _bad(f"no ragged data have the shape {shape}")
    if len(chunks) != len(shape) or not isinstance(chunks[0], int | tuple):
        raise _bad(f"chunks for {len(chunks)} axes, but shape {shape}")
    first = chunks[0]
    if isinstance(first, tuple) and (sum(first) != shape[0] or min(first, default=0) < 0):
        raise _bad(f"chunks of the first axis add up to {sum(first)}, not to {shape[0]}")
    if any(isinstance(sizes, tuple) and len(sizes) != 1 for sizes in chunks[1:]):
        raise _bad("only the first axis of ragged data can have several chunks")
    if structure.size < 0 or (structure.dims is not None and len(structure.dims) != len(shape)):
        raise _bad("ragged data have a size from 0 up, and as many dims as axes")
    if structure.data_type.to_numpy().kind not in "biufcmM":
        raise _bad(f"ragged data are numbers, not {structure.data_type.kind!r}")
    parse_form(ragged_form(structure))


def _leaf(primitive: str, inner: list[int]) -> dict[str, Any]:
    return {
        "class": "NumpyArray",
        "primitive": primitive,
        "inner_shape": inner,
        "parameters": {},
    }


class _Parser:
    def __init__(self) -> None:
        self._count = 0

    def node(self, document: Any, depth: int) -> Form:
        if isinstance(document, str):
            document = {"class": "NumpyArray", "primitive": document}
        if not isinstance(document, dict):
            raise _bad("a form is an object with a class")
        if depth >= MAX_DEPTH or self._count >= MAX_NODES:
            raise _bad(f"a form deeper than {MAX_DEPTH} or of more than {MAX_NODES} nodes")
        number, self._count = self._count, self._count + 1
        found = _CLASS.fullmatch(str(document.get("class")))
        if found is None:
            raise _bad(f"no form of class {str(document.get('class'))[:40]!r} is known")
        kind, old = found.groups()
        key = document.get("form_key") or f"node{number}"
        if not isinstance(key, str) or len(key) > 256 or "/" in key or "\0" in key:
            raise _bad("a form_key is a short text without slashes")
        try:
            return self._described(document, depth, kind, old, key)
        except InvalidRequestError:
            raise
        except (KeyError, TypeError, ValueError):
            raise _bad(f"the form of node {key!r} is not that of a {kind}Array") from None

    def _described(self, document: Any, depth: int, kind: str, old: str | None, key: str) -> Form:
        dtype = np.dtype("<i8")
        inner: tuple[int, ...] = ()
        if kind == "Numpy":
            dtype = np.dtype(document["primitive"])
            inner = tuple(_length(length) for length in document.get("inner_shape") or ())
            if dtype.kind not in "biufcmM" or len(inner) > 32:
                raise ValueError
        elif kind in _INDEX_FIELD:
            given = document.get(_INDEX_FIELD[kind], _OLD_INDEX.get(old or "64"))
            dtype = np.dtype(_INDEX[given])
        return Form(
            kind=kind,
            key=key,
            dtype=dtype,
            contents=tuple(self.node(part, depth + 1) for part in _parts(document, kind)),
            fields=_fields(document) if kind == "Record" else None,
            inner_shape=inner,
            size=_length(document["size"]) if kind == "Regular" else 0,
            least_first=bool(document.get("lsb_order", True)),
            valid_when=bool(document.get("valid_when", True)),
            text=_text(document),
        )


def _text(document: Any) -> str | None:
    name = (document.get("parameters") or {}).get("__array__")
    return name if isinstance(name, str) else None


def _parts(document: Any, kind: str) -> list[Any]:
    if kind in ("Numpy", "Empty"):
        return []
    if kind not in ("Record", "Union"):
        return [document["content"]]
    contents = document["contents"]
    parts = list(contents.values() if isinstance(contents, dict) else contents)
    if kind == "Record":
        fields = document.get("fields")
        if isinstance(fields, list) and len(fields) != len(parts):
            raise ValueError
    elif not 1 <= len(parts) <= 127:
        raise ValueError
    return parts


def _fields(document: Any) -> tuple[str, ...] | None:
    contents = document["contents"]
    if isinstance(contents, dict):
        return tuple(map(str, contents))
    fields = document.get("fields")
    return None if fields is None else tuple(map(str, fields))


def _length(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 40:
        raise ValueError
    return value


def _bad(message: str) -> InvalidRequestError:
    return InvalidRequestError(ErrorKind.BAD_STRUCTURE, message)
