"""Nested data in the form that its node declares, whatever form they came in.

Awkward Array takes half a second to import, so it is imported where it is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from schemas.errors import ErrorKind, InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from lakeservice.storage.forms import Form
    from lakeservice.storage.windows import Window


def array_of(document: Mapping[str, Any], length: int, window: Window) -> Any:
    """Return buffers as an `ak.Array`."""
    import awkward  # heavy

    return awkward.from_buffers(document, length, window, allow_noncanonical_form=True)


def canonical(array: Any) -> Any:
    """Return the layout of ragged data with lists by offsets, and inner axes in place.

    Raises
    ------
    TypeError
        They are not ragged: records, texts, missing or mixed elements.
    """
    import awkward  # heavy

    return _canonical(awkward.to_layout(array, regulararray=False))


def _canonical(layout: Any) -> Any:
    import awkward  # heavy

    contents = awkward.contents
    if layout.is_unknown:
        return contents.NumpyArray(np.empty(0))
    if layout.is_numpy:
        return contents.NumpyArray(np.ascontiguousarray(layout.data))
    if layout.is_indexed and not layout.is_option:
        return _canonical(layout.project())
    if not layout.is_list or layout.parameter("__array__") is not None:
        raise TypeError(f"a {type(layout).__name__} is not ragged")
    if layout.is_regular:
        content = _canonical(layout.content[: len(layout) * layout.size])
        if content.is_numpy:
            shape = (len(layout), layout.size, *content.data.shape[1:])
            return contents.NumpyArray(content.data.reshape(shape))
        return contents.RegularArray(content, layout.size, len(layout))
    listed = layout.to_ListOffsetArray64(True)
    content = _canonical(listed.content[: listed.offsets[-1]])
    return contents.ListOffsetArray(listed.offsets, content)


def window_of(form: Form, array: Any) -> Window:
    """Return the buffers of an `ak.Array` (or a layout of one) in another form.

    Raises
    ------
    InvalidRequestError
        ``bad-body``: its type is not the one that the form stands for.
    """
    import awkward  # heavy

    layout = awkward.to_layout(array, regulararray=True)
    window: Window = {}
    try:
        _put(form, layout, len(layout), window)
    except (TypeError, ValueError, AttributeError, IndexError, OverflowError) as error:
        told = str(error).strip().partition("\n")[0][:200]
        raise InvalidRequestError(
            ErrorKind.BAD_BODY,
            f"data of type {str(layout.form.type)[:200]!r} are not of the declared form: {told}",
        ) from None
    return window


def _put(form: Form, layout: Any, length: int, out: Window) -> None:
    put = _PUT.get(form.kind)
    if put is not None:
        put(form, layout, length, out)
        return
    plain = _plain(layout)[:length]
    if form.kind == "Empty":
        if length:
            raise ValueError("elements where the form has none")
        return
    _expect(form, plain)
    for number, content in enumerate(form.contents):
        name = form.fields[number] if form.fields is not None else str(number)
        _put(content, plain.content(name), length, out)


def _put_numbers(form: Form, layout: Any, length: int, out: Window) -> None:
    import awkward  # heavy

    if layout.is_unknown or not length:
        numbers = np.empty((0, *form.inner_shape), form.dtype)
        if length:
            raise ValueError("elements without a type")
    else:
        numbers = np.asarray(awkward.to_numpy(layout[:length], allow_missing=False))
    if numbers.shape != (length, *form.inner_shape):
        raise ValueError(f"shape {numbers.shape} instead of {(length, *form.inner_shape)}")
    if numbers.dtype != form.dtype and not np.can_cast(numbers.dtype, form.dtype, "same_kind"):
        raise ValueError(f"{numbers.dtype} instead of {form.dtype}")
    out[form.buffers[0]] = np.ascontiguousarray(numbers, form.dtype).reshape(-1)


def _put_list(form: Form, layout: Any, length: int, out: Window) -> None:
    plain = _plain(layout)
    if plain.is_unknown:
        offsets, content = np.zeros(length + 1, np.int64), plain
        if length:
            raise ValueError("elements without a type")
    else:
        _expect(form, plain)
        listed = plain[:length].to_ListOffsetArray64(True)
        offsets, content = np.asarray(listed.offsets.data), listed.content
    if offsets[-1] > np.iinfo(form.dtype).max:
        raise ValueError(f"more elements than {form.dtype} counts")
    if form.kind == "ListOffset":
        out[form.buffers[0]] = offsets.astype(form.dtype)
    else:
        out[form.buffers[0]] = offsets[:-1].astype(form.dtype)
        out[form.buffers[1]] = offsets[1:].astype(form.dtype)
    _put(form.contents[0], content, int(offsets[-1]), out)


def _put_regular(form: Form, layout: Any, length: int, out: Window) -> None:
    plain = _plain(layout)
    if not length:
        content = plain[:0] if not plain.is_list else plain.content[:0]
        _put(form.contents[0], content, 0, out)
        return
    if plain.is_numpy:
        plain = plain.to_RegularArray()
    _expect(form, plain)
    regular = plain[:length].to_RegularArray()
    if regular.size != form.size:
        raise ValueError(f"lists of length {regular.size} instead of {form.size}")
    _put(form.contents[0], regular.content, length * form.size, out)


def _put_option(form: Form, layout: Any, length: int, out: Window) -> None:
    missing, present = _missing(layout, length)
    index = np.where(missing, -1, np.cumsum(~missing) - 1)
    out[form.buffers[0]] = index.astype(form.dtype)
    _put(form.contents[0], present, int((~missing).sum()), out)


def _put_indexed(form: Form, layout: Any, length: int, out: Window) -> None:
    if layout.is_indexed and not layout.is_option:
        index = np.asarray(layout.index.data)[:length]
        content = layout.content
    else:
        index, content = np.arange(length), _plain(layout)
    out[form.buffers[0]] = index.astype(form.dtype)
    _put(form.contents[0], content, int(index.max(initial=-1)) + 1, out)


def _put_masked(form: Form, layout: Any, length: int, out: Window) -> None:
    missing, present = _missing(layout, length)
    mask = missing ^ form.valid_when
    if form.kind == "BitMasked":
        order: Any = "little" if form.least_first else "big"
        out[form.buffers[0]] = np.packbits(mask, bitorder=order)
    else:
        out[form.buffers[0]] = mask.astype(np.int8)
    if missing.all():
        _blank(form.contents[0], length, out)
        return
    import awkward  # heavy

    # Something has to lie where elements are missing: the one before them.
    places = awkward.index.Index64(np.maximum(np.cumsum(~missing) - 1, 0))
    _put(form.contents[0], awkward.contents.IndexedArray(places, present).project(), length, out)


def _blank(form: Form, length: int, out: Window) -> None:
    """Put elements that mean nothing."""
    counts = [length * form.size if form.kind == "Regular" else length] * len(form.contents)
    if form.kind in ("ListOffset", "List", "Indexed", "IndexedOption", "Union"):
        counts = [
            int(number == 0 and form.kind in ("Indexed", "Union"))
            for number in range(len(form.contents))
        ]
    for name in form.buffers:
        size = length * form.row if form.kind == "Numpy" else length
        dtype = np.dtype("i1") if name.endswith(("-tags", "-mask")) else form.dtype
        out[name] = np.zeros(size + (form.kind == "ListOffset"), dtype)
    for count, content in zip(counts, form.contents, strict=True):
        _blank(content, count, out)


def _put_unmasked(form: Form, layout: Any, length: int, out: Window) -> None:
    _put(form.contents[0], _plain(layout), length, out)


def _put_union(form: Form, layout: Any, length: int, out: Window) -> None:
    plain = layout if layout.is_union else _plain(layout)
    if not plain.is_union or len(plain.contents) != len(form.contents):
        raise ValueError("another union than the form's")
    tags = np.asarray(plain.tags.data)[:length]
    index = np.asarray(plain.index.data)[:length]
    out[form.buffers[0]] = tags.astype(np.int8)
    out[form.buffers[1]] = index.astype(form.dtype)
    for number, (content, part) in enumerate(zip(form.contents, plain.contents, strict=True)):
        inner = int(index[tags == number].max(initial=-1)) + 1
        _put(content, part, inner, out)


def _missing(layout: Any, length: int) -> tuple[Any, Any]:
    """Return which elements are missing, and those that are not."""
    if layout.is_indexed and not layout.is_option:
        layout = layout.project()
    if not layout.is_option:
        return np.zeros(length, bool), layout
    option = layout[:length].to_IndexedOptionArray64()
    return np.asarray(option.index.data)[:length] < 0, option.project()


def _plain(layout: Any) -> Any:
    """Return a layout without indexes and without options in which nothing is missing."""
    while layout.is_indexed or layout.is_option:
        if layout.is_option and bool(np.any(np.asarray(layout.mask_as_bool(valid_when=False)))):
            raise ValueError("missing elements where the form has none")
        layout = layout.project()
    return layout


def _expect(form: Form, layout: Any) -> None:
    found = layout.is_list or layout.is_unknown
    if form.kind == "Record":
        # Arrow has no tuples: their fields come back with numbers as names.
        names = form.fields or tuple(map(str, range(len(form.contents))))
        found = layout.is_record and set(names) == set(layout.fields)
    if not found:
        raise ValueError(f"a {type(layout).__name__} where the form has a {form.kind}Array")


_PUT: dict[str, Callable[[Form, Any, int, Window], None]] = {
    "Numpy": _put_numbers,
    "ListOffset": _put_list,
    "List": _put_list,
    "Regular": _put_regular,
    "IndexedOption": _put_option,
    "Indexed": _put_indexed,
    "ByteMasked": _put_masked,
    "BitMasked": _put_masked,
    "Unmasked": _put_unmasked,
    "Union": _put_union,
}
