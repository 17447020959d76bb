"""Where a lake answers: from the address that people know to the one for Arrow Flight."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import msgspec
import urllib3

from schemas.errors import (
    AccessError,
    ErrorKind,
    InvalidRequestError,
    LakeError,
    UnavailableError,
)

ABOUT_PATH = "/api/v1/"
CONNECT_S = 10.0
"""How long the server may take to tell about itself."""
_ANY_HOST = ("0.0.0.0", "::", "[::]", "")  # noqa: S104  (what a server may say, not an address we bind)


@dataclass(frozen=True)
class Address:
    """A lake's address; it pickles, and its text holds no credential."""

    url: str
    """As people write it: ``http://127.0.0.1:8000``."""
    flight: str
    """For Arrow Flight: ``grpc://127.0.0.1:8815``."""
    api_key: str | None = field(default=None, repr=False)


def find(url: str, api_key: str | None = None) -> Address:
    """Ask a server for its Flight address.

    Parameters
    ----------
    url
        The server's HTTP address, with or without ``/api/v1`` and ``?api_key=…``; or a
        Flight address (``grpc://``, ``grpc+tls://``, ``grpc+unix://``), which is taken as it is.
    api_key
        None takes the key of the address, if it has one.

    Raises
    ------
    UnavailableError
        ``store-unavailable``: nobody answers there.
    AccessError
        ``unauthenticated``: the server wants another key.
    InvalidRequestError
        ``bad-request``: not an address, or not a lakeservice that answers.
    """
    parts = urlsplit(url if "://" in url else f"http://{url}")
    query = dict(parse_qsl(parts.query))
    key = query.pop("api_key", None)
    api_key = api_key or key
    plain = urlunsplit(parts._replace(query=urlencode(query), fragment="")).rstrip("/")
    if parts.scheme.startswith("grpc"):
        return Address(plain, plain, api_key)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InvalidRequestError(
            ErrorKind.BAD_REQUEST, f"{plain!r} is not an address such as http://127.0.0.1:8000"
        )
    base = plain.removesuffix("/api/v1")
    about = _about(base, api_key)
    meta = about.get("meta") if isinstance(about, dict) else None
    ours = meta.get("lakeservice") if isinstance(meta, dict) else None
    location = ours.get("flight") if isinstance(ours, dict) else None
    if not isinstance(location, str):
        raise InvalidRequestError(
            ErrorKind.BAD_REQUEST, f"{base} answers, but offers no Arrow Flight of a lakeservice"
        )
    return Address(base, reachable(location, parts.hostname), api_key)


def reachable(location: str, host: str) -> str:
    """Return a Flight location with a host to connect to, where the server named any host."""
    parts = urlsplit(location)
    if parts.scheme == "grpc+unix" or (parts.hostname or "") not in _ANY_HOST:
        return location
    name = f"[{host}]" if ":" in host else host
    return urlunsplit(parts._replace(netloc=f"{name}:{parts.port}"))


def _about(base: str, api_key: str | None) -> Any:
    headers = {"accept": "application/json"}
    if api_key:
        headers["authorization"] = f"Apikey {api_key}"
    timeout = urllib3.Timeout(connect=CONNECT_S, read=CONNECT_S)
    try:
        with urllib3.PoolManager(timeout=timeout, retries=False) as pool:
            answer = pool.request("GET", base + ABOUT_PATH, headers=headers, redirect=True)
    except urllib3.exceptions.HTTPError as error:
        raise UnavailableError(
            ErrorKind.STORE_UNAVAILABLE,
            f"no answer from {base}; is the server running? ({type(error).__name__})",
        ) from None
    if answer.status in (401, 403):
        raise AccessError(
            ErrorKind.UNAUTHENTICATED,
            f"{base} wants an API key, or another one: connect({base!r}, api_key=…)",
        )
    if answer.status >= 500:
        raise UnavailableError(ErrorKind.BUSY, f"{base} answered with status {answer.status}")
    try:
        if answer.status != 200:
            raise ValueError
        return msgspec.json.decode(answer.data)
    except (msgspec.MsgspecError, ValueError):
        raise LakeError(
            ErrorKind.BAD_REQUEST, f"{base} is no lakeservice (status {answer.status})"
        ) from None
