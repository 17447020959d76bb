"""The pages about the client: the tutorial runs, and the reference names everything."""

from __future__ import annotations

import inspect
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import lakeservice.client as client

if TYPE_CHECKING:
    from collections.abc import Callable

DOCS = Path(__file__).parents[2] / "docs"
BLOCK = re.compile(r"```(sh|python)\n(.*?)```", re.DOTALL)
START = "from lakeservice.cli import main; main()"


def test_the_tutorial_can_be_followed(
    serve: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve(key="secret")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    blocks = BLOCK.findall((DOCS / "tutorial.md").read_text(encoding="utf-8"))
    assert blocks[0] == ("sh", "lakeservice serve tutorial-lake --api-key secret\n")
    for language, text in blocks[1:]:
        here = text.replace("http://127.0.0.1:8000", server.url)
        here = here.replace("tutorial-lake", str(server.lake))
        if language == "python":
            exec(compile(here, "tutorial.md", "exec"), names)
            continue
        words = shlex.split(here)
        assert words[0] == "lakeservice"
        done = subprocess.run(
            [sys.executable, "-c", START, *words[1:]], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
    names["lake"].close()


@pytest.mark.parametrize("name", client.__all__)
def test_the_reference_names_everything_public(name: str) -> None:
    page = (DOCS / "reference" / "client.md").read_text(encoding="utf-8")
    words = set(re.findall(r"\w+", page))
    item = getattr(client, name)
    public = [] if inspect.isfunction(item) else [n for n in vars(item) if not n.startswith("_")]
    missing = [member for member in public if member not in words]
    assert missing == []


def test_every_parameter_of_the_reference_exists() -> None:
    page = (DOCS / "reference" / "client.md").read_text(encoding="utf-8")
    for cls, method in [
        (client.Array, "read"),
        (client.Array, "to_dask"),
        (client.Container, "search"),
        (client.Container, "distinct"),
        (client.Container, "write_array"),
        (client.Container, "write_sparse"),
        (client.Container, "create_container"),
        (client.Container, "loader"),
        (client.Table, "to_arrow"),
        (client.LakeNode, "update_metadata"),
    ]:
        found = re.search(rf"`{method}\(([^`]*)\)`", page)
        assert found is not None, method
        named = re.findall(r"(\w+)=", found[1])
        assert set(named) <= set(inspect.signature(getattr(cls, method)).parameters), method
