"""Names of the objects in a lake: the same layout on every store."""

from __future__ import annotations

import re
import secrets

FORMAT = 1
"""Version of the layout that this package writes; it reads this one and all before."""
LAKE_FILE = "lake.json"
LOG = "log"
SNAPSHOTS = "snapshots"
DATA = "data"
KEYS = "keys"
TEMPORARY = "tmp"
"""Folder of objects that are being written, and of the probe of a new store."""
ROOT_ID = "root"
"""Id of the container that always exists, at the empty path."""

_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_DIGITS = 20


def new_id() -> str:
    """Return a random node id of 20 hexadecimal digits."""
    return secrets.token_hex(10)


def is_id(text: str) -> bool:
    """Tell whether a text may be a node's id: letters, digits, ``-`` and ``_``, at most 64."""
    return _ID.fullmatch(text) is not None


def log_name(version: int) -> str:
    """Return the name of the log object of one version."""
    return f"{LOG}/{version:0{_DIGITS}d}"


def snapshot_name(version: int) -> str:
    """Return the name of the snapshot of all nodes at one version."""
    return f"{SNAPSHOTS}/{version:0{_DIGITS}d}.parquet"


def snapshot_requests_name(version: int) -> str:
    """Return the name of the answered idempotency keys that belong to a snapshot."""
    return f"{SNAPSHOTS}/{version:0{_DIGITS}d}.requests.parquet"


def version_of(name: str) -> int | None:
    """Return the version that the name of a log object or snapshot carries; None if another."""
    stem = name.rpartition("/")[2].removesuffix(".parquet")
    return int(stem) if len(stem) == _DIGITS and stem.isascii() and stem.isdigit() else None


def data_prefix(node_id: str) -> str:
    """Return the prefix below which everything that we write for a node lies."""
    return f"{DATA}/{node_id}"


def array_part(node_id: str, part: str | int) -> str:
    """Return the prefix of one Zarr array of a node."""
    return f"{DATA}/{node_id}/{part}"


def table_part(node_id: str, part: str | int) -> str:
    """Return the name of one Parquet file of a node."""
    return f"{DATA}/{node_id}/{part}.parquet"


def inner_part(node_id: str, number: int) -> str:
    """Return the prefix of an array inside a file that had to be converted."""
    return f"{DATA}/{node_id}/inner/{number}"


def tree_name(node_id: str) -> str:
    """Return the name of a file's inner tree."""
    return f"{DATA}/{node_id}/tree"


def key_name(first_eight: str) -> str:
    """Return the name of what is kept of an API key."""
    return f"{KEYS}/{first_eight}"


def chunk_index_name(node_id: str) -> str:
    """Return the name of a file's chunk index."""
    return f"{DATA}/{node_id}/chunks.parquet"
