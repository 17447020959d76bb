"""Filters that Bluesky's clients send for runs: scan numbers, parts of a uid, a range of time."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import msgspec

from schemas.errors import ErrorKind, InvalidRequestError
from schemas.query import (
    EVERYTHING,
    MAX_CONDITIONS,
    MAX_DEPTH,
    And,
    Comparison,
    Eq,
    In,
    KeyPresent,
    Not,
    NotEq,
    NotIn,
    Operator,
    Or,
    Query,
    Regex,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

LAST = "\U0010ffff"
"""Sorts behind every other character."""
_COMPARED: dict[str, Operator] = {"$lt": "lt", "$lte": "le", "$gt": "gt", "$gte": "ge"}
_MONGO = (*_COMPARED, "$eq", "$ne", "$in", "$nin", "$exists", "$regex", "$not", "$and", "$or")
_ABSENT = ("", "null", "None")


def scan_id(given: Mapping[str, str]) -> Query:
    """Return the condition for runs with one of several scan numbers.

    Of runs that share a number all are found, and a listing tells which is the latest.
    """
    numbers = given["scan_ids"].strip("[]").split(",")
    if len(numbers) > MAX_CONDITIONS:
        raise _bad(f"{len(numbers)} scan_ids; at most {MAX_CONDITIONS} are allowed")
    wanted = tuple(_integer("scan_ids", number) for number in numbers)
    return Eq("start.scan_id", wanted[0]) if len(wanted) == 1 else In("start.scan_id", wanted)


def scan_id_range(given: Mapping[str, str]) -> Query:
    """Return the condition for runs whose scan number is at or after one and before another."""
    first, end = (_integer(name, given[name]) for name in ("start_id", "end_id"))
    key = "start.scan_id"
    return And((Comparison(key, "ge", first), Comparison(key, "lt", end)))


def partial_uid(given: Mapping[str, str]) -> Query:
    """Return the condition for runs whose uid begins with one of several texts."""
    beginnings = [text.strip() for text in given["partial_uids"].split(",")]
    if not all(beginnings) or len(beginnings) > MAX_CONDITIONS // 2:
        raise _bad(
            f"partial_uids={given['partial_uids'][:80]!r}; write the beginnings of uids "
            "with commas between them"
        )
    key = "start.uid"
    ranges = tuple(
        And((Comparison(key, "ge", text), Comparison(key, "le", text + LAST)))
        for text in beginnings
    )
    return ranges[0] if len(ranges) == 1 else Or(ranges)


def time_range(given: Mapping[str, str]) -> Query:
    """Return the condition for runs that began in a range of time, in s since 1970.

    The zone is of no account: the client has turned clock times into seconds with it.
    """
    found: list[Query] = []
    operators: tuple[tuple[str, Operator], ...] = (("since", "ge"), ("until", "lt"))
    for name, operator in operators:
        if given[name] not in _ABSENT:
            found.append(Comparison("start.time", operator, _seconds(name, given[name])))
    return And(tuple(found)) if found else EVERYTHING


def raw_mongo(given: Mapping[str, str]) -> Query:
    """Return the condition that a MongoDB query on start documents stands for, if it has one."""
    try:
        asked = msgspec.json.decode(given["start"])
    except (msgspec.DecodeError, RecursionError):
        asked = None
    if not isinstance(asked, dict):
        raise _bad(f"start={given['start'][:80]!r} is not a JSON object")
    return _document(asked, 0)


def _document(asked: dict[str, Any], depth: int) -> Query:
    if depth > MAX_DEPTH:
        raise _bad(f"more than {MAX_DEPTH} levels in raw_mongo")
    found: list[Query] = []
    for name, value in asked.items():
        if name in ("$and", "$or"):
            if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
                raise _bad(f"{name} in raw_mongo takes a list of objects")
            inner = tuple(_document(one, depth + 1) for one in value)
            found.append(And(inner) if name == "$and" else Or(inner))
        elif name.startswith("$"):
            raise _unknown(name)
        elif isinstance(value, dict) and any(key.startswith("$") for key in value):
            found += [_operator(f"start.{name}", *one, depth) for one in value.items()]
        else:
            found.append(Eq(f"start.{name}", value))
    return And(tuple(found))


def _operator(key: str, name: str, value: Any, depth: int) -> Query:
    if depth > MAX_DEPTH:
        raise _bad(f"more than {MAX_DEPTH} levels in raw_mongo")
    if name in _COMPARED and isinstance(value, int | float | str) and not isinstance(value, bool):
        return Comparison(key, _COMPARED[name], value)
    if name in ("$in", "$nin") and isinstance(value, list) and len(value) <= MAX_CONDITIONS:
        return In(key, tuple(value)) if name == "$in" else NotIn(key, tuple(value))
    if name == "$regex" and isinstance(value, str):
        return Regex(key, value)
    if name == "$not" and isinstance(value, dict):
        inner = tuple(_operator(key, *one, depth + 1) for one in value.items())
        return Not(And(inner))
    match name:
        case "$eq":
            return Eq(key, value)
        case "$ne":
            return NotEq(key, value)
        case "$exists":
            return KeyPresent(key, bool(value))
    raise _unknown(name)


def _unknown(name: str) -> InvalidRequestError:
    return _bad(
        f"raw_mongo cannot ask for {name[:40]!r} in this way; known are {', '.join(_MONGO)}: "
        "use other filters, or a condition as text with q="
    )


def _integer(name: str, text: str) -> int:
    try:
        return int(text.strip()[:40])
    except ValueError:
        raise _bad(f"{name}={text[:80]!r}; write whole numbers, with commas between them") from None


def _seconds(name: str, text: str) -> float:
    try:
        seconds = float(text.strip().strip('"'))
    except ValueError:
        seconds = math.nan
    if not math.isfinite(seconds):
        raise _bad(f"{name}={text[:80]!r}; write seconds since 1970")
    return seconds


def _bad(message: str) -> InvalidRequestError:
    return InvalidRequestError(ErrorKind.BAD_QUERY, message)
