"""Arrays that were changed over HTTP, read and lengthened over Flight."""

from __future__ import annotations

import uuid
from typing import Any

import httpx2
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from lakeservice.client import Array, Lake

HEADERS = {"content-type": "application/octet-stream", "accept": "application/octet-stream"}


def both_ways(node: Any) -> list[np.ndarray[Any, Any]]:
    assert isinstance(node, Array)
    return [node.read(delivery=way) for way in ("encoded", "decoded")]


@settings(max_examples=6, deadline=None)
@given(st.data())
def test_regions_written_over_http_are_read_over_flight_both_ways(
    served: Any, lake: Lake, data: st.DataObject
) -> None:
    name = uuid.uuid4().hex
    shape = tuple(data.draw(st.integers(1, 6)) for _ in range(2))
    random = np.random.default_rng(data.draw(st.integers(0, 99)))
    whole = random.integers(1, 1000, shape).astype("<u4")
    lake.write_array(name, whole, chunks=tuple(data.draw(st.integers(1, n)) for n in shape))
    url = f"{served.url}/api/v1/array/full/{name}"
    with httpx2.Client(headers={**HEADERS, "authorization": f"Apikey {served.key}"}) as http:
        for turn in range(3):
            if turn == 1 and data.draw(st.booleans()):
                rows = random.integers(1, 1000, (2, whole.shape[1])).astype("<u4")
                lake[name].append(rows)
                whole = np.concatenate([whole, rows])
            offset = [data.draw(st.integers(0, n + 1)) for n in whole.shape]
            block = random.integers(1, 1000, [data.draw(st.integers(1, 4)) for _ in offset])
            ends = [start + count for start, count in zip(offset, block.shape, strict=True)]
            grown = np.zeros(list(map(max, whole.shape, ends)), "<u4")
            grown[: whole.shape[0], : whole.shape[1]] = whole
            grown[tuple(map(slice, offset, ends))] = block
            whole = grown
            answer = http.patch(
                url,
                content=block.astype("<u4").tobytes(),
                params={
                    "offset": ",".join(map(str, offset)),
                    "shape": ",".join(map(str, block.shape)),
                    "extend": "true",
                },
            )
            assert answer.status_code == 200, answer.text
            for found in both_ways(lake[name]):
                np.testing.assert_array_equal(found, whole)
            found = np.frombuffer(http.get(url).content, "<u4").reshape(whole.shape)
            np.testing.assert_array_equal(found, whole)
