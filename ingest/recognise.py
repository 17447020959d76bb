"""Which format a file has: by its first bytes, whatever its name says."""

from __future__ import annotations

from functools import cache
from importlib.metadata import entry_points
from typing import TYPE_CHECKING

from schemas.errors import ErrorKind, InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ingest.found import Format
    from ingest.source import Source

GROUP = "lakeservice.formats"
"""Entry point group; each names a class that is a `Format`."""


@cache
def installed_formats() -> tuple[Format, ...]:
    """Return every installed format, those that look at the content most strictly first.

    Raises
    ------
    InvalidRequestError
        ``bad-setting``: two formats claim one media type, or one cannot be loaded.
    """
    formats: list[Format] = []
    for point in sorted(entry_points(group=GROUP), key=lambda point: point.name):
        try:
            formats.append(point.load()())
        except Exception as error:  # a foreign package may fail in any way
            raise InvalidRequestError(
                ErrorKind.BAD_SETTING, f"format {point.name!r} cannot be loaded: {error}"
            ) from error
    return checked(formats)


def checked(formats: Iterable[Format]) -> tuple[Format, ...]:
    """Return the formats in the order of asking; two with one media type are refused.

    Raises
    ------
    InvalidRequestError
        ``bad-setting``: two formats claim one media type.
    """
    claimed: dict[str, Format] = {}
    for one in formats:
        other = claimed.setdefault(one.media_type, one)
        if other is not one:
            raise InvalidRequestError(
                ErrorKind.BAD_SETTING,
                f"{type(other).__name__} and {type(one).__name__} both claim "
                f"{one.media_type!r}; uninstall one of them",
            )
    return tuple(sorted(claimed.values(), key=lambda one: one.media_type.startswith("text/")))


def recognise(source: Source, formats: Iterable[Format] | None = None) -> Format:
    """Return the format of a file; formats whose suffix fits are asked first.

    Raises
    ------
    InvalidRequestError
        ``unknown-format``: none knows it; ``unreadable-file``: it cannot be opened.
    """
    known = installed_formats() if formats is None else tuple(formats)
    if not source.is_directory and source.size_bytes == 0:
        raise InvalidRequestError(ErrorKind.UNREADABLE_FILE, f"{source.name!r} is empty")
    suffix = source.path.suffix.lower()
    for one in sorted(known, key=lambda one: _rank(one, suffix)):
        if one.sniff(source):
            return one
    kind = "folder" if source.is_directory else "file"
    raise InvalidRequestError(
        ErrorKind.UNKNOWN_FORMAT,
        f"no format knows the {kind} {source.name!r} by its first bytes; known are "
        + ", ".join(one.media_type for one in known),
    )


def _rank(one: Format, suffix: str) -> tuple[bool, bool]:
    return one.media_type.startswith("text/"), suffix not in one.suffixes
