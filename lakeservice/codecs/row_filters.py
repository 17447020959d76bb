"""Conditions on rows: a query whose keys are columns, as an Arrow expression."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from schemas.errors import ErrorKind, InvalidRequestError
from schemas.query import (
    AccessTags,
    And,
    Comparison,
    Contains,
    Eq,
    Family,
    FullText,
    In,
    KeyPresent,
    Like,
    Lookup,
    Not,
    NotEq,
    NotIn,
    Or,
    Query,
    Regex,
    Specs,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Expression = Any

_COMPARE = {
    "lt": lambda column, value: column < value,
    "le": lambda column, value: column <= value,
    "gt": lambda column, value: column > value,
    "ge": lambda column, value: column >= value,
}
_SHOWN = 40
_LARGEST = 1e300


class Condition:
    """A condition on the rows of a table.

    Parameters
    ----------
    query
        Its keys are columns.
    schema
        Of the table.

    Raises
    ------
    InvalidRequestError
        As `row_filter`.
    """

    def __init__(self, query: Query, schema: pa.Schema) -> None:
        self.expression = row_filter(query, schema)
        """The condition as an Arrow expression."""
        self.columns = tuple(dict.fromkeys(columns_of(query, schema)))
        """Columns that it looks into."""
        self.bounds = tuple(_bounds(query, schema))
        """Numbers that a column must reach, or not exceed, for any row to match."""
        self.may_want_nan = _may_want_nan(query, schema)
        """Whether NaN can match: least and greatest values of a file know nothing of it."""


class Bound(NamedTuple):
    """A row can only match where a column is at least, or at most, some number."""

    column: str
    is_least: bool
    number: Any
    """In the column's type; of one of 64 bits, rounded to a double."""


def row_filter(query: Query, schema: pa.Schema) -> Expression:
    """Return the Arrow expression of a condition on the rows of a table.

    A comparison with a null is false, as one with a key that is not there; a
    value is present where it is not null. Text compares with dates and times
    as ISO 8601.

    Raises
    ------
    InvalidRequestError
        ``unknown-column``, naming the columns there are; ``bad-query``: a value
        that a column of this type cannot be compared with, a bad pattern, or a
        condition on nodes rather than rows.
    """
    expression = _expression(query, schema)
    looked = dict.fromkeys(columns_of(query, schema))
    try:
        pa.schema([schema.field(name) for name in looked]).empty_table().filter(expression)
    except (pa.ArrowException, TypeError) as error:
        raise _bad(f"the condition does not fit the columns: {str(error)[:200]}") from None
    return expression


def _expression(query: Query, schema: pa.Schema) -> Expression:
    if isinstance(query, And | Or):
        parts = [_expression(part, schema) for part in query.queries]
        whole = pc.scalar(isinstance(query, And))
        for part in parts:
            whole = whole & part if isinstance(query, And) else whole | part
        return whole if len(parts) != 1 else parts[0]
    if isinstance(query, Not):
        return ~pc.coalesce(_expression(query.query, schema), pc.scalar(False))
    if isinstance(query, FullText):
        return _full_text(query.text, schema)
    if isinstance(query, Specs | Family | Lookup | AccessTags):
        raise _bad("rows of a table have no specs, families, tags or names; compare its columns")
    if isinstance(query, KeyPresent):
        column = _Column.find(query.key, schema).expression
        return column.is_valid() if query.exists else column.is_null()
    return _leaf(query, _Column.find(query.key, schema))


def columns_of(query: Query, schema: pa.Schema) -> Iterator[str]:
    """Yield the columns that a query looks into, some of them several times."""
    if isinstance(query, And | Or):
        for part in query.queries:
            yield from columns_of(part, schema)
    elif isinstance(query, Not):
        yield from columns_of(query.query, schema)
    elif isinstance(query, FullText):
        yield from (column.names[0] for column in _text_columns(schema))
    elif not isinstance(query, Specs | Family | Lookup | AccessTags):
        yield _Column.find(query.key, schema).names[0]


def _bounds(query: Query, schema: pa.Schema) -> Iterator[Bound]:
    """Yield bounds that follow from a condition; those of plain columns of numbers only."""
    if isinstance(query, And):
        for part in query.queries:
            yield from _bounds(part, schema)
        return
    if not isinstance(query, Eq | Comparison | In):
        return
    values = query.values if isinstance(query, In) else (query.value,)
    kind = _plain(schema.field(query.key).type) if query.key in schema.names else None
    if kind is None or not values or not all(map(_is_modest, values)):
        return
    operator = query.operator if isinstance(query, Comparison) else "eq"
    with np.errstate(over="ignore"):
        if operator in ("ge", "gt", "eq"):
            yield Bound(query.key, True, kind(min(values)))
        if operator in ("le", "lt", "eq"):
            yield Bound(query.key, False, kind(max(values)))


def _may_want_nan(query: Query, schema: pa.Schema, *, negated: bool = False) -> bool:
    if isinstance(query, And | Or):
        return any(_may_want_nan(part, schema, negated=negated) for part in query.queries)
    if isinstance(query, Not):
        return _may_want_nan(query.query, schema, negated=True)
    if isinstance(query, FullText | Specs | Family | Lookup | AccessTags):
        return False
    if not negated and not isinstance(query, NotEq | NotIn):
        return False
    return bool(pa.types.is_floating(_Column.find(query.key, schema).type))


def _is_modest(value: Any) -> bool:
    """Tell whether a value is a number, and one that a double can hold at least roughly."""
    return type(value) in (int, float) and -_LARGEST <= value <= _LARGEST


def _plain(dtype: pa.DataType) -> Callable[[Any], Any] | None:
    """Return what makes a number comparable with a column as a filter compares it."""
    if pa.types.is_signed_integer(dtype) or pa.types.is_float64(dtype):
        return np.float64
    return np.float32 if pa.types.is_float32(dtype) else None


class _Column:
    """A column, or a field of a struct column: its type decides what it compares with."""

    def __init__(self, names: tuple[str, ...], dtype: pa.DataType) -> None:
        self.names = names
        self.name = ".".join(names)
        self.expression: Expression = pc.field(*names)
        self.type = dtype.value_type if pa.types.is_dictionary(dtype) else dtype
        if pa.types.is_dictionary(dtype):
            self.expression = self.expression.cast(self.type)

    @classmethod
    def find(cls, key: str, schema: pa.Schema) -> _Column:
        if key in schema.names:
            refuse_ambiguous(key, schema)
            return cls((key,), schema.field(key).type)
        first, *rest = key.split(".")
        if rest and first in schema.names:
            refuse_ambiguous(first, schema)
            dtype = schema.field(first).type
            for name in rest:
                if not pa.types.is_struct(dtype) or dtype.get_field_index(name) < 0:
                    break
                dtype = dtype.field(name).type
            else:
                return cls((first, *rest), dtype)
        raise unknown_column(key, schema)

    @property
    def is_text(self) -> bool:
        return bool(
            pa.types.is_string(self.type)
            or pa.types.is_large_string(self.type)
            or pa.types.is_string_view(self.type)
        )

    def text(self) -> Expression:
        """Return the column as text; patterns are for text only."""
        if not self.is_text:
            raise _bad(f"column {self.name!r} is {self.type}, not text; compare it with =, < or >")
        return self.expression

    def value(self, value: Any) -> Expression | None:
        """Return a value in the column's type; None where no element can equal it.

        Raises
        ------
        InvalidRequestError
            ``bad-query``: a value of another kind than the column's.
        """
        types = pa.types
        try:
            if types.is_boolean(self.type):
                fits = isinstance(value, bool)
            elif types.is_integer(self.type):
                fits = isinstance(value, int | float) and not isinstance(value, bool)
                if fits and isinstance(value, float) and not value.is_integer():
                    return pc.scalar(pa.scalar(value, pa.float64()))
                if fits and not _in_range(int(value), self.type):
                    return None
                value = int(value) if fits else value
            elif types.is_floating(self.type) or types.is_decimal(self.type):
                fits = isinstance(value, int | float) and not isinstance(value, bool)
                if types.is_decimal(self.type):
                    return pc.scalar(float(value)) if fits else self._mismatch(value)
                value = float(value) if fits else value
            elif types.is_temporal(self.type):
                fits = isinstance(value, str)
                if fits:
                    return self._time(value)
            elif types.is_binary(self.type) or types.is_large_binary(self.type):
                fits = isinstance(value, str)
                value = value.encode() if fits else value
            else:
                fits = self.is_text and isinstance(value, str)
            if fits:
                return pc.scalar(pa.scalar(value, self.type))
        except (pa.ArrowException, ValueError, OverflowError):
            pass
        return self._mismatch(value)

    def _time(self, text: str) -> Expression:
        if not pa.types.is_timestamp(self.type):
            return pc.scalar(pa.scalar(text).cast(self.type))
        moment = datetime.fromisoformat(text)
        if self.type.tz is not None:
            moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        elif moment.tzinfo is not None:
            moment = moment.astimezone(UTC).replace(tzinfo=None)
        return pc.scalar(pa.scalar(moment, self.type))

    def _mismatch(self, value: Any) -> Expression:
        raise _bad(
            f"column {self.name!r} is {self.type}; it cannot be compared with "
            f"{repr(value)[:_SHOWN]} ({type(value).__name__})"
        )


def _in_range(value: int, dtype: pa.DataType) -> bool:
    signed = pa.types.is_signed_integer(dtype)
    bits = dtype.bit_width - (1 if signed else 0)
    least = -(1 << bits) if signed else 0
    return bool(least <= value < 1 << bits)


def _leaf(
    query: Eq | NotEq | Comparison | In | NotIn | Contains | Like | Regex, column: _Column
) -> Expression:
    this = column.expression
    if isinstance(query, Eq | NotEq):
        equal = isinstance(query, Eq)
        if query.value is None:
            return this.is_null() if equal else this.is_valid()
        value = column.value(query.value)
        if value is None:
            return pc.scalar(False) if equal else this.is_valid()
        return this == value if equal else this != value
    if isinstance(query, Comparison):
        value = column.value(query.value)
        if value is None:
            upper = query.operator in ("lt", "le")
            above = isinstance(query.value, int | float) and query.value > 0
            return this.is_valid() if upper == above else pc.scalar(False)
        return _COMPARE[query.operator](this, value)
    if isinstance(query, In | NotIn):
        whole = pc.scalar(False)
        for item in query.values:
            whole = whole | _leaf(Eq(query.key, item), column)
        return whole if isinstance(query, In) else this.is_valid() & ~whole
    return _pattern(query, column)


def _pattern(query: Contains | Like | Regex, column: _Column) -> Expression:
    if isinstance(query, Contains):
        if not isinstance(query.value, str):
            raise _bad(f"column {column.name!r} can contain text only, not {query.value!r}")
        return pc.match_substring(column.text(), query.value)
    if isinstance(query, Like):
        return pc.match_like(column.text(), query.pattern)
    text = column.text()
    try:
        pc.match_substring_regex(pa.array([""]), query.pattern)
    except pa.ArrowException:
        raise _bad(
            f"{query.pattern[:_SHOWN]!r} is not a regular expression of RE2's syntax"
        ) from None
    return pc.match_substring_regex(text, query.pattern, ignore_case=not query.case_sensitive)


def _full_text(text: str, schema: pa.Schema) -> Expression:
    columns = _text_columns(schema)
    whole = pc.scalar(True)
    for word in re.findall(r"\w+", text):
        found = pc.scalar(False)
        for column in columns:
            match = pc.match_substring_regex(
                column.expression, rf"(^|\W){re.escape(word)}($|\W)", ignore_case=True
            )
            found = found | pc.coalesce(match, pc.scalar(False))
        whole = whole & found
    return whole


def _text_columns(schema: pa.Schema) -> list[_Column]:
    columns = [_Column((field.name,), field.type) for field in schema]
    return [column for column in columns if column.is_text]


def unknown_column(name: str, schema: pa.Schema) -> InvalidRequestError:
    """Return the error that names the columns there are."""
    names = ", ".join(schema.names[:_SHOWN])
    more = f" and {len(schema.names) - _SHOWN} more" if len(schema.names) > _SHOWN else ""
    return InvalidRequestError(
        ErrorKind.UNKNOWN_COLUMN, f"no column {name[:_SHOWN]!r}; there are: {names}{more}"
    )


def refuse_ambiguous(name: str, schema: pa.Schema) -> None:
    """Refuse a name that several columns have.

    Raises
    ------
    InvalidRequestError
        ``unknown-column``.
    """
    count = schema.names.count(name)
    if count > 1:
        once = [each for each in schema.names if schema.names.count(each) == 1]
        raise InvalidRequestError(
            ErrorKind.UNKNOWN_COLUMN,
            f"{count} columns are called {name[:_SHOWN]!r}, and none of them can be read; "
            f"columns with a name of their own: {', '.join(once[:_SHOWN]) or 'none'}",
        )


def _bad(message: str) -> InvalidRequestError:
    return InvalidRequestError(ErrorKind.BAD_QUERY, message)
