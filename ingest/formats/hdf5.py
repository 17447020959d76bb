"""HDF5 and NeXus: groups become containers, datasets arrays, attributes metadata."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ingest.formats.hdf5_files import BrokenError, OpenFiles
from ingest.formats.hdf5_tree import Tree
from ingest.found import Found
from ingest.source import unreadable

if TYPE_CHECKING:
    from ingest.source import Source

MAGIC = b"\x89HDF\r\n\x1a\n"
_FIRST_PLACES = (0, 512, 1024, 2048)


class Hdf5Format:
    """One entry per file; what is inside lies below it."""

    media_type = "application/x-hdf5"
    suffixes = (".h5", ".hdf5", ".nxs", ".nx5", ".hdf", ".nexus", ".cxi", ".he5", ".nc", ".mat")

    def sniff(self, source: Source) -> bool:
        """Tell whether HDF5's signature is at the start, or behind a user block."""
        head = source.head
        if any(head.startswith(MAGIC, place) for place in _FIRST_PLACES):
            return True
        return source.path.suffix.lower() in self.suffixes and _has_large_user_block(source)

    def open(self, source: Source) -> Found:
        """Describe the file from its headers; of values only single ones and texts are read.

        Raises
        ------
        InvalidRequestError
            ``unreadable-file``: no HDF5 file, truncated or damaged, with HDF5's reason.
        """
        try:
            files = OpenFiles(source)
        except BrokenError as broken:
            raise unreadable(source.name, str(broken)) from None
        try:
            tree = Tree(files)
        except BaseException:
            files.close()
            raise
        return Found(
            items=tree.items,
            metadata=tree.metadata,
            specs=tree.specs,
            assets=files.assets,
            problems=tree.problems,
            on_close=files.close,
        )


def _has_large_user_block(source: Source) -> bool:
    """Look behind user blocks of 4096 bytes and more; they double in size."""
    place = 4096
    try:
        with source.path.open("rb", buffering=0) as file:
            while place < source.size_bytes:
                file.seek(place)
                if file.read(len(MAGIC)) == MAGIC:
                    return True
                place *= 2
    except OSError:
        return False
    return False
