"""Ranks: which of several processes that train together this one is."""

from __future__ import annotations

import sys

from schemas.errors import ErrorKind, InvalidRequestError


def rank_here(rank: int | None, world_size: int | None) -> tuple[int, int]:
    """Return rank and world size: what was given, or what `torch.distributed` says, or 0 of 1.

    PyTorch is asked only where it has been imported and its process group initialised.

    Raises
    ------
    InvalidRequestError
        ``bad-request``: only one of them was given.
    """
    if rank is not None and world_size is not None:
        return rank, world_size
    if rank is not None or world_size is not None:
        raise InvalidRequestError(
            ErrorKind.BAD_REQUEST,
            f"rank={rank} and world_size={world_size}; give both, or neither",
        )
    distributed = sys.modules.get("torch.distributed")
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1
