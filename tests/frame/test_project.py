"""Promises about the tree as a whole."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

import lakeservice

ROOT = Path(__file__).parents[2]
LOCKS = [ROOT / "requirements.lock", ROOT / "benchmarks" / "peer.lock"]
TEXTS = [
    path
    for suffix in ("py", "md", "toml", "lock", "yml", "json")
    for path in ROOT.rglob(f"*.{suffix}")
    if not any(part.startswith(".") for part in path.relative_to(ROOT).parts)
    and "results" not in path.parts
]


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.name)
def test_a_lock_pins_everything_and_names_no_host(lock: Path) -> None:
    lines = [line for line in lock.read_text(encoding="utf-8").splitlines() if line.strip()]
    requirements = [line for line in lines if not line.lstrip().startswith("#")]
    assert requirements
    assert all(re.match(r"^[a-z0-9._\[\]-]+==\S+", line) for line in requirements)
    assert not [line for line in lines if "://" in line or line.startswith("-")]


def test_every_dependency_is_in_the_lock() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    asked = [
        *project["project"]["dependencies"],
        *project["project"]["optional-dependencies"]["client"],
        *project["dependency-groups"]["dev"],
    ]
    locked = LOCKS[0].read_text(encoding="utf-8")
    missing = [
        name
        for name in (re.split(r"[\[>=;< ]", line)[0] for line in asked)
        if not re.search(rf"^{re.escape(name)}==", locked, re.MULTILINE)
    ]
    assert missing == []


def test_no_file_names_a_registry_or_somebody_elses_machine() -> None:
    hosts = re.compile(r"(pypi|pythonhosted|npmjs|debian)\.org|/home/[a-z]+/|/Users/[a-z]+/")
    here = Path(__file__)
    assert [
        str(path.relative_to(ROOT))
        for path in TEXTS
        if path != here and hosts.search(path.read_text(encoding="utf-8"))
    ] == []


def test_version_is_said_once() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert lakeservice.__version__ == project["project"]["version"]


def test_every_public_name_of_the_package_is_there() -> None:
    assert sorted(lakeservice.__all__) == lakeservice.__all__
    assert all(getattr(lakeservice, name) is not None for name in lakeservice.__all__)


@pytest.mark.external
@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
@pytest.mark.parametrize(
    "target",
    ["demo", "test", "check", "bench", "profile", "clients", "torch", "schemas", "clean", "help"],
)
def test_make_knows_what_to_do(target: str) -> None:
    answer = subprocess.run(
        ["make", "--dry-run", target], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout
