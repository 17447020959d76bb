"""Keys that the lake keeps: known to all servers, good for a time, worthless when revoked."""

from __future__ import annotations

import pytest

from lakeservice.access.keys import Authenticator
from lakeservice.access.principals import ALL_SCOPES, READ_SCOPES, Principal
from lakeservice.access.stored_keys import MEMORY_S, KeyStore
from lakeservice.storage.layout import KEYS
from lakeservice.storage.objects import Objects
from schemas.errors import AccessError, ErrorKind, InvalidRequestError, NotFoundError


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def objects() -> Objects:
    return Objects.open("memory://")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(objects: Objects, clock: Clock) -> KeyStore:
    return KeyStore(objects, clock=clock)


def test_a_key_is_found_at_another_server_of_the_lake(objects: Objects, store: KeyStore) -> None:
    key, secret = store.create(READ_SCOPES, note="for the beamline", created_by="me")
    assert KeyStore(objects).find(secret) == key
    assert key.first_eight == secret[:8]
    assert (key.note, key.created_by) == ("for the beamline", "me")
    assert frozenset(key.scopes) == READ_SCOPES


def test_the_lake_does_not_hold_the_key_itself(objects: Objects, store: KeyStore) -> None:
    _, secret = store.create(READ_SCOPES)
    (name, _), *more = objects.list(KEYS)
    assert not more
    assert secret[8:20] not in name + (objects.get(name) or b"").decode()


@pytest.mark.parametrize("change", ["", "0" * 56, "../../lake.json", "x", "é" * 56])
def test_what_only_begins_like_a_key_is_none(store: KeyStore, change: str) -> None:
    _, secret = store.create(READ_SCOPES)
    assert store.find(secret[:8] + change) is None


def test_a_key_is_good_until_it_expires(store: KeyStore, clock: Clock) -> None:
    _, secret = store.create(READ_SCOPES, expires_in_s=60)
    clock.now += 59
    assert store.find(secret) is not None
    clock.now += 2
    assert store.find(secret) is None
    assert [store.expired(key) for key in store.list()] == [True]


def test_a_revoked_key_is_worthless_here_at_once_and_elsewhere_soon(
    objects: Objects, store: KeyStore, clock: Clock
) -> None:
    elsewhere = KeyStore(objects, clock=clock)
    key, secret = store.create(READ_SCOPES)
    assert store.find(secret) is not None
    assert elsewhere.find(secret) is not None
    store.revoke(key.first_eight)
    assert store.find(secret) is None
    clock.now += MEMORY_S + 1
    assert elsewhere.find(secret) is None
    with pytest.raises(NotFoundError, match="no API key begins with"):
        store.revoke(key.first_eight)


@pytest.mark.parametrize("name", ["", "../lake.json", "0123456", "zzzzzzzz", "00000000"])
def test_revoking_what_is_no_key_says_so(store: KeyStore, name: str) -> None:
    with pytest.raises(NotFoundError):
        store.revoke(name)


def test_a_key_that_is_revoked_while_it_is_looked_up_is_worthless(
    objects: Objects, store: KeyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, secret = store.create(READ_SCOPES)
    get = objects.get

    def late(name: str) -> bytes | None:
        found = get(name)
        monkeypatch.setattr(objects, "get", get)
        store.revoke(key.first_eight)
        return found

    monkeypatch.setattr(objects, "get", late)
    store.find(secret)
    assert store.find(secret) is None


def test_a_key_needs_a_scope_and_a_time_that_makes_sense(store: KeyStore) -> None:
    with pytest.raises(InvalidRequestError, match="at least one scope"):
        store.create(())
    for time_s in (0, -1, float("inf"), float("nan")):
        with pytest.raises(InvalidRequestError, match="seconds above 0"):
            store.create(READ_SCOPES, expires_in_s=time_s)
    with pytest.raises(InvalidRequestError, match="a note of 256"):
        store.create(READ_SCOPES, note="n" * 256)


def test_a_maker_of_keys_cannot_give_what_it_does_not_hold() -> None:
    maker = Principal("key-1", READ_SCOPES | {"create:apikeys"})
    assert maker.granted(None) == maker.scopes
    assert maker.granted(["inherit"]) == maker.scopes
    assert maker.granted(["read:data"]) == {"read:data"}
    with pytest.raises(AccessError) as caught:
        maker.granted(["read:data", "write:data"])
    assert caught.value.kind is ErrorKind.FORBIDDEN
    with pytest.raises(InvalidRequestError, match="no scope 'fly'"):
        maker.granted(["fly"])


def test_the_authenticator_knows_its_own_key_and_those_of_the_lake(store: KeyStore) -> None:
    key, secret = store.create(["read:metadata"])
    authenticator = Authenticator("own", stored=store)
    assert authenticator.authenticate("own").scopes == ALL_SCOPES
    principal = authenticator.authenticate(secret)
    assert (principal.scopes, principal.key) == (frozenset({"read:metadata"}), key)
    assert secret not in repr(principal)
    with pytest.raises(AccessError, match="not valid"):
        authenticator.authenticate(secret[:-1] + "g")
