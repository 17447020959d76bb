"""Loading: a container's nodes as batches for a training."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from lakeservice.client.loader import Batch, Loader
    from lakeservice.client.remote import Remote


class Loading:
    """What a container can load."""

    _remote: Remote
    _path: str

    def loader(
        self,
        nodes: Any,
        *,
        batch_size: int,
        shuffle: bool | Literal["full"] = False,
        seed: int = 0,
        window: int | None = None,
        rank: int | None = None,
        world_size: int | None = None,
        sample_axes: int = 1,
        columns: str | Sequence[str] | None = None,
        labels: str | tuple[str, str] | Mapping[str, str | tuple[str, str]] | None = None,
        classes: Sequence[Any] | Mapping[str, Sequence[Any]] | None = None,
        transform: Callable[[Batch], Any] | None = None,
        prefetch: int = 2,
        threads: int | None = None,
        allocate: Callable[[int], Any] | None = None,
        drop_last: bool = False,
    ) -> Loader:
        """Return batches of samples with their labels, for a training.

        The samples of all nodes, one node after the other, are the data set. An epoch is
        one order of all of them that depends on seed and epoch only, and the global batch
        of a step is the samples ``step * batch_size`` to ``(step + 1) * batch_size`` of it.
        Each rank gets its contiguous share of every global batch, cut as `numpy.array_split`
        does, so that the ranks together get the same batches however many they are. Nothing
        is dropped and nothing comes twice; the last batch may be short, and the share of
        some ranks then empty, but every rank has the same number of steps.

        Iterating runs one epoch. `Loader.state_dict` says where it stands, and the next
        iteration after `Loader.load_state_dict` begins with exactly the next batch.

        Parameters
        ----------
        nodes
            Arrays, or tables: a node, a list of nodes or of paths below this container,
            a `SearchResult`, or the text of a query (of what it finds at any depth the
            arrays, or the tables where there are none). They are pinned as they are now:
            when one changes later, reading it raises.
        batch_size
            Samples of a step, over all ranks.
        shuffle
            False: in order. True: stored blocks are permuted over all nodes, then samples
            within windows of that sequence. ``"full"``: a uniform permutation, which reads
            chunks of several samples more than once, and holds tables in memory.
        seed
            From 0 to 2**64 - 1.
        window
            Samples that are permuted with one another; None for 4096, of tables 491 520.
            See `Loader.randomness`.
        rank, world_size
            Which of how many processes this is; None asks `torch.distributed`, where it is
            in use.
        sample_axes
            How many leading axes of an array count samples: 2 makes 900 samples of a
            stack of 45 × 20 images.
        columns
            Columns of tables; None for all. A batch's data then is a dict of arrays.
        labels
            A metadata key (``"sample.class"``: one value for all samples of a node), or
            ``(table, column)``, whose rows are the samples in order; a path that begins
            with ``./`` is a table beside each array. Or a mapping from names to these.
            A single one is named ``"label"``. Text stays text.
        classes
            Values of the label, which then becomes the number of its value; or a mapping
            from the label's name to them.
        transform
            Called with each `Batch`, in the threads that read ahead; what it returns is
            handed out.
        prefetch
            Batches that are made ahead. Memory is that of ``prefetch + 2`` batches, and
            for tables two windows. 0 reads when asked.
        threads
            Threads that make batches; None for one per core, at most 4. Decoding has
            threads of its own.
        allocate
            Returns writable memory (an array of bytes) of so many bytes, pinned or shared,
            for batches of arrays. It is used again as soon as nothing in Python refers to
            the batch: a copy to a device has to be finished by then.
        drop_last
            Leave out a last batch that is not full.

        Returns
        -------
        Loader
            ``len()`` steps; each gives a `Batch`. Elements are in native byte order.

        Raises
        ------
        InvalidRequestError
            ``bad-request``: nothing to load, or options that contradict themselves.
            ``bad-structure``: the first node whose samples have another shape or dtype, or
            labels that are not as many as samples. ``bad-metadata``: a node without label.
        ConflictError
            ``revision-conflict``, while iterating: a node has changed. An error in reading
            or in ``transform`` says at which step; the iterator tries that step again.
        """
        from lakeservice.client.loader import Loader, Options, chosen  # who only reads needs none

        options = Options(
            batch_size=batch_size,
            shuffle=shuffle,
            seed=seed,
            window=window,
            rank=rank,
            world_size=world_size,
            sample_axes=sample_axes,
            columns=columns,
            labels=labels,
            classes=classes,
            transform=transform,
            prefetch=prefetch,
            threads=threads,
            allocate=allocate,
            drop_last=drop_last,
        )
        return Loader(self._remote, self._path, chosen(self, nodes), options)
