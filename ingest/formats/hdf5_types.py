"""Element types of HDF5: as what NumPy type they are read, and whether their bytes are it."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from h5py import h5t

if TYPE_CHECKING:
    from collections.abc import Callable

Form = Literal["plain", "text", "reference", "ragged", "record", "unknown"]
LONGEST_ENUM = 256
"""Members of an enumeration that are listed in the metadata."""
_ORDERS = {h5t.ORDER_LE: "<", h5t.ORDER_BE: ">"}
_MOST_KNOWN = 1024
_INTEGER_SIZES = (1, 2, 4, 8)
_BITFIELDS = {
    h5t.STD_B8LE: "u1",
    h5t.STD_B16LE: "<u2",
    h5t.STD_B32LE: "<u4",
    h5t.STD_B64LE: "<u8",
    h5t.STD_B8BE: "u1",
    h5t.STD_B16BE: ">u2",
    h5t.STD_B32BE: ">u4",
    h5t.STD_B64BE: ">u8",
}


@dataclasses.dataclass(frozen=True)
class Element:
    """What one element of a dataset or attribute is."""

    form: Form
    """``plain``: NumPy has a type of defined bytes; ``record``: a compound with other forms in it;
    ``unknown``: cannot be read."""
    stored: np.dtype[Any]
    """Type in the file's byte order; of forms that are not plain, h5py's type."""
    inner: tuple[int, ...] = ()
    """Axes that an HDF5 array type adds behind those of the dataset."""
    direct: bool = False
    """Whether the bytes in the file are elements of ``stored`` as they are."""
    enum: dict[str, int] = dataclasses.field(default_factory=dict)
    """Names and values of an enumeration."""
    remark: str | None = None
    """Why it is unknown."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type as it is offered: the native byte order."""
        return self.stored.newbyteorder("=")

    @property
    def itemsize(self) -> int:
        """Bytes of one element of the dataset, inner axes included."""
        return self.stored.itemsize * math.prod(self.inner)

    @property
    def readable(self) -> np.dtype[Any]:
        """h5py's type of one element, inner axes included."""
        return np.dtype((self.stored, self.inner)) if self.inner else self.stored


_KNOWN: dict[bytes, Element] = {}


def element_of(type_id: h5t.TypeID) -> Element:
    """Describe an element type; equal types are described once."""
    try:
        encoded = type_id.encode()
    except (RuntimeError, ValueError, TypeError, OSError):
        return _element(type_id)
    known = _KNOWN.get(encoded)
    if known is None:
        if len(_KNOWN) >= _MOST_KNOWN:
            _KNOWN.clear()
        known = _KNOWN[encoded] = _element(type_id)
    return known


def _element(type_id: h5t.TypeID) -> Element:
    describe = _BY_CLASS.get(type_id.get_class())
    if describe is None:
        return _unknown(type_id, "a type that HDF5 defines no meaning for")
    try:
        return describe(type_id)
    except (TypeError, ValueError, RuntimeError, OSError, KeyError, UnicodeError) as error:
        return _unknown(type_id, f"an element type that NumPy has no match for ({error})")


def _unknown(type_id: h5t.TypeID, remark: str) -> Element:
    size = max(1, min(type_id.get_size(), 1 << 30))
    return Element("unknown", np.dtype(f"V{size}"), remark=remark)


def _integer(type_id: h5t.TypeIntegerID) -> Element:
    size = type_id.get_size()
    kind = "u" if type_id.get_sign() == h5t.SGN_NONE else "i"
    if size not in _INTEGER_SIZES:
        wider = next((known for known in _INTEGER_SIZES if known > size), None)
        if wider is None:
            return _unknown(type_id, f"integers of {size} bytes")
        return Element("plain", np.dtype(f"{kind}{wider}"))
    return _whole(type_id, size, kind)


def _bitfield(type_id: h5t.TypeBitfieldID) -> Element:
    for known, code in _BITFIELDS.items():
        if type_id.equal(known):
            return Element("plain", np.dtype(code), direct=True)
    return Element("plain", np.dtype(type_id.dtype))


def _whole(type_id: h5t.TypeAtomicID, size: int, kind: str) -> Element:
    order = _ORDERS.get(type_id.get_order(), "<")
    full = type_id.get_precision() == 8 * size and type_id.get_offset() == 0
    return Element("plain", np.dtype(f"{order}{kind}{size}"), direct=full)


def _float(type_id: h5t.TypeFloatID) -> Element:
    dtype = np.dtype(type_id.dtype)
    return Element("plain", dtype, direct=type_id.equal(h5t.py_create(dtype)))


def _complex(type_id: h5t.TypeID) -> Element:
    part = _float(type_id.get_super())
    return Element("plain", np.dtype(type_id.dtype), direct=part.direct)


def _enum(type_id: h5t.TypeEnumID) -> Element:
    base = _element(type_id.get_super())
    names = {}
    if type_id.get_nmembers() <= LONGEST_ENUM:
        for index in range(type_id.get_nmembers()):
            name = type_id.get_member_name(index).decode("utf-8", "replace")
            names[name] = int(type_id.get_member_value(index))
    if np.dtype(type_id.dtype).kind == "b":
        return Element("plain", np.dtype(bool), direct=base.direct)
    return dataclasses.replace(base, enum=names)


def _string(type_id: h5t.TypeStringID) -> Element:
    if type_id.is_variable_str():
        return Element("text", type_id.dtype)
    # Only null padding defines every byte: behind a terminator anything may stand.
    padded = type_id.get_strpad() == h5t.STR_NULLPAD
    return Element("plain", np.dtype(f"S{type_id.get_size()}"), direct=padded)


def _opaque(type_id: h5t.TypeOpaqueID) -> Element:
    return Element("plain", np.dtype(type_id.dtype), direct=True)


def _compound(type_id: h5t.TypeCompoundID) -> Element:
    dtype = np.dtype(type_id.dtype)
    members = [_element(type_id.get_member_type(i)) for i in range(type_id.get_nmembers())]
    unknown = next((member for member in members if member.form == "unknown"), None)
    if unknown is not None:
        return _unknown(type_id, f"records with {unknown.remark}")
    if any(member.form != "plain" for member in members):
        return Element("record", dtype)
    direct = all(member.direct for member in members)
    if dtype.kind == "c":
        part = np.dtype(f"{dtype.byteorder}f{dtype.itemsize // 2}")
        in_order = type_id.get_member_offset(0) == 0 and type_id.get_size() == dtype.itemsize
        same = all(member.stored == part for member in members)
        return Element("plain", dtype, direct=direct and in_order and same)
    return Element("plain", dtype, direct=direct and _agrees(dtype, members))


def _agrees(dtype: np.dtype[Any], members: list[Element]) -> bool:
    """Tell whether each field that h5py made of a member has the member's very bytes."""
    fields = [dtype.fields[name][0] for name in dtype.names or ()] if dtype.fields else []
    return len(fields) == len(members) and all(
        field == member.readable for field, member in zip(fields, members, strict=True)
    )


def _array(type_id: h5t.TypeArrayID) -> Element:
    base = _element(type_id.get_super())
    inner = tuple(int(length) for length in type_id.get_array_dims())
    return dataclasses.replace(base, inner=inner + base.inner)


def _vlen(type_id: h5t.TypeVlenID) -> Element:
    base = _element(type_id.get_super())
    if base.form not in ("plain", "text", "reference") or base.inner:
        return _unknown(type_id, f"variable-length sequences of {base.form} elements")
    return Element("ragged", type_id.dtype)


def _reference(type_id: h5t.TypeReferenceID) -> Element:
    return Element("reference", type_id.dtype)


_BY_CLASS: dict[int, Callable[[Any], Element]] = {
    h5t.INTEGER: _integer,
    h5t.BITFIELD: _bitfield,
    h5t.FLOAT: _float,
    h5t.COMPLEX: _complex,
    h5t.ENUM: _enum,
    h5t.STRING: _string,
    h5t.OPAQUE: _opaque,
    h5t.COMPOUND: _compound,
    h5t.ARRAY: _array,
    h5t.VLEN: _vlen,
    h5t.REFERENCE: _reference,
}
