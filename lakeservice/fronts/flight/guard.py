"""Who calls, and what leaves: credentials in, nothing but Flight errors out."""

from __future__ import annotations

import functools
import logging
import secrets
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import msgspec
import pyarrow as pa
from pyarrow import flight

from lakeservice.access.keys import key_in_header
from lakeservice.fronts.status import WIRE
from schemas.errors import ErrorKind, LakeError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lakeservice.access.keys import Authenticator
    from lakeservice.access.principals import Principal

logger = logging.getLogger(__name__)
MIDDLEWARE = "principal"
P = ParamSpec("P")
T = TypeVar("T")


class Caller(flight.ServerMiddleware):  # type: ignore[misc]
    """The principal of one call."""

    def __init__(self, principal: Principal) -> None:
        self.principal = principal


class CallerFactory(flight.ServerMiddlewareFactory):  # type: ignore[misc]
    """Reads ``authorization: Bearer K`` (or ``Apikey K``) of every call."""

    def __init__(self, authenticator: Authenticator) -> None:
        self._authenticator = authenticator

    def start_call(self, info: Any, headers: dict[str, list[Any]]) -> Caller:
        """Return the caller, or refuse the call."""
        given = headers.get("authorization") or headers.get("Authorization") or [None]
        header = given[0].decode("latin-1") if isinstance(given[0], bytes) else given[0]
        try:
            return Caller(self._authenticator.authenticate(key_in_header(header)))
        except LakeError as error:
            raise flight_error(error) from None


def flight_error(error: LakeError) -> Any:
    """Return a lake error in Flight's form: the message, and kind and message as JSON."""
    document = msgspec.json.encode({"kind": error.kind.value, "message": error.message})
    return getattr(flight, WIRE[error.kind].flight)(error.message, document)


def internal_error(error: BaseException) -> Any:
    """Log what must not happen, and return an error that tells nothing but where to look."""
    request = secrets.token_hex(8)
    logger.error("request %s failed", request, exc_info=error)
    message = f"internal error, request {request}; the operator finds the reason in the log"
    return flight.FlightInternalError(
        message, msgspec.json.encode({"kind": "internal-error", "message": message})
    )


def translated(error: BaseException) -> Any:
    """Return what may leave a handler in the place of an error."""
    if isinstance(error, LakeError):
        return flight_error(error)
    if isinstance(error, flight.FlightError):
        return error
    if isinstance(error, msgspec.MsgspecError | UnicodeDecodeError):
        text = f"the request does not decode: {error}"
        return flight_error(LakeError(ErrorKind.BAD_REQUEST, text))
    if isinstance(error, pa.ArrowCancelled | GeneratorExit | KeyboardInterrupt | SystemExit):
        return error
    return internal_error(error)


def guarded(handler: Callable[P, T]) -> Callable[P, T]:
    """Let only Flight errors leave a handler."""

    @functools.wraps(handler)
    def guard(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return handler(*args, **kwargs)
        except BaseException as error:
            raise translated(error) from None

    return guard


def guarded_stream(items: Iterator[T]) -> Iterator[T]:
    """Let only Flight errors leave a stream, also in its middle."""
    try:
        yield from items
    except GeneratorExit:
        raise
    except BaseException as error:
        raise translated(error) from None
