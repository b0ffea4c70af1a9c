"""The text of /metrics: the client library's, put together of slices."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import Any

import prometheus_client
import pytest
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from trunkline.kernel.measures import Histogram
from trunkline.metrics.exposition import Family, load, write
from trunkline.metrics.table import METRICS, Metric

QUEUES = Metric("trunkline_depth", "gauge", "How many.", ("queue",))
SENT = Metric("trunkline_sent_total", "counter", "How many were sent.", ("queue",))
TOOK = Metric("trunkline_took_seconds", "histogram", "How long it took.")
OPENMETRICS = "application/openmetrics-text;version=1.0.0"


def written(families: list[Family], accept: str = "") -> tuple[str, str, int]:
    """The text, its content type, and how often it gave way."""
    rests = 0

    async def rest() -> None:
        nonlocal rests
        rests += 1

    async def scenario() -> tuple[bytes, str]:
        return await write(await load(), families, accept, rest)

    text, content_type = asyncio.run(scenario())
    return text.decode(), content_type, rests


def families() -> list[Family]:
    took = Histogram((0.1, 1.0))
    for value in (0.05, 0.1, 0.2, 5.0):
        took.observe(value)
    return [
        (QUEUES, [((f"q{number}",), number) for number in range(1_000)]),
        (SENT, [(('wei"rd\\\n',), 3)]),
        (TOOK, [((), took)]),
    ]


def value(found: Any, name: str, **labels: str) -> float:
    [sample] = [each for family in found for each in family.samples if each.name == name and each.labels == labels]
    return float(sample.value)


@pytest.mark.parametrize("accept", ["", "text/plain;version=0.0.4", OPENMETRICS])
def test_what_was_written_in_slices_reads_as_one_text(accept: str) -> None:
    text, content_type, rests = written(families(), accept)
    assert rests > 5
    assert text.count("# TYPE trunkline_depth ") == 1
    if accept == OPENMETRICS:
        assert content_type.startswith("application/openmetrics-text; version=1.0.0")
        assert text.endswith("# EOF\n") and text.count("# EOF") == 1
        found = list(openmetrics.text_string_to_metric_families(text))
    else:
        assert content_type.startswith("text/plain; version=")
        found = list(text_string_to_metric_families(text))
    for number in range(1_000):
        assert value(found, "trunkline_depth", queue=f"q{number}") == number
    assert value(found, "trunkline_sent_total", queue='wei"rd\\\n') == 3


def test_a_histogram_is_cumulative_and_its_bounds_are_inclusive() -> None:
    found = list(text_string_to_metric_families(written(families())[0]))
    assert [value(found, "trunkline_took_seconds_bucket", le=each) for each in ("0.1", "1.0", "+Inf")] == [2, 3, 4]
    assert value(found, "trunkline_took_seconds_count") == 4
    assert value(found, "trunkline_took_seconds_sum") == pytest.approx(5.35)


def test_it_is_what_the_library_writes_in_one_go() -> None:
    class Registry:
        def collect(self) -> list[Any]:
            family = prometheus_client.metrics_core.GaugeMetricFamily(QUEUES.name, QUEUES.help, labels=QUEUES.labels)
            for labels, number in families()[0][1]:
                family.add_metric(labels, number)
            return [family]

    whole = prometheus_client.generate_latest(Registry()).decode()
    assert written(families()[:1])[0].startswith(whole)


def test_names_follow_prometheus_conventions() -> None:
    assert len({each.name for each in METRICS}) == len(METRICS) > 30
    for each in METRICS:
        assert each.name.startswith("trunkline_")
        assert each.name.endswith("_total") == (each.kind == "counter"), each.name
        assert each.help.endswith(".")
        assert not any(unit in each.name for unit in ("_ms", "_milli", "_kb", "_mb")), "base units only"


def test_a_server_that_nobody_watches_does_not_import_the_library() -> None:
    program = "import sys, trunkline.node; print('prometheus_client' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert shown.stdout == "False\n"
