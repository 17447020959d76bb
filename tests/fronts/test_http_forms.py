"""Every form of arrays, for arrays of every kind: written, or refused with a reason."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from lakeservice.access.keys import Authenticator
from lakeservice.export.registry import exporters_of
from lakeservice.fronts.http import create_app
from lakeservice.service.service import Service
from lakeservice.service.writing import Draft
from schemas.structures import ArrayStructure

if TYPE_CHECKING:
    from collections.abc import Iterator

SHAPES = {"stack": (3, 20, 17), "image": (9, 8), "line": (11,), "one": (), "none": (0, 4)}
DTYPES = ("?", "u1", ">u2", "<i8", "<f2", "<f8", "<c8", "S3", "<U4", "<M8[us]", "<m8[s]")
RECORD = np.dtype([("a", "<i4"), ("b", "<f8", (2,)), ("c", "S2")])
ARRAYS: dict[str, np.ndarray[Any, Any]] = {
    f"{name}-{dtype.strip('<>?[]') or 'b'}".replace("[", "-"): (
        np.arange(np.prod(shape, dtype=int)).reshape(shape).astype("i8").astype(dtype)
    )
    for name, shape in SHAPES.items()
    for dtype in DTYPES
} | {"records": np.zeros(4, RECORD), "axes": np.ones((2, 1, 2, 1, 2, 3), "<u2")}
SHORT = [one.names[0] for one in exporters_of("array") if one.names]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """A client that takes bytes as they are, of a front that serves all arrays."""
    lake = str(tmp_path_factory.mktemp("forms") / "lake")
    with Service.open(lake, create=True) as service:
        for name, array in ARRAYS.items():
            structure = ArrayStructure.from_numpy(array.shape, array.dtype)
            draft = Draft(path=name, structure=structure, metadata={"n": 1, "t": "ä"})
            service.write_array(draft, [array])
        app = create_app(service, Authenticator(None, public=True), about={})
        headers = {"accept-encoding": "identity"}
        with TestClient(app, base_url="http://lake", headers=headers) as client:
            yield client


@pytest.mark.parametrize("form", SHORT)
def test_every_array_is_written_or_refused(served: TestClient, form: str) -> None:
    written = 0
    for name in ARRAYS:
        url = f"/api/v1/array/full/{name}.{form}"
        answer = served.get(url)
        if answer.status_code != 200:
            assert answer.status_code == 406, (name, answer.text)
            assert answer.json()["kind"] == "unknown-format"
            continue
        written += 1
        assert answer.headers["content-length"] == str(len(answer.content))
        head = served.head(url)
        assert head.headers.get("content-length", str(len(answer.content))) == str(
            len(answer.content)
        )
        if answer.content:
            middle = len(answer.content) // 2
            part = served.get(url, headers={"range": f"bytes={middle}-"})
            assert part.status_code == 206
            assert part.content == answer.content[middle:], name
    assert written > len(ARRAYS) // 4


@pytest.mark.parametrize(
    ("query", "status", "kind"),
    [
        ("format=png", 406, "unknown-format"),
        ("format=png&slice=0&percentile=x", 400, "bad-request"),
        ("format=png&slice=0&max_size=-1", 400, "bad-request"),
        ("format=html&cmap=beige", 200, ""),
        ("format=tiff&dtype=int7", 400, "bad-request"),
        ("format=ibw&image=perhaps", 400, "bad-request"),
        ("format=csv", 406, "unknown-format"),
    ],
)
def test_what_a_form_cannot_do_is_said(
    served: TestClient, query: str, status: int, kind: str
) -> None:
    answer = served.get(f"/api/v1/array/full/stack-u1?{query}")
    assert answer.status_code == status, answer.text
    if kind:
        assert answer.json()["kind"] == kind
