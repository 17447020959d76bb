"""Files that nobody took apart."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from lakeservice.client.display import size_text
from lakeservice.client.node import LakeNode

if TYPE_CHECKING:
    from schemas.structures import BytesStructure, StructureFamily


class File(LakeNode):
    """A file as it is: described and searchable, its content not readable as data."""

    family: ClassVar[StructureFamily] = "bytes"

    @property
    def structure(self) -> BytesStructure:
        """Its size, where that is known."""
        structure: Any = self._node.structure
        return structure  # type: ignore[no-any-return]

    def _facts(self) -> list[tuple[str, str]]:
        size = self.structure.size_bytes
        return [("size", "" if size is None else size_text(size))]
