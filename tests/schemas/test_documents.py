"""The JSON Schema files and the examples beside them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from jsonschema import Draft202012Validator

from schemas.export import DOCUMENTS, EXAMPLES, json_schema, out_of_date

if TYPE_CHECKING:
    from pathlib import Path

GOOD = sorted(EXAMPLES.glob("*/good-*.json"))
BAD = sorted(EXAMPLES.glob("*/bad-*.json"))


def document_of(example: Path) -> str:
    return example.parent.name


def label(example: Path) -> str:
    return f"{document_of(example)}/{example.stem}"


@pytest.fixture(scope="session")
def validators() -> dict[str, Any]:
    return {name: Draft202012Validator(json_schema(name)) for name in DOCUMENTS}


def test_schema_files_say_what_the_types_say() -> None:
    assert out_of_date() == []


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_schema_file_is_itself_valid(name: str) -> None:
    Draft202012Validator.check_schema(json_schema(name))


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_document_has_a_good_and_a_bad_example(name: str) -> None:
    assert any(document_of(example) == name for example in GOOD)
    assert any(document_of(example) == name for example in BAD)


def test_every_example_belongs_to_a_document() -> None:
    assert {document_of(path) for path in EXAMPLES.glob("*/*")} == set(DOCUMENTS)
    assert set(EXAMPLES.glob("*/*")) == {*GOOD, *BAD}


@pytest.mark.parametrize("example", GOOD, ids=label)
def test_a_good_example_is_accepted_by_schema_and_type(
    example: Path, validators: dict[str, Any]
) -> None:
    name = document_of(example)
    text = example.read_bytes()
    validators[name].validate(json.loads(text))
    document = msgspec.json.decode(text, type=DOCUMENTS[name])
    again = msgspec.json.encode(document)
    validators[name].validate(json.loads(again))
    assert msgspec.json.decode(again, type=DOCUMENTS[name]) == document


@pytest.mark.parametrize("example", BAD, ids=label)
def test_a_bad_example_is_refused_by_schema_and_type(
    example: Path, validators: dict[str, Any]
) -> None:
    name = document_of(example)
    text = example.read_bytes()
    assert not validators[name].is_valid(json.loads(text))
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(text, type=DOCUMENTS[name])


def test_what_the_types_say_of_a_field_is_in_its_schema() -> None:
    fields = json_schema("entry")["$defs"]["Node"]["properties"]
    assert fields["id"]["description"].startswith("Random, never reused")
