"""Batches for TensorFlow: a `tf.data.Dataset` with a signature."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from lakeservice.client.loader.batch import DATA, Batch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lakeservice.client.loader.loader import Loader


def dataset(loader: Loader) -> Any:
    """Return the batches as a `tf.data.Dataset`; each run through it is an epoch.

    Elements are dicts of ``"data"`` (of tables, a dict of columns) and the labels, or
    what the transform returns: arrays, and dicts and tuples of them. The first batch is
    read to know their dtypes.
    """

    def batches() -> Iterator[Any]:
        for batch in loader:
            yield _plain(batch)

    first = _plain(loader.batch(0))
    return tf.data.Dataset.from_generator(batches, output_signature=_signature(first))


def _plain(batch: Any) -> Any:
    return {DATA: batch.data, **batch.labels} if isinstance(batch, Batch) else batch


def _signature(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _signature(inner) for name, inner in value.items()}
    if isinstance(value, tuple):
        return tuple(_signature(inner) for inner in value)
    array = np.asarray(value)
    dtype = tf.string if array.dtype.kind in "UO" else tf.as_dtype(array.dtype)
    shape = (None, *array.shape[1:]) if array.ndim else ()
    return tf.TensorSpec(shape, dtype)
