"""Arrays of every kind, as we and as others store them, beside what NumPy holds."""

from __future__ import annotations

import math
import warnings
from typing import TYPE_CHECKING, Any, TypeVar

import h5py
import hdf5plugin
import numpy as np
import zarr
import zarr.codecs as codecs

from ingest.ingest import ingest
from lakeservice.commands.ingest import ServiceCommitter
from lakeservice.service.writing import Draft
from lakeservice.testing import RECORD_DTYPES, SIMPLE_DTYPES
from schemas.structures import ArrayStructure
from tests.whole.conftest import KEY

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from tests.whole.conftest import Running

    Truths = dict[str, NDArray[Any]]

T = TypeVar("T")
DTYPES = (*map(np.dtype, SIMPLE_DTYPES), *RECORD_DTYPES[:2])
"""NumPy's types, in both byte orders."""
NUMBERS = ("|u1", "<u2", "<i4", "<i8", "<f2", "<f4", "<f8", "<c8", "|b1")
ZARR3: tuple[dict[str, Any], ...] = (
    {"compressors": None},
    *(
        {"compressors": codecs.BloscCodec(cname=name, shuffle=shuffle, clevel=3)}
        for name, shuffle in (
            ("lz4", "bitshuffle"),
            ("lz4hc", "shuffle"),
            ("blosclz", "noshuffle"),
            ("zlib", "shuffle"),
            ("zstd", "bitshuffle"),
        )
    ),
    {"compressors": codecs.ZstdCodec(level=1, checksum=True)},
    {"compressors": (codecs.GzipCodec(level=1), codecs.Crc32cCodec())},
    {"compressors": None, "serializer": codecs.BytesCodec(endian="big")},
)
ZARR2 = ("blosc", "zstd", "gzip", "zlib", "lz4", "bz2", "lzma", "shuffle")
HDF5: dict[str, dict[str, Any]] = {
    "contiguous": {},
    "deflate": {"compression": "gzip", "shuffle": True, "fletcher32": True},
    "lzf": {"compression": "lzf"},
    "bitshuffle": hdf5plugin.Bitshuffle(nelems=64),
    "bitshuffle-zstd": hdf5plugin.Bitshuffle(cname="zstd"),
    "lz4": hdf5plugin.LZ4(nbytes=512),
    "zstd": hdf5plugin.Zstd(),
    "blosc": hdf5plugin.Blosc(cname="lz4"),
}


class Maker:
    """Makes random arrays, the same ones for the same seed."""

    def __init__(self, seed: int) -> None:
        self._random = np.random.default_rng(seed)

    def whole(self, low: int, high: int) -> int:
        """Return a number between two, both included."""
        return int(self._random.integers(low, high + 1))

    def one_of(self, values: Sequence[T]) -> T:
        """Return one of some values."""
        return values[self.whole(0, len(values) - 1)]

    def index(self, shape: tuple[int, ...]) -> Any:
        """Return an index as NumPy takes it: integers, slices with any bounds, an Ellipsis."""
        parts: list[Any] = [self._part(length) for length in shape]
        at, out = self.whole(0, len(shape)), self.whole(0, 2)
        if out:
            parts[at : at + out - 1] = [...]
        return tuple(parts)

    def _part(self, length: int) -> Any:
        if length and self.whole(0, 2) == 0:
            return self.whole(-length, length - 1)
        start, stop = (
            self.whole(-length - 2, length + 2) if self.whole(0, 1) else None for _ in range(2)
        )
        return slice(start, stop, self.one_of((None, None, 1, -1, 2, -2, 3, -5, length or 1)))

    def shape(self, least_axes: int = 1) -> tuple[int, ...]:
        """Return a shape; some are large enough for chunks that are decoded in part."""
        if self.whole(0, 3) == 0:
            return (self.whole(2, 4), self.whole(150, 300), self.whole(150, 300))
        return tuple(self.whole(1, 17) for _ in range(self.whole(least_axes, 4)))

    def chunks(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return chunks of one size along each axis."""
        if len(shape) == 3 and max(shape) > 100:
            return (1, *shape[1:])
        return tuple(self.whole(max(1, length // 4), max(1, length)) for length in shape)

    def elements(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
        """Return elements that are equal to themselves, and compress a little."""
        if dtype.names:
            found = np.zeros(shape, dtype)
            for name in dtype.names:
                field = dtype[name]
                found[name] = self.elements((*shape, *field.shape), field.base)
            return found
        steps = self._random.integers(0, 3, (*shape, 1))[..., 0]
        count = math.prod(shape)
        numbers = (np.arange(count).reshape(shape) // 7 + steps) % 120
        if dtype.kind == "V":
            octets = self._random.integers(0, 256, count * dtype.itemsize, np.uint8)
            return octets.view(dtype).reshape(shape)
        if dtype.kind in "mM":
            return numbers.astype(dtype.str.replace(dtype.kind, "i").partition("[")[0]).view(dtype)
        made: NDArray[Any] = numbers % 2 == 0 if dtype.kind == "b" else numbers.astype(dtype)
        return made


def make_ours(running: Running, make: Maker, count: int) -> Truths:
    """Write arrays through the client: whole, with rows appended, and only in part."""
    truths = {}
    for number in range(count):
        dtype = DTYPES[number % len(DTYPES)]
        path, shape = f"ours-{number}", make.shape()
        array = make.elements(shape, dtype)
        kind = number % 3
        if kind == 0:
            running.lake.write_array(path, array, chunks=_any_chunks(make, shape))
        elif kind == 1:
            at = make.whole(1, max(1, shape[0] - 1))
            running.lake.write_array(path, array[:at], chunks=make.chunks(shape))
            if at < shape[0]:
                running.lake[path].append(array[at:])
        else:
            chunks = make.chunks(shape)
            structure = ArrayStructure.from_numpy(shape, dtype, chunks)
            running.service.create_empty(Draft(path, structure, {}))
            part = tuple(slice(0, make.whole(1, length)) for length in shape)
            _patch(running, path, array[part])
            truth = np.zeros(shape, dtype)
            truth[part] = array[part]
            array = truth
        truths[path] = array
    return truths


def make_zarr(running: Running, make: Maker, folder: Path) -> Truths:
    """Let zarr-python write arrays of which chunks are missing; register them."""
    truths = {}
    group = folder / "zarrs.zarr"
    zarr.create_group(str(group))
    kinds: list[dict[str, Any]] = [{"zarr_format": 3, **options} for options in ZARR3]
    kinds += [{"zarr_format": 3, "shard": True, **options} for options in ZARR3[:4]]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for number, options in enumerate(kinds):
            dtype = np.dtype(NUMBERS[number % len(NUMBERS)])
            truths[f"zarrs/z{number}"] = _zarr(make, str(group / f"z{number}"), dtype, options)
        second = folder / "twos.zarr"
        zarr.create_group(str(second), zarr_format=2)
        for number, name in enumerate(ZARR2):
            dtype = DTYPES[(3 * number + 1) % len(DTYPES)]
            dtype = dtype if dtype.kind not in "UVmM" else np.dtype(">f8")
            options = {"zarr_format": 2, **_zarr2(name, dtype)}
            truths[f"twos/t{number}"] = _zarr(make, str(second / f"t{number}"), dtype, options)
    for path in (group, second):
        _register(running, path)
    return truths


def make_hdf5(running: Running, make: Maker, folder: Path) -> Truths:
    """Let h5py write arrays with every filter, of which chunks are missing; register them."""
    truths = {}
    path = folder / "filters.h5"
    with h5py.File(path, "w") as file:
        for number, (name, options) in enumerate(HDF5.items()):
            for dtype in ("<u2", ">i4", "<f8", "<f4")[number % 2 :: 2]:
                shape = make.shape()
                chunks = make.chunks(shape) if options else None
                key = f"{name}-{np.dtype(dtype).kind}"
                made = file.create_dataset(
                    key, shape, dtype, chunks=chunks, fillvalue=make.whole(0, 9), **options
                )
                part = tuple(slice(0, make.whole(1, length)) for length in shape)
                made[part] = make.elements(shape, np.dtype(dtype))[part]
                truths[f"filters/{key}"] = made[...]
    _register(running, path)
    return truths


def _any_chunks(make: Maker, shape: tuple[int, ...]) -> Any:
    """Return chunks, along some axes of several sizes."""
    chunks: list[int | tuple[int, ...]] = list(make.chunks(shape))
    if make.whole(0, 1) and shape[0] > 1:
        first = make.whole(1, shape[0] - 1)
        chunks[0] = (first, shape[0] - first)
    return tuple(chunks)


def _zarr(make: Maker, path: str, dtype: np.dtype[Any], options: dict[str, Any]) -> NDArray[Any]:
    shape = make.shape()
    chunks = make.chunks(shape)
    more = {key: value for key, value in options.items() if key != "shard"}
    if options.get("shard"):
        more["shards"] = tuple(size * make.whole(1, 3) for size in chunks)
    if dtype.names is None:
        more["fill_value"] = make.elements((4,), dtype)[make.whole(0, 3)]
    made = zarr.create_array(path, shape=shape, chunks=chunks, dtype=dtype, **more)
    part = tuple(slice(0, make.whole(1, length)) for length in shape)
    made[part] = make.elements(shape, dtype)[part]
    found: NDArray[Any] = made[...]
    return found


def _zarr2(name: str, dtype: np.dtype[Any]) -> dict[str, Any]:
    import numcodecs

    if name == "shuffle":
        shuffle = numcodecs.Shuffle(elementsize=dtype.itemsize)
        return {"filters": [shuffle], "compressors": numcodecs.Zstd()}
    made: dict[str, Any] = {
        "blosc": numcodecs.Blosc,
        "zstd": numcodecs.Zstd,
        "gzip": numcodecs.GZip,
        "zlib": numcodecs.Zlib,
        "lz4": numcodecs.LZ4,
        "bz2": numcodecs.BZ2,
        "lzma": numcodecs.LZMA,
    }
    return {"compressors": made[name]()}


def _register(running: Running, path: Path) -> None:
    service = running.service
    summary = ingest([path], service.lake.uri, ServiceCommitter(service), workers=0)
    assert not summary.failed, summary


def _patch(running: Running, path: str, block: NDArray[Any]) -> None:
    origin, shape = ",".join("0" * block.ndim), ",".join(map(str, block.shape))
    answer = running.http.request(
        "PATCH",
        f"{running.server.url}/api/v1/array/full/{path}?offset={origin}&shape={shape}",
        body=block.tobytes(),
        headers={"Authorization": f"Apikey {KEY}", "content-type": "application/octet-stream"},
    )
    assert answer.status == 200, answer.data
