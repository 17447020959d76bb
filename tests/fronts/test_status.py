from __future__ import annotations

from pathlib import Path

import pyarrow.flight
import pytest

from lakeservice.fronts.status import BUG, WIRE, Wire
from schemas.errors import ErrorKind, UnavailableError, error_class

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "errors.md"


@pytest.mark.parametrize("kind", ErrorKind)
def test_every_kind_of_error_has_a_row(kind: ErrorKind) -> None:
    assert kind in WIRE


@pytest.mark.parametrize("wire", [*WIRE.values(), BUG])
def test_every_flight_name_is_a_flight_error(wire: Wire) -> None:
    assert issubclass(getattr(pyarrow.flight, wire.flight), pyarrow.flight.FlightError)


@pytest.mark.parametrize("kind", ErrorKind)
def test_only_what_may_pass_by_itself_is_a_server_error(kind: ErrorKind) -> None:
    assert (WIRE[kind].status >= 500) == (error_class(kind) is UnavailableError)


@pytest.mark.parametrize("kind", ErrorKind)
def test_the_page_of_errors_names_every_kind_with_its_status(kind: ErrorKind) -> None:
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith(f"| `{kind}` |")]
    assert len(rows) == 1
    assert rows[0].split("|")[2].strip() == str(WIRE[kind].status)
    assert rows[0].split("|")[3].strip() == f"`{WIRE[kind].flight}`"
    assert rows[0].split("|")[4].strip()


def test_the_page_of_errors_names_nothing_else() -> None:
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("| `")]
    assert {row.split("`")[1] for row in rows} == {*map(str, ErrorKind), "internal"}
