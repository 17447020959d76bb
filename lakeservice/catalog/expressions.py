"""SQL conditions read into queries; nothing of the text ever becomes SQL again."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, get_args

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from lakeservice.catalog.limits import bad_query
from schemas import query as asked
from schemas.structures import StructureFamily

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from schemas.errors import InvalidRequestError
    from schemas.query import Operator, Query

_COMPARISONS: dict[type[exp.Expr], tuple[Operator, Operator]] = {
    # What it means, and what it means with the key on the right.
    exp.LT: ("lt", "gt"),
    exp.LTE: ("le", "ge"),
    exp.GT: ("gt", "lt"),
    exp.GTE: ("ge", "le"),
}
_FAMILIES = get_args(StructureFamily)
_ALLOWED = (
    "write comparisons of a key with values, such as start.sample.temp > 250 AND "
    "plan_name IN ('scan', 'fly'); keys with unusual characters go in double quotes"
)
_SHOWN = 60


def read_condition(text: str) -> Query:
    """Return the query that an SQL condition stands for.

    Raises
    ------
    InvalidRequestError
        ``bad-query``: not a condition of the kind that `text.parse_query` describes.
    """
    try:
        tree = sqlglot.parse_one(text, dialect="duckdb", into=exp.Condition)
        return _query(tree)
    except RecursionError:
        raise bad_query("the query is nested too deeply; write it with fewer brackets") from None
    except SqlglotError as error:
        raise bad_query(f"{_problem(error)}; {_ALLOWED}") from None


def _query(tree: exp.Expr) -> Query:
    if isinstance(tree, exp.Paren):
        return _query(tree.this)
    if isinstance(tree, exp.And):
        return asked.And(tuple(map(_query, tree.flatten())))
    if isinstance(tree, exp.Or):
        return asked.Or(tuple(map(_query, tree.flatten())))
    if isinstance(tree, exp.Not):
        return _negation(tree)
    if isinstance(tree, exp.Func):
        return _function(tree)
    for kind, read in _READERS.items():
        if isinstance(tree, kind):
            return read(tree)
    raise _refused(tree, "is not a condition")


def _negation(tree: exp.Not) -> Query:
    inner = tree.this
    if isinstance(inner, exp.In):
        values = tuple(_value(value) for value in inner.expressions)
        return asked.NotIn(_key(inner.this), values)
    if isinstance(inner, exp.Is) and isinstance(inner.expression, exp.Null):
        return asked.KeyPresent(_key(inner.this))
    if isinstance(inner, exp.Between | exp.RegexpLike | exp.RegexpILike) and isinstance(
        inner.this, exp.Column | exp.Dot
    ):
        return _there_but_not(inner.this, _query(inner))
    return asked.Not(_query(inner))


def _there_but_not(key: exp.Expr, query: Query) -> Query:
    return asked.And((asked.KeyPresent(_key(key)), asked.Not(query)))


def _equality(tree: exp.EQ | exp.NEQ) -> Query:
    left, right = tree.this, tree.expression
    if _is_value(left):
        left, right = right, left
    if isinstance(right, exp.Null):
        raise _refused(tree, "compares with NULL; write IS NULL or IS NOT NULL")
    condition = asked.Eq if isinstance(tree, exp.EQ) else asked.NotEq
    return condition(_key(left), _value(right))


def _comparison(tree: exp.LT | exp.LTE | exp.GT | exp.GTE) -> Query:
    plain, turned = _COMPARISONS[type(tree)]
    if _is_value(tree.this):
        return asked.Comparison(_key(tree.expression), turned, _ordered(tree.this))
    return asked.Comparison(_key(tree.this), plain, _ordered(tree.expression))


def _between(tree: exp.Between) -> Query:
    key = _key(tree.this)
    low, high = _ordered(tree.args["low"]), _ordered(tree.args["high"])
    return asked.And((asked.Comparison(key, "ge", low), asked.Comparison(key, "le", high)))


def _in(tree: exp.In) -> Query:
    if tree.args.get("query") is not None or tree.args.get("unnest") is not None:
        raise _refused(tree, "holds a query of its own; list the values")
    return asked.In(_key(tree.this), tuple(_value(value) for value in tree.expressions))


def _is(tree: exp.Is) -> Query:
    if isinstance(tree.expression, exp.Null):
        return asked.KeyPresent(_key(tree.this), exists=False)
    return asked.Eq(_key(tree.this), _value(tree.expression))


def _like(tree: exp.Like | exp.ILike) -> Query:
    key, pattern = _key(tree.this), _text(tree.expression)
    query: Query = asked.Like(key, pattern)
    if isinstance(tree, exp.ILike):
        parts = {"%": ".*", "_": "."}
        inner = "".join(parts.get(c) or _literal(c) for c in pattern)
        query = asked.Regex(key, rf"(?s)\A{inner}\z", case_sensitive=False)
    return _there_but_not(tree.this, query) if tree.args.get("negate") else query


def _regex(tree: exp.RegexpLike | exp.RegexpILike) -> Query:
    flag = tree.args.get("flag")
    options = "" if flag is None else _text(flag)
    if options not in ("", "c", "i"):
        raise _refused(tree, "has options other than 'c' and 'i'")
    sensitive = isinstance(tree, exp.RegexpLike) and options != "i"
    return asked.Regex(_key(tree.this), _text(tree.expression), case_sensitive=sensitive)


def _function(tree: exp.Func) -> Query:
    if isinstance(tree, exp.RegexpLike | exp.RegexpILike):
        return _regex(tree)
    if isinstance(tree, exp.Contains | exp.ArrayContains):
        return asked.Contains(_key(tree.this), _scalar(tree.expression))
    if not isinstance(tree, exp.Anonymous):
        raise _refused(tree, "is not a condition")
    arguments = tree.expressions
    name = tree.name.lower()
    if name == "fulltext" and len(arguments) == 1:
        return asked.FullText(_text(arguments[0]))
    if name == "specs" and arguments:
        return asked.Specs(include=tuple(map(_text, arguments)))
    if name == "name" and arguments:
        return asked.Lookup(tuple(map(_text, arguments)))
    if name == "family" and len(arguments) == 1:
        family: Any = _text(arguments[0])
        if family not in _FAMILIES:
            raise _refused(tree, f"asks for a family that is none of {', '.join(_FAMILIES)}")
        return asked.Family(family)
    raise _refused(
        tree,
        "is no function of queries; there are contains, regexp_matches, fulltext, specs, "
        "family and name",
    )


_READERS: dict[type[exp.Expr] | tuple[type[exp.Expr], ...], Callable[[Any], Query]] = {
    (exp.EQ, exp.NEQ): _equality,
    (exp.LT, exp.LTE, exp.GT, exp.GTE): _comparison,
    exp.Between: _between,
    exp.In: _in,
    exp.Is: _is,
    (exp.Like, exp.ILike): _like,
    (exp.RegexpLike, exp.RegexpILike): _regex,
}


def _key(tree: exp.Expr) -> str:
    parts: Sequence[exp.Expr] = ()
    if isinstance(tree, exp.Column | exp.Dot):
        parts = tree.parts
    if not parts or not all(isinstance(part, exp.Identifier | exp.Literal) for part in parts):
        raise _refused(tree, "is not a key")
    return ".".join(part.name for part in parts)


def _is_value(tree: exp.Expr) -> bool:
    return isinstance(tree, exp.Literal | exp.Neg | exp.Boolean | exp.Null | exp.Array)


def _value(tree: exp.Expr) -> Any:
    if isinstance(tree, exp.Array):
        return [_value(value) for value in tree.expressions]
    return _scalar(tree)


def _scalar(tree: exp.Expr) -> bool | float | str | None:
    if isinstance(tree, exp.Paren):
        return _scalar(tree.this)
    if isinstance(tree, exp.Null):
        return None
    if isinstance(tree, exp.Boolean):
        return bool(tree.this)
    return _ordered(tree)


def _ordered(tree: exp.Expr) -> float | str:
    negative = isinstance(tree, exp.Neg)
    literal = tree.this if negative else tree
    if isinstance(literal, exp.Literal):
        if literal.is_string and not negative:
            return str(literal.this)
        number = _number(str(literal.this))
        if number is not None and not literal.is_string:
            return -number if negative else number
    raise _refused(tree, "is not a value; texts go in single quotes")


def _number(text: str) -> int | float | None:
    if len(text) > 1000:
        return None
    for read in (int, float):
        try:
            return read(text)
        except ValueError:
            continue
    return None


def _text(tree: exp.Expr) -> str:
    if isinstance(tree, exp.Literal) and tree.is_string:
        return str(tree.this)
    raise _refused(tree, "is not a text; texts go in single quotes")


def _literal(character: str) -> str:
    return re.escape(character) if character.isascii() else character


def _refused(tree: exp.Expr, what: str) -> InvalidRequestError:
    place = next((node.meta["col"] for node in tree.walk() if "col" in node.meta), None)
    where = "" if place is None else f" (near character {place})"
    shown = tree.sql("duckdb")
    shown = shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}…"
    return bad_query(f"{shown!r}{where} {what}; {_ALLOWED}")


def _problem(error: SqlglotError) -> str:
    for found in getattr(error, "errors", ()):
        near = f"{found.get('highlight') or ''}"[:_SHOWN]
        line = f"line {found['line']}, " if (found.get("line") or 1) > 1 else ""
        if found.get("col") is not None:
            return f"the query cannot be read at {line}character {found['col']}, near {near!r}"
    return "the query cannot be read: a quote may be missing"
