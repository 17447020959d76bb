from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest

from lakeservice.service.writing import Draft
from schemas.structures import ArrayStructure, TableStructure

if TYPE_CHECKING:
    from starlette.testclient import TestClient

    from lakeservice.service.service import Service

STACK = np.arange(24, dtype="<u2").reshape(2, 3, 4)
TABLE = pa.table({"a": [1, 2]})


@pytest.fixture
def stored(http: TestClient, service: Service) -> TestClient:
    for path, array in (("eiger", STACK), ("v1.npy", STACK[0])):
        structure = ArrayStructure.from_numpy(array.shape, array.dtype)
        service.write_array(Draft(path=path, structure=structure, metadata={}), [array])
    draft = Draft(path="log", structure=TableStructure.from_arrow(TABLE.schema), metadata={})
    service.write_table(draft, TABLE.to_reader())
    return http


@pytest.mark.parametrize(
    ("path", "query", "content_type"),
    [
        ("array/full/eiger.npy", {}, "application/x-npy"),
        ("array/full/eiger.NPY", {"slice": "1"}, "application/x-npy"),
        ("array/full/eiger", {"format": ".npy"}, "application/x-npy"),
        ("array/full/eiger.json", {"format": ".npy"}, "application/x-npy"),
        ("array/block/eiger.npy", {"block": "0,0,0"}, "application/x-npy"),
        ("array/full/v1.npy", {}, "application/octet-stream"),
        ("array/full/v1.npy.json", {}, "application/json"),
        ("table/full/log.csv", {}, "text/csv; charset=utf-8"),
        ("node/full/log.csv", {}, "text/csv; charset=utf-8"),
        ("array/full/log/a.json", {}, "application/json"),
    ],
)
def test_a_suffix_names_the_form_where_no_node_has_that_name(
    stored: TestClient, path: str, query: dict[str, str], content_type: str
) -> None:
    headers = {"accept": "text/html, */*"} if "." not in path else {}
    answer = stored.get(f"/api/v1/{path}", params=query, headers=headers)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == content_type


def test_a_suffix_goes_with_a_slice(stored: TestClient) -> None:
    answer = stored.get("/api/v1/array/full/eiger.npy?slice=1,::2")
    assert (np.load(io.BytesIO(answer.content)) == STACK[1, ::2]).all()


@pytest.mark.parametrize("path", ["eiger.docx", "eiger.", "nothing.npy", ".npy", "eiger.npy.npy"])
def test_a_suffix_that_names_no_form_is_no_node(stored: TestClient, path: str) -> None:
    answer: Any = stored.get(f"/api/v1/array/full/{path}")
    assert answer.status_code == 404
    assert answer.json()["kind"] == "node-not-found"
    assert path in answer.json()["detail"]
