"""What others wrote is shown on the terminal as it is: no markup, no control characters."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from lakeservice.cli import app, main
from lakeservice.storage.lake import Lake

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def lake(tmp_path: Path) -> str:
    Lake.create(str(tmp_path / "lake"))
    return str(tmp_path / "lake")


def test_notes_of_keys_are_no_markup(lake: str) -> None:
    runner = CliRunner()
    note = "[/x] [red]b\x1b[2J"
    assert runner.invoke(app, ["key", "create", lake, "--note", note]).exit_code == 0
    listed = runner.invoke(app, ["key", "list", lake], env={"COLUMNS": "400"})
    assert listed.exit_code == 0
    assert "\x1b" not in listed.output


def test_brackets_in_an_error_are_shown(
    lake: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    target = str(tmp_path / "x.npy")
    monkeypatch.setattr(sys, "argv", ["lakeservice", "export", "a[/b]", target, "--lake", lake])
    with pytest.raises(SystemExit):
        main()
    assert "a[/b]" in capsys.readouterr().err
