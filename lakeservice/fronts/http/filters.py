"""Filters of a search, from their form in the URL: ``filter[eq][condition][key]=color``."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from lakeservice.fronts.http import run_filters
from schemas.errors import ErrorKind, InvalidRequestError
from schemas.query import (
    EVERYTHING,
    MAX_CONDITIONS,
    MAX_TEXT_BYTES,
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
    NotEq,
    NotIn,
    Query,
    Regex,
    Specs,
)
from schemas.structures import FAMILIES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

_NAME = re.compile(r"filter\[([^\[\]]*)\]\[condition\]\[([^\[\]]*)\]")
OPERATORS = ("lt", "le", "gt", "ge")


@dataclass(frozen=True)
class Filter:
    """One kind of filter: its fields as text, and the condition that they make."""

    fields: tuple[str, ...]
    build: Callable[[Mapping[str, str]], Query]
    defaults: Mapping[str, str] = field(default_factory=dict)
    """Fields that may be left out, and what they are then."""


def _json(given: Mapping[str, str], name: str) -> Any:
    text = given[name]
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        raise _bad(
            f"{name}={text[:80]!r} is not JSON; write text in double quotes, lists in brackets"
        ) from None


def _scalar(given: Mapping[str, str], name: str) -> Any:
    value = _json(given, name)
    if isinstance(value, list | dict):
        raise _bad(f"{name}={given[name][:80]!r}; one number, text, true, false or null is needed")
    return value


def _ordered(given: Mapping[str, str], name: str) -> int | float | str:
    value = _json(given, name)
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise _bad(f"{name}={given[name][:80]!r} has no order; compare with a number or a text")
    return value


def _list(given: Mapping[str, str], name: str) -> tuple[Any, ...]:
    value = _json(given, name)
    if not isinstance(value, list):
        raise _bad(f"{name}={given[name][:80]!r}; a JSON list is needed")
    if len(value) > MAX_CONDITIONS:
        raise _bad(f"a list of {len(value)} values; at most {MAX_CONDITIONS} are allowed")
    return tuple(value)


def _names(given: Mapping[str, str], name: str) -> tuple[str, ...]:
    values = _list(given, name)
    if not all(isinstance(value, str) for value in values):
        raise _bad(f"{name}={given[name][:80]!r}; a JSON list of texts is needed")
    return values


def _flag(given: Mapping[str, str], name: str) -> bool:
    text = given[name].lower()
    if text not in ("true", "false", "1", "0"):
        raise _bad(f"{name}={given[name][:80]!r}; write true or false")
    return text in ("true", "1")


def _comparison(given: Mapping[str, str]) -> Query:
    operator: Any = given["operator"]
    if operator not in OPERATORS:
        raise _bad(f"operator={operator[:40]!r}; known are {', '.join(OPERATORS)}")
    return Comparison(given["key"], operator, _ordered(given, "value"))


def _like(given: Mapping[str, str]) -> Query:
    pattern = _json(given, "pattern")
    if not isinstance(pattern, str):
        raise _bad(f"pattern={given['pattern'][:80]!r}; a JSON text is needed")
    return Like(given["key"], pattern)


def _not_in(given: Mapping[str, str]) -> Query:
    values = _list(given, "value")
    # Nothing is in an empty list, whether there is a value or not.
    return NotIn(given["key"], values) if values else EVERYTHING


def _family(given: Mapping[str, str]) -> Query:
    family: Any = given["value"].strip('"')
    if family not in FAMILIES:
        raise _bad(f"structure_family {family[:40]!r}; known are {', '.join(FAMILIES)}")
    return Family(family)


FILTERS: Mapping[str, Filter] = {
    "fulltext": Filter(
        ("text",), lambda given: FullText(given["text"]), {"case_sensitive": "false"}
    ),
    "lookup": Filter(("key",), lambda given: Lookup((given["key"],))),
    "keys_filter": Filter(("keys",), lambda given: Lookup(_names(given, "keys"))),
    "regex": Filter(
        ("key", "pattern"),
        lambda given: Regex(given["key"], given["pattern"], _flag(given, "case_sensitive")),
        {"case_sensitive": "true"},
    ),
    "eq": Filter(("key", "value"), lambda given: Eq(given["key"], _json(given, "value"))),
    "noteq": Filter(("key", "value"), lambda given: NotEq(given["key"], _json(given, "value"))),
    "comparison": Filter(("operator", "key", "value"), _comparison),
    "contains": Filter(
        ("key", "value"), lambda given: Contains(given["key"], _scalar(given, "value"))
    ),
    "in": Filter(("key", "value"), lambda given: In(given["key"], _list(given, "value"))),
    "notin": Filter(("key", "value"), _not_in),
    "keypresent": Filter(
        ("key",),
        lambda given: KeyPresent(given["key"], _flag(given, "exists")),
        {"exists": "true"},
    ),
    "like": Filter(("key", "pattern"), _like),
    "specs": Filter(
        (),
        lambda given: Specs(_names(given, "include"), _names(given, "exclude")),
        {"include": "[]", "exclude": "[]"},
    ),
    "structure_family": Filter(("value",), _family),
    "access_tags_filter": Filter(("tags",), lambda given: AccessTags(_names(given, "tags"))),
    "scan_id": Filter(("scan_ids",), run_filters.scan_id, {"duplicates": "all"}),
    "scan_id_range": Filter(
        ("start_id", "end_id"), run_filters.scan_id_range, {"duplicates": "all"}
    ),
    "partial_uid": Filter(("partial_uids",), run_filters.partial_uid),
    "time_range": Filter((), run_filters.time_range, {"timezone": "", "since": "", "until": ""}),
    "raw_mongo": Filter(("start",), run_filters.raw_mongo),
}
"""Filters by the name that they have in a URL."""


def read_filters(params: Iterable[tuple[str, str]]) -> Query:
    """Return the condition that all filters of a request make together.

    A name whose fields are repeated stands for several conditions: the first
    values of each field belong together, then the second, and so on.

    Raises
    ------
    InvalidRequestError
        ``bad-query``: an unknown filter or field, a field that is missing or
        repeated another number of times, a value that cannot be read, too much text.
    """
    given: dict[str, dict[str, list[str]]] = {}
    size = 0
    for name, text in params:
        if not name.startswith("filter"):
            continue
        found = _NAME.fullmatch(name)
        if found is None:
            raise _bad(f"cannot read {name[:80]!r}; write filter[NAME][condition][FIELD]=…")
        size += len(text)
        given.setdefault(found[1], {}).setdefault(found[2], []).append(text)
    if size > MAX_TEXT_BYTES:
        raise _bad(f"filters of {size} characters; at most {MAX_TEXT_BYTES} are allowed")
    queries = [query for name, fields in given.items() for query in _conditions(name, fields)]
    if len(queries) > MAX_CONDITIONS:
        raise _bad(f"{len(queries)} filters; at most {MAX_CONDITIONS} are allowed")
    if not queries:
        return EVERYTHING
    return queries[0] if len(queries) == 1 else And(tuple(queries))


def _conditions(name: str, fields: Mapping[str, list[str]]) -> Iterable[Query]:
    known = FILTERS.get(name)
    if known is None:
        raise _bad(f"no filter {name[:40]!r}; known are {', '.join(FILTERS)}")
    every = (*known.fields, *known.defaults)
    for label in fields:
        if label not in every:
            raise _bad(f"filter {name!r} has no field {label[:40]!r}; it has {', '.join(every)}")
    missing = [label for label in known.fields if label not in fields]
    if missing:
        raise _bad(f"filter {name!r} lacks {', '.join(missing)}")
    times = max(len(values) for values in fields.values())
    # One value of a field that may be left out goes for all.
    once = [label for label in known.defaults if len(fields.get(label, ())) == 1]
    if any(len(values) != times and label not in once for label, values in fields.items()):
        raise _bad(f"the fields of filter {name!r} are repeated different numbers of times")
    for number in range(times):
        given = {label: values[0 if label in once else number] for label, values in fields.items()}
        yield known.build({**known.defaults, **given})


def _bad(message: str) -> InvalidRequestError:
    return InvalidRequestError(ErrorKind.BAD_QUERY, message)
