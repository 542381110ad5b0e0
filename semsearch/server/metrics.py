"""Prometheus metrics at /metrics: counts and durations, never the content of requests."""

from __future__ import annotations

import os
from collections.abc import Callable

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

SHARED_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""Environment variable of prometheus_client: folder through which several workers combine their metrics."""

NAME = "semsearch"

SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 60)

TEXTS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)


class Metrics:
    """The metrics of one server."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self, waiting: Callable[[], int]) -> None:
        """Create all metrics, starting at zero.

        Args:
            waiting: Returns the number of texts that are waiting to be encoded.
        """
        self._registry = registry = CollectorRegistry()
        self._waiting = waiting
        named = ("method", "route", "status")
        self._requests = Counter(f"{NAME}_requests", "Answered requests.", named, registry=registry)
        self._seconds = Histogram(
            f"{NAME}_request_seconds", "Request duration in seconds.", ("route",), buckets=SECONDS, registry=registry
        )
        self._batches = Histogram(f"{NAME}_batch_texts", "Texts per encoded batch.", buckets=TEXTS, registry=registry)
        self._encoding = Counter(f"{NAME}_encoding_seconds", "Seconds spent encoding.", registry=registry)
        self._gauge = Gauge(
            f"{NAME}_waiting_texts", "Texts waiting to be encoded.", registry=registry, multiprocess_mode="livesum"
        )

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Record a request; `route` is the pattern of its path, not the path itself."""
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def batch(self, texts: int, seconds: float) -> None:
        """Record a batch of the encoder."""
        self._batches.observe(texts)
        self._encoding.inc(seconds)
        self._gauge.set(self._waiting())  # a worker that is not scraped itself must not keep a stale value

    def page(self) -> bytes:
        """Return the metrics in Prometheus's text format, of all workers if there are several."""
        self._gauge.set(self._waiting())
        registry = self._registry
        if os.environ.get(SHARED_FOLDER):
            registry = CollectorRegistry()
            MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return generate_latest(registry)
