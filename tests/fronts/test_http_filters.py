from __future__ import annotations

import json

import pytest

from lakeservice.fronts.http.filters import FILTERS, read_filters
from lakeservice.fronts.http.run_filters import LAST
from schemas.errors import ErrorKind, InvalidRequestError
from schemas.query import (
    EVERYTHING,
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
    Or,
    Query,
    Regex,
    Specs,
)

Pairs = list[tuple[str, str]]


def wire(name: str, **fields: str) -> Pairs:
    return [(f"filter[{name}][condition][{field}]", text) for field, text in fields.items()]


# As Tiled's Python client 0.2.20 writes them.
WRITTEN: list[tuple[Pairs, Query]] = [
    (wire("fulltext", text="scan"), FullText("scan")),
    (wire("fulltext", text="scan", case_sensitive="false"), FullText("scan")),
    (wire("lookup", key="r1"), Lookup(("r1",))),
    (wire("keys_filter", keys='["r1", "r2"]'), Lookup(("r1", "r2"))),
    (wire("regex", key="color", pattern="^r", case_sensitive="true"), Regex("color", "^r")),
    (wire("regex", key="c", pattern="^r", case_sensitive="false"), Regex("c", "^r", False)),
    (wire("regex", key="c", pattern="^r"), Regex("c", "^r")),
    (wire("eq", key="color", value='"red"'), Eq("color", "red")),
    (wire("eq", key="a.b", value='{"x": [1, null]}'), Eq("a.b", {"x": [1, None]})),
    (wire("noteq", key="n", value="1.5"), NotEq("n", 1.5)),
    (wire("comparison", operator="gt", key="n", value="1"), Comparison("n", "gt", 1)),
    (wire("comparison", operator="le", key="n", value='"m"'), Comparison("n", "le", "m")),
    (wire("contains", key="d", value='"ccd"'), Contains("d", "ccd")),
    (wire("in", key="c", value='["red", 1]'), In("c", ("red", 1))),
    (wire("notin", key="c", value="[1]"), NotIn("c", (1,))),
    (wire("notin", key="c", value="[]"), EVERYTHING),
    (wire("access_tags_filter", tags='["a", "b"]'), AccessTags(("a", "b"))),
    (wire("scan_id", scan_ids="5", duplicates="latest"), Eq("start.scan_id", 5)),
    (wire("scan_id", scan_ids="5,6"), In("start.scan_id", (5, 6))),
    (
        wire("scan_id_range", start_id="5", end_id="8", duplicates="all"),
        And((Comparison("start.scan_id", "ge", 5), Comparison("start.scan_id", "lt", 8))),
    ),
    (
        wire("partial_uid", partial_uids="ab"),
        And((Comparison("start.uid", "ge", "ab"), Comparison("start.uid", "le", f"ab{LAST}"))),
    ),
    (
        wire("time_range", timezone="US/Central", since="1", until="2.5"),
        And((Comparison("start.time", "ge", 1.0), Comparison("start.time", "lt", 2.5))),
    ),
    (wire("time_range", timezone="US/Central", since="", until=""), EVERYTHING),
    (wire("raw_mongo", start='{"a.b": 5}'), And((Eq("start.a.b", 5),))),
    (
        wire("raw_mongo", start='{"$or": [{"n": {"$gt": 1, "$ne": 3}}, {"m": {"$exists": true}}]}'),
        And(
            (
                Or(
                    (
                        And((Comparison("start.n", "gt", 1), NotEq("start.n", 3))),
                        And((KeyPresent("start.m"),)),
                    )
                ),
            )
        ),
    ),
    (wire("keypresent", key="c", exists="false"), KeyPresent("c", False)),
    (wire("keypresent", key="c"), KeyPresent("c")),
    (wire("like", key="c", pattern='"re%"'), Like("c", "re%")),
    (wire("specs", include='["A"]', exclude='["B"]'), Specs(("A",), ("B",))),
    (wire("specs", include='["A"]'), Specs(("A",))),
    (wire("structure_family", value="table"), Family("table")),
]


@pytest.mark.parametrize(("params", "query"), WRITTEN)
def test_each_filter_of_tiled_is_read(params: Pairs, query: Query) -> None:
    assert read_filters(params) == query


def test_every_filter_is_tried_above() -> None:
    assert {params[0][0].split("]")[0].removeprefix("filter[") for params, _ in WRITTEN} == {
        *FILTERS
    }


def test_no_filter_lets_everything_through() -> None:
    assert read_filters([("sort", "-n"), ("fields", "")]) == EVERYTHING


def test_repeated_fields_belong_together_by_position() -> None:
    params = [*wire("eq", key="a", value="1"), *wire("eq", key="b", value="2")]
    assert read_filters(params) == And((Eq("a", 1), Eq("b", 2)))


def test_different_filters_hold_together() -> None:
    params = [*wire("eq", key="a", value="1"), *wire("fulltext", text="x")]
    assert read_filters(params) == And((Eq("a", 1), FullText("x")))


REFUSED: list[tuple[Pairs, str]] = [
    (wire("near", uid="a"), "no filter 'near'; known are fulltext"),
    (wire("scan_id", scan_ids="five"), "whole numbers"),
    (wire("partial_uid", partial_uids="a,,b"), "beginnings of uids"),
    (wire("time_range", since="yesterday"), "seconds since 1970"),
    (wire("time_range", since="nan"), "seconds since 1970"),
    (wire("raw_mongo", start="[]"), "not a JSON object"),
    (wire("raw_mongo", start='{"$where": "true"}'), "cannot ask for '\\$where'"),
    (wire("raw_mongo", start='{"a": {"$near": 1}}'), "cannot ask for '\\$near'"),
    (wire("raw_mongo", start='{"a":' + '{"$not":' * 100 + "1" + "}" * 101), "levels"),
    ([("filter[eq]", "x")], "write filter"),
    ([("filter[eq][condition]", "x")], "write filter"),
    ([("filter[eq][condition][key][more]", "x")], "write filter"),
    (wire("eq", key="a"), "lacks value"),
    (wire("eq", value="1"), "lacks key"),
    (wire("eq", key="a", value="1", other="2"), "no field 'other'"),
    (wire("eq", key="a", value="red"), "not JSON"),
    (wire("eq", key="a", value=""), "not JSON"),
    (wire("eq", key="a", value="[" * 100_000), "filters of|not JSON"),
    (wire("comparison", operator="between", key="a", value="1"), "known are lt, le, gt, ge"),
    (wire("comparison", operator="gt", key="a", value="true"), "has no order"),
    (wire("comparison", operator="gt", key="a", value="[1]"), "has no order"),
    (wire("contains", key="a", value="[1]"), "one number"),
    (wire("in", key="a", value='"red"'), "JSON list"),
    (wire("in", key="a", value=json.dumps([0] * 2000)), "at most 1024"),
    (wire("keys_filter", keys="[1]"), "list of texts"),
    (wire("keypresent", key="a", exists="maybe"), "true or false"),
    (wire("like", key="a", pattern="1"), "JSON text"),
    (wire("specs", include="A"), "not JSON"),
    (wire("structure_family", value="cube"), "known are array"),
    ([*wire("eq", key="a", value="1"), *wire("eq", key="b")], "different numbers of times"),
    (wire("eq", key="a", value=json.dumps("x" * 1_000_000)), "at most 65536"),
    (wire("fulltext", text="x") * 2000, "at most 1024"),
]


@pytest.mark.parametrize(("params", "told"), REFUSED)
def test_what_cannot_be_read_is_refused_with_a_reason(params: Pairs, told: str) -> None:
    with pytest.raises(InvalidRequestError, match=told) as caught:
        read_filters(params)
    assert caught.value.kind is ErrorKind.BAD_QUERY
    assert len(str(caught.value)) < 500
