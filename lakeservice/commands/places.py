"""What a path on the command line means: a lake, a folder of files, or a new lake."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from schemas.errors import ErrorKind, InvalidRequestError

INNER_LAKE = ".lake"
"""Folder that holds the lake of a served folder of files."""


@dataclass(frozen=True)
class Place:
    """Where a lake is, and the folder of files that it shows, if any."""

    lake: str
    files: Path | None = None
    new: bool = False
    """The lake has to be created."""


def place_of(path: str) -> Place:
    """Return what a path or URI stands for.

    A lake is itself; a path that does not exist becomes a new lake; any other
    folder is shown by a lake in ``.lake/`` inside it.

    Raises
    ------
    InvalidRequestError
        ``not-a-lake``: a file.
    """
    parts = urlsplit(path)
    if parts.scheme and parts.scheme != "file" and "://" in path:
        return Place(path)
    folder = Path(unquote(parts.path)) if parts.scheme == "file" else Path(path)
    folder = folder.expanduser().absolute()
    if folder.is_file():
        raise InvalidRequestError(
            ErrorKind.NOT_A_LAKE, f"{folder.name} is a file; name a lake or a folder of files"
        )
    if (folder / "lake.json").exists():
        return Place(str(folder))
    if not folder.exists():
        return Place(str(folder), new=True)
    inner = folder / INNER_LAKE
    return Place(str(inner), files=folder, new=not (inner / "lake.json").exists())
