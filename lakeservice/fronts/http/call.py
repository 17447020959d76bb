"""One request as the routes see it, and the answer that they give."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from lakeservice.fronts.http.etags import NotModifiedError, as_sent, has_tag
from schemas.errors import ConflictError, ErrorKind, InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from starlette.datastructures import Headers, QueryParams

    from lakeservice.access.principals import Principal
    from lakeservice.export.exporter import Piece
    from lakeservice.fronts.http.body import Body
    from lakeservice.service.events import Delivery
    from lakeservice.service.service import Service
    from schemas.commit import Applied, Mutation


@dataclass(frozen=True)
class Call:
    """Everything about a request that a route may use."""

    service: Service
    principal: Principal
    path: str
    """Path of the node, clean."""
    params: QueryParams
    headers: Headers
    body: Body
    base: str
    """Address of the API as the client sees it: ``http://host:8000/api/v1``."""
    about: Mapping[str, Any] = field(default_factory=dict)
    method: str = "GET"
    required: bool = True
    """Whether this server needs a key."""

    @property
    def as_of(self) -> int | None:
        """Log version that is asked for; None for the present."""
        return self.integer("as_of")

    @property
    def idempotency_key(self) -> str | None:
        """Key of the request, from its Idempotency-Key header."""
        return self.headers.get("idempotency-key")

    def flag(self, name: str, default: bool) -> bool:
        """Return a query parameter that is true or false.

        Raises
        ------
        InvalidRequestError
            ``bad-parameter``: it is something else.
        """
        text = self.params.get(name)
        if text is None:
            return default
        if text.lower() in ("true", "1", "yes", "on", ""):
            return True
        if text.lower() in ("false", "0", "no", "off"):
            return False
        raise InvalidRequestError(
            ErrorKind.BAD_PARAMETER, f"{name}={text[:40]!r}; write true or false"
        )

    def integer(self, name: str, default: int | None = None) -> int | None:
        """Return a query parameter that is a number, not negative.

        Raises
        ------
        InvalidRequestError
            ``bad-parameter``: it is something else.
        """
        text = self.params.get(name)
        if text is None or text == "":
            return default
        if not (text.isascii() and text.isdigit() and len(text) < 19):
            raise InvalidRequestError(
                ErrorKind.BAD_PARAMETER, f"{name}={text[:40]!r}; write a whole number from 0 up"
            )
        return int(text)

    def document(self) -> Any:
        """Return the JSON document that was sent.

        Raises
        ------
        InvalidRequestError
            ``bad-body``: it cannot be read.
        """
        try:
            return msgspec.json.decode(self.body.whole())
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise InvalidRequestError(
                ErrorKind.BAD_BODY, f"the body is not a JSON document: {error}"
            ) from None

    def repeated(self, path: str) -> Applied | None:
        """Return what this very request was answered when it came before; None if it is new.

        Raises
        ------
        ConflictError
            ``idempotency-key-reused``: the key came with a request for another path.
        """
        answered = self.service.answer(self.idempotency_key)
        if answered is None:
            return None
        for applied in answered:
            if applied.path == path:
                return applied
        raise ConflictError(
            ErrorKind.KEY_REUSED,
            "this Idempotency-Key was used for a request for another path; take a new one",
        )

    def commit(
        self, mutation: Mutation, *, trusted: bool = False, note: Delivery | None = None
    ) -> None:
        """Make a change visible, in the name of who sent the request.

        Parameters
        ----------
        note
            The data that changed, for those who listen; see `announcing.delivery_of`.
        """
        self.service.commit(
            [mutation],
            key=self.idempotency_key,
            principal=self.principal.name,
            trusted=trusted,
            note=note,
        )

    def unless_known(self, tag: str) -> None:
        """End the work with 304 if the client holds the answer with this tag already."""
        sent = self.headers.get("if-none-match")
        if has_tag(sent, tag):
            raise NotModifiedError(as_sent(sent, tag))


@dataclass
class Reply:
    """An answer: whole, or in pieces that are made one after another in a worker thread."""

    content: bytes | Iterator[Piece]
    media_type: str
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    length: int | None = None
    """Bytes of all pieces, where that is known before they are made."""
    part: Callable[[int, int], Iterator[Piece]] | None = None
    """The bytes ``start:stop`` of the answer, where they can be had without those before."""

    def tagged(self, tag: str) -> Reply:
        """Add an entity tag; the client keeps the answer and asks whether it still holds."""
        self.headers["ETag"] = tag
        self.headers["Cache-Control"] = "private, no-cache"
        return self


def media_type_of(header: str | None) -> str:
    """Return the media type of a Content-Type header, without parameters, in lower case."""
    return (header or "").partition(";")[0].strip().lower()
