"""Arrays: read by NumPy's rules, in the delivery that is fastest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from lakeservice.client import parts, planned, takes, tensors
from lakeservice.client.disk import UnreachableError
from lakeservice.client.display import size_text
from lakeservice.client.optional import needed
from lakeservice.client.progress import progress_bar
from lakeservice.client.reductions import Reductions
from schemas.errors import ErrorKind, InvalidRequestError
from schemas.ticket import ReadArray

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dask.array import Array as DaskArray
    from numpy.typing import DTypeLike, NDArray
    from xarray import DataArray

    from lakeservice.client.takes import Delivered
    from schemas.selection import Selection
    from schemas.structures import ArrayStructure, Chunks, StructureFamily

Delivery = Literal["auto", "direct", "encoded", "decoded"]
ENCODED_BYTES = 1 << 20
"""Answers from this size on are read as stored chunks where that is faster."""
MESSAGE_BYTES = 256 << 10
"""Answers up to this size come in one message, which is quicker than a stream."""
_LEAST_USE = 0.5
_LEAST_CHUNK_BYTES = 256 << 10  # below it, what every single chunk costs is more than is gained
_ITERATION_BYTES = 16 << 20
_ONE_MESSAGE = 64 << 10
_UNDECODABLE = (ErrorKind.UNREADABLE_FILE, ErrorKind.WRONG_FAMILY)


class Array(Reductions):
    """A dense N-dimensional array in the lake; indexing it reads."""

    family: ClassVar[StructureFamily] = "array"
    last_delivery: Delivered | None = None
    """How the latest read of this object came: from files on this machine, as stored chunks, or
    decoded; None before one."""
    _undecodable: int | None = None
    """Version of the node whose stored chunks cannot be decoded here."""
    _remote_only: int | None = None
    """Version of the node whose files cannot be read here."""

    @property
    def structure(self) -> ArrayStructure:
        """Shape, dtype, chunks and names of axes."""
        structure: Any = self._node.structure
        return structure  # type: ignore[no-any-return]

    @property
    def shape(self) -> tuple[int, ...]:
        """Length of each axis."""
        return self.structure.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """NumPy dtype of an element."""
        return self.structure.dtype

    @property
    def dims(self) -> tuple[str, ...] | None:
        """Names of the axes, slowest first; None where nobody named them."""
        return self.structure.dims

    @property
    def chunks(self) -> Chunks:
        """Size of the stored chunks, per axis; every size where they differ."""
        return self.structure.chunks

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.structure.shape)

    @property
    def size(self) -> int:
        """Number of elements."""
        return self.nbytes // max(1, self.dtype.itemsize)

    @property
    def nbytes(self) -> int:
        """Bytes of the whole array, decoded."""
        return self.structure.size_bytes

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("an array without axes has no length")
        return self.shape[0]

    def __getitem__(self, index: Any) -> Any:
        return self.read(index)[()]

    def __iter__(self) -> Iterator[Any]:
        rows = max(1, _ITERATION_BYTES * len(self) // max(1, self.nbytes))
        for start in range(0, len(self), rows):
            yield from self.read(slice(start, start + rows))

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        if copy is False:
            raise ValueError("an array in a lake becomes a NumPy array only by a copy")
        values = self.read()
        return values if dtype is None else values.astype(dtype, copy=False)

    def read(
        self,
        selection: Any = None,
        out: NDArray[Any] | None = None,
        delivery: Delivery = "auto",
        *,
        progress: bool = False,
    ) -> NDArray[Any]:
        """Read a part of the array, or all of it.

        Parameters
        ----------
        selection
            Integers, slices and ``...`` as NumPy takes them, or the same as text
            (``"0:10,::2,-1"``); None for everything.
        out
            Array of the answer's shape and dtype that receives it; None makes a new one.
        delivery
            ``direct`` reads the files on this machine, where the server allows it and
            this machine sees them; ``encoded`` brings stored chunks and decodes them
            here; ``decoded`` leaves that to the server; ``auto`` takes what is faster.
            `last_delivery` tells afterwards.
        progress
            Show a progress bar.

        Returns
        -------
        numpy.ndarray
            ``out``, or a new array; axes chosen by an integer are gone.

        Raises
        ------
        InvalidRequestError
            ``bad-slice``; ``bad-request`` where ``out`` does not fit;
            ``unreadable-file`` where ``encoded`` was asked for and cannot be decoded here,
            ``bad-request`` where ``direct`` was asked for and does not work here.
        CorruptError
            Stored or received bytes contradict the structure; never a short array.
        """
        structure = self.structure
        chosen = takes.selection_of(selection, structure.shape)
        dtype = structure.dtype
        out = takes.checked_out(out, chosen.shape, dtype)
        if delivery not in ("auto", "direct", "encoded", "decoded"):
            raise InvalidRequestError(
                ErrorKind.BAD_REQUEST,
                f"delivery {delivery!r}; there are 'auto', 'direct', 'encoded' and 'decoded'",
            )
        size_bytes = chosen.size * dtype.itemsize
        if size_bytes and not progress:
            self.last_delivery = self._deliver(chosen, out, None, delivery)
        elif size_bytes:
            with progress_bar(self.path, size_bytes, shown=True) as moved:
                self.last_delivery = self._deliver(chosen, out, moved, delivery)
        return out

    def take(
        self,
        selections: Any,
        out: NDArray[Any] | None = None,
        delivery: Delivery = "auto",
        *,
        places: NDArray[np.int64] | None = None,
    ) -> Any:
        """Read many parts of the array in one call.

        Parameters
        ----------
        selections
            Rows by their numbers: a 1-D array, a list or a range of integers, in any
            order, the same ones again where wanted; negative ones count from the end.
            Or a list of selections, each as `read` takes it.
        out
            Array that receives the answer, of its shape and dtype; None makes a new one.
            For a list of selections: of one more, leading axis, where all have one shape.
        delivery
            ``direct`` and ``decoded`` as in `read`; ``auto`` takes what is faster.
        places
            Which row of ``out`` receives each, so that several arrays can fill one; the
            other rows stay as they are. None for their order.

        Returns
        -------
        numpy.ndarray or list of numpy.ndarray
            For rows one array, of shape ``(len(selections), *shape of a row)``, also for
            none; for a list of selections a list of arrays. ``out``, where it was given.

        Raises
        ------
        InvalidRequestError
            ``bad-slice``, naming the selection; ``bad-request`` where ``out`` does not fit.
        ConflictError
            ``revision-conflict``: others changed its shape, or change it again and again.
        CorruptError
            As in `read`; nothing half done is returned.
        """
        reach = self._directly if delivery == "direct" or self._may_read_files() else None
        answer, self.last_delivery = takes.take(
            self, self._remote, selections, out, delivery, reach, places
        )
        return answer

    def to_xarray(self) -> DataArray:
        """Return a labelled array that reads what is asked of it, when it is asked.

        Raises
        ------
        ImportError
            ``xarray`` is not installed.
        """
        needed("xarray", "xarray")
        from lakeservice.client.labelled import data_array  # xarray takes half a second

        return data_array(self)

    def to_dask(self, chunks: Any = None) -> DaskArray:
        """Return a Dask array with a task per stored chunk, or per some of them.

        Parameters
        ----------
        chunks
            As Dask takes them; None gathers stored chunks into blocks of some MB.

        Raises
        ------
        ImportError
            ``dask`` is not installed.
        """
        needed("dask.array", "dask[array]")
        from lakeservice.client.lazy import dask_array  # Dask takes a second

        return dask_array(self, chunks)

    def append(self, rows: Any, *, progress: bool = False) -> Array:
        """Add rows at the end of the first axis, and return the node with its new shape.

        Parameters
        ----------
        rows
            An array of one or more rows, or an iterable of such arrays.
        """
        from lakeservice.client.sending import appended_rows  # readers do without

        upload = appended_rows(self.path, self.structure, rows)
        self._remote.send(upload, progress=progress)
        self._known = None
        return self

    def _deliver(
        self,
        chosen: Selection,
        out: NDArray[Any],
        moved: Callable[[int], None] | None,
        delivery: Delivery,
    ) -> Delivered:
        """Read in the delivery that was asked for, or that is faster; tell which it was."""
        forced = delivery == "direct"
        wanted = forced or (delivery == "auto" and self._may_read_files(out))
        if wanted and self._read_direct(chosen, out, moved, forced=forced):
            return "direct"
        if delivery == "encoded" or (delivery == "auto" and self._prefers_encoded(chosen)):
            try:
                self._read_encoded(chosen, out, moved)
            except InvalidRequestError as error:
                if delivery == "encoded" or error.kind not in _UNDECODABLE:
                    raise
                self._undecodable = self.version
            else:
                return "encoded"
        self._read_decoded(chosen, out, moved)
        return "decoded"

    def _may_read_files(self, out: NDArray[Any] | None = None) -> bool:
        node = self._node
        if self._remote_only == node.version or self._remote.connection.disk.is_refused:
            return False
        # All of a small array, once: that is one message, and asking for its files would be one.
        small = out is not None and out.nbytes <= _ONE_MESSAGE and out.nbytes == self.nbytes
        return not small or self.last_delivery is not None

    def _read_direct(
        self,
        chosen: Selection,
        out: NDArray[Any],
        moved: Callable[[int], None] | None,
        *,
        forced: bool,
    ) -> bool:
        """Read files on this machine; tell whether that worked."""
        kept: Any = tuple(None if axis.drop else slice(None) for axis in chosen.axes)
        place = out[(*kept, ...)]

        def read(direct: Any) -> None:
            direct.read(self._remote, self._path, self.version, ((chosen, place),), moved)

        return self._directly(read, forced=forced)

    def _directly(self, read: Callable[[Any], None], *, forced: bool) -> bool:
        """Call ``read`` with the module of direct delivery; tell whether it works here."""
        from lakeservice.client import direct  # codecs; who reads no array does without

        try:
            read(direct)
        except (UnreachableError, InvalidRequestError) as error:
            if forced:
                raise (error.error if isinstance(error, UnreachableError) else error) from None
            if isinstance(error, InvalidRequestError) and error.kind not in _UNDECODABLE:
                raise
            self._remote_only = self.version
            return False
        return True

    def _prefers_encoded(self, chosen: Selection) -> bool:
        structure = self.structure
        return (
            chosen.size * structure.data_type.itemsize >= ENCODED_BYTES
            and parts.chunk_bytes(structure) >= _LEAST_CHUNK_BYTES
            and parts.use_of_chunks(chosen, structure) >= _LEAST_USE
            and self._undecodable != self.version
        )

    def _read_decoded(
        self, chosen: Selection, out: NDArray[Any], moved: Callable[[int], None] | None
    ) -> None:
        request = ReadArray(path=self._path, selection=chosen.to_text())
        if out.nbytes <= MESSAGE_BYTES:
            tensors.take(self._remote.message(request), out)
            if moved is not None:
                moved(out.nbytes)
            return

        def expect(schema: Any) -> None:
            tensors.expect(schema, out)

        def receive(reader: Any, _: Selection, part: NDArray[Any], told: Any, __: bool) -> None:
            tensors.receive(reader, part, told)

        self._stream(request, chosen, out, expect, receive, moved)

    def _read_encoded(
        self, chosen: Selection, out: NDArray[Any], moved: Callable[[int], None] | None
    ) -> None:
        from lakeservice.client import encoded  # codecs; small reads do without

        request = ReadArray(path=self._path, selection=chosen.to_text(), delivery="encoded")
        dropped = tuple(number for number, axis in enumerate(chosen.axes) if axis.drop)

        def expect(schema: Any) -> None:
            encoded.expect(schema, chosen, out.dtype)

        def receive(
            reader: Any, selection: Selection, part: NDArray[Any], told: Any, several: bool
        ) -> None:
            place = np.expand_dims(part, dropped)
            encoded.receive(reader, selection, place, told, path=self._path, alone=several)

        self._stream(request, chosen, out, expect, receive, moved)

    def _stream(
        self,
        request: ReadArray,
        chosen: Selection,
        out: NDArray[Any],
        expect: Callable[[Any], None],
        receive: planned.Receive,
        moved: Callable[[int], None] | None,
    ) -> None:
        """Read everything with one stream, or large answers in parts with several."""
        if out.nbytes >= planned.LARGE_BYTES:
            planned.read(self._remote, request, chosen, out, expect, receive, moved)
        else:
            self._remote.read(request, lambda reader: receive(reader, chosen, out, moved, False))

    def _facts(self) -> list[tuple[str, str]]:
        structure = self.structure
        shape = " × ".join(str(length) for length in structure.shape) or "scalar"
        return [
            ("shape", shape),
            ("dtype", str(structure.dtype)),
            ("dims", f"({', '.join(structure.dims)})" if structure.dims else ""),
            ("size", size_text(structure.size_bytes)),
        ]

    def __dask_tokenize__(self) -> tuple[Any, ...]:
        address = self._remote.connection.address
        return (type(self).__name__, address.url, self.id, self.version, self.path)
