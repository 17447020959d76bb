"""Metadata on its way out."""

from __future__ import annotations

import datetime
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lakeservice.client.metadata import document, merged, plain, spec_list
from schemas.entry import Spec
from schemas.errors import ErrorKind, InvalidRequestError

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@settings(deadline=None)
@given(st.dictionaries(st.text(), JSON, max_size=5))
def test_what_json_can_carry_is_left_as_it_is(metadata: dict[str, Any]) -> None:
    assert document(metadata) == metadata


def test_numpy_values_become_what_json_has() -> None:
    found = plain(
        {
            "n": np.int32(4),
            "x": np.float32(0.5),
            "ok": np.bool_(True),
            "image": np.arange(4).reshape(2, 2),
            "when": np.datetime64("2026-03-01T12:00"),
            "name": np.str_("eiger"),
        }
    )
    assert json.loads(json.dumps(found)) == {
        "n": 4,
        "x": 0.5,
        "ok": True,
        "image": [[0, 1], [2, 3]],
        "when": "2026-03-01T12:00",
        "name": "eiger",
    }


def test_floats_that_are_not_finite_become_text() -> None:
    assert plain([float("nan"), float("inf"), np.float64("-inf"), np.array([np.nan])]) == [
        "nan",
        "inf",
        "-inf",
        ["nan"],
    ]


def test_dates_bytes_and_sets_have_a_form() -> None:
    assert plain(datetime.date(2026, 3, 1)) == "2026-03-01"
    assert plain(b"caf\xc3\xa9") == "café"
    assert plain({1}) == [1]


def test_a_value_without_a_form_is_named_by_its_key() -> None:
    with pytest.raises(InvalidRequestError, match=r"metadata\.a\.b is a function") as caught:
        document({"a": {"b": lambda: None}})
    assert caught.value.kind is ErrorKind.BAD_METADATA


def test_a_key_that_is_no_text_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match="is not text"):
        document({(1, 2): 3})  # type: ignore[dict-item]


def test_a_change_is_merged_as_rfc_7396_says() -> None:
    # examples of the RFC's appendix A
    assert merged({"a": "b"}, {"a": "c"}) == {"a": "c"}
    assert merged({"a": "b", "b": "c"}, {"a": None}) == {"b": "c"}
    assert merged({"a": ["b"]}, {"a": "c"}) == {"a": "c"}
    assert merged({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}) == {"a": {"b": "d"}}
    assert merged({}, {"a": {"bb": {"ccc": None}}}) == {"a": {"bb": {}}}


def test_specs_are_given_as_names_pairs_or_specs() -> None:
    assert spec_list(["NXsas", ("NXmx", "1.0"), Spec("X")]) == (
        Spec("NXsas"),
        Spec("NXmx", "1.0"),
        Spec("X"),
    )
    assert spec_list("NXsas") == (Spec("NXsas"),)
