"""Errors on the wire: one table from kinds to HTTP statuses and Flight errors."""

from __future__ import annotations

from typing import NamedTuple

from schemas.errors import ErrorKind


class Wire(NamedTuple):
    """How one kind of error is sent."""

    status: int
    """HTTP status."""
    flight: str
    """Name of the class in `pyarrow.flight`."""


# Stored bytes that contradict their description answer 409 and not 500: asking again does
# not help, and Tiled's client repeats a 5xx ten times and then hides its message.
WIRE: dict[ErrorKind, Wire] = {
    ErrorKind.NODE_NOT_FOUND: Wire(404, "FlightServerError"),
    ErrorKind.VERSION_NOT_FOUND: Wire(404, "FlightServerError"),
    ErrorKind.ASSET_NOT_FOUND: Wire(404, "FlightServerError"),
    ErrorKind.BAD_PATH: Wire(400, "FlightServerError"),
    ErrorKind.BAD_SLICE: Wire(422, "FlightServerError"),
    ErrorKind.BAD_QUERY: Wire(400, "FlightServerError"),
    ErrorKind.BAD_SORT: Wire(422, "FlightServerError"),
    ErrorKind.BAD_CURSOR: Wire(400, "FlightServerError"),
    ErrorKind.BAD_STRUCTURE: Wire(422, "FlightServerError"),
    ErrorKind.BAD_METADATA: Wire(422, "FlightServerError"),
    ErrorKind.BAD_BODY: Wire(422, "FlightServerError"),
    ErrorKind.BAD_REQUEST: Wire(400, "FlightServerError"),
    ErrorKind.BAD_TICKET: Wire(400, "FlightServerError"),
    ErrorKind.BAD_SETTING: Wire(400, "FlightServerError"),
    ErrorKind.UNKNOWN_COLUMN: Wire(400, "FlightServerError"),
    ErrorKind.UNKNOWN_FORMAT: Wire(406, "FlightServerError"),
    ErrorKind.UNKNOWN_MEDIA_TYPE: Wire(415, "FlightServerError"),
    ErrorKind.UNREADABLE_FILE: Wire(422, "FlightServerError"),
    ErrorKind.WRONG_FAMILY: Wire(400, "FlightServerError"),
    ErrorKind.NOT_A_LAKE: Wire(404, "FlightServerError"),
    ErrorKind.NEWER_LAKE: Wire(409, "FlightServerError"),
    ErrorKind.PATH_TAKEN: Wire(409, "FlightServerError"),
    ErrorKind.REVISION_CONFLICT: Wire(409, "FlightServerError"),
    ErrorKind.NOT_EMPTY: Wire(409, "FlightServerError"),
    ErrorKind.PARENT_NOT_CONTAINER: Wire(409, "FlightServerError"),
    ErrorKind.KEY_REUSED: Wire(409, "FlightServerError"),
    ErrorKind.UNAUTHENTICATED: Wire(401, "FlightUnauthenticatedError"),
    ErrorKind.FORBIDDEN: Wire(403, "FlightUnauthorizedError"),
    ErrorKind.TICKET_EXPIRED: Wire(403, "FlightUnauthorizedError"),
    ErrorKind.TOO_LARGE: Wire(413, "FlightServerError"),
    ErrorKind.CORRUPT_CHUNK: Wire(409, "FlightInternalError"),
    ErrorKind.CORRUPT_OBJECT: Wire(409, "FlightInternalError"),
    ErrorKind.ASSET_CHANGED: Wire(409, "FlightInternalError"),
    ErrorKind.ASSET_MISSING: Wire(410, "FlightInternalError"),
    ErrorKind.STORE_UNAVAILABLE: Wire(503, "FlightUnavailableError"),
    ErrorKind.STORE_FULL: Wire(507, "FlightUnavailableError"),
    ErrorKind.STORE_UNSAFE: Wire(503, "FlightUnavailableError"),
    ErrorKind.BUSY: Wire(503, "FlightUnavailableError"),
    ErrorKind.WINDOW_PASSED: Wire(410, "FlightServerError"),
    ErrorKind.BAD_RANGE: Wire(416, "FlightServerError"),
    ErrorKind.BAD_PARAMETER: Wire(422, "FlightServerError"),
    ErrorKind.DOES_NOT_FIT: Wire(409, "FlightServerError"),
}
"""Every kind of error; a test fails when one is missing."""

BUG = Wire(500, "FlightInternalError")
"""What is not a `LakeError`: logged with the request id, which is all that the answer tells."""
BUG_KIND = "internal"
"""The ``kind`` of such an answer."""
RETRY_AFTER_S = 1
"""When to try again after a 503, in seconds."""
