"""Errors by kind: the code on the wire, and a few classes grouped by what a caller would do."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class ErrorKind(StrEnum):
    """Codes on the wire. Append-only: a code is never renamed or reused."""

    NODE_NOT_FOUND = "node-not-found"
    VERSION_NOT_FOUND = "version-not-found"
    ASSET_NOT_FOUND = "asset-not-found"
    BAD_PATH = "bad-path"
    BAD_SLICE = "bad-slice"
    BAD_QUERY = "bad-query"
    BAD_SORT = "bad-sort"
    BAD_CURSOR = "bad-cursor"
    BAD_STRUCTURE = "bad-structure"
    BAD_METADATA = "bad-metadata"
    BAD_BODY = "bad-body"
    BAD_REQUEST = "bad-request"
    BAD_TICKET = "bad-ticket"
    BAD_SETTING = "bad-setting"
    UNKNOWN_COLUMN = "unknown-column"
    UNKNOWN_FORMAT = "unknown-format"
    UNKNOWN_MEDIA_TYPE = "unknown-media-type"
    UNREADABLE_FILE = "unreadable-file"
    WRONG_FAMILY = "wrong-family"
    NOT_A_LAKE = "not-a-lake"
    NEWER_LAKE = "newer-lake"
    PATH_TAKEN = "path-taken"
    REVISION_CONFLICT = "revision-conflict"
    NOT_EMPTY = "not-empty"
    PARENT_NOT_CONTAINER = "parent-not-container"
    KEY_REUSED = "idempotency-key-reused"
    UNAUTHENTICATED = "unauthenticated"
    FORBIDDEN = "forbidden"
    TICKET_EXPIRED = "ticket-expired"
    TOO_LARGE = "too-large"
    CORRUPT_CHUNK = "corrupt-chunk"
    CORRUPT_OBJECT = "corrupt-object"
    ASSET_CHANGED = "asset-changed"
    ASSET_MISSING = "asset-missing"
    STORE_UNAVAILABLE = "store-unavailable"
    STORE_FULL = "store-full"
    STORE_UNSAFE = "store-unsafe"
    BUSY = "busy"
    WINDOW_PASSED = "window-passed"
    BAD_RANGE = "bad-range"
    BAD_PARAMETER = "bad-parameter"
    DOES_NOT_FIT = "does-not-fit"


class LakeError(Exception):
    """Base of every error this package raises on purpose.

    The message is written for the person who sent the request: what was asked,
    what is there, what to do. It never holds a credential or a server path.
    """

    def __init__(self, kind: ErrorKind, message: str) -> None:
        super().__init__(kind, message)
        self.kind = kind
        self.message = message

    def __str__(self) -> str:
        return self.message


class NotFoundError(LakeError, KeyError):
    """What was named is not there, or may not be seen: look again, by search."""


class InvalidRequestError(LakeError, ValueError):
    """The request can never succeed as it stands: change it."""


class ConflictError(LakeError):
    """Somebody was there first: read the present state and decide again."""


class AccessError(LakeError, PermissionError):
    """No credential, or not the right one: bring another."""


class TooLargeError(LakeError):
    """More than the stated limit: ask for less at a time."""


class CorruptError(LakeError):
    """Stored bytes contradict their description: nothing is returned rather than wrong data."""


class UnavailableError(LakeError):
    """The store or the server cannot do it now: try again later."""


class ErrorAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What both fronts send for an error; a client turns it back with `error_of`."""

    kind: ErrorKind
    message: str


_CLASSES: dict[type[LakeError], tuple[ErrorKind, ...]] = {
    NotFoundError: (
        ErrorKind.NODE_NOT_FOUND,
        ErrorKind.VERSION_NOT_FOUND,
        ErrorKind.ASSET_NOT_FOUND,
        ErrorKind.WINDOW_PASSED,
    ),
    ConflictError: (
        ErrorKind.PATH_TAKEN,
        ErrorKind.REVISION_CONFLICT,
        ErrorKind.NOT_EMPTY,
        ErrorKind.PARENT_NOT_CONTAINER,
        ErrorKind.KEY_REUSED,
        ErrorKind.DOES_NOT_FIT,
    ),
    AccessError: (ErrorKind.UNAUTHENTICATED, ErrorKind.FORBIDDEN, ErrorKind.TICKET_EXPIRED),
    TooLargeError: (ErrorKind.TOO_LARGE,),
    CorruptError: (
        ErrorKind.CORRUPT_CHUNK,
        ErrorKind.CORRUPT_OBJECT,
        ErrorKind.ASSET_CHANGED,
        ErrorKind.ASSET_MISSING,
    ),
    UnavailableError: (
        ErrorKind.STORE_UNAVAILABLE,
        ErrorKind.STORE_FULL,
        ErrorKind.STORE_UNSAFE,
        ErrorKind.BUSY,
    ),
}


def error_class(kind: ErrorKind) -> type[LakeError]:
    """Return the class that a kind is raised as; every other kind is an invalid request."""
    for cls, kinds in _CLASSES.items():
        if kind in kinds:
            return cls
    return InvalidRequestError


def error_of(kind: ErrorKind | str, message: str) -> LakeError:
    """Return the error that a wire answer ``{"kind", "message"}`` stands for.

    A kind that this version does not know comes back as a plain `LakeError`
    of kind ``bad-request``, with the unknown code in front of the message.
    """
    try:
        known = ErrorKind(kind)
    except ValueError:
        return LakeError(ErrorKind.BAD_REQUEST, f"{kind}: {message}")
    return error_class(known)(known, message)
