"""Routes of API keys: make one, describe the one that is used, revoke one; and who asks."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec

from lakeservice.fronts.http.documents import document
from lakeservice.fronts.http.operations import Operation, Parameter
from schemas.errors import ErrorKind, InvalidRequestError

if TYPE_CHECKING:
    from lakeservice.access.stored_keys import StoredKey
    from lakeservice.fronts.http.call import Call, Reply


class KeyWanted(msgspec.Struct):
    """What a new key is to be."""

    scopes: list[str] | None = None
    """None, or ``inherit`` among them, for all that the maker may do."""
    expires_in: float | None = None
    """Seconds; null for as long as the key that makes it."""
    note: str | None = None
    access_tags: list[str] | None = None


class KeyAnswer(msgspec.Struct):
    """What is kept of a key."""

    first_eight: str
    scopes: list[str]
    expiration_time: str | None = None
    note: str | None = None
    access_tags: list[str] | None = None
    latest_activity: str | None = None


class NewKeyAnswer(KeyAnswer):
    """A key that was made; the secret is told this once."""

    secret: str = ""


class WhoAnswer(msgspec.Struct):
    """Who the server takes the client for."""

    uuid: str | None
    type: str
    identities: list[dict[str, Any]]
    roles: list[dict[str, Any]]
    scopes: list[str]
    api_keys: list[KeyAnswer]
    sessions: list[Any]
    latest_activity: str | None = None


def whoami(call: Call) -> Reply:
    """Return who the server takes the client for, and the API keys where it may see them."""
    principal = call.principal
    seen = "read:principals" in principal.scopes
    keys = call.service.keys.list() if seen else [principal.key] if principal.key else []
    who = WhoAnswer(
        uuid=None,
        type="user",
        identities=[{"id": principal.name, "provider": "lakeservice", "latest_login": None}],
        roles=[],
        scopes=sorted(principal.scopes),
        api_keys=[_answer(key) for key in keys],
        sessions=[],
    )
    return document(call, who)


def create(call: Call) -> Reply:
    """Make an API key that may do as much as its maker, or less, for some time or for ever."""
    try:
        wanted = msgspec.convert(call.document(), KeyWanted)
    except msgspec.ValidationError as error:
        raise InvalidRequestError(ErrorKind.BAD_BODY, f"the body: {error}") from None
    if wanted.access_tags:
        raise InvalidRequestError(
            ErrorKind.BAD_REQUEST, "keys are not restricted by access_tags here; leave them out"
        )
    maker = call.principal.key
    key, secret = call.service.keys.create(
        call.principal.granted(wanted.scopes),
        expires_in_s=wanted.expires_in,
        not_after_ns=maker.expires_ns if maker else None,
        note=wanted.note,
        created_by=call.principal.name,
    )
    answer = NewKeyAnswer(**msgspec.structs.asdict(_answer(key)), secret=secret)
    return document(call, answer)


def describe(call: Call) -> Reply:
    """Return what is kept of the API key with which it is asked."""
    if call.principal.key is None:
        raise InvalidRequestError(
            ErrorKind.BAD_REQUEST,
            "this is not a key that the lake keeps, but the server's own; ask auth/whoami",
        )
    return document(call, _answer(call.principal.key))


def revoke(call: Call) -> Reply:
    """Revoke an API key, named by its first eight characters."""
    first_eight = call.params.get("first_eight")
    if not first_eight:
        raise InvalidRequestError(
            ErrorKind.BAD_REQUEST, "name the key by its first eight characters: first_eight=…"
        )
    call.service.keys.revoke(first_eight)
    return document(call, None)


def links(base: str) -> dict[str, str]:
    """Return where clients find the routes of keys; those of sessions, which there are not, too.

    Tiled's clients need all of them to be named.
    """
    return {
        "whoami": f"{base}/auth/whoami",
        "apikey": f"{base}/auth/apikey",
        "refresh_session": f"{base}/auth/session/refresh",
        "revoke_session": f"{base}/auth/session/revoke/{{session_id}}",
        "logout": f"{base}/auth/logout",
    }


def _answer(key: StoredKey) -> KeyAnswer:
    expires = None
    if key.expires_ns is not None:
        expires = datetime.fromtimestamp(key.expires_ns / 1e9, UTC).isoformat()
    return KeyAnswer(
        first_eight=key.first_eight,
        scopes=list(key.scopes),
        expiration_time=expires,
        note=key.note,
    )


OPERATIONS = (
    Operation(
        method="GET",
        path="/auth/whoami",
        work=whoami,
        scope="read:metadata",
        answer=WhoAnswer,
    ),
    Operation(
        method="GET", path="/auth/apikey", work=describe, scope="read:metadata", answer=KeyAnswer
    ),
    Operation(
        method="POST",
        path="/auth/apikey",
        work=create,
        scope="create:apikeys",
        body=KeyWanted,
        answer=NewKeyAnswer,
    ),
    Operation(
        method="DELETE",
        path="/auth/apikey",
        work=revoke,
        scope="revoke:apikeys",
        params=(
            Parameter("first_eight", "text", "First eight characters of the key.", required=True),
        ),
    ),
)
