"""Loaders where the files are elsewhere, and where the server dies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import lakeservice
from lakeservice.client import connection
from lakeservice.config import Secret, Serve
from lakeservice.server import Server
from lakeservice.service import Service
from schemas.errors import ConflictError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from lakeservice.client import Lake

LENGTHS = (30, 1, 12, 7, 50)
ARRAYS = [
    np.random.default_rng(n).integers(0, 999, (length, 9, 4)).astype("i4")
    for n, length in enumerate(LENGTHS)
]


@pytest.fixture
def far(tmp_path: Path) -> Iterator[Lake]:
    """A lake whose files are reached by Arrow Flight only."""
    serve = Serve(port=0, flight_port=0, api_key=Secret("k"), direct="never")
    with (
        Service.open(str(tmp_path), create=True) as service,
        Server(service, serve) as server,
        lakeservice.connect(server.url, "k") as lake,
    ):
        for number, array in enumerate(ARRAYS):
            lake.write_array(f"n{number}", array, chunks=(4, 9, 4), metadata={"n": number})
        yield lake


def checked(batch: Any) -> Any:
    expected = np.stack([ARRAYS[node][row] for node, row in batch.indices])
    assert np.array_equal(batch.data, expected)
    return batch


@pytest.mark.parametrize("sample_axes", [1, 2])
def test_batches_come_over_the_wire_too(far: Lake, sample_axes: int) -> None:
    paths = [f"n{number}" for number in range(5)]
    loader = far.loader(
        paths, batch_size=17, shuffle=True, seed=4, sample_axes=sample_axes, labels="n"
    )
    count = 0
    for batch in loader:
        count += batch.size
        if sample_axes == 1:
            checked(batch)
        else:
            rows = np.stack([ARRAYS[n].reshape(-1, 4)[row] for n, row in batch.indices])
            assert np.array_equal(batch.data, rows)
        assert np.array_equal(batch["label"], batch.indices[:, 0])
    assert count == 100 * (1 if sample_axes == 1 else 9)
    assert {node.last_delivery for node in loader.nodes} == {"decoded"}


def test_a_node_that_changes_far_away_is_named(far: Lake) -> None:
    loader = far.loader(["n0", "n4"], batch_size=80)
    loader.batch(0)
    far["n4"].append(ARRAYS[4][:1])
    with pytest.raises(ConflictError, match="step 0 of epoch 0: 'n4' has changed"):
        loader.batch(0)


def test_a_server_that_dies_is_an_error_at_its_step_and_the_loader_goes_on(
    serve: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "RETRY_DELAYS_S", (0.05,))
    first = serve()
    with first.connect() as lake:
        for number, array in enumerate(ARRAYS):
            lake.write_array(f"n{number}", array)
        loader = lake.loader([f"n{n}" for n in range(5)], batch_size=8, shuffle=True, prefetch=2)
        running = iter(loader)
        steps = [checked(next(running)).step]
        first.kill()
        with pytest.raises(UnavailableError, match=r"step \d of epoch 0: no answer") as caught:
            steps.extend(checked(batch).step for batch in running)
        assert f"step {len(steps)} of" in str(caught.value)
        assert loader.state_dict()["step"] == len(steps)
        serve(*first.ports)
        steps += [checked(batch).step for batch in running]
    assert steps == list(range(13))
