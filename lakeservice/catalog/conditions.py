"""Conditions: a query as a mask over all nodes, one scan of sorted rows for each condition."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import duckdb

from lakeservice.catalog.attributes import NUMBERS, TEXTS, rows_of
from lakeservice.catalog.keys import FAMILY, NAME, SPEC, TAG, WORD
from lakeservice.catalog.limits import bad_query, is_nan
from lakeservice.catalog.values import (
    BOOLEAN,
    ELEMENT,
    KIND_BITS,
    LIST,
    NULL,
    NUMBER,
    OBJECT,
    TEXT,
    digest,
    halves,
    kind_of,
    words,
)
from schemas import query as asked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from lakeservice.catalog.places import Bools
    from lakeservice.catalog.reading import Reading
    from schemas.query import Operator, Query

_HAS_TEXT = "attribute = $1 AND text = $2"
_HAS_ONE_OF = "attribute = $1 AND text = ANY($2)"
_IS_NUMBER = "attribute = $1 AND number = $2 AND rest = $3"
_COMPARED: dict[str, str] = {
    # The first part is what lets DuckDB skip row groups.
    "lt": "attribute = $1 AND number <= $2 AND (number < $2 OR rest < $3)",
    "le": "attribute = $1 AND number <= $2 AND (number < $2 OR rest <= $3)",
    "gt": "attribute = $1 AND number >= $2 AND (number > $2 OR rest > $3)",
    "ge": "attribute = $1 AND number >= $2 AND (number > $2 OR rest >= $3)",
}
_SIGNS: dict[str, str] = {"lt": "<", "le": "<=", "gt": ">", "ge": ">="}


class Conditions:
    """Evaluates queries in one reading; the semantics are those of `schemas.query`.

    A mask says of every node that ever was whether a condition holds; whether
    the node exists and lies where one looks is for the caller to add.
    """

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self._answers: dict[type, Callable[[Any], Bools]] = {
            asked.And: self._and,
            asked.Or: self._or,
            asked.Not: lambda query: ~self.mask(query.query),
            asked.Eq: lambda query: self.equal(query.key, query.value),
            asked.NotEq: lambda query: (
                self.present(query.key) & ~self.equal(query.key, query.value)
            ),
            asked.Comparison: lambda query: self.compared(query.key, query.operator, query.value),
            asked.In: lambda query: self._one_of(query.key, query.values),
            asked.NotIn: lambda query: (
                self.present(query.key) & ~self._one_of(query.key, query.values)
            ),
            asked.Contains: self._contains,
            asked.Like: lambda query: self._text(
                query.key, "text LIKE $2 ESCAPE ''", query.pattern
            ),
            asked.Regex: self._regex,
            asked.KeyPresent: self._key_present,
            asked.FullText: self._full_text,
            asked.Specs: self._specs,
            asked.Family: lambda query: self._own(FAMILY, query.value),
            asked.Lookup: lambda query: self._own_one_of(NAME, query.names),
            asked.AccessTags: lambda query: self._own_one_of(TAG, query.tags),
        }

    def mask(self, query: Query) -> Bools:
        """Return for which nodes a query holds; it must have passed `check_query`."""
        return self._answers[type(query)](query)

    def equal(self, key: str, value: Any) -> Bools:
        """Return the nodes whose value at a key equals another."""
        attribute, kind = self._attribute(key), kind_of(value)
        if attribute is None or is_nan(value):
            return self._reading.none()
        if kind == NUMBER:
            return self._numbers(_IS_NUMBER, attribute, *halves(value))
        if kind == BOOLEAN:
            return self._numbers(_IS_NUMBER, attribute | kind, float(value), 0.0)
        if kind == NULL:
            return self._numbers("attribute = $1", attribute | kind)
        if kind == TEXT:
            return self._texts(_HAS_TEXT, attribute | kind, value)
        if kind == LIST:
            return self._texts(_HAS_TEXT, attribute | kind, digest(value))
        return self._same_object(key, attribute, value)

    def compared(self, key: str, operator: Operator, value: float | str) -> Bools:
        """Return the nodes whose value at a key is of the same kind and below or above another."""
        attribute, kind = self._attribute(key), kind_of(value)
        if attribute is None or is_nan(value):
            return self._reading.none()
        if isinstance(value, str):
            where = f"attribute = $1 AND text {_SIGNS[operator]} $2"
            return self._reading.mask(TEXTS, where, [attribute | kind, value], many=True)
        where, parameters = _COMPARED[operator], [attribute | kind, *halves(value)]
        return self._reading.mask(NUMBERS, where, parameters, many=True)

    def of_kinds(self, key: str, kinds: Iterable[int]) -> Bools:
        """Return the nodes whose value at a key is of one of some kinds."""
        attribute, mask = self._attribute(key), self._reading.none()
        if attribute is None:
            return mask
        for kind in kinds:
            relation = TEXTS if kind in (TEXT, LIST) else NUMBERS
            parameters = [attribute | kind]
            holders = self._reading.holders(relation, "attribute = $1", parameters, many=True)
            mask[holders] = True
        return mask

    def present(self, key: str) -> Bools:
        """Return the nodes that have a value at a key, null and objects among them."""
        attribute, mask = self._attribute(key), self._reading.none()
        if attribute is None:
            return mask
        for relation in (NUMBERS, TEXTS):
            where, parameters = "attribute BETWEEN $1 AND $2", [attribute, attribute | OBJECT]
            mask[self._reading.holders(relation, where, parameters, many=True)] = True
        return mask

    def _and(self, query: asked.And) -> Bools:
        mask = self._reading.every()
        for inner in query.queries:
            mask &= self.mask(inner)
            if not mask.any():
                break
        return mask

    def _or(self, query: asked.Or) -> Bools:
        mask = self._reading.none()
        for inner in query.queries:
            mask |= self.mask(inner)
        return mask

    def _same_object(self, key: str, attribute: int, value: dict[str, Any]) -> Bools:
        """Compare an object by its number of rows and by all that is in it."""
        mask = self._numbers(_IS_NUMBER, attribute | OBJECT, float(rows_of(value) - 1), 0.0)
        for name, inner in value.items():
            if not mask.any():
                break
            mask &= self.equal(f"{key}.{name}", inner)
        return mask

    def _one_of(self, key: str, values: Sequence[Any]) -> Bools:
        attribute, mask = self._attribute(key), self._reading.none()
        if attribute is None:
            return mask
        texts = [value for value in values if isinstance(value, str)]
        plain = [
            float(value)
            for value in values
            if kind_of(value) == NUMBER and not is_nan(value) and not halves(value)[1]
        ]
        if texts:
            mask |= self._texts(_HAS_ONE_OF, attribute | TEXT, texts)
        if plain:
            where = "attribute = $1 AND rest = 0 AND number = ANY($2)"
            mask |= self._numbers(where, attribute, plain)
        for value in values:
            kind = kind_of(value)
            if kind not in (TEXT, NUMBER) or (kind == NUMBER and halves(value)[1]):
                mask |= self.equal(key, value)
        return mask

    def _contains(self, query: asked.Contains) -> Bools:
        attribute, value, kind = self._attribute(query.key), query.value, kind_of(query.value)
        if attribute is None or is_nan(value):
            return self._reading.none()
        element = attribute | ELEMENT | kind
        if isinstance(value, str):
            mask = self._texts(_HAS_TEXT, element, value)
            return mask | self._text(query.key, "contains(text, $2)", value)
        if value is None:
            return self._numbers("attribute = $1", element)
        return self._numbers(_IS_NUMBER, element, *halves(value))

    def _regex(self, query: asked.Regex) -> Bools:
        options = "c" if query.case_sensitive else "i"
        check = "SELECT regexp_matches('', $1, $2)"
        try:
            self._reading.cursor.execute(check, [query.pattern, options]).fetchall()
        except duckdb.InvalidInputException as error:
            raise bad_query(
                f"{query.pattern!r} is no regular expression in RE2's syntax: "
                f"{str(error).partition(': ')[2]}"
            ) from None
        return self._text(query.key, f"regexp_matches(text, $2, '{options}')", query.pattern)

    def _key_present(self, query: asked.KeyPresent) -> Bools:
        mask = self.present(query.key)
        return mask if query.exists else ~mask

    def _full_text(self, query: asked.FullText) -> Bools:
        mask = self._reading.every()
        for word in sorted(words(query.text), key=len, reverse=True):
            mask &= self._own(WORD, word)
            if not mask.any():
                break
        return mask

    def _specs(self, query: asked.Specs) -> Bools:
        mask = self._reading.every()
        for name in query.include:
            mask &= self._own(SPEC, name)
        for name in query.exclude:
            mask &= ~self._own(SPEC, name)
        return mask

    def _own(self, key: int, text: str) -> Bools:
        return self._texts(_HAS_TEXT, key << KIND_BITS | TEXT, text)

    def _own_one_of(self, key: int, texts: Sequence[str]) -> Bools:
        if not texts:
            return self._reading.none()
        return self._texts(_HAS_ONE_OF, key << KIND_BITS | TEXT, list(texts))

    def _text(self, key: str, where: str, pattern: str) -> Bools:
        attribute = self._attribute(key)
        if attribute is None:
            return self._reading.none()
        return self._texts(f"attribute = $1 AND {where}", attribute | TEXT, pattern)

    def _texts(self, where: str, *parameters: Any) -> Bools:
        return self._reading.mask(TEXTS, where, parameters)

    def _numbers(self, where: str, *parameters: Any) -> Bools:
        return self._reading.mask(NUMBERS, where, parameters)

    def _attribute(self, key: str) -> int | None:
        number = self._reading.keys.number(key)
        return None if number is None else number << KIND_BITS
