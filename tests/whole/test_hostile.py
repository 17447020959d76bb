"""Bodies made to exhaust a server: refused with 4xx, within bounded memory."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
import pyarrow as pa
import pytest
import urllib3

from tests.whole.processes import KEY, ServerProcess

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOM_MB = 700
"""What the server may take on top of what it has, for any of these."""
HEADERS = {"Authorization": f"Apikey {KEY}"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    folder = tmp_path_factory.mktemp("hostile")
    with ServerProcess(folder / "lake", folder / "cache") as running:
        yield running


def arrow_bomb() -> bytes:
    """A batch of 6 GB of zeros in a few hundred kilobytes."""
    zeros = pa.array(np.zeros(1 << 23))
    table = pa.table({f"x{number}": zeros for number in range(96)})
    out = io.BytesIO()
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with pa.ipc.new_stream(out, table.schema, options=options) as writer:
        writer.write_table(table)
    return out.getvalue()


def doubling() -> bytes:
    """A patch that copies all of the metadata into itself, again and again."""
    copies = [{"op": "copy", "from": "", "path": f"/c{number}"} for number in range(60)]
    return json.dumps({"content-type": "application/json-patch+json", "metadata": copies}).encode()


DEEP = b"[" * 5_000_000
NESTED = b'{"metadata":' + b'{"a":' * 200_000 + b"1" + b"}" * 200_000 + b"}"
CASES: list[tuple[str, str, str, Callable[[], bytes]]] = [
    ("POST", "metadata/", "application/json", lambda: DEEP),
    ("POST", "metadata/", "application/json", lambda: NESTED),
    ("POST", "metadata/", "application/x-msgpack", lambda: b"\xdd\xff\xff\xff\xff" * 1000),
    ("POST", "metadata/", "application/json", lambda: b'{"metadata":{"a":"' + b"x" * 80_000_000),
    ("PATCH", "metadata/c", "application/json", doubling),
    ("PATCH", "metadata/c", "application/json", lambda: DEEP),
    ("POST", "table/full/t", "application/json", lambda: DEEP),
    ("PUT", "table/full/t", "application/vnd.apache.arrow.stream", arrow_bomb),
    ("PUT", "table/full/t", "application/vnd.apache.arrow.file", lambda: b"ARROW1\0\0" + DEEP),
    ("PUT", "array/full/a", "application/octet-stream", lambda: b"\0" * 100_000_000),
]


@pytest.mark.parametrize(
    ("method", "path", "media_type", "made"),
    CASES,
    ids=[f"{c[0]} {c[1]} {n}" for n, c in enumerate(CASES)],
)
def test_a_body_made_to_exhaust_is_refused_in_bounded_memory(
    server: ServerProcess,
    method: str,
    path: str,
    media_type: str,
    made: Callable[[], bytes],
) -> None:
    http = urllib3.PoolManager(retries=False)
    prepare(http, server)
    process = psutil.Process(server.process.pid)
    Path(f"/proc/{process.pid}/clear_refs").write_text("5")
    before = peak_mb(process)
    sent: Any = iter_pieces(made())
    url = f"{server.url}/api/v1/{path}"
    try:
        answer = http.request(
            method, url, body=sent, headers={**HEADERS, "Content-Type": media_type}, timeout=60
        )
    except urllib3.exceptions.ProtocolError:
        pass  # it was refused while it was sent, and the connection closed
    else:
        assert 400 <= answer.status < 500, answer.data[:500]
        assert len(answer.data) < 4000
        assert "Traceback" not in answer.data.decode()
    assert peak_mb(process) - before < ROOM_MB
    alive = http.request("GET", f"{server.url}/api/v1/metadata/c", headers=HEADERS)
    assert alive.status == 200
    assert alive.json()["data"]["attributes"]["metadata"] == {"a": 1}


def prepare(http: urllib3.PoolManager, server: ServerProcess) -> None:
    """Make the nodes that the bodies are sent to, once."""
    schema = pa.schema([(f"x{number}", pa.float64()) for number in range(96)])
    encoded = "data:application/vnd.apache.arrow.file;base64," + base64_of(schema)
    float64 = {"kind": "f", "itemsize": 8, "endianness": "little"}
    for name, family, structure in (
        ("c", "container", None),
        ("a", "array", {"data_type": float64, "shape": [4], "chunks": [[4]]}),
        ("t", "table", {"arrow_schema": encoded, "columns": schema.names, "npartitions": 1}),
    ):
        source = {"structure_family": family, "structure": structure}
        document = {
            "id": name,
            "structure_family": family,
            "metadata": {"a": 1},
            "data_sources": [source] if structure else [],
        }
        answer = http.request(
            "POST", f"{server.url}/api/v1/metadata/", json=document, headers=HEADERS
        )
        assert answer.status in (200, 409), answer.data


def base64_of(schema: pa.Schema) -> str:
    return base64.b64encode(schema.serialize().to_pybytes()).decode()


def iter_pieces(payload: bytes) -> Iterator[bytes]:
    """Send in chunks, so that no length is announced."""
    for start in range(0, len(payload), 1 << 20):
        yield payload[start : start + (1 << 20)]


def peak_mb(process: psutil.Process) -> float:
    """Return the most memory that a process has held since it was last reset, in MB."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024
