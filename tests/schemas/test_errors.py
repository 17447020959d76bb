from __future__ import annotations

import pickle

import pytest

from schemas.errors import (
    ErrorKind,
    InvalidRequestError,
    LakeError,
    NotFoundError,
    error_class,
    error_of,
)


@pytest.mark.parametrize("kind", ErrorKind)
def test_an_error_comes_back_from_the_wire_as_its_class(kind: ErrorKind) -> None:
    error = error_of(kind.value, "what was asked")
    assert type(error) is error_class(kind) is not LakeError
    assert (error.kind, error.message, str(error)) == (kind, "what was asked", "what was asked")


def test_a_kind_of_a_newer_server_is_still_an_error_in_words() -> None:
    error = error_of("lake-on-fire", "call somebody")
    assert type(error) is LakeError
    assert error.kind is ErrorKind.BAD_REQUEST
    assert str(error) == "lake-on-fire: call somebody"


def test_errors_are_what_python_callers_expect() -> None:
    assert isinstance(error_of(ErrorKind.NODE_NOT_FOUND, ""), KeyError)
    assert isinstance(error_of(ErrorKind.BAD_SLICE, ""), ValueError)
    assert isinstance(error_of(ErrorKind.FORBIDDEN, ""), PermissionError)
    assert error_class(ErrorKind.BAD_SLICE) is InvalidRequestError


def test_an_error_travels_between_processes() -> None:
    error = pickle.loads(pickle.dumps(NotFoundError(ErrorKind.NODE_NOT_FOUND, "no node 'a'")))
    assert isinstance(error, NotFoundError)
    assert (error.kind, str(error)) == (ErrorKind.NODE_NOT_FOUND, "no node 'a'")
