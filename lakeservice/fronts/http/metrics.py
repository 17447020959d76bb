"""What the server counts, in the form that Prometheus reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, Counter, Gauge, Histogram
from prometheus_client.exposition import generate_latest

from lakeservice.fronts.http.call import Reply
from lakeservice.fronts.http.operations import Operation

if TYPE_CHECKING:
    from lakeservice.fronts.http.call import Call

LABELS = ("method", "route")
ELSEWHERE = "none"
"""Route of requests for addresses that there are not."""

# One set for the process, as Prometheus expects.
REQUESTS = Counter("lakeservice_http_requests", "Requests that were answered.", (*LABELS, "status"))
SECONDS = Histogram(
    "lakeservice_http_request_duration",
    "From the head of a request to the last byte of its answer.",
    LABELS,
    unit="seconds",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)
SENT = Counter("lakeservice_http_sent", "Bytes of answers, as sent.", LABELS, unit="bytes")
ACTIVE = Gauge("lakeservice_http_active_requests", "Requests that are being answered.")
COMMITS = Gauge("lakeservice_log_version", "Commits in the lake's log, whoever made them.")
MEMORY = Gauge("lakeservice_arrow_memory", "Memory that Arrow holds.", unit="bytes")


def observed(method: str, route: str, status: int, seconds: float, sent: int) -> None:
    """Count a request that has been answered."""
    REQUESTS.labels(method, route, str(status)).inc()
    SECONDS.labels(method, route).observe(seconds)
    SENT.labels(method, route).inc(sent)


def metrics(call: Call) -> Reply:
    """Return the counters and timings of this server, for Prometheus."""
    COMMITS.set(call.service.nodes.version)
    MEMORY.set(pa.total_allocated_bytes())
    return Reply(generate_latest(REGISTRY), CONTENT_TYPE_LATEST)


OPERATIONS = (
    Operation(
        method="GET",
        path="/metrics",
        work=metrics,
        scope="metrics",
        answers=(CONTENT_TYPE_LATEST,),
    ),
)
