"""Uploads: what a write sends, as a request and record batches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pyarrow as pa

    from schemas.ticket import WriteRequest


@dataclass(frozen=True)
class Upload:
    """Data to send, not yet sent."""

    request: WriteRequest
    schema: pa.Schema
    batches: Callable[[], Iterator[pa.RecordBatch]]
    """Starts from the first batch each time it is called."""
    repeatable: bool = True
    """False where the data comes from an iterator that can be run through only once."""
    size_bytes: int | None = None
    """Bytes of all batches; None where that is not known before."""
