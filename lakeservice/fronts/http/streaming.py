"""An answer in pieces: one is sent while the next is made in a worker thread."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread

from schemas.errors import LakeError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from anyio.streams.memory import MemoryObjectSendStream
    from starlette.types import Message, Receive, Send

    from lakeservice.export.exporter import Piece

logger = logging.getLogger(__name__)

AHEAD = 1
"""Pieces that are made, but not yet sent, besides the one that is being made."""
_END: Piece = b""


async def streamed(
    first: Piece,
    rest: Iterator[Piece],
    limiter: anyio.CapacityLimiter,
    receive: Receive,
    send: Send,
    identity: str,
) -> None:
    """Send piece after piece; stop when the client goes or the source fails.

    An answer that fails in the middle is left unfinished, which closes the
    connection: it is too late for a status, and so the client sees that it is
    not whole.

    Parameters
    ----------
    identity
        Id of the request, for the log.
    """
    put, take = anyio.create_memory_object_stream[bytes | memoryview](AHEAD)
    whole = False

    async def produce(put: MemoryObjectSendStream[Piece]) -> None:
        nonlocal whole
        async with put:
            try:
                while len(
                    piece := await anyio.to_thread.run_sync(next, rest, _END, limiter=limiter)
                ):
                    await put.send(piece)
                whole = True
            except LakeError as error:
                logger.warning("request %s ends in the middle: %s", identity, error)
            except Exception:
                logger.exception("request %s failed in the middle", identity)

    async def watch() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        tasks.cancel_scope.cancel()

    async with anyio.create_task_group() as tasks, take:
        tasks.start_soon(produce, put)
        await send(part(first, more=True))
        tasks.start_soon(watch)
        async for piece in take:
            await send(part(piece, more=True))
        if whole:
            await send(part(b"", more=False))
        tasks.cancel_scope.cancel()


def part(piece: Piece, *, more: bool) -> Message:
    """Return a message that sends some bytes of an answer."""
    return {"type": "http.response.body", "body": piece, "more_body": more}
