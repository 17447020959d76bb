"""The table of `make bench`: ratios, targets, what is left out."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING

import pytest
from rich.console import Console

from benchmarks.figures import figures_of
from benchmarks.report import Figure, Target, save, show

if TYPE_CHECKING:
    from pathlib import Path

STACK_BYTES = 2_000_000_000


@pytest.mark.parametrize(
    ("figure", "ratio", "met"),
    [
        (Figure("bulk", "GB/s", 1.6, 0.1, Target("times the peer", 8)), 16.0, True),
        (Figure("bulk", "GB/s", 0.4, 0.1, Target("times the peer", 8)), 4.0, False),
        (Figure("frame", "ms", 2.0, 50.0, Target("times the peer", 10)), 25.0, True),
        (Figure("frame", "ms", 2.0, None, Target("times the peer", 10)), None, None),
        (Figure("create", "ms", 13.0, None, Target("at most", 12)), None, False),
        (Figure("writers", "1/s", 900.0, 45.0, Target("at least", 800)), 20.0, True),
        (Figure("table", "s", 1.0, 2.0), 2.0, None),
    ],
)
def test_a_figure_is_compared_in_its_own_direction(
    figure: Figure, ratio: float | None, met: bool | None
) -> None:
    assert figure.ratio == (None if ratio is None else pytest.approx(ratio))
    assert figure.met is met


def test_the_peer_is_taken_at_its_best() -> None:
    figures = figures_of(
        {"bulk_converted": {"gb_s": 2.0}, "frames": {"converted_s": 0.002}},
        {
            "bulk": {"hdf5_gb_s": 0.08, "zarr_gb_s": 0.10},
            "frames": {"hdf5_s": 0.050, "zarr_s": 0.120},
        },
        STACK_BYTES,
    )
    peers = {figure.name: figure.peer for figure in figures}
    assert peers == {"bulk array, converted": 0.10, "one frame, converted": pytest.approx(50.0)}


def test_memory_of_the_client_is_what_it_uses_above_the_array() -> None:
    values: dict[str, float | int | str] = {"client_bytes": STACK_BYTES + 120_000_000}
    (figure,) = figures_of({"bulk_converted": values}, {}, STACK_BYTES)
    assert figure.ours == pytest.approx(120.0)
    assert figure.met is True


def test_a_missed_target_is_shown_and_saved(tmp_path: Path) -> None:
    figure = Figure("one durable create", "ms", 20.0, 17.0, Target("at most", 12))
    text = io.StringIO()
    show([figure], "figures", Console(file=text, width=140))
    assert "≤ 12" in text.getvalue()
    assert "no" in text.getvalue().split()
    saved = json.loads(save([figure], tmp_path, 0.1).read_text(encoding="utf-8"))
    assert saved["figures"][0]["met"] is False
    assert saved["machine"]["cores"] >= 1
