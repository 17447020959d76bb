"""Pinned nodes: what was read is what there was when the loader was made."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from schemas.errors import ConflictError, ErrorKind

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from lakeservice.client.remote import Remote


class Pins:
    """Id and version of some nodes, as they have to stay.

    Parameters
    ----------
    remote
        Where the lake answers; nodes of the past cannot change and are not asked about.
    nodes
        Nodes as they were described.
    """

    def __init__(self, remote: Remote, nodes: Sequence[Any]) -> None:
        self._remote = remote
        self._pinned = [(node.path, node.id, node.version) for node in nodes]

    def check(self, numbers: Iterable[int] | None = None) -> None:
        """Refuse nodes that have changed, all or these; call it after reading them.

        Raises
        ------
        ConflictError
            ``revision-conflict``, naming the first that has changed or is gone.
        """
        if self._remote.as_of is not None:
            return
        asked = self._pinned if numbers is None else [self._pinned[n] for n in numbers]
        present = self._remote.versions([path for path, _, _ in asked])
        for (path, identity, version), now in zip(asked, present, strict=True):
            if now != (identity, version):
                what = "is gone" if now is None else f"has changed: version {now[1]}"
                if now is not None and now[0] != identity:
                    what = "is another node now"
                raise ConflictError(
                    ErrorKind.REVISION_CONFLICT,
                    f"{path!r} {what}, and the loader was made for version {version}; "
                    "make a new one, or read the past with lake.as_of(version)",
                )

    def fingerprint(self, lengths: Iterable[int]) -> str:
        """Return a digest of ids, versions and numbers of samples, in order."""
        digest = hashlib.blake2b(digest_size=16)
        for (_, identity, version), length in zip(self._pinned, lengths, strict=True):
            digest.update(f"{identity} {version} {length}\n".encode())
        return digest.hexdigest()
