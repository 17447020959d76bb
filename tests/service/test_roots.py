"""Folders in which files may be registered, whatever their names are."""

from __future__ import annotations

from pathlib import Path

import pytest

from lakeservice.commands.serve import address_of
from lakeservice.service.registering import folders_of


@pytest.mark.parametrize("name", ["run#1", "a?b", "50%41", "two words", "Zürich"])
def test_a_folder_is_the_very_one_that_was_named(name: str) -> None:
    assert folders_of([address_of(f"/data/{name}")]) == [Path("/data") / name]
