"""Nested data of variable length, as Awkward Array."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from lakeservice.client.optional import needed
from lakeservice.client.table import Rows

if TYPE_CHECKING:
    import numpy as np

    from schemas.structures import AwkwardStructure, RaggedStructure, StructureFamily


class _Nested(Rows):
    """What Awkward Array reads out of Arrow lists."""

    def __getitem__(self, index: Any) -> Any:
        return self.read()[index]

    def read(self, columns: Any = None, where: Any = None) -> Any:
        """Return the data as an `ak.Array`.

        Parameters
        ----------
        columns
            Fields of the records wanted; None for all.
        where
            Only the elements for which this holds; its keys are fields.

        Raises
        ------
        ImportError
            ``awkward`` is not installed; `to_arrow` and `batches` do without.
        """
        awkward = needed("awkward", "awkward")
        return awkward.from_arrow(self.to_arrow(columns, where))


class Awkward(_Nested):
    """Nested data of variable length, as Awkward Array describes it."""

    family: ClassVar[StructureFamily] = "awkward"

    @property
    def structure(self) -> AwkwardStructure:
        """Length and Awkward's form."""
        structure: Any = self._node.structure
        return structure  # type: ignore[no-any-return]

    def __len__(self) -> int:
        return self.structure.length

    def _expected_rows(self) -> int | None:
        return self.structure.length

    def _facts(self) -> list[tuple[str, str]]:
        fields = self.structure.form.get("fields") or []
        return [
            ("length", f"{self.structure.length} elements"),
            ("fields", f"({', '.join(map(str, fields))})" if fields else ""),
        ]


class Ragged(_Nested):
    """An array with axes of variable length."""

    family: ClassVar[StructureFamily] = "ragged"

    @property
    def structure(self) -> RaggedStructure:
        """Shape (None where the length varies), dtype and number of elements."""
        structure: Any = self._node.structure
        return structure  # type: ignore[no-any-return]

    @property
    def shape(self) -> tuple[int | None, ...]:
        """Length of each axis; None where it varies."""
        return self.structure.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """NumPy dtype of an element."""
        return self.structure.data_type.to_numpy()

    def __len__(self) -> int:
        return self.structure.shape[0] or 0

    def _expected_rows(self) -> int | None:
        return self.structure.shape[0] if self.structure.shape else None

    def _facts(self) -> list[tuple[str, str]]:
        lengths = ("var" if length is None else str(length) for length in self.shape)
        return [("shape", " × ".join(lengths)), ("dtype", str(self.dtype))]
