"""Containers as ZIP: one file for each node, in folders, and their metadata in another."""

from __future__ import annotations

import zipfile
from typing import TYPE_CHECKING, Any

from lakeservice.export.arrow import Sink
from lakeservice.export.container_json import write_tree
from lakeservice.export.exporter import Exporter, Option
from lakeservice.export.registry import exporters_of
from lakeservice.export.walking import walk
from schemas.errors import ErrorKind, InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from lakeservice.export.exporter import Piece
    from lakeservice.export.sources import ContainerSource
    from schemas.structures import StructureFamily

FORMS: Mapping[StructureFamily, str] = {
    "array": "npy",
    "table": "parquet",
    "sparse": "parquet",
    "awkward": "parquet",
    "ragged": "parquet",
}
"""How the data of each family are written, unless asked otherwise."""
TEXTS = frozenset({"csv", "json", "txt", "html", "itx", "json-seq"})
"""Forms that are worth compressing again."""
METADATA = "metadata.json"
DAY_ONE = (1980, 1, 1, 0, 0, 0)
"""The earliest time that a ZIP knows: the same data give the same file."""


def write(container: ContainerSource) -> Iterator[Piece]:
    """Yield a ZIP file; it is made on the way, and may be longer than 4 GB."""
    forms = _forms(container)
    sink = Sink()
    names = _Names()
    with zipfile.ZipFile(sink, "w", allowZip64=True, compresslevel=1) as archive:
        yield from _file(archive, sink, METADATA, write_tree(container))
        for step in walk(container):
            source = step.source
            if source.family == "container":
                archive.mkdir(names.folder(step.path))
                continue
            if source.family == "bytes" and (found := source.file()) is not None:
                name = names.file(step.path, _named(step.path[-1], found[0]))
                yield from _file(archive, sink, name, found[1])
            exporter = forms.get(source.family)
            if exporter is None or source.problem is not None:
                continue
            exporter = _possible(exporter, source)
            name = names.file(step.path, f"{step.path[-1]}.{_suffix(exporter)}")
            yield from _file(archive, sink, name, exporter.write(source))
    if rest := sink.take():
        yield rest


class _Names:
    """Names of files and folders, none twice, and none that leads out of the archive's folder."""

    def __init__(self) -> None:
        self._taken = {METADATA}
        self._folders: dict[tuple[str, ...], str] = {(): ""}

    def folder(self, path: tuple[str, ...]) -> str:
        """Return the name of a container's folder, with a slash behind."""
        self._folders[path] = self.file(path, path[-1]) + "/"
        return self._folders[path]

    def file(self, path: tuple[str, ...], name: str) -> str:
        """Return the name of a file for a node."""
        # Some programs take a backslash for a slash, and C: for a disk.
        name = name.replace("\\", "_")
        name = name.replace(":", "_") if name[1:2] == ":" else name
        folder = self._folders[path[:-1]]
        while folder + name in self._taken:
            stem, _, suffix = name.rpartition(".")
            name = f"{stem}_.{suffix}" if stem else f"{name}_"
        self._taken.add(folder + name)
        return folder + name


def _named(node: str, file: str) -> str:
    """Return the node's name with the suffix of its file."""
    suffix = file.rpartition(".")[2] if "." in file else ""
    return node if not suffix or node.endswith(f".{suffix}") else f"{node}.{suffix}"


def check(container: ContainerSource) -> None:
    """Refuse forms that are not known."""
    _forms(container)


def _forms(container: ContainerSource) -> dict[str, Exporter]:
    found = {}
    for family, usual in FORMS.items():
        asked = container.options.get(family)
        known = {name: one for one in exporters_of(family) for name in one.names}
        exporter = known.get((asked or usual).lower().lstrip("."))
        if exporter is not None:
            found[str(family)] = exporter
        elif asked:
            raise InvalidRequestError(
                ErrorKind.UNKNOWN_FORMAT,
                f"cannot write {family} data as {asked[:40]!r}; there are {', '.join(known)}",
            )
    return found


def _possible(exporter: Exporter, source: Any) -> Exporter:
    """Return a form that can say the data: the one wanted, or else the usual one of the family."""
    usual = [one for one in exporters_of(source.family) if one.spec is None]
    for one in (exporter, *usual):
        try:
            one.check(source)
        except InvalidRequestError as error:
            if error.kind is not ErrorKind.UNKNOWN_FORMAT:
                raise
        else:
            return one
    exporter.check(source)
    return exporter


def _suffix(exporter: Exporter) -> str:
    return exporter.names[0]


def _file(
    archive: zipfile.ZipFile, sink: Sink, name: str, pieces: Iterator[Piece]
) -> Iterator[bytes]:
    entry = zipfile.ZipInfo(name, DAY_ONE)
    entry.external_attr = 0o644 << 16
    if name.rpartition(".")[2] in TEXTS:
        entry.compress_type = zipfile.ZIP_DEFLATED
    with archive.open(entry, "w", force_zip64=True) as file:
        for piece in pieces:
            file.write(piece)
            if made := sink.take():
                yield made
    if made := sink.take():
        yield made


def _option(family: str, usual: str) -> Option:
    return Option(
        name=family,
        kind=str,
        description=f"Form of {family} data inside; ``{usual}`` unless asked.",
    )


ZIP = Exporter(
    family="container",
    media_type="application/zip",
    names=("zip",),
    write=write,
    check=check,
    options=tuple(_option(family, usual) for family, usual in FORMS.items()),
)
