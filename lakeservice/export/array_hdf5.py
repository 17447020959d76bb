"""Arrays as HDF5 files in the form of NeXus: viewers find the data as the default plot."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lakeservice.export.container_hdf5 import HDF5
from lakeservice.export.exporter import Exporter
from lakeservice.export.hdf5_attributes import set_attributes
from lakeservice.export.hdf5_layout import Layout

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lakeservice.export.exporter import Piece
    from lakeservice.export.prepared import Prepared
    from lakeservice.export.sources import ArraySource

_SEEN_AS = ("scalar", "spectrum", "image")
"""How a viewer shows the last axes: ``interpretation`` of NXdata."""


def prepare(source: ArraySource) -> Prepared:
    """Return a file whose default plot is the array, with its metadata as attributes."""
    name = source.name or "data"
    with Layout() as layout:
        set_attributes(layout.file, {"NX_class": "NXroot", "default": "entry"})
        entry = layout.group(layout.file, "entry")
        set_attributes(entry, {"NX_class": "NXentry", "default": "data"})
        group = layout.group(entry, "data")
        dataset = layout.array(group, name, source)
        signal = dataset.name.rpartition("/")[2]
        # No axis has values of its own, which is what the dots say.
        axes = {"axes": ["."] * len(source.shape)} if source.shape else {}
        set_attributes(group, {"NX_class": "NXdata", "signal": signal, **axes})
        seen_as = _SEEN_AS[min(len(source.shape), 2)]
        set_attributes(dataset, {"long_name": name, "interpretation": seen_as})
        if source.dims is not None:
            set_attributes(dataset, {"dims": list(source.dims)})
            for axis, label in enumerate(source.dims):
                dataset.dims[axis].label = label
        set_attributes(dataset, source.metadata)
    return layout.prepared


def write(source: ArraySource) -> Iterator[Piece]:
    """Yield an HDF5 file of an array."""
    yield from prepare(source).pieces()


HDF5_ARRAY = Exporter(
    family="array",
    media_type=HDF5,
    names=("h5", "hdf5", "hdf", "nxs"),
    write=write,
    prepare=prepare,
)
