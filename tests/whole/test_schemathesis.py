"""Requests of all kinds, made from the API's own documentation."""

from __future__ import annotations

import os
import re
import subprocess
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pytest

from tests.whole.conftest import KEY, ROOT, Running

if TYPE_CHECKING:
    from pathlib import Path

CASES = int(os.environ.get("LAKE_TEST_REQUESTS", "40"))
"""Cases for each operation; 40 make more than 2 000 in all."""
CLIENTS = str(ROOT / "tests" / "clients")
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "allow_header_conformance",
    "use_after_free",
    "ensure_resource_availability",
)


@pytest.mark.slow
def test_no_request_fails_the_server_or_is_answered_otherwise_than_documented(
    running: Running, clients_python: str, tmp_path: Path
) -> None:
    running.lake.write_array("a", np.arange(24, dtype="u2").reshape(4, 6))
    running.lake.write_table("t", pa.table({"x": [1, 2], "y": ["a", None]}))
    command = [
        *(clients_python, "-m", "schemathesis.cli", "run"),
        f"{running.server.url}/api/v1/openapi.json",
        *("--header", f"Authorization: Apikey {KEY}"),
        *("--checks", ",".join(CHECKS)),
        *("--phases", "examples,coverage,fuzzing,stateful"),
        *("--max-examples", str(CASES)),
        *("--request-timeout", "30", "--suppress-health-check", "all"),
        *("--continue-on-failure", "--no-shrink", "--warnings", "off"),
    ]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env={**os.environ, "SCHEMATHESIS_HOOKS": "schemathesis_hooks", "PYTHONPATH": CLIENTS},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    made = re.search(r"(\d+) generated, (\d+) passed", done.stdout)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert made is not None
    assert int(made[1]) == int(made[2]) >= 50 * CASES
