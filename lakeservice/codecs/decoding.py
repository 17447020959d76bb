"""Steps undone: encoded bytes to decoded ones, no more of them than are wanted."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from lakeservice.codecs.extent import Held
from lakeservice.codecs.steps import Bytes1D, DecodeError, Step, flat
from schemas.errors import LakeError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from lakeservice.codecs.extent import Extent
    from lakeservice.codecs.runs import Cut

_SMALL = 64 << 10  # chunks below this size are decoded whole


def unsealed(
    encoded: Extent, steps: list[tuple[str, Step]]
) -> tuple[Extent, list[tuple[str, Step]]]:
    """Compare checksums that follow the stored bytes, and take them off.

    All the bytes are read for it, also where a part of the chunk is wanted: of what
    is left, in memory, no more is decoded than that part.
    """
    while steps and steps[-1][1].is_seal:
        name, step = steps[-1]
        with naming_codec(name):
            encoded = Held(step.decode(encoded.read(0, encoded.length), None))
        steps = steps[:-1]
    return encoded, steps


def decode_all(encoded: Extent, steps: list[tuple[str, Step]], out: Bytes1D, size: int) -> None:
    """Decode a whole chunk of ``size`` bytes into its place."""
    if not steps:
        if encoded.length != size:
            raise DecodeError(f"{encoded.length} bytes are stored instead of {size}")
        encoded.read_into(0, out)
        return
    sizes: list[int | None] = [size]
    for _, step in steps[:-1]:
        sizes.append(None if sizes[-1] is None else step.encoded_size(sizes[-1]))
    payload = encoded.read(0, encoded.length)
    for number in range(len(steps) - 1, 0, -1):
        name, step = steps[number]
        with naming_codec(name):
            payload = step.decode(payload, sizes[number])
    name, step = steps[0]
    with naming_codec(name):
        step.decode_into(payload, out)


def read_some(encoded: Extent, cut: Cut, scratch: Bytes1D) -> NDArray[Any]:
    """Read elements that are stored as they are, but not in the order that is wanted."""
    if isinstance(encoded, Held):
        return cut.view(flat(encoded.read(0, encoded.length)), 0)
    runs = cut.runs()
    low = runs[0][0]
    for start, stop in runs:
        encoded.read_into(start, scratch[start - low : stop - low])
    return cut.view(scratch, low)


def decode_some(encoded: Extent, steps: list[tuple[str, Step]], cut: Cut, out: Bytes1D) -> None:
    """Decode at least what a cut needs into its place in the whole chunk."""
    if len(steps) == 1 and cut.whole > _SMALL:
        runs = cut.runs()
        if 2 * sum(stop - start for start, stop in runs) < cut.whole:
            name, step = steps[0]
            with naming_codec(name):
                if step.decode_runs(encoded, runs, out):
                    return
    decode_all(encoded, steps, out, cut.whole)


@contextmanager
def naming_codec(name: str) -> Iterator[None]:
    """Turn whatever a codec's library raises on bytes that are not its own into our error."""
    try:
        yield
    except (DecodeError, MemoryError, LakeError):
        raise
    except Exception as error:
        raise DecodeError(f"{name} cannot decode it: {str(error)[:200]}") from error
