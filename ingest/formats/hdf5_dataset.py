"""A dataset of an HDF5 file, opened, with what every further question needs."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING

import numpy as np
from h5py import h5d, h5p, h5t

from ingest.formats.hdf5_types import Element, element_of
from schemas.chunks import ChunkLayout, Codec
from schemas.structures import DataType

if TYPE_CHECKING:
    from ingest.formats.hdf5_links import Place
    from ingest.found import ChunkRows
    from schemas.chunks import Contiguous, Inline


class ScatteredError(Exception):
    """The bytes of an array are not addressable; the text says why it has to be converted."""


@dataclasses.dataclass(frozen=True)
class Placement:
    """Where the bytes of an array lie as stored."""

    chunks: tuple[int, ...]
    """Chunk grid of the array, inner axes included."""
    layout: ChunkLayout
    location: Contiguous | Inline | ChunkRows


@dataclasses.dataclass(frozen=True)
class Dataset:
    """An open dataset."""

    place: Place
    handle: h5d.DatasetID
    kind: h5t.TypeID
    creation: h5p.PropDCID
    element: Element
    extent: tuple[int, ...] | None
    """Shape of the dataspace; None where there is none (an "empty" dataset)."""

    @classmethod
    def of(cls, place: Place) -> Dataset:
        """Look at a dataset without reading from it."""
        handle = place.handle
        kind = handle.get_type()
        return cls(
            place=place,
            handle=handle,
            kind=kind,
            creation=handle.get_create_plist(),
            element=element_of(kind),
            extent=handle.shape,
        )

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape as offered: inner axes behind, and one axis of length 0 where there is none."""
        return ((0,) if self.extent is None else self.extent) + self.element.inner

    @property
    def count(self) -> int:
        """Number of elements."""
        return 0 if self.extent is None else math.prod(self.extent)

    @property
    def is_virtual(self) -> bool:
        """Whether its elements lie in other datasets."""
        return bool(self.creation.get_layout() == h5d.VIRTUAL)

    def fill(self) -> bytes:
        """Return the fill value, one element as stored; empty for zeros.

        Raises
        ------
        ScatteredError
            A fill value that is an array itself.
        """
        if self.creation.fill_value_defined() != h5d.FILL_VALUE_USER_DEFINED:
            return b""
        if self.element.inner:
            raise ScatteredError("its elements are arrays with a fill value of their own")
        value = np.zeros((), self.element.stored)
        self.creation.get_fill_value(value)
        payload = value.tobytes()
        return payload if any(payload) else b""

    def layout(self, chunk_shape: tuple[int, ...], codecs: tuple[Codec, ...] = ()) -> ChunkLayout:
        """Return the layout of whole stored chunks."""
        return ChunkLayout(
            data_type=DataType.from_numpy(self.element.stored),
            chunk_shape=chunk_shape,
            codecs=codecs,
            fill_value=self.fill(),
        )
