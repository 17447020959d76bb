"""PyTorch: the same batches with any number of workers, states, and workers that die."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

if TYPE_CHECKING:
    from .conftest import DataSet

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
DataLoader = torch.utils.data.DataLoader


def loader_of(frames: DataSet, **changed: Any) -> Any:
    settings = {"batch_size": 4, "shuffle": True, "seed": 3, "labels": "sample.class"}
    return frames.home.loader(frames.nodes, **{**settings, **changed})


def checked(frames: DataSet, batches: Any) -> list[Any]:
    found = []
    for batch in batches:
        expected = [frames.arrays[node][row] for node, row in batch["indices"].tolist()]
        assert batch["data"].dtype == torch.uint16
        assert np.array_equal(batch["data"].numpy(), np.stack(expected))
        assert batch["label"] == [
            "ring" if node % 2 else "blank" for node in batch["indices"][:, 0].tolist()
        ]
        found.append((batch["step"], batch["indices"].tolist()))
    return found


def plain(frames: DataSet, epoch: int = 0) -> list[Any]:
    loader = loader_of(frames)
    return [(step, loader.batch(step, epoch).indices.tolist()) for step in range(len(loader))]


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_batches_come_in_one_order_with_any_number_of_workers(
    frames: DataSet, workers: int
) -> None:
    dataset = loader_of(frames).torch()
    batches = DataLoader(dataset, batch_size=None, num_workers=workers)
    assert len(batches) == 10
    for epoch in (0, 1):
        dataset.set_epoch(epoch)
        assert checked(frames, batches) == plain(frames, epoch)


def test_workers_may_be_forked_while_batches_are_made_ahead(frames: DataSet) -> None:
    loader = loader_of(frames, prefetch=4)
    for _ in range(5):
        next(iter(loader))  # and on with what is being made
        batches = DataLoader(loader.torch(), batch_size=None, num_workers=1)
        assert checked(frames, batches) == plain(frames)


def test_spawned_workers_open_connections_of_their_own(frames: DataSet) -> None:
    dataset = loader_of(frames).torch()
    batches = DataLoader(dataset, batch_size=None, num_workers=1, multiprocessing_context="spawn")
    assert checked(frames, batches) == plain(frames)


def test_workers_that_live_on_are_told_the_epoch(frames: DataSet) -> None:
    dataset = loader_of(frames).torch()
    batches = DataLoader(dataset, batch_size=None, num_workers=2, persistent_workers=True)
    for epoch in (2, 3):
        dataset.set_epoch(epoch)
        assert checked(frames, batches) == plain(frames, epoch)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_state_of_a_plain_data_loader_goes_on_with_the_next_batch(
    frames: DataSet, workers: int
) -> None:
    dataset = loader_of(frames).torch()
    dataset.set_epoch(1)
    for batch in DataLoader(dataset, batch_size=None, num_workers=workers):
        state = dataset.state_dict(step=batch["step"] + 1)
        if batch["step"] == 4:
            break
    other = loader_of(frames).torch()
    other.load_state_dict(state)
    other.set_epoch(1)
    batches = DataLoader(other, batch_size=None, num_workers=workers)
    assert checked(frames, batches) == plain(frames, 1)[5:]
    other.set_epoch(2)
    assert checked(frames, batches) == plain(frames, 2)


@pytest.mark.filterwarnings("ignore:'set_vital' is deprecated")
@pytest.mark.parametrize("workers", [0, 2])
def test_a_stateful_data_loader_goes_on_with_the_next_batch(frames: DataSet, workers: int) -> None:
    pytest.importorskip("torchdata", reason="torchdata is not installed")
    from torchdata.stateful_dataloader import StatefulDataLoader

    first = StatefulDataLoader(loader_of(frames).torch(), batch_size=None, num_workers=workers)
    running = iter(first)
    for _ in range(5):
        next(running)
    state = first.state_dict()
    del running
    again = StatefulDataLoader(loader_of(frames).torch(), batch_size=None, num_workers=workers)
    again.load_state_dict(state)
    assert checked(frames, again) == plain(frames)[5:]


def test_a_worker_goes_on_in_the_epoch_of_its_state(frames: DataSet) -> None:
    state = {**loader_of(frames).state_dict(step=6), "epoch": 2, "worker": 6}

    def resume(_worker: int) -> None:
        torch.utils.data.get_worker_info().dataset.load_state_dict(state)

    batches = DataLoader(
        loader_of(frames).torch(), batch_size=None, num_workers=1, worker_init_fn=resume
    )
    assert checked(frames, batches) == plain(frames, 2)[6:]


def test_a_worker_that_is_killed_is_an_error(frames: DataSet) -> None:
    def slow(batch: Any) -> Any:
        if batch.step == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return batch

    dataset = loader_of(frames, transform=slow).torch()
    batches = iter(DataLoader(dataset, batch_size=None, num_workers=2))
    with pytest.raises(RuntimeError, match=r"worker.*(killed|exited)"):
        list(batches)


def test_an_error_in_a_worker_names_its_step(frames: DataSet) -> None:
    def broken(batch: Any) -> Any:
        if batch.step == 3:
            raise ValueError("no such thing")
        return batch

    dataset = loader_of(frames, transform=broken).torch()
    with pytest.raises(ValueError, match="no such thing"):
        list(DataLoader(dataset, batch_size=None, num_workers=2))
    frames.home["n4"].append(np.zeros((1, 6, 5), "u2"))
    with pytest.raises(Exception, match=r"of epoch 0: .*/n4' has changed"):
        list(DataLoader(loader_of(frames).torch(), batch_size=None, num_workers=1))


def test_what_a_transform_returns_becomes_tensors(frames: DataSet) -> None:
    def pair(batch: Any) -> Any:
        return batch.data.astype("f4"), batch.step

    for pixels, step in DataLoader(loader_of(frames, transform=pair).torch(), batch_size=None):
        assert (pixels.dtype, pixels.shape, step >= 0) == (torch.float32, (4, 6, 5), True)


def test_ranks_are_those_of_a_process_group(frames: DataSet, tmp_path: Any) -> None:
    group = torch.distributed
    if not group.is_available():
        pytest.skip("this PyTorch has no process groups")
    group.init_process_group(
        "gloo", init_method=f"file://{tmp_path / 'group'}", rank=0, world_size=1
    )
    try:
        loader = loader_of(frames)
        assert (loader.rank, loader.world_size) == (0, 1)
    finally:
        group.destroy_process_group()
