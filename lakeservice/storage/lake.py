"""A lake: the objects of one catalog, recognised by their ``lake.json``."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime

import msgspec

from lakeservice.storage.layout import FORMAT, LAKE_FILE, TEMPORARY
from lakeservice.storage.log import Log
from lakeservice.storage.objects import Objects
from schemas.errors import (
    ConflictError,
    CorruptError,
    ErrorKind,
    InvalidRequestError,
    UnavailableError,
)


class LakeFile(msgspec.Struct, frozen=True, kw_only=True):
    """The content of ``lake.json``."""

    format: int
    id: str
    created: str
    """Time of creation, ISO 8601, UTC."""


class Lake:
    """An open lake."""

    def __init__(self, objects: Objects, lake_file: LakeFile) -> None:
        self.objects = objects
        """Everything in it, by name."""
        self.file = lake_file
        self.log = Log(objects)

    @property
    def id(self) -> str:
        """Random, given at creation."""
        return self.file.id

    @property
    def uri(self) -> str:
        """The URI it was opened by."""
        return self.objects.uri

    @classmethod
    def create(cls, uri: str) -> Lake:
        """Create an empty lake; other files in the same folder are left alone.

        Raises
        ------
        ConflictError
            ``path-taken``: there is a lake already.
        UnavailableError
            ``store-unsafe``: the store does not refuse a second exclusive write,
            so that two writers could destroy each other's commits.
        """
        objects = Objects.open(uri)
        if objects.size(LAKE_FILE) is not None:
            raise _taken()
        probe_store(objects)
        created = datetime.now(UTC).isoformat(timespec="seconds")
        lake_file = LakeFile(format=FORMAT, id=secrets.token_hex(10), created=created)
        if not objects.put_if_absent(LAKE_FILE, msgspec.json.encode(lake_file) + b"\n"):
            raise _taken()
        return cls(objects, lake_file)

    @classmethod
    def open(cls, uri: str) -> Lake:
        """Open a lake.

        Raises
        ------
        InvalidRequestError
            ``not-a-lake``: there is no ``lake.json``; ``newer-lake``: its format
            is newer than this package.
        CorruptError
            ``corrupt-object``: its ``lake.json`` is damaged.
        """
        objects = Objects.open(uri)
        payload = objects.get(LAKE_FILE)
        if payload is None:
            raise InvalidRequestError(
                ErrorKind.NOT_A_LAKE, f"there is no lake here: {LAKE_FILE} is missing"
            )
        try:
            number = msgspec.json.decode(payload)["format"]
            if isinstance(number, int) and number > FORMAT:
                raise InvalidRequestError(
                    ErrorKind.NEWER_LAKE,
                    f"the lake has format {number}, this version reads up to {FORMAT}; "
                    "install a newer lakeservice",
                )
            return cls(objects, msgspec.json.decode(payload, type=LakeFile))
        except (msgspec.MsgspecError, KeyError, TypeError):
            raise CorruptError(
                ErrorKind.CORRUPT_OBJECT,
                f"{LAKE_FILE} is damaged; restore it from a backup, with its id",
            ) from None


def probe_store(objects: Objects) -> None:
    """Refuse a store on which two writers could both believe that they were first.

    Raises
    ------
    UnavailableError
        ``store-unsafe``: of two exclusive writes of one name, not exactly the first was taken.
    """
    name = f"{TEMPORARY}/probe-{secrets.token_hex(8)}"
    try:
        answers = (objects.put_if_absent(name, b"first"), objects.put_if_absent(name, b"second"))
        kept = objects.get(name)
    finally:
        objects.delete([name])
    if answers != (True, False) or kept != b"first":
        raise UnavailableError(
            ErrorKind.STORE_UNSAFE,
            "the store ignores conditions on writes (If-None-Match: *), so that concurrent "
            "commits would overwrite each other; put the lake on another one",
        )


def _taken() -> ConflictError:
    return ConflictError(ErrorKind.PATH_TAKEN, "there is a lake already; open it")
