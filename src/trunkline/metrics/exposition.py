"""The text that Prometheus reads, written by its client library, in slices.

The library writes a registry in one go, which for ten thousand queues is most
of a second. So it is given a metric at a time, and of one with many samples
some 150, with whose text the event loop is held up for about a millisecond;
the head of a metric (HELP and TYPE) is kept from its first slice alone.

The library is imported when somebody looks for the first time, on a thread:
a server that nobody watches has neither its memory nor its start time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from trunkline.kernel.measures import Histogram
from trunkline.metrics.table import Metric

if TYPE_CHECKING:
    from prometheus_client.registry import Collector

Samples = Iterable[tuple[Sequence[str], float | Histogram]]
"""(label values in the order of the metric's labels, value)."""
Family = tuple[Metric, Samples]

_SLICE = 150
"""Samples written at a time: about a millisecond."""
_END = b"# EOF\n"


class Pace:
    """``rest`` gives way to others once ``seconds`` of the loop's time have passed since it did so before."""

    def __init__(self, monotonic: Callable[[], float], seconds: float = 0.001) -> None:
        self._monotonic = monotonic
        self._seconds = seconds
        self._since = monotonic()

    async def rest(self) -> None:
        if self._monotonic() - self._since > self._seconds:
            await asyncio.sleep(0)
            self._since = self._monotonic()


async def load() -> Any:
    """The client library. Beside the event loop, for importing it takes some twenty milliseconds."""
    return await asyncio.get_running_loop().run_in_executor(None, _load)


def _load() -> Any:
    import prometheus_client.exposition
    import prometheus_client.gc_collector
    import prometheus_client.metrics_core
    import prometheus_client.process_collector

    return prometheus_client


async def write(
    library: Any, families: Iterable[Family], accept: str, rest: Callable[[], Awaitable[None]]
) -> tuple[bytes, str]:
    """The text of ``families``, then of the process and of Python, and its content type, as ``accept`` asks."""
    encode, content_type = library.exposition.choose_encoder(accept)
    parts: list[bytes] = []
    for metric, samples in families:
        rows = iter(samples)
        slice_ = list(islice(rows, _SLICE))
        parts.append(_encoded(encode, _family(library, metric, slice_)))
        while slice_ := list(islice(rows, _SLICE)):
            await rest()
            parts.append(_encoded(encode, _family(library, metric, slice_)).split(b"\n", 2)[2])
        await rest()
    for collector in (
        library.process_collector.ProcessCollector(registry=None),
        library.gc_collector.GCCollector(registry=_Nowhere()),
    ):
        for family in collector.collect():
            parts.append(_encoded(encode, family))
    if content_type.startswith("application/openmetrics-text"):
        parts.append(_END)
    return b"".join(parts), content_type


def _family(library: Any, metric: Metric, samples: list[tuple[Sequence[str], float | Histogram]]) -> Any:
    core = library.metrics_core
    kinds = {
        "counter": core.CounterMetricFamily,
        "gauge": core.GaugeMetricFamily,
        "histogram": core.HistogramMetricFamily,
    }
    family = kinds[metric.kind](metric.name, metric.help, labels=metric.labels)
    for labels, value in samples:
        if isinstance(value, Histogram):
            family.add_metric(labels, list(_cumulated(value)), sum_value=value.sum)
        else:
            family.add_metric(labels, value)
    return family


def _cumulated(histogram: Histogram) -> Iterator[tuple[str, float]]:
    total = 0
    for bound, count in zip((*map(float, histogram.bounds), "+Inf"), histogram.counts, strict=True):
        total += count
        yield str(bound), total


def _encoded(encode: Callable[[Collector], bytes], family: Any) -> bytes:
    return encode(_Alone(family)).removesuffix(_END)


class _Alone:
    """A registry of one metric."""

    def __init__(self, family: Any) -> None:
        self._family = family

    def collect(self) -> Iterable[Any]:
        return (self._family,)


class _Nowhere:
    """Where a collector registers that is only to be asked once."""

    def register(self, collector: Any) -> None:
        return
