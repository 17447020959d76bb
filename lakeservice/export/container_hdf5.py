"""Containers as HDF5: groups, datasets and attributes, sent as their elements are read.

Names and order are those of the tree. A table is a group with one dataset a column;
sparse, awkward and ragged data are groups in the same way, with the columns of their
Arrow form. Classes and default plots are those of NeXus.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lakeservice.export.exporter import Exporter
from lakeservice.export.hdf5_attributes import set_attributes
from lakeservice.export.hdf5_columns import columns_of
from lakeservice.export.hdf5_layout import Layout
from lakeservice.export.walking import walk

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from lakeservice.export.exporter import Piece
    from lakeservice.export.prepared import Prepared
    from lakeservice.export.sources import ContainerSource, Source, TableSource

HDF5 = "application/x-hdf5"
CLASSES = frozenset({"NXcollection", "NXdata", "NXdetector", "NXentry", "NXinstrument", "NXsample"})
"""Specs that are base classes of NeXus; others, such as NXsas, are definitions of a whole file."""


def prepare(container: ContainerSource) -> Prepared:
    """Return a file of everything below a container; the elements of arrays are not read yet."""
    with Layout() as layout:
        groups: dict[tuple[str, ...], tuple[Any, Any]] = {(): (layout.file, container)}
        for step in walk(container):
            above, _ = groups[step.path[:-1]]
            made = _put(layout, above, step.path[-1], step.source)
            if step.source.family in ("container", "table"):
                groups[step.path] = (made, step.source)
        for path, (group, source) in groups.items():
            if source.family == "container":
                _describe(group, source, "NXcollection" if path else "NXroot")
        plots = (group.name for group, source in groups.values() if _is_plot(group, source))
        _point_to(layout.file, next(plots, None))
    return layout.prepared


def prepare_table(table: TableSource) -> Prepared:
    """Return a file with one dataset a column."""
    with Layout() as layout:
        group = layout.group(layout.file, table.name or "table")
        set_attributes(layout.file, {"NX_class": "NXroot"})
        _fill(layout, group, table)
        _point_to(layout.file, group.name if _is_plot(group, table) else None)
    return layout.prepared


def _put(layout: Layout, above: Any, name: str, source: Any) -> Any:
    """Return the group or dataset of one node."""
    if source.family == "array" and source.problem is None:
        dataset = layout.array(above, name, source)
        set_attributes(dataset, source.metadata)
        if source.dims is not None:
            set_attributes(dataset, {"dims": list(source.dims)})
        return dataset
    group = layout.group(above, name)
    if source.problem is not None:
        set_attributes(group, {"problem": source.problem})
    elif source.family in ("table", "sparse", "awkward", "ragged"):
        _fill(layout, group, source)
        return group
    if source.family != "container":
        _describe(group, source, "NXcollection")
    return group


def _fill(layout: Layout, group: Any, table: TableSource) -> None:
    made = [layout.column(group, column, table) for column in columns_of(table)]
    set_attributes(group, table.metadata)
    if table.family == "table":
        set_attributes(group, _plot(made))
    else:
        set_attributes(group, {"family": table.family})
        if hasattr(table, "shape"):
            set_attributes(group, {"shape": list(table.shape)})


def _plot(columns: Sequence[Any]) -> Mapping[str, Any]:
    """Return what makes a viewer plot the second column of numbers over the first."""
    numbers = [
        column.name.rpartition("/")[2]
        for column in columns
        if column.dtype.kind in "iuf" and column.ndim == 1
    ]
    if not numbers:
        return {"NX_class": "NXcollection"}
    if len(numbers) == 1:
        return {"NX_class": "NXdata", "signal": numbers[0]}
    return {"NX_class": "NXdata", "signal": numbers[1], "axes": [numbers[0]]}


def _describe(group: Any, source: Source, usual: str) -> None:
    # The metadata of a file that was ingested sum up what is in its groups.
    metadata = source.metadata.items()
    told = {key: one for key, one in metadata if not isinstance(one, dict) or key not in group}
    set_attributes(group, told)
    classes = [spec.name for spec in source.specs if spec.name in CLASSES]
    set_attributes(group, {"NX_class": classes[0] if classes else usual})


def _is_plot(made: Any, source: Source) -> bool:
    """Tell whether viewers can plot a group, as far as it says so itself."""
    if source.family not in ("table", "container"):
        return False
    signal = made.attrs.get("signal")
    if made.attrs.get("NX_class") != "NXdata" or not isinstance(signal, str):
        return False
    if signal not in made:
        return False
    return source.family == "container" or bool(len(made[signal]))


def _point_to(file: Any, plotted: str | None) -> None:
    """Lead viewers from the root to a group that can be plotted, unless the data do so."""
    if plotted is None or "default" in file.attrs:
        return
    group = file
    for name in plotted.strip("/").split("/"):
        set_attributes(group, {"default": name})
        group = group[name]


def write(container: ContainerSource) -> Iterator[Piece]:
    """Yield an HDF5 file of a container."""
    yield from prepare(container).pieces()


def write_table(table: TableSource) -> Iterator[Piece]:
    """Yield an HDF5 file of a table."""
    yield from prepare_table(table).pieces()


CONTAINER = Exporter(
    family="container",
    media_type=HDF5,
    names=("h5", "hdf5", "hdf", "nxs"),
    write=write,
    prepare=prepare,
)
TABLE = Exporter(
    family="table",
    media_type=HDF5,
    names=("h5", "hdf5", "hdf"),
    write=write_table,
    prepare=prepare_table,
)
