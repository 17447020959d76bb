"""Record batches that clients send: looked through before anything follows their offsets."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from schemas.errors import ErrorKind, InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


def checked(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Yield batches that hold what they claim.

    Arrow follows offsets blindly: those beyond what was sent would end the process, or
    bring what else is in its memory.

    Raises
    ------
    InvalidRequestError
        ``bad-body``: offsets or indices that leave their buffers, text that is no UTF-8.
    """
    for batch in batches:
        try:
            batch.validate(full=True)
        except pa.ArrowException as error:
            raise InvalidRequestError(
                ErrorKind.BAD_BODY, f"a record batch contradicts itself: {str(error)[:300]}"
            ) from None
        yield batch
