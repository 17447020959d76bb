"""Queries as text."""

from __future__ import annotations

from typing import Any

import pytest

from lakeservice.catalog import parse_query
from schemas.errors import ErrorKind, InvalidRequestError
from schemas.query import (
    EVERYTHING,
    MAX_CONDITIONS,
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

READ: dict[str, Query] = {
    "": EVERYTHING,
    " \n": EVERYTHING,
    "start.sample.temp > 250 AND plan_name IN ('scan','fly')": And(
        (Comparison("start.sample.temp", "gt", 250), In("plan_name", ("scan", "fly")))
    ),
    "x = 1": Eq("x", 1),
    "x == 1.5": Eq("x", 1.5),
    "x = -2e3": Eq("x", -2000.0),
    "x = 9007199254740993": Eq("x", 9007199254740993),
    "x = 'it''s'": Eq("x", "it's"),
    "x = TRUE": Eq("x", True),
    "x IS TRUE": Eq("x", True),
    "x IS NOT FALSE": Not(Eq("x", False)),
    "x = [1, 'a']": Eq("x", [1, "a"]),
    "1 = x": Eq("x", 1),
    "x != 'a'": NotEq("x", "a"),
    "x <> 'a'": NotEq("x", "a"),
    "250 < x": Comparison("x", "gt", 250),
    "'a' >= x": Comparison("x", "le", "a"),
    "x <= 3 OR x >= 5": Or((Comparison("x", "le", 3), Comparison("x", "ge", 5))),
    "a = 1 AND b = 2 AND c = 3": And((Eq("a", 1), Eq("b", 2), Eq("c", 3))),
    "a = 1 AND NOT b = 2 OR c = 3": Or((And((Eq("a", 1), Not(Eq("b", 2)))), Eq("c", 3))),
    "x BETWEEN 1 AND 2": And((Comparison("x", "ge", 1), Comparison("x", "le", 2))),
    "x NOT IN (1, 'a', NULL)": NotIn("x", (1, "a", None)),
    "NOT (x IN (1))": Not(In("x", (1,))),
    "x NOT BETWEEN 1 AND 2": And(
        (
            KeyPresent("x"),
            Not(And((Comparison("x", "ge", 1), Comparison("x", "le", 2)))),
        )
    ),
    "x LIKE 'a%'": Like("x", "a%"),
    "x NOT LIKE 'a%'": And((KeyPresent("x"), Not(Like("x", "a%")))),
    "x ILIKE 'a.%_'": Regex("x", r"(?s)\Aa\..*.\z", case_sensitive=False),
    "x ~ '^a'": Regex("x", "^a"),
    "x ~* '^a'": Regex("x", "^a", case_sensitive=False),
    "x !~ '^a'": And((KeyPresent("x"), Not(Regex("x", "^a")))),
    "regexp_matches(x, '^a')": Regex("x", "^a"),
    "regexp_matches(x, '^a', 'i')": Regex("x", "^a", case_sensitive=False),
    "x IS NULL": KeyPresent("x", exists=False),
    "x IS NOT NULL": KeyPresent("x"),
    "contains(a.b, 'x')": Contains("a.b", "x"),
    "contains(a, 3)": Contains("a", 3),
    "fulltext('good beam')": FullText("good beam"),
    "specs('NXsas', 'own')": Specs(include=("NXsas", "own")),
    "NOT specs('NXsas')": Not(Specs(include=("NXsas",))),
    "family('array')": Family("array"),
    "name('run7', 'run8')": Lookup(("run7", "run8")),
    "family = 'array'": Eq("family", "array"),
    "a.b.c.d.e.f = 1": Eq("a.b.c.d.e.f", 1),
    "\"entry.distance@units\" = 'm'": Eq("entry.distance@units", "m"),
    'a."b c".d = 1': Eq("a.b c.d", 1),
    '"a""b" = 1': Eq('a"b', 1),
    "Größe = 1 -- a comment": Eq("Größe", 1),
    "start.time > 1 AND end = 2 AND type = 'x' AND date = 'y' AND count = 3 AND user = 'z'": And(
        (
            Comparison("start.time", "gt", 1),
            Eq("end", 2),
            Eq("type", "x"),
            Eq("date", "y"),
            Eq("count", 3),
            Eq("user", "z"),
        )
    ),
}


@pytest.mark.parametrize("text", READ, ids=str)
def test_a_condition_means_what_sql_says(text: str) -> None:
    assert parse_query(text) == READ[text]


@pytest.mark.parametrize(
    "text",
    [
        "x",
        "x =",
        "= 1",
        "x = 1 AND",
        "(x = 1",
        "x = 1)",
        "x = 'a",
        "x = y",
        "x + 1 = 2",
        "x = NULL",
        "x IN (SELECT 1)",
        "x = (SELECT max(y) FROM z)",
        "x = 1; DROP TABLE nodes",
        "SELECT * FROM nodes",
        "x LIKE 'a' ESCAPE 'b'",
        "x LIKE 5",
        "x < TRUE",
        "x < [1]",
        "x = ?",
        "x = $1",
        "read_csv('/etc/passwd')",
        "getenv('HOME') = 'x'",
        "family('nonsense')",
        "fulltext(1)",
        "specs()",
        "contains(x, y)",
        "regexp_matches(x, 'a', 'g')",
        "CASE WHEN x = 1 THEN TRUE END",
        "x::int = 1",
        "a[0] = 1",
        "x = current_date",
        "x = -'a'",
        "\x00",
        "x = 1 UNION SELECT 2",
        "EXISTS (SELECT 1)",
    ],
)
def test_what_is_no_condition_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        parse_query(text)
    assert caught.value.kind is ErrorKind.BAD_QUERY


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a = 1 AND b = = 2", "character 15"),
        ("a = 1 AND frobnicate(b)", "'FROBNICATE\\(b\\)' \\(near character 20\\) is no function"),
        ("a = b", "'b' \\(near character 5\\) is not a value; texts go in single quotes"),
        ("a = NULL", "write IS NULL or IS NOT NULL"),
        ("a = 'x", "a quote may be missing"),
        ("a ! b", "keys with unusual characters go in double quotes"),
    ],
)
def test_the_refusal_says_where_and_what_is_allowed(text: str, words: str) -> None:
    with pytest.raises(InvalidRequestError, match=words):
        parse_query(text)


@pytest.mark.parametrize(
    "text",
    [
        "x" * 1_000_000,
        "a = 1 OR " * 120_000 + "a = 1",
        "(" * 1_000_000,
        "'" * 1_000_000,
        "ü" * 500_000,
    ],
    ids=["key", "conditions", "brackets", "quotes", "unicode"],
)
def test_a_megabyte_is_refused_at_once(text: str) -> None:
    with pytest.raises(InvalidRequestError, match="at most 65536 are allowed") as caught:
        parse_query(text)
    assert caught.value.kind is ErrorKind.BAD_QUERY


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("(" * 30_000 + "a = 1" + ")" * 30_000, "nested too deeply"),
        ("NOT " * 16_000 + "a = 1", "nested too deeply"),
        ("NOT (" * 40 + "a = 1" + ")" * 40, "nested"),
        ("a = " + "[" * 60_000, "nested too deeply"),
        ("f(" * 30_000, "nested too deeply"),
        (" OR ".join(["a = 1"] * (MAX_CONDITIONS + 1)), f"more than {MAX_CONDITIONS} conditions"),
    ],
    ids=["brackets", "not", "not brackets", "lists", "functions", "conditions"],
)
def test_too_deep_or_too_many_is_refused(text: str, words: str) -> None:
    with pytest.raises(InvalidRequestError, match=words):
        parse_query(text)


@pytest.mark.parametrize("depth", [1, 5, 20])
def test_brackets_in_reason_are_read(depth: int) -> None:
    assert parse_query("(" * depth + "a = 1" + ")" * depth) == Eq("a", 1)


def test_many_conditions_are_one_flat_and() -> None:
    query: Any = parse_query(" AND ".join(f"a = {number}" for number in range(MAX_CONDITIONS)))
    assert len(query.queries) == MAX_CONDITIONS


def test_sql_in_a_string_is_a_string() -> None:
    text = "'; DROP TABLE nodes; --"
    assert parse_query("x = '" + text.replace("'", "''") + "'") == Eq("x", text)
