"""JMESPath: the part of the metadata that a client selects."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import jmespath
from jmespath.exceptions import JMESPathError

from schemas.errors import ErrorKind, InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

MAX_EXPRESSION = 4096
"""Longest expression, in characters."""


@functools.lru_cache(maxsize=64)
def selector(expression: str) -> Callable[[Mapping[str, Any]], Any]:
    """Return what a JMESPath expression makes of metadata.

    Raises
    ------
    InvalidRequestError
        ``bad-parameter``: it is no JMESPath expression, or one that cannot be applied.
    """
    if len(expression) > MAX_EXPRESSION:
        raise _bad(f"{len(expression)} characters; at most {MAX_EXPRESSION} are allowed")
    try:
        parsed = jmespath.compile(expression)
    except (JMESPathError, RecursionError) as error:
        raise _bad(_reason(error)) from None

    def selected(metadata: Mapping[str, Any]) -> Any:
        try:
            return parsed.search(metadata)
        except (JMESPathError, RecursionError, TypeError, ValueError, ArithmeticError) as error:
            raise _bad(_reason(error)) from None

    return selected


def _reason(error: Exception) -> str:
    return str(error).partition("\n")[0][:300] or "it is nested too deeply"


def _bad(reason: str) -> InvalidRequestError:
    return InvalidRequestError(
        ErrorKind.BAD_PARAMETER, f"select_metadata is no JMESPath expression: {reason}"
    )
