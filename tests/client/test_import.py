"""What importing the client loads."""

from __future__ import annotations

import subprocess
import sys

SERVER_SIDE = (
    "duckdb", "zarr", "starlette", "uvicorn", "obstore", "sqlglot", "h5py", "numcodecs",
    "imagecodecs", "xarray", "dask", "pandas", "polars", "rich", "awkward", "sparse",
    "lakeservice.service", "lakeservice.catalog", "lakeservice.storage", "lakeservice.fronts",
    "ingest",
)  # fmt: skip


def test_importing_the_client_loads_no_server_and_no_optional_package() -> None:
    code = (
        "import sys, lakeservice; lakeservice.connect; "
        f"print([name for name in {SERVER_SIDE!r} if name in sys.modules])"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "[]"


def test_the_public_names_are_sorted_and_there() -> None:
    import lakeservice.client as client

    assert client.__all__ == sorted(client.__all__)
    assert all(hasattr(client, name) for name in client.__all__)
