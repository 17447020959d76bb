"""Loaders: batches of samples with their labels, from many nodes, in an order that is known."""

from __future__ import annotations

import functools
import os
import threading
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from lakeservice.client.loader.batch import Batch
from lakeservice.client.loader.epoch import Epoch
from lakeservice.client.loader.frames import Frames
from lakeservice.client.loader.gate import GATE
from lakeservice.client.loader.labels import Label, label_of, named_labels
from lakeservice.client.loader.options import whole
from lakeservice.client.loader.order import Order
from lakeservice.client.loader.pins import Pins
from lakeservice.client.loader.prefetch import Prefetch
from lakeservice.client.loader.randomness import Randomness, randomness
from lakeservice.client.loader.ranks import rank_here
from lakeservice.client.loader.rows import BLOCK_ROWS, WINDOW_BLOCKS, Rows
from lakeservice.client.loader.slabs import Slabs
from lakeservice.client.loader.state import document, place_in
from lakeservice.client.loader.steps import Steps
from lakeservice.client.table import Table
from schemas.errors import ErrorKind, InvalidRequestError, LakeError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from types import TracebackType

    from lakeservice.client.loader.options import Options
    from lakeservice.client.remote import Remote

MEASURED_BATCHES = 1000
MOST_THREADS = 4
"""Threads that make batches ahead, where nobody says how many."""


class Loader:
    """Batches for a training; see `Container.loader` for what it promises.

    Parameters
    ----------
    remote
        Where the lake answers.
    base
        Path of the container that it was made of; paths of label tables are below it.
    nodes
        Arrays, or tables, as they were described: they are pinned as they are.
    options
        How to make batches.
    labels
        Labels that were made before; None makes those of the options.
    """

    def __init__(
        self,
        remote: Remote,
        base: str,
        nodes: Sequence[Any],
        options: Options,
        labels: dict[str, Label] | None = None,
    ) -> None:
        self.nodes = tuple(nodes)
        """The nodes whose samples are loaded; a batch's indices count them from 0."""
        self.options = options
        self._remote, self._base = remote, base
        self._rank = rank_here(options.rank, options.world_size)
        self._source = self._opened()
        lengths = self._source.lengths
        self._order = Order(
            lengths,
            self._source.block_rows,
            shuffle=options.shuffle,
            seed=options.seed,
            window=self.window,
        )
        if not self._order.samples:
            raise InvalidRequestError(
                ErrorKind.BAD_REQUEST,
                f"nothing to load: {len(self.nodes)} nodes, and no sample in them",
            )
        self._steps = Steps(
            self._order.samples, options.batch_size, *self._rank, drop_last=options.drop_last
        )
        self._pins = Pins(remote, self.nodes)
        if labels is None:
            labels = {
                name: label_of(remote, base, self.nodes, lengths, asked)
                for name, asked in named_labels(options.labels, options.classes).items()
            }
        self._labels = labels
        self._epoch = self._step = self._resume = 0
        self._begin()

    def _opened(self) -> Frames | Rows:
        options = self.options
        if not isinstance(self.nodes[0], Table):
            if options.columns is not None:
                raise InvalidRequestError(
                    ErrorKind.BAD_REQUEST,
                    f"columns={options.columns!r}, and {self.nodes[0].path!r} is an array",
                )
            return Frames(self._remote, self.nodes, options.sample_axes)
        shuffled = options.shuffle is True
        block = min(BLOCK_ROWS, max(1, self.window // WINDOW_BLOCKS)) if shuffled else BLOCK_ROWS
        kept = 2 * max(self.window if shuffled else 0, options.batch_size) + block
        columns = (options.columns,) if isinstance(options.columns, str) else options.columns
        everything = options.shuffle == "full"
        return Rows(self.nodes, columns, block_rows=block, kept_rows=None if everything else kept)

    def _begin(self) -> None:
        """Make what belongs to one process: memory, locks."""
        self._reading = threading.Lock()
        self._running: Prefetch | None = None
        self._slabs: Slabs | None = None
        if isinstance(self._source, Frames):
            self._slabs = Slabs(
                self._steps.largest_share * self._source.sample_bytes,
                self.options.prefetch + 2,
                self.options.allocate,
            )

    def __reduce__(self) -> tuple[Any, ...]:
        options = self.options.of_rank(*self._rank)
        place = (self._epoch, self._step, self._resume)
        made_of = (self._remote, self._base, self.nodes, options, self._labels)
        return _again, (made_of, place)

    @property
    def window(self) -> int:
        """Samples that are permuted with one another, where ``shuffle`` is True."""
        if self.options.window is not None:
            return self.options.window
        return WINDOW_BLOCKS * BLOCK_ROWS if isinstance(self.nodes[0], Table) else 4096

    @property
    def samples(self) -> int:
        """Samples in an epoch, over all ranks."""
        return self._order.samples

    @property
    def sample_shape(self) -> tuple[int, ...] | None:
        """Shape of a sample; None for tables."""
        return self._source.shape if isinstance(self._source, Frames) else None

    @property
    def sample_dtype(self) -> np.dtype[Any] | None:
        """Dtype of samples, in native byte order; None for tables."""
        return self._source.dtype if isinstance(self._source, Frames) else None

    @property
    def sample_bytes(self) -> int | None:
        """Bytes of a sample; None for tables."""
        return self._source.sample_bytes if isinstance(self._source, Frames) else None

    @property
    def rank(self) -> int:
        """Which of ``world_size`` processes this is."""
        return self._rank[0]

    @property
    def world_size(self) -> int:
        """How many processes share each batch."""
        return self._rank[1]

    @property
    def epoch(self) -> int:
        """The epoch that the next iteration runs, or the present one."""
        return self._epoch

    @property
    def step(self) -> int:
        """The next step to be handed out in the present epoch."""
        return self._resume or self._step

    @property
    def first_step(self) -> int:
        """The step that the next iteration begins with: 0, or that of a loaded state."""
        return self._resume

    def __len__(self) -> int:
        """Return the number of steps in an epoch; every rank has as many."""
        return len(self._steps)

    def __iter__(self) -> Iterator[Any]:
        """Run an epoch: the present one from its start, or from where a state was loaded."""
        self.close()
        start, self._resume = self._resume, 0
        self._step = start
        self._running = Prefetch(
            functools.partial(self.batch, epoch=self._epoch),
            start,
            len(self),
            ahead=self.options.prefetch,
            threads=self.options.threads or min(MOST_THREADS, os.cpu_count() or 1),
        )
        return Epoch(self, self._epoch, self._running)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch to run next; the one that a loaded state stands in keeps its step.

        An epoch that was run to its end makes the next one the present one by itself.
        """
        epoch = whole("epoch", epoch)
        if epoch < 0:
            raise InvalidRequestError(
                ErrorKind.BAD_REQUEST, f"epoch {epoch}; it must not be negative"
            )
        if epoch != self._epoch:
            self._epoch, self._step, self._resume = epoch, 0, 0

    def share(self, step: int) -> int:
        """Return how many samples of a step this rank gets."""
        start, stop = self._steps.share(step)
        return stop - start

    def batch(self, step: int, epoch: int | None = None) -> Any:
        """Return the batch of a step, read now; what `transform` makes of it where there is one.

        The same seed, epoch and step always give the same batch.
        """
        steps = len(self._steps)
        if not 0 <= step < steps:
            raise InvalidRequestError(
                ErrorKind.BAD_REQUEST, f"step {step}; an epoch has {steps} steps"
            )
        wanted = self._epoch if epoch is None else epoch
        try:
            with GATE.passed():
                return self._made(wanted, step)
        except LakeError as error:
            text = f"step {step} of epoch {wanted}: {error.message}"
            raise type(error)(error.kind, text) from error
        except StopIteration as error:  # would pass for the end of the epoch
            raise RuntimeError(f"StopIteration in step {step} of epoch {wanted}") from error
        except Exception as error:
            error.add_note(f"while making the batch of step {step} of epoch {wanted}")
            raise

    def _made(self, epoch: int, step: int) -> Any:
        indices = self._steps.indices(self._order, epoch, step)
        read = np.unique(indices[:, 0]).tolist()
        try:
            data = self._read(indices)
        except LakeError:
            self._pins.check(read)  # says more than what a changed node gives
            raise
        self._pins.check(read)
        labels = {}
        if self._labels:
            places = self._order.place_of(indices)
            labels = {name: label.take(indices, places) for name, label in self._labels.items()}
        batch = Batch(data, labels, epoch=epoch, step=step, indices=indices)
        transform = self.options.transform
        return batch if transform is None else transform(batch)

    def _read(self, indices: Any) -> Any:
        source = self._source
        if isinstance(source, Rows):
            return source.read(indices)
        if self._slabs is None:
            raise RuntimeError("arrays without memory")
        out = self._slabs.array((len(indices), *source.shape), source.stored_dtype)
        with self._reading:  # a read uses all cores already
            return source.read(indices, out)

    def handed_out(self, epoch: int, step: int) -> None:
        """Note the next step of an epoch, or the next epoch where it was the last."""
        self._epoch, self._step = (epoch, step) if step >= 0 else (epoch + 1, 0)

    def state_dict(self, step: int | None = None) -> dict[str, Any]:
        """Return where the training stands, as a document that JSON can carry.

        Parameters
        ----------
        step
            The next step, where others count them (the workers of a DataLoader run
            ahead); None for the next one that this loader hands out.
        """
        return document(self._settings(), self._epoch, self.step if step is None else step)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where a state was made: the next iteration begins with its next batch.

        Another rank or world size is fine; so are other columns, labels and transforms.

        Raises
        ------
        InvalidRequestError
            ``bad-request``: the state is of other data or settings; the message names them.
        """
        self._epoch, self._resume = place_in(state, self._settings(), len(self))
        self._step = self._resume

    @functools.cached_property
    def _fingerprint(self) -> str:
        return self._pins.fingerprint(self._source.lengths.tolist())

    def _settings(self) -> dict[str, Any]:
        options = self.options
        return {
            "seed": options.seed,
            "batch_size": options.batch_size,
            "shuffle": options.shuffle,
            "window": self.window if options.shuffle is True else None,
            "drop_last": options.drop_last,
            "sample_axes": options.sample_axes,
            "nodes": len(self.nodes),
            "samples": self.samples,
            "fingerprint": self._fingerprint,
        }

    def randomness(self, epoch: int = 0, batches: int = MEASURED_BATCHES) -> Randomness:
        """Measure how random the order of an epoch is, against a uniform permutation.

        Parameters
        ----------
        batches
            How many batches are looked at, spread over the epoch. No data is read.
        """
        return randomness(self._order, epoch, self.options.batch_size, batches)

    def torch(self) -> Any:
        """Return a `torch.utils.data.IterableDataset` of the batches, as tensors.

        For ``DataLoader(dataset, batch_size=None, num_workers=n)``: workers take the
        steps in turn, so that the batches come in the same order as without them.
        """
        from lakeservice.client.loader.for_torch import dataset  # PyTorch takes a second

        return dataset(self)

    def tensorflow(self) -> Any:
        """Return a `tf.data.Dataset` of the batches: dicts of ``"data"`` and the labels."""
        from lakeservice.client.loader.for_tensorflow import dataset  # takes seconds

        return dataset(self)

    def ray(self) -> Any:
        """Return a `ray.data.Datasource` of the present epoch, for ``ray.data.read_datasource``."""
        from lakeservice.client.loader.for_ray import datasource  # takes a second

        return datasource(self)

    def close(self) -> None:
        """End the threads of a running epoch; the loader can be used again."""
        if self._running is not None:
            self._running.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        what = (
            "columns" if self.sample_shape is None else f"{self.sample_dtype} {self.sample_shape}"
        )
        share = f" rank {self.rank} of {self.world_size}" if self.world_size > 1 else ""
        return (
            f"<Loader {self.samples} samples of {len(self.nodes)} nodes, {what}: {len(self)} "
            f"steps of {self.options.batch_size}{share}>"
        )


def _again(made_of: tuple[Any, ...], place: tuple[int, int, int]) -> Loader:
    loader = Loader(*made_of)
    loader._epoch, loader._step, loader._resume = place  # noqa: SLF001
    return loader
