"""The reference of the Flight wire names what the code does, all of it."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec

from lakeservice.fronts.flight.actions import ACTIONS
from schemas import ticket

COMMANDS: tuple[type[msgspec.Struct], ...] = (
    ticket.ReadArray,
    ticket.ReadTable,
    ticket.ReduceArray,
    ticket.BinArray,
    ticket.HistogramArray,
    ticket.WriteArray,
    ticket.WriteTable,
    ticket.AppendTo,
)
TEXT = (Path(__file__).parents[2] / "docs" / "reference" / "flight.md").read_text()


def test_every_action_is_documented_with_its_scope() -> None:
    rows = dict(re.findall(r"^\| `([a-z]+)` \| `([a-z:]+)` \|", TEXT, re.MULTILINE))
    assert rows == {name: scope for name, (scope, _) in ACTIONS.items()}


def test_every_command_and_its_fields_are_documented() -> None:
    for command in COMMANDS:
        row = next(
            line for line in TEXT.splitlines() if f'"{command.__struct_config__.tag}"' in line
        )
        told = row if "the same" not in row else TEXT
        for field in msgspec.structs.fields(command):
            assert f"`{field.name}`" in told, (command.__name__, field.name)
