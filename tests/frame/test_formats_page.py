"""The page of formats says what is installed."""

from __future__ import annotations

from pathlib import Path

from ingest.recognise import installed_formats

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "formats.md"


def test_every_format_is_on_the_page_with_its_suffixes() -> None:
    rows = [
        line.split("|") for line in PAGE.read_text(encoding="utf-8").splitlines() if "/" in line
    ]
    documented = {
        row[2].strip(" `"): row[3].replace("`", "").split() for row in rows if len(row) > 5
    }
    documented.pop("media type", None)
    assert documented == {one.media_type: list(one.suffixes) for one in installed_formats()}
