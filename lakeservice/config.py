"""Settings: read once where the program starts, passed down as values."""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from schemas.errors import ErrorKind, InvalidRequestError

T = TypeVar("T", bound=Any)


class Secret:
    """A text that does not print: its value is asked for by name."""

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the text itself."""
        return self._value

    def __repr__(self) -> str:
        return "**********"


@dataclass(frozen=True)
class Limits:
    """What one request may ask for, and what the server may hold."""

    index_memory_mb: int = 400
    """Memory that DuckDB may use for the index, in MB."""
    threads: int = 2
    """Threads that decode chunks, and threads of a search."""
    http_threads: int = 40
    """HTTP requests that may work at the same time; others wait."""
    block_bytes: int = 4 << 20
    """Largest piece of an array that is held, decoded, at a time, per reader."""
    endpoint_bytes: int = 64 << 20
    """Endpoints of a planned read are about this large at most, in bytes of the answer."""
    small_bytes: int = 8 << 20
    """Answers up to this size are read in one piece, without a prefetching thread."""
    chunk_cache_mb: int = 64
    """Decoded chunks that are kept for small reads that want them again, in MB; 0 keeps none."""
    ticket_s: int = 3600
    """How long a ticket is good for, in seconds."""
    upload_bytes: int = 1 << 40
    """Largest array or table that one request may write, in bytes."""
    direct_fresh_ms: int = 1000
    """How long a client that reads files by itself uses what it was told before it asks
    again, in ms."""
    snapshot_commits: int = 5000
    """Write a snapshot when the log has grown by so many commits."""
    live_s: int = 3600
    """How long updates are kept for subscribers that come later, in seconds."""
    live_bytes: int = 64 << 20
    """Bytes of updates that are kept for subscribers."""


@dataclass(frozen=True)
class Serve:
    """Where the server listens."""

    host: str = "127.0.0.1"
    port: int = 8000
    """Port of HTTP; 0 for any free one."""
    flight_port: int = 8815
    """Port of Arrow Flight; 0 for any free one."""
    public: bool = False
    """Anybody may read without a key."""
    api_key: Secret | None = None
    """The key that may do everything; generated and printed where there is none."""
    roots: tuple[str, ...] = ()
    """Folders in which files may be registered through the server."""
    show_paths: bool = False
    """Tell clients in which folders files lie, so that programs on the same disks can open them."""
    raw_assets: bool = True
    """Give clients files as they are, besides the data in them."""
    direct: Literal["auto", "never", "always"] = "auto"
    """Who may read the lake's files by itself: clients on this machine, nobody, or every client
    that sees the lake's folder."""


@dataclass(frozen=True)
class Settings:
    """Everything that can be set."""

    limits: Limits = field(default_factory=Limits)
    serve: Serve = field(default_factory=Serve)
    cache: str = ""
    """Folder for the index; empty for the user's cache folder."""


def default_cache(environment: Mapping[str, str]) -> Path:
    """Return the user's cache folder for indexes."""
    base = environment.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "lakeservice"


def load_settings(file: Path | None, environment: Mapping[str, str]) -> Settings:
    """Return the settings of a TOML file, then of ``LAKE_*`` variables on top.

    ``limits.block_bytes`` is ``LAKE_LIMITS__BLOCK_BYTES``; ``LAKE_API_KEY`` is
    short for ``LAKE_SERVE__API_KEY``.

    Raises
    ------
    InvalidRequestError
        ``bad-setting``: an unknown name, or a value of the wrong type.
    """
    settings = Settings()
    if file is not None:
        try:
            document = tomllib.loads(file.read_text())
        except (OSError, tomllib.TOMLDecodeError) as error:
            raise _bad(f"cannot read the settings file {file.name}: {error}") from None
        settings = _merged(settings, document, "")
    given: dict[str, Any] = {}
    for name, value in environment.items():
        if name == "LAKE_API_KEY":
            given.setdefault("serve", {})["api_key"] = value
        elif name.startswith("LAKE_") and "__" in name:
            group, _, key = name.removeprefix("LAKE_").lower().partition("__")
            given.setdefault(group, {})[key] = value
        elif name == "LAKE_CACHE":
            given["cache"] = value
    return _merged(settings, given, "")


def _merged(settings: T, document: Mapping[str, Any], prefix: str) -> T:
    known = {item.name for item in fields(settings)}
    hints = get_type_hints(type(settings))
    changes: dict[str, Any] = {}
    for name, value in document.items():
        if name not in known:
            close = difflib.get_close_matches(name, known, 1)
            hint = f"; did you mean {close[0]!r}?" if close else f"; known are {sorted(known)}"
            raise _bad(f"unknown setting {prefix + name!r}{hint}")
        present = getattr(settings, name)
        if is_dataclass(present) and isinstance(value, Mapping):
            changes[name] = _merged(present, value, f"{prefix}{name}.")
        else:
            changes[name] = _typed(value, hints[name], prefix + name)
    return replace(settings, **changes)


def _typed(value: Any, hint: Any, name: str) -> Any:
    if hint is bool and isinstance(value, str):
        if value.lower() in ("1", "true", "yes", "on"):
            return True
        if value.lower() in ("0", "false", "no", "off", ""):
            return False
    elif hint is bool and isinstance(value, bool):
        return value
    elif hint is int and not isinstance(value, bool):
        try:
            return int(value)
        except (TypeError, ValueError):
            pass
    elif get_origin(hint) is Literal:
        if value in get_args(hint):
            return value
        raise _bad(f"setting {name!r} cannot be {value!r}; it is one of {list(get_args(hint))}")
    elif hint is str and isinstance(value, str):
        return value
    elif hint == Secret | None and isinstance(value, str):
        return Secret(value)
    elif hint == tuple[str, ...]:
        if isinstance(value, str):
            return tuple(part for part in value.split(os.pathsep) if part)
        if isinstance(value, list) and all(isinstance(part, str) for part in value):
            return tuple(value)
    raise _bad(
        f"setting {name!r} cannot be {value!r}; it is of type {getattr(hint, '__name__', hint)}"
    )


def _bad(message: str) -> InvalidRequestError:
    return InvalidRequestError(ErrorKind.BAD_SETTING, message)
