"""Every setting is documented, and every example loads."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest

from lakeservice.config import Settings, load_settings
from schemas.errors import ErrorKind, InvalidRequestError

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "examples" / "config").glob("*.toml"))


def names(settings: Any, prefix: str = "") -> list[str]:
    found = []
    for field in fields(settings):
        value = getattr(settings, field.name)
        name = prefix + field.name
        found += names(value, f"{name}.") if is_dataclass(value) else [name]
    return found


@pytest.mark.parametrize("name", names(Settings()))
def test_a_setting_is_in_the_reference_with_its_variable(name: str) -> None:
    page = (ROOT / "docs" / "reference" / "configuration.md").read_text(encoding="utf-8")
    variable = "LAKE_" + name.upper().replace(".", "__")
    assert f"| `{name}` | `{variable}` |" in page


def test_the_reference_names_no_setting_that_is_gone() -> None:
    page = (ROOT / "docs" / "reference" / "configuration.md").read_text(encoding="utf-8")
    documented = [line.split("`")[1] for line in page.splitlines() if line.startswith("| `")]
    assert documented == names(Settings())


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_an_example_loads_and_changes_something(example: Path) -> None:
    assert load_settings(example, {}) != Settings()


def test_a_variable_wins_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "lake.toml"
    file.write_text("[limits]\nthreads = 3\nticket_s = 60\n", encoding="utf-8")
    settings = load_settings(file, {"LAKE_LIMITS__THREADS": "5", "HOME": "/"})
    assert (settings.limits.threads, settings.limits.ticket_s) == (5, 60)


def test_a_misspelt_setting_stops_the_start_with_a_hint(tmp_path: Path) -> None:
    file = tmp_path / "lake.toml"
    file.write_text("[limits]\nthread = 3\n", encoding="utf-8")
    with pytest.raises(InvalidRequestError, match=r"'limits\.thread'; did you mean 'threads'"):
        load_settings(file, {})


@pytest.mark.parametrize("text", ["[limits]\nthreads = 'many'\n", "[limits\n", "limits = 3\n"])
def test_a_value_of_the_wrong_type_stops_the_start(text: str, tmp_path: Path) -> None:
    file = tmp_path / "lake.toml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(InvalidRequestError) as caught:
        load_settings(file, {})
    assert caught.value.kind is ErrorKind.BAD_SETTING


def test_a_choice_that_there_is_not_stops_the_start_and_names_those_there_are() -> None:
    assert load_settings(None, {"LAKE_SERVE__DIRECT": "never"}).serve.direct == "never"
    with pytest.raises(InvalidRequestError, match=r"'maybe'; it is one of \['auto', 'never'"):
        load_settings(None, {"LAKE_SERVE__DIRECT": "maybe"})


def test_a_key_does_not_print() -> None:
    settings = load_settings(None, {"LAKE_API_KEY": "open sesame"})
    assert "sesame" not in repr(settings)
    assert settings.serve.api_key is not None
    assert settings.serve.api_key.reveal() == "open sesame"
