"""Archives of buffers made to exhaust a server: refused, or answered, in bounded memory."""

from __future__ import annotations

import io
import struct
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
import pytest
import urllib3

from tests.whole.processes import KEY, ServerProcess

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOM_MB = 300
"""What the server may take on top of what it has, for any of these."""
HEADERS = {"Authorization": f"Apikey {KEY}"}
LISTS = {"class": "ListOffsetArray", "offsets": "i64", "content": "int64"}
SHARED = {"class": "ListArray", "starts": "i64", "stops": "i64", "content": "int64"}
REGULAR = {"class": "RegularArray", "size": 1 << 39, "content": LISTS}
COUNT = 1 << 16


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    folder = tmp_path_factory.mktemp("hostile")
    with ServerProcess(folder / "lake", folder / "cache") as running:
        for name, length, form in (
            ("lists", 3, LISTS),
            ("long", 1 << 40, LISTS),
            ("wide", 1, REGULAR),
            ("shared", COUNT, SHARED),
        ):
            source = {"structure_family": "awkward", "structure": {"length": length, "form": form}}
            asked = {"id": name, "structure_family": "awkward", "data_sources": [source]}
            url = f"{running.url}/api/v1/metadata/"
            assert urllib3.request("POST", url, json=asked, headers=HEADERS).status == 200
        ask(running, "PUT", "shared", zipped(shared_elements()))
        yield running


def ask(server: ServerProcess, method: str, name: str, body: bytes) -> Any:
    url = f"{server.url}/api/v1/awkward/full/{name}"
    headers = {**HEADERS, "Content-Type": "application/zip"}
    return urllib3.request(method, url, body=body, headers=headers, retries=False, timeout=120)


def zipped(files: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, payload in files.items():
            archive.writestr(name, payload)
    return file.getvalue()


def shared_elements() -> dict[str, bytes]:
    """Lists that are all the same elements: a megabyte that stands for 32 GB."""
    return {
        "node0-starts": bytes(8 * COUNT),
        "node0-stops": np.full(COUNT, COUNT, np.int64).tobytes(),
        "node1-data": np.arange(COUNT).tobytes(),
    }


def bomb() -> bytes:
    """600 MB of zeros in 600 kB."""
    offsets = struct.pack("<4q", 0, 1, 1, 1)
    files = {"node0-offsets": offsets, "node1-data": bytes(600 << 20)}
    return zipped(files, zipfile.ZIP_DEFLATED)


def lying_bomb() -> bytes:
    """The same, which says that it holds eight bytes."""
    payload = bytearray(bomb())
    struct.pack_into("<I", payload, payload.rfind(b"PK\1\2") + 24, 8)
    return bytes(payload)


def overlapping() -> bytes:
    """Many entries over the same bytes."""
    payload = bytearray(zipped({f"n{number}": b"x" * 64 for number in range(500)}))
    at = payload.find(b"PK\1\2")
    while at >= 0:
        struct.pack_into("<I", payload, at + 42, 0)
        at = payload.find(b"PK\1\2", at + 4)
    return bytes(payload)


def many_entries() -> bytes:
    """A directory that says it has four thousand million entries."""
    payload = bytearray(zipped({"node0-offsets": bytes(32)}))
    end = struct.pack("<4sQHHIIQQQQ", b"PK\6\6", 44, 45, 45, 0, 0, *(1 << 32,) * 2, 46, 0)
    locator = struct.pack("<4sIQI", b"PK\6\7", 0, len(payload), 1)
    last = struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, 1, 0xFFFFFFFF, 0)
    return bytes(payload) + end + locator + last


CASES: list[tuple[str, Callable[[], bytes]]] = [
    ("lists", bomb),
    ("lists", lying_bomb),
    ("lists", overlapping),
    ("lists", many_entries),
    ("lists", lambda: b"PK\5\6" + b"\xff" * 18),
    ("lists", lambda: b"\0" * 60_000_000),
    ("lists", lambda: zipped({"../../../x": bytes(8), "node0-offsets": bytes(32)})),
    ("lists", lambda: zipped({"node0-offsets": struct.pack("<4q", 0, 1, 2, 1 << 62)})),
    ("lists", lambda: zipped({"node0-offsets": struct.pack("<4q", -5, 0, 0, 0)})),
    ("long", lambda: zipped({"node0-offsets": bytes(32), "node1-data": b""})),
    ("wide", lambda: zipped({"node1-offsets": bytes(32), "node2-data": b""})),
]


@pytest.mark.parametrize(("name", "made"), CASES)
def test_an_archive_made_to_exhaust_is_refused_in_bounded_memory(
    server: ServerProcess, name: str, made: Callable[[], bytes]
) -> None:
    body = made()
    before = began(server)
    answer = ask(server, "PUT", name, body)
    assert 400 <= answer.status < 500, answer.data[:500]
    assert len(answer.data) < 4000
    assert "Traceback" not in answer.data.decode()
    assert peak_mb(server) - before < ROOM_MB


@pytest.mark.parametrize("form", ["json", "arrow", "parquet"])
def test_shared_elements_are_written_out_in_bounded_memory(
    server: ServerProcess, form: str
) -> None:
    url = f"{server.url}/api/v1/awkward/full/shared?format={form}"
    # What reads them is loaded at the first answer.
    small = f"{server.url}/api/v1/awkward/buffers/shared?form_key=node0"
    assert urllib3.request("GET", small, headers=HEADERS).status == 200
    before = began(server)
    answer = urllib3.request("GET", url, headers=HEADERS, preload_content=False)
    assert answer.status == 200
    seen = 0
    while seen < 48 << 20:
        piece = answer.read(1 << 20)
        if not piece:
            break
        seen += len(piece)
    answer.close()
    assert seen
    assert peak_mb(server) - before < ROOM_MB


def began(server: ServerProcess) -> float:
    """Return the memory that the server has, and count its peak from here."""
    process = psutil.Process(server.process.pid)
    Path(f"/proc/{process.pid}/clear_refs").write_text("5")
    return peak_mb(server)


def peak_mb(server: ServerProcess) -> float:
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024
