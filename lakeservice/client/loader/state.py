"""States: where a training stands, as a document that goes into its checkpoint."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from schemas.errors import ErrorKind, InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Mapping

EPOCH, STEP = "epoch", "step"
_FORM = 1
_SAID = {
    "samples": "the number of samples",
    "nodes": "the number of nodes",
    "fingerprint": "the data (ids and versions of the nodes)",
}


def document(settings: Mapping[str, Any], epoch: int, step: int) -> dict[str, Any]:
    """Return a state: what decides about the order of samples, and the next step."""
    return {"form": _FORM, **settings, EPOCH: epoch, STEP: step}


def place_in(state: Mapping[str, Any], settings: Mapping[str, Any], steps: int) -> tuple[int, int]:
    """Return epoch and step of a state that was made with these settings.

    Raises
    ------
    InvalidRequestError
        ``bad-request``, naming everything that differs, or what is no state at all.
    """
    if state.get("form") != _FORM:
        raise _bad(f"this is no state of a loader: its form is {state.get('form')!r}, not {_FORM}")
    different = [
        f"{_SAID.get(name, name)} is {state.get(name)!r} in the state and {value!r} here"
        for name, value in settings.items()
        if state.get(name) != value
    ]
    if different:
        raise _bad(f"the state is of another loader: {'; '.join(different)}")
    epoch, step = state.get(EPOCH), state.get(STEP)
    if type(epoch) is not int or type(step) is not int or epoch < 0 or not 0 <= step <= steps:
        raise _bad(f"the state says epoch {epoch!r}, step {step!r}; an epoch has {steps} steps")
    return epoch, step


def _bad(message: str) -> InvalidRequestError:
    return InvalidRequestError(ErrorKind.BAD_REQUEST, message)
