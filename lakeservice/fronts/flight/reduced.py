"""Reductions over Flight: an answer as tensors, a histogram as rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
from pyarrow import flight

from lakeservice.fronts.flight.arrays import TensorForm
from lakeservice.fronts.flight.guard import guarded_stream
from lakeservice.service.reductions import HISTOGRAM_SCHEMA
from schemas.ticket import HistogramArray

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lakeservice.service import Service
    from schemas.entry import Node
    from schemas.ticket import Reduction


def reduced_schema(service: Service, node: Node, request: Reduction) -> pa.Schema:
    """Return the schema of an answer; refuses what cannot be answered, and reads nothing."""
    if isinstance(request, HistogramArray):
        service.reductions.check_histogram(node, request)
        return HISTOGRAM_SCHEMA
    answer = service.reductions.plan(node, request).answer
    return TensorForm(answer.shape, answer, answer.dims).schema


def reduced_stream(
    service: Service, node: Node, request: Reduction, is_over: Callable[[], bool]
) -> flight.FlightDataStream:
    """Return the stream of an answer.

    Parameters
    ----------
    is_over
        Tells whether the client is gone: then nothing more is read.
    """
    batches: Iterator[pa.RecordBatch]
    if isinstance(request, HistogramArray):
        service.reductions.check_histogram(node, request)
        asked = request
        batches = (service.reductions.histogram(node, asked, is_over) for _ in range(1))
        return flight.GeneratorStream(HISTOGRAM_SCHEMA, guarded_stream(batches))
    plan = service.reductions.plan(node, request)
    form = TensorForm(plan.answer.shape, plan.answer, plan.answer.dims)
    batches = form.batches(service.reductions.read(node, plan, is_over))
    return flight.GeneratorStream(form.schema, guarded_stream(batches))
