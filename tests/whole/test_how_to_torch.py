"""The page about training: its blocks run, the model learns, and it goes on where it stopped."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from lakeservice.client.loader.order import Order
from lakeservice.client.loader.randomness import randomness
from tests.whole.processes import KEY, ServerProcess

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "train-with-pytorch.md"
BLOCK = re.compile(r"```(sh|python)\n(.*?)```", re.DOTALL)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path / "training-lake", tmp_path / "cache") as running:
        yield running


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_model_learns_from_a_lake_as_the_page_says(
    server: ServerProcess,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed")
    monkeypatch.chdir(tmp_path)
    blocks = BLOCK.findall(PAGE.read_text(encoding="utf-8"))
    assert blocks[0] == ("sh", "lakeservice serve training-lake --api-key secret\n")
    names: dict[str, Any] = {}
    for language, text in blocks[1:]:
        assert language == "python"
        here = text.replace("http://127.0.0.1:8000", server.url).replace("secret", KEY)
        exec(compile(here, PAGE.name, "exec"), names)
    printed = capsys.readouterr().out
    assert "1050 samples of 7 nodes" in printed
    assert "goes on at epoch 3 step 10" in printed
    assert names["total"] == 150
    assert names["accuracy"] > 0.85
    assert names["state"]["step"] == 21
    names["lake"].close()


ROW = re.compile(r"^\| `(\S+)=(\S+)`.*? \| ([\d.]+) \| ([\d.]+) % \| ([\d.]+) \|$", re.MULTILINE)


def test_the_figures_of_randomness_are_those_that_are_measured() -> None:
    rows = ROW.findall(PAGE.read_text(encoding="utf-8"))
    assert len(rows) == 5
    for option, value, *told in rows:
        shuffle: Any = True if option == "window" else {"False": False}.get(value, "full")
        window = int(value) if option == "window" else 1
        order = Order(np.full(40, 2500), np.full(40, 10), shuffle=shuffle, window=window)
        found = randomness(order, 0, 64, 1000)
        measured = (found.displacement, 100 * found.from_one_block, found.nodes_per_batch)
        assert [float(number) for number in told] == pytest.approx(measured, abs=0.06), value
