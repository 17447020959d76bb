"""Codecs by name: which family knows a name, and the step that it makes of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lakeservice.codecs import hdf5, numcodecs_steps, tiff, zarr
from lakeservice.codecs.steps import DecodeError
from schemas.errors import ErrorKind, InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lakeservice.codecs.steps import Context, Factory, Step
    from schemas.chunks import Codec

_STEPS: dict[str, Factory] = {
    **zarr.STEPS,
    **hdf5.STEPS,
    **tiff.STEPS,
    **numcodecs_steps.STEPS,
}
_ARRAY_CODECS = frozenset({"bytes", "transpose"})  # the chain itself does these


def _factory(codec: Codec) -> Factory | None:
    return _STEPS.get(codec.name)


def step_of(codec: Codec, context: Context) -> Step:
    """Return the step that a codec stands for.

    Raises
    ------
    InvalidRequestError
        ``unreadable-file``: nobody knows this codec, or not in this configuration.
    """
    factory = _factory(codec)
    if factory is None:
        raise InvalidRequestError(
            ErrorKind.UNREADABLE_FILE, f"the codec {codec.name!r} is not one that we can decode"
        )
    try:
        return factory(codec.configuration, context)
    except (DecodeError, KeyError, TypeError, ValueError) as error:
        raise InvalidRequestError(
            ErrorKind.UNREADABLE_FILE,
            f"the codec {codec.name!r} cannot be set up: {str(error)[:200]}",
        ) from error


def unsupported(codecs: Sequence[Codec]) -> str | None:
    """Return None where every codec is known, else a sentence that says which is not."""
    for codec in codecs:
        if codec.name not in _ARRAY_CODECS and _factory(codec) is None:
            return f"the codec {codec.name!r} is not one that we can decode"
    return None
