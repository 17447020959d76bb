"""Reductions are NumPy's, whatever the chunks, the axes and the memory that they may take."""

from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lakeservice.service import Draft, Service, cells, reducing
from lakeservice.service.lending import Lending
from lakeservice.service.reduction import part_of
from lakeservice.testing import selections
from schemas.errors import CorruptError, ErrorKind, InvalidRequestError, UnavailableError
from schemas.selection import Selection, select
from schemas.structures import ArrayStructure, TableStructure
from schemas.ticket import STATISTICS, BinArray, HistogramArray, ReduceArray

if TYPE_CHECKING:
    from collections.abc import Iterator

    from schemas.entry import Node
    from schemas.ticket import Reduction

ROOT = Path(__file__).parents[2]
DTYPES = ["?", "|i1", "|u1", "<i2", ">u2", "<i4", "<u4", ">i8", "<u8", "<f2", "<f4", ">f8", "<c8"]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with Service.open(str(tmp_path_factory.mktemp("lake")), create=True) as opened:
        yield opened


@pytest.fixture(scope="module", autouse=True)
def _little_memory() -> Iterator[None]:
    """Make arrays of a few elements large ones."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cells, "CELL_BYTES", 150)
        patch.setattr(cells, "MOST_BYTES", 300)
        patch.setattr(reducing, "_BAND_BYTES", 60)
        patch.setattr(reducing, "TILE_BYTES", 400)
        patch.setattr(reducing, "BLOCK_BYTES", 64)
        patch.setattr(reducing, "MEMORY_BYTES", 200)
        patch.setattr(reducing, "LEAST_BYTES", 50)
        patch.setattr(reducing, "_LENDING", Lending(200, 50))
        yield


def stored(service: Service, array: np.ndarray[Any, Any], chunks: Any = None) -> Node:
    path = f"a{service.nodes.version}"
    structure = ArrayStructure.from_numpy(array.shape, array.dtype, chunks)
    service.write_array(Draft(path, structure, {}), [array])
    return service.describe(path)


def answer(service: Service, node: Node, request: Any) -> np.ndarray[Any, Any]:
    plan = service.reductions.plan(node, request)
    blocks = [np.asarray(block) for block in service.reductions.read(node, plan)]
    joined = np.concatenate([*(block.ravel() for block in blocks), np.empty(0, plan.answer.dtype)])
    assert joined.dtype == plan.answer.dtype
    return joined.reshape(plan.answer.shape)


def numpys(how: str, array: np.ndarray[Any, Any], **asked: Any) -> Any:
    """NumPy's answer in NumPy's dtype, calculated in double precision."""
    wide = array
    if array.dtype.kind in "fc" and how not in ("min", "max"):
        wide = array.astype("f8" if array.dtype.kind == "f" else "c16")
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        dtype = getattr(np, how)(array, **asked).dtype
        return np.asarray(getattr(np, how)(wide, **asked)).astype(dtype)


def same(found: np.ndarray[Any, Any], expected: Any, dtype: np.dtype[Any]) -> None:
    assert found.shape == expected.shape
    assert found.dtype == expected.dtype.newbyteorder("=")
    digits = {"f2": 2e-3, "f4": 1e-5, "c8": 1e-5}.get(dtype.str[1:], 1e-11)
    np.testing.assert_allclose(found, expected, rtol=digits, atol=0)


def largest(array: np.ndarray[Any, Any]) -> float:
    found = np.abs(array.astype("c16"))
    return float(found[np.isfinite(found)].max(initial=0))


@st.composite
def stacks(draw: st.DrawFn) -> tuple[np.ndarray[Any, Any], Any, Selection]:
    dtype = np.dtype(draw(st.sampled_from(DTYPES)))
    shape = tuple(draw(st.lists(st.integers(1, 9), max_size=3)))
    random = np.random.default_rng(draw(st.integers(0, 1 << 16)))
    if dtype.kind in "fc":
        array = np.asarray(random.normal(size=shape) * 50, dtype)
        array = np.where(random.random(shape) < draw(st.sampled_from([0, 0, 0.1])), np.nan, array)
    else:
        array = random.integers(0, 256, (*shape, dtype.itemsize), "u1").view(dtype)[..., 0]
        array = array.view("u1") % 2 == 1 if dtype.kind == "b" else array
    array = np.asarray(array, dtype)
    chunks = tuple(draw(st.integers(1, length)) for length in shape)
    return array, chunks, draw(selections(shape))


@settings(max_examples=70, deadline=None)
@given(stack=stacks(), how=st.sampled_from(STATISTICS), data=st.data())
def test_any_axes_of_any_selection_are_reduced_as_numpy_does(
    service: Service, stack: Any, how: Any, data: st.DataObject
) -> None:
    array, chunks, selection = stack
    part = array[selection.as_index()]
    axis = data.draw(
        st.none()
        | st.sets(st.integers(0, max(0, part.ndim - 1)), max_size=part.ndim).map(
            lambda found: tuple(sorted(found)) if part.ndim else ()
        )
    )
    keepdims = data.draw(st.booleans())
    node = stored(service, array, chunks)
    request = ReduceArray(
        path=node.path, how=how, axis=axis, keepdims=keepdims, selection=selection.to_text()
    )
    try:
        expected = numpys(how, part, axis=axis, keepdims=keepdims)
    except ValueError:
        with pytest.raises(InvalidRequestError, match="no elements"):
            answer(service, node, request)
        return
    if how in ("std", "var"):
        assert part.dtype.kind != "f" or np.isnan(expected).any() or (expected >= 0).all()
        found = answer(service, node, request)
        assert (found.shape, found.dtype) == (expected.shape, expected.dtype.newbyteorder("="))
        scale = largest(part)
        near = 1e-3 if part.dtype.itemsize <= 4 and part.dtype.kind == "f" else 1e-6
        np.testing.assert_allclose(found, expected, rtol=near, atol=1e-12 * scale**2)
        return
    found = answer(service, node, request)
    if part.dtype.kind in "fc" or how == "mean":
        assert (found.shape, found.dtype) == (expected.shape, expected.dtype.newbyteorder("="))
        near = 2e-3 if part.dtype.str[1:] == "f2" else 1e-5
        atol = 1e-12 * largest(part) * part.size
        np.testing.assert_allclose(found, expected, rtol=near, atol=atol)
    else:
        same(found, expected, part.dtype)


@settings(max_examples=40, deadline=None)
@given(stack=stacks(), how=st.sampled_from(["mean", "sum", "min", "max"]), data=st.data())
def test_bins_are_what_numpy_makes_of_each_block(
    service: Service, stack: Any, how: Any, data: st.DataObject
) -> None:
    array, chunks, selection = stack
    part = array[selection.as_index()]
    factors = tuple(data.draw(st.sampled_from([1, 2, 3, 5, 20])) for _ in part.shape)
    if not part.size:
        return
    node = stored(service, array, chunks)
    request = BinArray(path=node.path, factors=factors, how=how, selection=selection.to_text())
    found = answer(service, node, request)
    expected = np.empty([-(-n // f) for n, f in zip(part.shape, factors, strict=True)], found.dtype)
    for place in np.ndindex(expected.shape):
        block = part[tuple(slice(n * f, n * f + f) for n, f in zip(place, factors, strict=True))]
        expected[place] = numpys(how, block)
    near = 2e-3 if part.dtype.str[1:] == "f2" else 1e-5
    np.testing.assert_allclose(found, expected, rtol=near, atol=1e-12 * largest(part) * part.size)


@settings(max_examples=40, deadline=None)
@given(
    stack=stacks(),
    bins=st.integers(1, 9) | st.just((-500.0, 0.0, 1.0, 7.0, 700.0)),
    limits=st.none() | st.sampled_from([(-10.0, 70.0), (3.0, 3.0)]),
)
def test_a_histogram_is_that_of_numpy(service: Service, stack: Any, bins: Any, limits: Any) -> None:
    array, chunks, selection = stack
    part = array[selection.as_index()]
    node = stored(service, array, chunks)
    request = HistogramArray(path=node.path, bins=bins, range=limits, selection=selection.to_text())
    if part.dtype.kind == "c":
        with pytest.raises(InvalidRequestError, match="real numbers"):
            service.reductions.histogram(node, request)
        return
    plain = part.view("u1") if part.dtype.kind == "b" else part.astype(part.dtype.newbyteorder("="))
    try:
        counts, edges = np.histogram(plain, bins, limits)
    except ValueError:
        with pytest.raises(InvalidRequestError, match=r"not finite|Too many bins"):
            service.reductions.histogram(node, request)
        return
    rows = service.reductions.histogram(node, request).to_pydict()
    assert rows["count"] == counts.tolist()
    assert rows["low"] == edges[:-1].astype("f8").tolist()
    assert rows["high"] == edges[1:].astype("f8").tolist()


@settings(max_examples=40, deadline=None)
@given(stack=stacks(), data=st.data())
def test_a_part_of_an_answer_is_that_part(
    service: Service, stack: Any, data: st.DataObject
) -> None:
    array, chunks, selection = stack
    node = stored(service, array, chunks)
    axes = selection.shape
    request: Reduction
    if data.draw(st.booleans()):
        factors = tuple(data.draw(st.integers(1, 4)) for _ in axes)
        request = BinArray(path="", factors=factors, how="sum", selection=selection.to_text())
    else:
        axis = tuple(number for number in range(len(axes)) if data.draw(st.booleans()))
        keepdims = data.draw(st.booleans())
        request = ReduceArray(
            path="", how="sum", axis=axis, keepdims=keepdims, selection=selection.to_text()
        )
    whole = answer(service, node, request)
    inner = data.draw(selections(whole.shape))
    part, rest = part_of(service.reductions.plan(node, request), inner)
    blocks = [block.ravel() for block in service.reductions.read(node, part)]
    joined = np.concatenate([*blocks, np.empty(0, whole.dtype)]).reshape(part.answer.shape)
    np.testing.assert_allclose(joined[rest], whole[inner.as_index()], rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize("dtype", ["<i4", "<u8", "|u1", "|b1"])
def test_sums_of_integers_wrap_as_those_of_numpy(service: Service, dtype: str) -> None:
    largest = True if dtype == "|b1" else np.iinfo(dtype).max
    array = np.full((40, 3), largest, dtype)
    node = stored(service, array, (7, 2))
    for axis in (None, (0,), (1,)):
        found = answer(service, node, ReduceArray(path="", how="sum", axis=axis))
        np.testing.assert_array_equal(found, array.sum(axis=axis))
        assert found.dtype == array.sum(axis=axis).dtype


def test_a_large_mean_costs_the_variance_no_digits(service: Service) -> None:
    noise = np.random.default_rng(3).normal(size=(60, 5))
    node = stored(service, 1e9 + noise, (7, 5))
    found = answer(service, node, ReduceArray(path="", how="var", axis=(0,), ddof=1))
    np.testing.assert_allclose(found, (1e9 + noise).var(axis=0, ddof=1), rtol=1e-9)


def test_what_is_no_number_stays_none(service: Service) -> None:
    array = np.array([[1, np.nan, np.inf], [2, 3, -np.inf], [4, 5, 6]])
    node = stored(service, array, (1, 3))
    for how in STATISTICS:
        with np.errstate(all="ignore"):
            expected = getattr(np, how)(array, axis=0)
        found = answer(service, node, ReduceArray(path="", how=how, axis=(0,)))
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("dtype", ["<M8[s]", "<m8[ms]"])
def test_times_have_a_least_and_a_largest_and_nothing_else(service: Service, dtype: str) -> None:
    array = np.array([[5, 9], [-3, 4], [7, 1]]).astype(dtype)
    array[2, 1] = "NaT"
    node = stored(service, array, (1, 2))
    for how in ("min", "max"):
        found = answer(service, node, ReduceArray(path="", how=how, axis=(0,)))
        np.testing.assert_array_equal(found, getattr(array, how)(axis=0))
        assert found.dtype == array.dtype
    with pytest.raises(InvalidRequestError, match="times have min and max") as caught:
        answer(service, node, ReduceArray(path="", how="mean"))
    assert caught.value.kind is ErrorKind.BAD_REQUEST


def test_a_column_of_a_table_is_reduced_too(service: Service) -> None:
    numbers = np.random.default_rng(0).normal(size=500)
    rows = pa.record_batch({"x": numbers})
    reader = pa.RecordBatchReader.from_batches(rows.schema, [rows])
    service.write_table(Draft("rows", TableStructure.from_arrow(rows.schema), {}), reader)
    node = service.describe("rows/x")
    request = ReduceArray(path="", how="std", selection="10:-3")
    np.testing.assert_allclose(answer(service, node, request), numbers[10:-3].std())
    binned = answer(service, node, BinArray(path="", factors=(7,), selection="::-2"))
    np.testing.assert_allclose(binned[:35], numbers[::-2][:245].reshape(35, 7).mean(1))


def test_only_the_chunks_of_the_selection_are_read(service: Service) -> None:
    array = np.arange(4 * 6 * 8, dtype="<i4").reshape(4, 6, 8)
    node = stored(service, array, (1, 3, 4))
    folder = Path(str(service.lake.objects.root)) / "data" / node.id
    for chunk in [one for one in folder.rglob("*") if one.is_file() and one.suffix != ".json"]:
        position = chunk.relative_to(folder).parts[-3:]
        if position[1:] != ("0", "1") and all(number.isdigit() for number in position):
            chunk.unlink()
    region = ReduceArray(path="", how="sum", axis=(1, 2), selection=":,:3,4:")
    np.testing.assert_array_equal(answer(service, node, region), array[:, :3, 4:].sum(axis=(1, 2)))
    with pytest.raises(CorruptError) as caught:
        answer(service, node, ReduceArray(path="", how="sum"))
    assert caught.value.kind is ErrorKind.CORRUPT_CHUNK
    assert node.path in str(caught.value)


def test_nothing_more_is_read_when_nobody_waits(service: Service) -> None:
    node = stored(service, np.zeros((50, 50)), (1, 50))
    plan = service.reductions.plan(node, ReduceArray(path="", how="sum"))
    left = iter([False, False, True])
    with pytest.raises(UnavailableError, match="nobody waits"):
        list(service.reductions.read(node, plan, lambda: next(left)))
    with pytest.raises(UnavailableError, match="nobody waits"):
        service.reductions.histogram(
            node, HistogramArray(path="", bins=3, range=(0, 1)), lambda: True
        )


def test_among_many_others_answers_are_the_same(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    array = np.random.default_rng(3).normal(size=(19, 7, 5))
    node = stored(service, array, (2, 7, 3))
    asked = [
        ReduceArray(path=node.path, how=how, axis=axis)
        for how in STATISTICS
        for axis in (None, (0,), (1, 2))
    ]
    counting = HistogramArray(path=node.path, bins=7)
    alone = [answer(service, node, request) for request in asked]
    counted = service.reductions.histogram(node, counting)
    monkeypatch.setattr(cells, "_AHEAD", Lending(0, 0))
    for request, expected in zip(asked, alone, strict=True):
        assert np.array_equal(answer(service, node, request), expected)
    assert service.reductions.histogram(node, counting).equals(counted)


def test_the_same_question_has_the_same_answer_to_the_last_bit(service: Service) -> None:
    array = np.random.default_rng(9).normal(size=(30, 7, 11))
    node = stored(service, array, (2, 3, 11))
    assert select(None, array.shape).size == array.size
    for how in ("sum", "mean", "var"):
        request = ReduceArray(path="", how=how)
        assert len({answer(service, node, request).tobytes() for _ in range(20)}) == 1


MEASURED = """
import sys
import numpy as np
from lakeservice.demo.memory import peak_resident
from lakeservice.service import Draft, Service
from schemas.structures import ArrayStructure
from schemas.ticket import BinArray, ReduceArray

FRAMES, FRAME = 256, np.arange(1024 * 2048, dtype="<u2").reshape(1024, 2048)
with Service.open(sys.argv[1], create=True) as service:
    structure = ArrayStructure.from_numpy((FRAMES, 1024, 2048), FRAME.dtype, (4, 1024, 2048))
    block = np.broadcast_to(FRAME, (4, 1024, 2048))
    service.write_array(Draft("stack", structure, {}), (block for _ in range(FRAMES // 4)))
    node = service.describe("stack")
    for request in (
        ReduceArray(path="", how="mean", axis=(0,)),
        ReduceArray(path="", how="sum", axis=(2,)),
        BinArray(path="", factors=(1, 2, 2), how="max"),
    ):
        plan = service.reductions.plan(node, request)
        size = sum(block.size for block in service.reductions.read(node, plan))
        assert size * plan.answer.dtype.itemsize == plan.answer.size_bytes
    print(peak_resident() >> 20)
"""


def test_a_gigabyte_is_reduced_in_bounded_memory(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, str(tmp_path / "lake")],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 600
