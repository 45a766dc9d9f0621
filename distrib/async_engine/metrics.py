"""Ray metrics of a training, in the dashboard's Prometheus endpoint."""

from __future__ import annotations

from ray.util.metrics import Counter, Gauge, Histogram

from distrib.async_engine.messages import Report

_STALENESS = [0.5, 1.5, 2.5, 4.5, 8.5, 16.5, 32.5, 64.5, 128.5, 256.5, 1024.5]
_LATENCY_S = [0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100]


class Meters:
    """What a dispatcher measures; ``tags`` tell trainings apart."""

    def __init__(self, tags: dict[str, str]) -> None:
        keys = tuple(tags)
        self._examples = Counter(
            "soloist_examples_total", "Examples trained and applied on every shard", keys
        )
        self._pulled = Counter("soloist_pulled_bytes_total", "Bytes that workers pulled", keys)
        self._pushed = Counter("soloist_pushed_bytes_total", "Bytes that workers pushed", keys)
        self._workers = Gauge(
            "soloist_workers", "Workers that were heard of within the last lease_s", keys
        )
        self._staleness = Histogram(
            "soloist_staleness_windows",
            "Windows of others between a pull and its push",
            _STALENESS,
            keys,
        )
        self._latency = Histogram(
            "soloist_window_seconds", "From the lease of a window to its report", _LATENCY_S, keys
        )
        for meter in (
            self._examples,
            self._pulled,
            self._pushed,
            self._workers,
            self._staleness,
            self._latency,
        ):
            meter.set_default_tags(tags)

    def window(self, report: Report, *, latency_s: float) -> None:
        """Count an applied window."""
        self._examples.inc(report.examples)
        self._pulled.inc(report.bytes_pulled)
        self._pushed.inc(report.bytes_pushed)
        self._latency.observe(latency_s)
        for each in report.staleness:
            self._staleness.observe(each.updates)

    def workers(self, heard_of: int) -> None:
        """Tell how many workers there are."""
        self._workers.set(heard_of)
