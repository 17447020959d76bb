"""Export a node to a file, from a lake or from a server."""

from __future__ import annotations

import contextlib
import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any, BinaryIO
from urllib.parse import quote, urlencode

import msgspec
import urllib3

from lakeservice.client.address import find
from lakeservice.commands.remote import RemoteArray, RemoteTable
from lakeservice.export.registry import exporters_of
from lakeservice.service import Service
from lakeservice.service.sources import ArrayRows, source_of
from schemas.errors import ErrorKind, InvalidRequestError, UnavailableError, error_of
from schemas.selection import parse_selection

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from rich.console import Console

    from lakeservice.client.address import Address
    from schemas.structures import StructureFamily

PIECE_BYTES = 1 << 20
SLICED = ("array", "sparse", "ragged")
"""Families of which a part can be had."""


def run_export(
    path: str,
    target: Path,
    *,
    lake: str,
    url: str,
    api_key: str,
    select: str,
    options: Sequence[str] = (),
    cache: Path,
    console: Console,
) -> None:
    """Write a node to ``target``, in the form that its suffix names.

    The file appears when it is whole.

    Parameters
    ----------
    options
        What the form knows besides, each as ``name=value``.
    """
    asked = _options(options)
    partial = target.with_name(f".{target.name}.partial")
    try:
        with partial.open("wb") as file:
            if lake and not url:
                with Service.open(lake, cache=cache) as service:
                    _from_service(service, path, select, asked, file, target)
            else:
                _from_server(url, api_key, path, select, asked, file, target)
        os.replace(partial, target)
    except BaseException:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise
    console.print(f"{target}: {target.stat().st_size} bytes", highlight=False, soft_wrap=True)


def _options(texts: Sequence[str]) -> dict[str, str]:
    options = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise InvalidRequestError(
                ErrorKind.BAD_REQUEST, f"--option {text!r}; write name=value, such as cmap=viridis"
            )
        options[name] = value
    return options


def _from_service(
    service: Service,
    path: str,
    select: str,
    options: Mapping[str, str],
    file: BinaryIO,
    target: Path,
) -> None:
    node = service.describe(path)
    source: Any = source_of(service, node, options=options)
    if isinstance(source, ArrayRows):
        source = replace(source, selection=service.selection(node, select or None))
    else:
        _no_slice(select)
    _write(source, node.family, [spec.name for spec in node.specs], file, target)


def _from_server(
    url: str,
    api_key: str,
    path: str,
    select: str,
    options: Mapping[str, str],
    file: BinaryIO,
    target: Path,
) -> None:
    import lakeservice

    address = find(url or "http://127.0.0.1:8000", api_key or None)
    node: Any = lakeservice.connect(address.url, address.api_key)[path]
    if node.family == "array":
        selection = parse_selection(select or None, node.shape)
        _write(RemoteArray(node, selection, options=options), "array", (), file, target)
    elif node.family == "table":
        _no_slice(select)
        _write(RemoteTable(node, options=options), "table", (), file, target)
    else:
        if node.family not in SLICED:
            _no_slice(select)
        asked = {"format": _suffix(target), **options, **({"slice": select} if select else {})}
        route = "array" if node.family == "sparse" else node.family
        _download(address, f"{route}/full/{quote(node.path)}?{urlencode(asked)}", file)


def _download(address: Address, route: str, file: BinaryIO) -> None:
    """Write what a server answers: it knows how to write every family."""
    if not address.url.startswith("http"):
        raise InvalidRequestError(
            ErrorKind.BAD_REQUEST, f"{address.url} is for Flight; give the server's HTTP address"
        )
    url = f"{address.url.rstrip('/')}/api/v1/{route}"
    headers = {"authorization": f"Apikey {address.api_key}"} if address.api_key else {}
    try:
        with urllib3.PoolManager(retries=False) as pool:
            answer = pool.request("GET", url, headers=headers, preload_content=False)
            if answer.status != 200:
                raise _refusal(answer)
            for piece in answer.stream(PIECE_BYTES):
                file.write(piece)
    except urllib3.exceptions.HTTPError as error:
        raise UnavailableError(
            ErrorKind.STORE_UNAVAILABLE,
            f"the answer of {address.url} ended early ({type(error).__name__})",
        ) from None


def _refusal(answer: urllib3.BaseHTTPResponse) -> Exception:
    try:
        told = msgspec.json.decode(answer.read(1 << 16), type=dict[str, Any])
        return error_of(str(told["kind"]), str(told["detail"]))
    except (msgspec.MsgspecError, KeyError):
        return UnavailableError(
            ErrorKind.STORE_UNAVAILABLE, f"the server answered with status {answer.status}"
        )


def _write(
    source: Any, family: StructureFamily, specs: Sequence[str], file: BinaryIO, target: Path
) -> None:
    known = exporters_of(family, specs)
    exporter = next((one for one in known if _suffix(target) in one.names), None)
    if exporter is None:
        names = ", ".join(f".{one.names[0]}" for one in known if one.names)
        raise InvalidRequestError(
            ErrorKind.UNKNOWN_FORMAT,
            f"cannot write {family} data as {target.suffix!r}; there are {names or 'no formats'}",
        )
    unknown = sorted(set(source.options) - {option.name for option in exporter.options})
    if unknown:
        names = ", ".join(option.name for option in exporter.options)
        raise InvalidRequestError(
            ErrorKind.BAD_REQUEST,
            f"{target.suffix} files have no option {unknown[0]!r}; there are {names or 'none'}",
        )
    exporter.check(source)
    for piece in exporter.write(source):
        file.write(piece)


def _suffix(target: Path) -> str:
    return target.suffix.lstrip(".").lower()


def _no_slice(select: str) -> None:
    if select:
        raise InvalidRequestError(ErrorKind.BAD_SLICE, "only an array has axes; leave --slice out")
