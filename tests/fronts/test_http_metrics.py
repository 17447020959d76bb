"""What the server tells of itself, read with Prometheus' own parser."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prometheus_client.parser import text_string_to_metric_families

if TYPE_CHECKING:
    from starlette.testclient import TestClient

ROUTE = "/api/v1/metadata/{path:path}"


def samples(http: TestClient) -> dict[tuple[str, str | None], float]:
    answer = http.get("/api/v1/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=")
    found: dict[tuple[str, str | None], Any] = {}
    for family in text_string_to_metric_families(answer.text):
        for sample in family.samples:
            if sample.labels.get("method", "GET") == "GET":
                key = (sample.name, sample.labels.get("route"))
                found[key] = found.get(key, 0) + sample.value
    return found


def test_requests_are_counted_by_route_and_never_by_path(http: TestClient) -> None:
    before = samples(http)
    sent = len(http.get("/api/v1/metadata/").content) + len(http.get("/api/v1/metadata/x").content)
    http.get("/api/v1/nowhere/at/all")
    after = samples(http)

    def grown(name: str, route: str) -> float:
        return after[name, route] - before.get((name, route), 0)

    assert grown("lakeservice_http_requests_total", ROUTE) == 2
    assert grown("lakeservice_http_request_duration_seconds_count", ROUTE) == 2
    assert grown("lakeservice_http_sent_bytes_total", ROUTE) == sent
    assert grown("lakeservice_http_requests_total", "none") == 1
    assert not any(route and "nowhere" in route for _, route in after)


def test_commits_are_told(http: TestClient) -> None:
    before = samples(http)["lakeservice_log_version", None]
    node = {"id": "counted", "structure_family": "container", "metadata": {}, "specs": []}
    made = http.post("/api/v1/metadata/", json=node | {"data_sources": []})
    assert made.status_code == 200
    assert samples(http)["lakeservice_log_version", None] == before + 1


def test_metrics_need_a_key(http: TestClient) -> None:
    assert http.get("/api/v1/metrics", headers={"authorization": ""}).status_code == 401


def test_answers_say_what_they_took(http: TestClient) -> None:
    told = http.get("/api/v1/metadata/").headers.get_list("server-timing")
    names = {part.partition(";")[0] for part in ", ".join(told).split(", ")}
    assert names == {"work", "app"}
    assert "app;dur=" in http.get("/api/v1/nowhere").headers["server-timing"]
