"""Names of the objects that one job writes: all below its node, none twice."""

from __future__ import annotations

import dataclasses

from lakeservice.storage.layout import (
    array_part,
    chunk_index_name,
    data_prefix,
    inner_part,
    table_part,
    tree_name,
)


@dataclasses.dataclass(frozen=True)
class Names:
    """Names below ``data/<node id>``.

    Data of a file that has changed go beside the old ones, whose names other
    versions of the entry still hold: their names start with a generation.
    """

    node_id: str
    generation: str = ""
    """Empty for the first data of a node; random for later ones."""

    @property
    def prefix(self) -> str:
        """Prefix of everything that belongs to the node, of whatever generation."""
        return data_prefix(self.node_id)

    @property
    def tree(self) -> str:
        """The file's inner tree."""
        return self._of(tree_name(self.node_id))

    @property
    def chunk_index(self) -> str:
        """The chunk index of all arrays in the file."""
        return self._of(chunk_index_name(self.node_id))

    @property
    def array(self) -> str:
        """The one array of a file that is nothing else, converted."""
        return self._of(array_part(self.node_id, 0))

    @property
    def table(self) -> str:
        """The one table of a file that is nothing else, converted."""
        return self._of(table_part(self.node_id, 0))

    def inner(self, number: int) -> str:
        """Return the name of a converted array, or of a table without its suffix, in a file."""
        return self._of(inner_part(self.node_id, number))

    def owns(self, name: str) -> bool:
        """Tell whether an object below `prefix` is of this generation."""
        local = name.removeprefix(f"{self.prefix}/")
        return not self.generation or local.startswith(f"{self.generation}-")

    def _of(self, name: str) -> str:
        if not self.generation:
            return name
        return f"{self.prefix}/{self.generation}-{name.removeprefix(f'{self.prefix}/')}"


def index_beside(tree: str) -> str:
    """Return the name of the chunk index that was written with a tree."""
    return tree.removesuffix("tree") + "chunks.parquet"
