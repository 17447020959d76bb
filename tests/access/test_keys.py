from __future__ import annotations

import pytest

from lakeservice.access.keys import Authenticator, generate_key, key_in_header
from lakeservice.access.principals import ALL_SCOPES, READ_SCOPES, Principal
from schemas.errors import AccessError, ErrorKind, InvalidRequestError


def test_the_right_key_may_do_everything() -> None:
    assert Authenticator("right").authenticate("right").scopes == ALL_SCOPES


@pytest.mark.parametrize("key", ["", "Right", "right ", "righ", "right\x00", "é", "x" * 100_000])
@pytest.mark.parametrize("public", [True, False])
def test_a_wrong_key_is_refused_even_where_none_is_needed(key: str, public: bool) -> None:
    with pytest.raises(AccessError) as caught:
        Authenticator("right", public=public).authenticate(key)
    assert caught.value.kind is ErrorKind.UNAUTHENTICATED
    assert "right" not in str(caught.value)


def test_no_key_is_refused_unless_the_server_is_public() -> None:
    with pytest.raises(AccessError, match="needs an API key"):
        Authenticator("right").authenticate(None)
    assert Authenticator("right", public=True).authenticate(None).scopes == READ_SCOPES
    assert Authenticator(None, public=True).authenticate(None).scopes == READ_SCOPES


def test_a_server_that_nobody_could_use_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match="needs an API key"):
        Authenticator(None)
    with pytest.raises(InvalidRequestError, match="empty"):
        Authenticator("  ")


def test_without_a_known_key_no_key_is_valid() -> None:
    with pytest.raises(AccessError, match="not valid"):
        Authenticator(None, public=True).authenticate("anything")


def test_a_generated_key_is_long_and_new_each_time() -> None:
    keys = {generate_key() for _ in range(100)}
    assert len(keys) == 100
    assert all(len(key) == 64 and key.isalnum() for key in keys)


def test_the_authenticator_does_not_print_its_key() -> None:
    authenticator = Authenticator("hunter2")
    assert "hunter2" not in repr(authenticator)
    assert "hunter2" not in repr(vars(authenticator))


@pytest.mark.parametrize("header", ["Apikey k1", "apikey k1", "Bearer k1", "BEARER  k1 "])
def test_both_schemes_are_read_in_any_case(header: str) -> None:
    assert key_in_header(header) == "k1"


def test_no_header_is_no_key() -> None:
    assert key_in_header(None) is None


@pytest.mark.parametrize("header", ["", "k1", "Basic a2V5", "Apikey", "Apikey  "])
def test_another_scheme_is_refused(header: str) -> None:
    with pytest.raises(AccessError, match="Authorization header"):
        key_in_header(header)


def test_a_key_would_help_somebody_without_one_but_not_somebody_with_one() -> None:
    with pytest.raises(AccessError) as caught:
        Principal("anonymous", READ_SCOPES).require("create:node")
    assert caught.value.kind is ErrorKind.UNAUTHENTICATED
    with pytest.raises(AccessError) as caught:
        Principal("reader", READ_SCOPES).require("create:node")
    assert caught.value.kind is ErrorKind.FORBIDDEN
