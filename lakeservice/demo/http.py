"""Reads over HTTP as any program would do them: a URL, a key, bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import msgspec
import numpy as np
import pyarrow as pa
import urllib3

from schemas.errors import ErrorKind, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Mapping

ARROW_FILE = "application/vnd.apache.arrow.file"


class HttpReader:
    """Arrays and tables of a server, by URL."""

    def __init__(self, url: str, api_key: str) -> None:
        self._base = f"{url.rstrip('/')}/api/v1"
        self._pool = urllib3.PoolManager(
            headers={"authorization": f"Apikey {api_key}"}, retries=False, timeout=120.0
        )

    def metadata(self, path: str) -> dict[str, Any]:
        """Return the attributes of a node: structure, metadata, specs."""
        document = msgspec.json.decode(self._get(f"metadata/{quote(path)}", {}))
        attributes: dict[str, Any] = document["data"]["attributes"]
        return attributes

    def array(
        self, path: str, selection: str, dtype: np.dtype[Any], shape: tuple[int, ...]
    ) -> np.ndarray:
        """Return a slice of an array, from its raw bytes."""
        fields = {"slice": selection, "format": "application/octet-stream"}
        payload = self._get(f"array/full/{quote(path)}", fields)
        return np.frombuffer(payload, dtype).reshape(shape)

    def table(self, path: str) -> pa.Table:
        """Return a table, from an Arrow file."""
        payload = self._get(f"table/full/{quote(path)}", {"format": ARROW_FILE})
        return pa.ipc.open_file(pa.py_buffer(payload)).read_all()

    def _get(self, route: str, fields: Mapping[str, str]) -> bytes:
        answer = self._pool.request("GET", f"{self._base}/{route}", fields=fields)
        if answer.status != 200:
            raise UnavailableError(
                ErrorKind.STORE_UNAVAILABLE,
                f"GET {route} answered {answer.status}: {answer.data[:300]!r}",
            )
        return answer.data
