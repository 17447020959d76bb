"""Arrays to NPY: a header, then the elements as they come."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable


def write_npy(
    file: BinaryIO,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    blocks: Iterable[np.ndarray[Any, Any]],
) -> None:
    """Write blocks in C order as one NPY array (format 2.0)."""
    header = {
        "descr": np.lib.format.dtype_to_descr(dtype),
        "fortran_order": False,
        "shape": tuple(shape),
    }
    np.lib.format.write_array_header_2_0(file, header)
    for block in blocks:
        file.write(np.ascontiguousarray(block).reshape(-1).view(np.uint8).data)
