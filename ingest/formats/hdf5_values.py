"""Values of HDF5 datasets and attributes, read through the HDF5 library while ingesting."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from h5py import h5a, h5d, h5r, h5s, h5t

from ingest.formats.hdf5_types import element_of
from ingest.metadata import LONGEST_LIST, TooLong, json_value, text_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from h5py import h5i, h5p
    from numpy.typing import NDArray

    from ingest.formats.hdf5_types import Element

BLOCK_BYTES = 8 << 20
"""About how much of a dataset is held at a time."""
LONGEST_NOTE = 1 << 16
"""Characters of a text that is kept with its node, searchable or not."""
READ_ERRORS = (
    *(OSError, RuntimeError, ValueError, TypeError, LookupError, ArithmeticError, MemoryError),
    AttributeError,
)
"""What h5py raises for damaged or unusual content."""
_BUILT_IN_FILTERS = 256  # https://docs.hdfgroup.org: identifiers below are the library's own


def read_elements(
    holder: h5d.DatasetID | h5a.AttrID,
    element: Element,
    shape: tuple[int, ...],
    start: int | None = None,
    *,
    kind: h5t.TypeID | None = None,
) -> NDArray[Any]:
    """Read ``shape`` elements, with the inner axes of an array type behind.

    Parameters
    ----------
    holder
        Dataset or attribute.
    element
        What one element is.
    shape
        How many elements; everything, or with ``start`` some rows of the first axis.
    start
        First row, of a dataset.
    kind
        The holder's element type, if it is at hand.
    """
    values = np.zeros(shape + element.inner, element.stored)
    if values.size == 0:
        return values
    # Of the file's own type where possible: nothing is converted, so nothing can be lost.
    memory = kind or holder.get_type() if element.direct else h5t.py_create(element.readable)
    if isinstance(holder, h5a.AttrID):
        holder.read(values, mtype=memory)
    elif start is None:
        holder.read(h5s.ALL, h5s.ALL, values, mtype=memory)
    else:
        there = holder.get_space()
        there.select_hyperslab((start, *(0 for _ in shape[1:])), shape)
        holder.read(h5s.create_simple(shape), there, values, mtype=memory)
    return values


def row_blocks(
    dataset: h5d.DatasetID, element: Element, shape: tuple[int, ...]
) -> Iterator[NDArray[Any]]:
    """Yield a dataset in blocks of rows, in whole chunks where there are any."""
    layout = dataset.get_create_plist()
    load_filters(layout)
    if math.prod(shape) == 0 or not shape:
        yield read_elements(dataset, element, shape).astype(element.dtype, copy=False)
        return
    row_bytes = max(1, element.itemsize * math.prod(shape[1:]))
    rows = max(1, BLOCK_BYTES // row_bytes)
    if layout.get_layout() == h5d.CHUNKED:
        chunk_rows = layout.get_chunk()[0]
        rows = max(1, rows // chunk_rows) * chunk_rows
    for start in range(0, shape[0], rows):
        count = min(rows, shape[0] - start)
        block = read_elements(dataset, element, (count, *shape[1:]), start)
        yield block.astype(element.dtype, copy=False)


def load_filters(creation: h5p.PropDCID) -> None:
    """Make HDF5 know the filters of detectors, if a dataset uses one that is not its own."""
    filters = (creation.get_filter(index)[0] for index in range(creation.get_nfilters()))
    if any(number >= _BUILT_IN_FILTERS for number in filters):
        load_plugins()


def load_plugins() -> None:
    """Make HDF5 know the filters of detectors."""
    import hdf5plugin  # noqa: F401 - 80 ms, registers on import; few files need it


def attribute_value(holder: h5i.ObjectID, name: bytes) -> Any:
    """Return the value of an attribute as JSON; None for one without a value.

    Raises
    ------
    TooLong
        It is data rather than metadata.
    """
    attribute = h5a.open(holder, name)
    shape = attribute.shape
    if shape is None:
        return None
    kind = attribute.get_type()
    element = element_of(kind)
    if math.prod(shape) * math.prod(element.inner) > LONGEST_LIST or element.form == "unknown":
        raise TooLong
    return json_of(read_elements(attribute, element, shape, kind=kind), element, holder)


def json_of(values: NDArray[Any], element: Element, holder: h5i.ObjectID) -> Any:
    """Return elements as JSON; one on its own is not a list.

    Parameters
    ----------
    values
        As `read_elements` returns them.
    element
        What one element is.
    holder
        Any object of the file, for references.

    Raises
    ------
    TooLong
        More than metadata holds.
    """
    if values.size > LONGEST_LIST:
        raise TooLong
    if element.enum:
        names = {number: name for name, number in element.enum.items()}
        return _plain([names.get(int(one), int(one)) for one in values.flat], values.shape)
    if values.dtype.hasobject or values.dtype.names is not None:
        return _plain([loose_value(one, holder) for one in values.flat], values.shape)
    return _plain([json_value(one) for one in values.flat], values.shape)


def _plain(values: list[Any], shape: tuple[int, ...]) -> Any:
    if len(values) < 2:
        return values[0] if values else []
    for length in shape[:0:-1]:
        values = [values[at : at + length] for at in range(0, len(values), length)]
    return values


def loose_value(value: Any, holder: h5i.ObjectID) -> Any:
    """Return an element that NumPy holds as an object, as JSON: text, reference or sequence."""
    if isinstance(value, bytes):
        if len(value) > LONGEST_NOTE:
            raise TooLong
        return text_of(value)
    if isinstance(value, h5r.Reference):
        return target_of(value, holder)
    if isinstance(value, np.ndarray) and value.dtype.hasobject:
        if value.size > LONGEST_LIST:
            raise TooLong
        return [loose_value(one, holder) for one in value.flat]
    if isinstance(value, np.void) and value.dtype.names is not None:
        return {name: loose_value(value[name], holder) for name in value.dtype.names}
    return json_value(value)


def target_of(reference: h5r.Reference, holder: h5i.ObjectID) -> str | None:
    """Return the path that a reference points at; None for a null or dangling one."""
    if not reference:
        return None
    try:
        name = h5r.get_name(reference, holder)
    except READ_ERRORS:
        return None
    return text_of(name) if name else None


def texts_of(values: NDArray[Any], holder: h5i.ObjectID) -> list[str]:
    """Return variable-length strings or references as text, in C order; empty where null."""
    return [
        text_of(one) if isinstance(one, bytes) else str(loose_value(one, holder) or "")
        for one in values.flat
    ]
