"""What README and the docs say can be typed and followed."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from typer.main import get_command

from lakeservice.cli import app

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
LINK = re.compile(r"\]\(([^)#\s]+)[^)]*\)")
BLOCK = re.compile(r"```sh\n(.*?)```", re.DOTALL)


def typed(page: Path) -> list[str]:
    lines = "".join(BLOCK.findall(page.read_text(encoding="utf-8"))).splitlines()
    return [line for line in lines if line.strip() and not line.startswith("#")]


COMMANDS = [(page, line) for page in PAGES for line in typed(page)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    links = LINK.findall(page.read_text(encoding="utf-8"))
    missing = [
        link for link in links if "://" not in link and not (page.parent / link).resolve().exists()
    ]
    assert missing == []


@pytest.mark.parametrize(("page", "line"), COMMANDS, ids=[line for _, line in COMMANDS])
def test_a_command_is_one_that_exists(page: Path, line: str) -> None:
    words = shlex.split(line, comments=True)
    if words[0] == "make":
        targets = [word for word in words[1:] if "=" not in word]
        makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
        assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in targets)
        return
    if words[0] != "lakeservice":
        pytest.skip("not a command of ours")
    group = get_command(app)
    commands = getattr(group, "commands", {})
    assert words[1] in commands
    known = {option for item in commands[words[1]].params for option in item.opts}
    assert {word.partition("=")[0] for word in words[2:] if word.startswith("-")} <= known


def test_readme_names_the_two_commands_that_set_everything_up() -> None:
    lines = [line.partition("#")[0].strip() for line in typed(ROOT / "README.md")]
    assert lines[:2] == ["make demo", "make test"]


def test_every_decision_is_in_the_index() -> None:
    folder = ROOT / "docs" / "decisions"
    index = folder / "0000-index.md"
    links = set(LINK.findall(index.read_text(encoding="utf-8")))
    assert links == {path.name for path in folder.glob("*.md")} - {index.name}
