from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lakeservice.fronts.http.structures import data_type_document
from lakeservice.storage import coarser
from lakeservice.storage.check import check
from schemas.structures import DataType

if TYPE_CHECKING:
    from starlette.testclient import TestClient

    from lakeservice.service.service import Service

OCTETS = {"content-type": "application/octet-stream"}
CONTENT = st.integers(1, 1 << 30)
few = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def declare(
    http: TestClient, shape: tuple[int, ...], chunks: list[list[int]], dtype: Any, name: str
) -> None:
    structure = {
        "shape": list(shape),
        "chunks": chunks,
        "data_type": data_type_document(DataType.from_numpy(np.dtype(dtype))),
    }
    source = {"structure_family": "array", "structure": structure}
    answer = http.post(
        "/api/v1/metadata/",
        json={"structure_family": "array", "data_sources": [source], "id": name},
    )
    assert answer.status_code == 200, answer.text


def put(http: TestClient, name: str, array: np.ndarray[Any, Any]) -> None:
    answer = http.put(f"/api/v1/array/full/{name}", content=array.tobytes(), headers=OCTETS)
    assert answer.status_code == 200, answer.text


def patch(
    http: TestClient,
    name: str,
    block: np.ndarray[Any, Any],
    origin: tuple[int, ...],
    **params: Any,
) -> Any:
    return http.patch(
        f"/api/v1/array/full/{name}",
        content=block.tobytes(),
        headers=OCTETS,
        params={
            "offset": ",".join(map(str, origin)),
            "shape": ",".join(map(str, block.shape)) or "scalar",
            **params,
        },
    )


def read(http: TestClient, name: str, like: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    answer = http.get(f"/api/v1/array/full/{name}", headers={"accept": "application/octet-stream"})
    assert answer.status_code == 200, answer.text
    return np.frombuffer(answer.content, like.dtype).reshape(like.shape)


def cut(data: st.DataObject, length: int) -> list[int]:
    """Draw sizes that add up to a length: regular or not."""
    sizes = []
    while length > 0:
        sizes.append(data.draw(st.integers(1, length)))
        length -= sizes[-1]
    return sizes or [0]


def numpy_patched(
    whole: np.ndarray[Any, Any], block: np.ndarray[Any, Any], offset: tuple[int, ...]
) -> np.ndarray[Any, Any]:
    ends = [start + count for start, count in zip(offset, block.shape, strict=True)]
    grown = np.zeros(list(map(max, whole.shape, ends)), whole.dtype)
    grown[tuple(slice(0, length) for length in whole.shape)] = whole
    grown[tuple(map(slice, offset, ends))] = block
    return grown


@few
@given(st.data())
def test_regions_are_written_and_axes_grow_as_numpy_would(
    http: TestClient, service: Service, data: st.DataObject
) -> None:
    name = uuid.uuid4().hex
    axes = data.draw(st.integers(1, 3))
    shape = tuple(data.draw(st.lists(st.integers(0, 5), min_size=axes, max_size=axes)))
    dtype = data.draw(st.sampled_from(["<i4", ">f8", "u1", "<M8[ns]"]))
    declare(http, shape, [cut(data, length) for length in shape], dtype, name)
    random = np.random.default_rng(data.draw(CONTENT))
    whole = random.integers(0, 100, shape).astype(dtype)
    if data.draw(st.booleans()):
        put(http, name, whole)
    else:
        whole = np.zeros(shape, dtype)
    past = []
    for _ in range(data.draw(st.integers(1, 4))):
        offset = tuple(data.draw(st.integers(0, length + 2)) for length in whole.shape)
        block = random.integers(0, 100, [data.draw(st.integers(0, 4)) for _ in offset])
        block = block.astype(dtype)
        past.append((service.nodes.version, whole))
        answer = patch(http, name, block, offset, extend=True)
        assert answer.status_code == 200, answer.text
        whole = numpy_patched(whole, block, offset)
        told = answer.json()
        assert told["shape"] == list(whole.shape)
        assert [sum(sizes) for sizes in told["chunks"]] == list(whole.shape)
        np.testing.assert_array_equal(read(http, name, whole), whole)
    for version, was in past:
        answer = http.get(
            f"/api/v1/array/full/{name}",
            params={"as_of": version},
            headers={"accept": "application/octet-stream"},
        )
        np.testing.assert_array_equal(np.frombuffer(answer.content, dtype).reshape(was.shape), was)


@few
@given(st.data())
def test_blocks_of_any_sizes_come_in_any_order(http: TestClient, data: st.DataObject) -> None:
    name = uuid.uuid4().hex
    shape = tuple(data.draw(st.lists(st.integers(1, 12), min_size=1, max_size=2)))
    chunks = [cut(data, length) for length in shape]
    declare(http, shape, chunks, "<i4", name)
    whole = np.random.default_rng(data.draw(CONTENT)).integers(1, 100, shape).astype("<i4")
    starts = [np.cumsum([0, *sizes]).tolist() for sizes in chunks]
    for position in data.draw(st.permutations(list(np.ndindex(*map(len, chunks))))):
        index = tuple(
            slice(starts[axis][number], starts[axis][number + 1])
            for axis, number in enumerate(position)
        )
        answer = http.put(
            f"/api/v1/array/block/{name}",
            params={"block": ",".join(map(str, position))},
            content=whole[index].tobytes(),
            headers=OCTETS,
        )
        assert answer.status_code == 200, answer.text
        told = http.get(
            f"/api/v1/array/block/{name}",
            params={"block": ",".join(map(str, position))},
            headers={"accept": "application/octet-stream"},
        )
        np.testing.assert_array_equal(
            np.frombuffer(told.content, "<i4").reshape(whole[index].shape), whole[index]
        )
    np.testing.assert_array_equal(read(http, name, whole), whole)
    structure = http.get(f"/api/v1/metadata/{name}").json()["data"]["attributes"]["structure"]
    assert structure["chunks"] == chunks


def test_writers_of_irregular_blocks_side_by_side_lose_nothing(http: TestClient) -> None:
    declare(http, (32, 8), [[5, 3, 7, 1, 9, 7], [3, 5]], "<i4", "a")
    whole = np.arange(256, dtype="<i4").reshape(32, 8)
    rows = np.cumsum([0, 5, 3, 7, 1, 9, 7]).tolist()
    columns = [0, 3, 8]

    def write(position: tuple[int, int]) -> int:
        row, column = position
        part = whole[rows[row] : rows[row + 1], columns[column] : columns[column + 1]]
        return http.put(
            "/api/v1/array/block/a",
            params={"block": f"{row},{column}"},
            content=part.tobytes(),
            headers=OCTETS,
        ).status_code

    with ThreadPoolExecutor(6) as threads:
        assert set(threads.map(write, np.ndindex(6, 2))) == {200}
    np.testing.assert_array_equal(read(http, "a", whole), whole)


def test_frames_that_are_appended_side_by_side_are_all_there(
    http: TestClient, service: Service
) -> None:
    declare(http, (1, 4), [[1], [4]], "<i4", "a")
    put(http, "a", np.zeros((1, 4), "<i4"))

    def write(row: int) -> int:
        block = np.full((1, 4), row, "<i4")
        return int(patch(http, "a", block, (row, 0), extend=True).status_code)

    with ThreadPoolExecutor(6) as threads:
        assert set(threads.map(write, range(1, 40))) == {200}
    whole = np.repeat(np.arange(40, dtype="<i4")[:, None], 4, axis=1)
    np.testing.assert_array_equal(read(http, "a", whole), whole)
    assert check(service.lake).ok


def test_frames_in_order_take_their_places_and_need_no_index(
    http: TestClient, service: Service
) -> None:
    declare(http, (2, 3), [[2], [3]], "<i4", "a")
    put(http, "a", np.zeros((2, 3), "<i4"))
    for row in range(2, 10, 2):
        assert patch(http, "a", np.full((2, 3), row, "<i4"), (row,), extend=True).is_success
    storage: Any = service.describe("a").data_sources[0].storage
    assert storage.location.rewritten is None
    assert storage.location.parts[0].within == (5, 1)
    assert check(service.lake).ok


def test_a_place_that_an_interrupted_writer_left_taken_is_not_believed(
    http: TestClient, service: Service
) -> None:
    declare(http, (1, 3), [[1], [3]], "<i4", "a")
    put(http, "a", np.ones((1, 3), "<i4"))
    storage: Any = service.describe("a").data_sources[0].storage
    service.lake.objects.put(f"{storage.location.parts[0].name}/c/1/0", b"half written")
    for row in (1, 2):
        assert patch(http, "a", np.full((1, 3), row, "<i4"), (row,), extend=True).is_success
    whole = np.array([[1] * 3, [1] * 3, [2] * 3], "<i4")
    np.testing.assert_array_equal(read(http, "a", whole), whole)


def test_a_region_that_leaves_the_array_is_a_conflict_that_says_extend(http: TestClient) -> None:
    declare(http, (4, 4), [[4], [4]], "<i4", "a")
    answer = patch(http, "a", np.ones((2, 4), "<i4"), (3, 0))
    assert answer.status_code == 409
    assert answer.json()["kind"] == "does-not-fit"
    assert "Use ?extend=true" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("params", "status"),
    [
        ({"offset": "x"}, 422),
        ({"offset": "-1"}, 422),
        ({"shape": "2,4,1"}, 422),
        ({"shape": "9,9"}, 422),
        ({"offset": "0,0,0"}, 422),
        ({"extend": "true", "persist": "false"}, 400),
        ({"extend": "true", "offset": "999999999999999999"}, 422),
    ],
)
def test_a_region_that_cannot_be_is_refused(
    http: TestClient, params: dict[str, str], status: int
) -> None:
    declare(http, (4, 4), [[4], [4]], "<i4", "a")
    answer = patch(http, "a", np.ones((2, 4), "<i4"), (0, 0), **params)
    assert answer.status_code == status, answer.text
    np.testing.assert_array_equal(read(http, "a", np.zeros((4, 4), "<i4")), np.zeros((4, 4), "<i4"))


def test_a_single_value_can_be_patched(http: TestClient) -> None:
    declare(http, (), [], "<f8", "a")
    put(http, "a", np.array(1.5))
    assert patch(http, "a", np.array(2.5), ()).is_success
    assert read(http, "a", np.array(0.0)) == 2.5


def test_a_slice_of_a_block_is_written_alone(http: TestClient) -> None:
    declare(http, (4, 4), [[2, 2], [4]], "<i4", "a")
    answer = http.put(
        "/api/v1/array/block/a",
        params={"block": "1,0", "slice": "1,:2"},
        content=np.array([7, 8], "<i4").tobytes(),
        headers=OCTETS,
    )
    assert answer.status_code == 200, answer.text
    whole = np.zeros((4, 4), "<i4")
    whole[3, :2] = [7, 8]
    np.testing.assert_array_equal(read(http, "a", whole), whole)


def test_rows_that_come_one_by_one_get_larger_chunks_and_blocks_are_counted_as_before(
    http: TestClient, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(coarser, "MANY_CHUNKS", 5)
    declare(http, (1, 4), [[1], [4]], "<i4", "a")
    put(http, "a", np.zeros((1, 4), "<i4"))
    versions = []
    for row in range(1, 100):
        block = np.full((1, 4), row, "<i4")
        assert patch(http, "a", block, (row, 0), extend=True).is_success
        versions.append(service.nodes.version)
    whole = np.repeat(np.arange(100, dtype="<i4")[:, None], 4, axis=1)
    np.testing.assert_array_equal(read(http, "a", whole), whole)
    storage: Any = service.describe("a").data_sources[0].storage
    assert storage.layout.chunk_shape[0] > 15
    for row in (0, 7, 50, 99):
        answer = http.get(
            "/api/v1/array/block/a",
            params={"block": f"{row},0", "expected_shape": "1,4"},
            headers={"accept": "application/octet-stream"},
        )
        np.testing.assert_array_equal(np.frombuffer(answer.content, "<i4"), whole[row])
    answer = http.get(
        "/api/v1/array/full/a",
        params={"as_of": versions[2]},
        headers={"accept": "application/octet-stream"},
    )
    np.testing.assert_array_equal(np.frombuffer(answer.content, "<i4").reshape(-1, 4), whole[:4])
    assert check(service.lake).ok


def test_blocks_that_growing_left_out_are_written_later(http: TestClient) -> None:
    declare(http, (2, 2), [[1, 1], [2]], "<i4", "a")
    put(http, "a", np.ones((2, 2), "<i4"))
    assert patch(http, "a", np.full((1, 2), 5, "<i4"), (4, 0), extend=True).is_success
    for row, value in ((3, 4), (2, 3), (4, 6)):
        answer = http.put(
            "/api/v1/array/block/a",
            params={"block": f"{row},0"},
            content=np.full((1, 2), value, "<i4").tobytes(),
            headers=OCTETS,
        )
        assert answer.status_code == 200, answer.text
    whole = np.array([[1, 1], [1, 1], [3, 3], [4, 4], [6, 6]], "<i4")
    np.testing.assert_array_equal(read(http, "a", whole), whole)
