"""Batches for PyTorch: a data set whose workers take the steps in turn."""

from __future__ import annotations

import copy
import os
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.data import IterableDataset, default_convert, get_worker_info

from lakeservice.client.loader.batch import DATA, Batch
from lakeservice.client.loader.prefetch import Prefetch
from lakeservice.codecs.engine import Engine

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import numpy as np

    from lakeservice.client.loader.loader import Loader

_WORKER = "worker"
MOST_THREADS = 4
_TENSORS = "biufc"


class LakeDataset(IterableDataset):  # type: ignore[misc]
    """Batches of a loader as dicts of tensors: ``"data"``, labels, epoch, step and indices.

    Text stays a list of text. What a transform returns is handed out, with tensors for
    the NumPy arrays in it. For ``DataLoader(dataset, batch_size=None, num_workers=n)``;
    ``n`` of 0 is fastest where the transform lets go of Python's lock, because decoding
    is done in threads.

    Parameters
    ----------
    loader
        Makes the batches. Call `set_epoch` before each epoch: workers that are new in
        each of them cannot count epochs.

    Notes
    -----
    Workers run ahead of the training, so the state of a plain ``DataLoader`` is
    ``dataset.state_dict(step=batch["step"] + 1)`` after the last batch that was used.
    The ``StatefulDataLoader`` of torchdata keeps count by itself.
    """

    def __init__(self, loader: Loader) -> None:
        self.loader = loader
        # Epoch and first step; workers that live on see here what the main process chooses.
        self._chosen = torch.tensor([loader.epoch, loader.first_step]).share_memory_()
        self._own: int | None = None
        self._epoch = loader.epoch
        self._next = loader.first_step

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[Any]:
        number, workers = _worker()
        epoch, first = self._chosen.tolist()
        own, self._own = self._own, None
        loader = self.loader
        if own is None:
            start = first + number
        else:  # a worker goes on in the epoch of its state, whatever is said of the next one
            start, epoch = own, loader.epoch
        self._epoch = epoch
        if get_worker_info() is None:
            self._chosen[1] = 0  # a state is gone on from once
        else:
            loader = copy.copy(loader)  # with locks of its own: those of the parent may be held
            Engine.share(max(1, (os.cpu_count() or 1) // workers))

        def make(count: int) -> Any:
            return loader.batch(start + count * workers, epoch)

        steps = range(start, len(loader), workers)
        threads = 1 if workers > 1 else MOST_THREADS
        made = Prefetch(make, 0, len(steps), ahead=loader.options.prefetch, threads=threads)
        self._next = start
        try:
            for step, batch in zip(steps, made, strict=True):
                self._next = step + workers
                yield tensors(batch)
        finally:
            made.close()

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that is run next; that of a loaded state keeps its step."""
        if epoch != int(self._chosen[0]):
            self._chosen[0], self._chosen[1] = epoch, 0
            self._next = 0

    def state_dict(self, step: int | None = None) -> dict[str, Any]:
        """Return where the training stands; see `Loader.state_dict`.

        Parameters
        ----------
        step
            The next step: with workers, only the main process knows it.
        """
        following = self._next if step is None else step
        state = self.loader.state_dict(min(following, len(self.loader)))
        epoch = int(self._chosen[0]) if get_worker_info() is None else self._epoch
        return {**state, "epoch": epoch, _WORKER: following}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where a state was made; errors as in `Loader.load_state_dict`."""
        self.loader.load_state_dict(state)
        epoch, step = self.loader.epoch, self.loader.first_step
        if get_worker_info() is None:
            self._chosen[0], self._chosen[1] = epoch, step
            self._next = step
        else:  # a worker's own state, which torchdata has kept
            self._own = self._next = state[_WORKER]


def _worker() -> tuple[int, int]:
    """Return the number of this worker, and how many there are."""
    worker = get_worker_info()
    return (0, 1) if worker is None else (worker.id, worker.num_workers)


def dataset(loader: Loader) -> LakeDataset:
    """Return the data set of a loader."""
    return LakeDataset(loader)


def tensors(batch: Any) -> Any:
    """Return a batch as a dict of tensors, which share its memory."""
    if not isinstance(batch, Batch):
        return default_convert(batch)
    data = batch.data
    found = {
        DATA: {k: _tensor(v) for k, v in data.items()} if type(data) is dict else _tensor(data)
    }
    found |= {name: _tensor(values) for name, values in batch.labels.items()}
    return found | {
        "epoch": batch.epoch,
        "step": batch.step,
        "indices": torch.from_numpy(batch.indices),
    }


def _tensor(values: np.ndarray[Any, Any]) -> Any:
    if values.dtype.kind in _TENSORS:
        return torch.from_numpy(values)
    return values.tolist() if values.dtype.kind in "UO" else values
