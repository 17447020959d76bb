"""The page of exporters says what is installed."""

from __future__ import annotations

import re
from pathlib import Path

from lakeservice.export.colours import MAPS
from lakeservice.export.registry import installed_exporters

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "exports.md").read_text(encoding="utf-8")
SECTIONS = {
    "Arrays": "array",
    "Tables": "table",
    "Containers": "container",
    "Sparse": "sparse",
    "Awkward": "awkward",
    "Ragged": "ragged",
}
Row = tuple[str, str, str, str, str]


def rows() -> set[Row]:
    """Return the rows of the page: family, media type, short names, spec, options."""
    found = set()
    for section in PAGE.split("\n## ")[1:]:
        family = SECTIONS.get(section.partition("\n")[0])
        for line in section.splitlines():
            if family and line.startswith("| `"):
                cells = [cell.strip().replace("`", "") for cell in line.split("|")[1:5]]
                found.add((family, cells[0], cells[1], cells[2], cells[3]))
    return found


def test_every_form_is_on_the_page_with_its_names_and_options() -> None:
    installed = {
        (
            str(one.family),
            one.media_type,
            " ".join(one.names),
            one.spec or "",
            " ".join(option.name for option in one.options),
        )
        for one in installed_exporters()
    }
    assert rows() == installed


def test_every_option_is_explained() -> None:
    explained = set(re.findall(r"`(\w+)`", " ".join(
        line.split("|")[1] for line in PAGE.partition("## Options")[2].splitlines() if "|" in line
    )))  # fmt: skip
    options = {option.name for one in installed_exporters() for option in one.options}
    assert explained == options
    assert all(f"`{name}`" in PAGE for name in MAPS if not name.endswith("_r"))
