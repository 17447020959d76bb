"""Attribute rows: what a search can find of a node, one row a value."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from lakeservice.catalog.columns import table
from lakeservice.catalog.keys import FAMILY, NAME, SPEC, SPECS, TAG, WORD
from lakeservice.catalog.values import (
    BOOLEAN,
    ELEMENT,
    EXACT,
    KIND_BITS,
    LIST,
    MAX_LEVELS,
    NULL,
    OBJECT,
    TEXT,
    digest,
    halves,
    texts_in,
    words,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

    from lakeservice.catalog.keys import Branch, Keys
    from schemas.entry import Node, Spec

NUMBERS = "numbers"
TEXTS = "texts"
_CACHED_TEXTS = 50_000


class _DottedKeyError(Exception):
    """A name with a dot in it: the record has to be checked for keys that occur twice."""


class AttributeRows:
    """Rows of some records, collected column by column.

    A row belongs to a record, not to a node: when what is searchable of a node
    changes, it gets a new record, and rows never change. The attribute is the
    number of the key with the kind of the value in its lowest bits.

    ========= ========================================================
    numbers   attribute, number, rest, record (see `values.halves`);
              booleans are 0 and 1, null is 0, an object the number of
              rows below it
    texts     attribute, text, record; of a list as a whole its digest
    ========= ========================================================
    """

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self._number_attributes: list[int] = []
        self._numbers: list[float] = []
        self._number_records: list[int] = []
        self._rests: dict[int, float] = {}
        self._text_attributes: list[int] = []
        self._texts: list[str] = []
        self._text_records: list[int] = []
        self._record = 0
        self._words: set[str] = set()
        self._seen: set[int] | None = None
        self._cache: dict[str, frozenset[str]] = {}

    def __len__(self) -> int:
        return len(self._numbers) + len(self._texts)

    def add(self, record: int, node: Node) -> None:
        """Add the rows of one node."""
        self._record, self._words, self._seen = record, set(), None
        numbers, texts = len(self._numbers), len(self._texts)
        try:
            self._add_object(node.metadata, self._keys.tree, MAX_LEVELS)
        except _DottedKeyError:
            self._truncate(numbers, texts)
            self._words, self._seen = set(), set()
            self._add_object(node.metadata, self._keys.tree, MAX_LEVELS)
        self._add_own(NAME, [node.name])
        self._add_own(FAMILY, [node.family])
        if node.specs:
            self._add_own(SPEC, [spec.name for spec in node.specs])
            self._add_own(SPECS, [specs_text(node.specs)])
        if node.access_tags:
            self._add_own(TAG, set(node.access_tags))
        self._add_own(WORD, self._words)

    def tables(self) -> dict[str, pa.Table]:
        """Return the rows as Arrow tables by the name of the relation."""
        rest = np.zeros(len(self._numbers))
        for position, value in self._rests.items():
            rest[position] = value
        return {
            NUMBERS: table(
                attribute=np.array(self._number_attributes, np.int32),
                number=np.array(self._numbers, np.float64),
                rest=rest,
                record=np.array(self._number_records, np.int32),
            ),
            TEXTS: table(
                attribute=np.array(self._text_attributes, np.int32),
                text=self._texts,
                record=np.array(self._text_records, np.int32),
            ),
        }

    def _add_object(self, values: dict[str, Any], branch: Branch, levels: int) -> None:
        # The innermost loop of ingest: 60 turns an entry, so the lists are local names.
        attributes, numbers, records = self._number_attributes, self._numbers, self._number_records
        text_attributes, texts, text_records = (
            self._text_attributes,
            self._texts,
            self._text_records,
        )
        record, cache, children, seen = self._record, self._cache, branch.children, self._seen
        for name, value in values.items():
            child = children.get(name) or self._keys.grow(branch, name)
            attribute = child.attribute
            if child.dotted and seen is None:
                raise _DottedKeyError
            if seen is not None:
                if attribute in seen:
                    # Not the value of this key, but what it says can still be read.
                    if type(value) is dict and levels > 1:
                        self._add_object(value, child, levels - 1)
                    else:
                        self._add_words(value)
                    continue
                seen.add(attribute)
            cls = type(value)
            if cls is str:
                text_attributes.append(attribute | TEXT)
                texts.append(value)
                text_records.append(record)
                self._words |= cache.get(value) or self._words_of(value)
            elif cls is float or (cls is int and -EXACT <= value <= EXACT):
                attributes.append(attribute)
                numbers.append(value)
                records.append(record)
            elif cls is dict:
                before = len(numbers) + len(texts)
                if levels > 1:
                    self._add_object(value, child, levels - 1)
                attributes.append(attribute | OBJECT)
                numbers.append(len(numbers) + len(texts) - before)
                records.append(record)
            elif cls is bool:
                attributes.append(attribute | BOOLEAN)
                numbers.append(value)
                records.append(record)
            elif cls is list or cls is tuple:
                self._add_list(attribute, value)
            elif value is None:
                attributes.append(attribute | NULL)
                numbers.append(0)
                records.append(record)
            else:
                self._add_number(attribute, value)

    def _add_list(self, attribute: int, values: Sequence[Any]) -> None:
        attributes, texts, records = self._text_attributes, self._texts, self._text_records
        record, cache = self._record, self._cache
        attributes.append(attribute | LIST)
        texts.append(digest(values))
        records.append(record)
        for value in values:
            cls = type(value)
            if cls is str:
                attributes.append(attribute | ELEMENT | TEXT)
                texts.append(value)
                records.append(record)
                self._words |= cache.get(value) or self._words_of(value)
            elif cls is bool:
                self._add_number(attribute | ELEMENT | BOOLEAN, value)
            elif cls is int or cls is float:
                self._add_number(attribute | ELEMENT, value)
            elif value is None:
                self._add_number(attribute | ELEMENT | NULL, 0)
            else:
                self._add_words(value)

    def _add_words(self, value: Any) -> None:
        for text in texts_in(value):
            self._words |= self._words_of(text)

    def _add_own(self, key: int, texts: Sequence[str] | set[str]) -> None:
        self._text_attributes.extend([key << KIND_BITS | TEXT] * len(texts))
        self._texts.extend(texts)
        self._text_records.extend([self._record] * len(texts))

    def _add_number(self, attribute: int, value: float) -> None:
        number, rest = halves(value)
        if rest:
            self._rests[len(self._numbers)] = rest
        self._number_attributes.append(attribute)
        self._numbers.append(number)
        self._number_records.append(self._record)

    def _words_of(self, text: str) -> frozenset[str]:
        known = self._cache.get(text)
        if known is None:
            if len(self._cache) >= _CACHED_TEXTS:
                self._cache.clear()
            known = self._cache[text] = words(text)
        return known

    def _truncate(self, numbers: int, texts: int) -> None:
        for column in (self._number_attributes, self._numbers, self._number_records):
            del column[numbers:]
        for other in (self._text_attributes, self._texts, self._text_records):
            del other[texts:]
        self._rests = {at: rest for at, rest in self._rests.items() if at < numbers}


def rows_of(value: Any, levels: int = MAX_LEVELS) -> int:
    """Return how many rows a value at a key has, those of words apart."""
    if isinstance(value, dict):
        if levels <= 1:
            return 1
        return 1 + sum(rows_of(inner, levels - 1) for inner in value.values())
    if isinstance(value, list | tuple):
        return 1 + sum(not isinstance(inner, dict | list | tuple) for inner in value)
    return 1


def specs_text(specs: Sequence[Spec]) -> str:
    """Return all specs of a node as one text, the same for the same specs."""
    return msgspec.json.encode(specs).decode()
