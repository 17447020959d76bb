"""What is asked for over Flight: commands of descriptors, tickets and actions."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from schemas.entry import Spec
from schemas.query import Page, Query, SortKey
from schemas.structures import Structure


class ReadArray(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="read-array", tag_field="do"
):
    """A selection of an array (dense)."""

    path: str
    selection: str | None = None
    """As `schemas.selection.parse_selection` reads it; None for everything."""
    delivery: Literal["decoded", "encoded"] = "decoded"
    as_of: int | None = None


class ReadTable(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="read-table", tag_field="do"
):
    """Rows of a table; of sparse, awkward and ragged nodes, their Arrow form."""

    path: str
    columns: tuple[str, ...] | None = None
    where: str | Query | None = None
    """A condition on columns, as text or as a tree; its keys are column names."""
    limit: int | None = None
    partition: int | None = None
    rows: tuple[int, int] | None = None
    """First row and the row after the last, counted before ``where``, after ``partition``."""
    as_of: int | None = None


Statistic = Literal["mean", "sum", "min", "max", "std", "var"]
"""What becomes of the elements that are taken together."""
STATISTICS: tuple[Statistic, ...] = ("mean", "sum", "min", "max", "std", "var")


class ReduceArray(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    omit_defaults=True,
    tag="reduce-array",
    tag_field="do",
):
    """A selection of an array with some axes, or all, taken together into one number each."""

    path: str
    how: Statistic
    axis: tuple[int, ...] | None = None
    """Axes of the selection that go; negative ones count from the last. None for all."""
    selection: str | None = None
    """As `schemas.selection.parse_selection` reads it; None for everything."""
    ddof: float = 0
    """Of ``std`` and ``var``: they divide by the number of elements less this."""
    keepdims: bool = False
    """Leave the axes in the answer, with length 1."""
    as_of: int | None = None


class BinArray(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="bin-array", tag_field="do"
):
    """A selection of an array in which neighbours along each axis are taken together."""

    path: str
    factors: tuple[int, ...]
    """How many elements become one, for each axis of the selection. Where an axis is no
    multiple, its last block holds what is left."""
    how: Statistic = "mean"
    selection: str | None = None
    as_of: int | None = None


class HistogramArray(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    omit_defaults=True,
    tag="histogram-array",
    tag_field="do",
):
    """How many elements of a selection have a value in each of some intervals."""

    path: str
    bins: int | tuple[float, ...]
    """How many intervals of one width, or the edges of all, ascending."""
    range: tuple[float, float] | None = None
    """Where the first begins and the last ends; None for the least and the largest value."""
    selection: str | None = None
    as_of: int | None = None


Reduction = ReduceArray | BinArray | HistogramArray
ReadRequest = ReadArray | ReadTable | Reduction


class Ticket(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A self-contained permission to read, signed by the server that planned it."""

    request: ReadRequest
    id: str
    """Node that was planned: another node at the same path does not answer the ticket."""
    version: int
    expires: float
    """Seconds since 1970."""
    principal: str
    rows: tuple[int, int] | None = None
    """Rows of the first kept axis (or of the table) that this endpoint delivers; None for all."""


class Search(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A search below a container."""

    under: str = ""
    query: str | Query | None = None
    sort: tuple[SortKey, ...] = ()
    page: Page = Page()
    deep: bool = False
    """Everything below, not only the children."""
    max_depth: int | None = None
    """Of a deep search, how many levels down; 1 is the children. None goes all the way."""
    count: bool = False
    """Also count all that match."""
    as_of: int | None = None


class WriteArray(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="write-array", tag_field="do"
):
    """The stream that follows is an array: rows of the first axis, as a read delivers them."""

    path: str
    structure: Structure
    metadata: dict[str, Any] = {}
    specs: tuple[Spec, ...] = ()
    key: str | None = None
    parents: bool = False
    stage: bool = False
    """Write the data, commit nothing, and answer with a receipt for a later commit."""


class WriteTable(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="write-table", tag_field="do"
):
    """The stream that follows is a table, or the Arrow form of what ``structure`` says."""

    path: str
    structure: Structure | None = None
    """Sparse, awkward or ragged; None for a plain table, which its own Arrow schema describes."""
    metadata: dict[str, Any] = {}
    specs: tuple[Spec, ...] = ()
    key: str | None = None
    parents: bool = False
    stage: bool = False


class AppendTo(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="append", tag_field="do"
):
    """The stream that follows is added at the end of a table, or of an array's first axis."""

    path: str
    key: str | None = None
    stage: bool = False


WriteRequest = WriteArray | WriteTable | AppendTo
