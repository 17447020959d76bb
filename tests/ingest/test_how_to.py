"""The page on adding a format: its code runs, and passes its own test."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "add-a-format.md"


@pytest.fixture
def suite() -> Iterator[Any]:
    """The test class of the page, its format being importable as the page says."""
    made, tested = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)
    module = ModuleType("frames_format")
    exec(compile(made, "frames_format.py", "exec"), module.__dict__)
    sys.modules["frames_format"] = module
    names: dict[str, Any] = {}
    exec(compile(tested, "test_frames.py", "exec"), names)
    yield names["TestFrames"]()
    del sys.modules["frames_format"]


@pytest.mark.parametrize(
    "test",
    [
        "test_the_sample_is_recognised_by_its_bytes",
        "test_registered_values_are_those_of_the_file",
        "test_converted_values_are_those_of_the_file",
        "test_a_second_ingest_changes_nothing",
        "test_damaged_files_are_refused_with_a_reason_or_read",
    ],
)
def test_the_format_of_the_page_passes_the_suite(suite: Any, tmp_path: Path, test: str) -> None:
    getattr(suite, test)(tmp_path)
