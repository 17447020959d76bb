"""What goes wrong on the wire, as the errors of the contract."""

from __future__ import annotations

import msgspec
import pyarrow as pa
from pyarrow import flight

from schemas.errors import AccessError, ErrorKind, LakeError, UnavailableError, error_of

WIRE_ERRORS = (pa.ArrowException, OSError)
"""What pyarrow raises for a failed call, whatever its cause."""
_BROKEN = ("RST_STREAM", "Stream removed", "Connection reset", "Socket closed", "GOAWAY")
_NO_ANSWER = (flight.FlightUnavailableError, flight.FlightTimedOutError)
_CUT = (flight.FlightInternalError, flight.FlightServerError, flight.FlightCancelledError)


class _Answer(msgspec.Struct):
    kind: str
    message: str


def answer_in(error: BaseException) -> LakeError | None:
    """Return the error that the server meant, or None where the server never spoke."""
    document = getattr(error, "extra_info", None)
    if not document:
        return None
    try:
        answer = msgspec.json.decode(document, type=_Answer)
    except msgspec.MsgspecError:
        return None
    return error_of(answer.kind, answer.message)


def is_lost(error: BaseException) -> bool:
    """Tell whether the connection broke, so that the same request can be sent again."""
    answer = answer_in(error)
    if answer is not None:
        return answer.kind is ErrorKind.BUSY
    if isinstance(error, _NO_ANSWER):
        return True
    return isinstance(error, (*_CUT, OSError)) and any(word in str(error) for word in _BROKEN)


def lake_error(error: BaseException, location: str) -> LakeError:
    """Return the error to raise for a failed call.

    Parameters
    ----------
    location
        Where the call went; it stands in the message when nobody answered there.
    """
    answer = answer_in(error)
    if answer is not None:
        return answer
    if isinstance(error, LakeError):
        return error
    if isinstance(error, flight.FlightUnauthenticatedError | flight.FlightUnauthorizedError):
        return AccessError(
            ErrorKind.UNAUTHENTICATED, f"{location} refused the credential: {_first_line(error)}"
        )
    if is_lost(error):
        return UnavailableError(
            ErrorKind.STORE_UNAVAILABLE,
            f"no answer from {location}; is the server running? ({_first_line(error)})",
        )
    return LakeError(ErrorKind.BAD_REQUEST, f"{location} answered: {_first_line(error)}")


def _first_line(error: BaseException) -> str:
    text = str(error).partition(". Detail:")[0].strip()
    return text.splitlines()[0][:300] if text else type(error).__name__
