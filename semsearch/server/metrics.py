"""What Prometheus reads at /metrics: counts and times, never what was asked."""

from __future__ import annotations

import os
from collections.abc import Callable

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

SHARED_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""Environment variable of prometheus_client: where several workers add their numbers up."""

NAME = "semsearch"

SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 60)

TEXTS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)


class Metrics:
    """The numbers of one server."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self, waiting: Callable[[], int]) -> None:
        """Begin to count.

        Args:
            waiting: Gives the number of texts that wait to be encoded.
        """
        self._registry = registry = CollectorRegistry()
        self._waiting = waiting
        named = ("method", "route", "status")
        self._requests = Counter(f"{NAME}_requests", "Answered requests.", named, registry=registry)
        self._seconds = Histogram(
            f"{NAME}_request_seconds", "Time to the answer.", ("route",), buckets=SECONDS, registry=registry
        )
        self._batches = Histogram(f"{NAME}_batch_texts", "Texts encoded together.", buckets=TEXTS, registry=registry)
        self._encoding = Counter(f"{NAME}_encoding_seconds", "Time spent encoding.", registry=registry)
        self._gauge = Gauge(
            f"{NAME}_waiting_texts", "Texts that wait to be encoded.", registry=registry, multiprocess_mode="livesum"
        )

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request; `route` is the pattern of its path, not the path."""
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def batch(self, texts: int, seconds: float) -> None:
        """Count a batch of the encoder."""
        self._batches.observe(texts)
        self._encoding.inc(seconds)
        self._gauge.set(self._waiting())  # a worker that nobody asks for its numbers must not keep an old one

    def page(self) -> bytes:
        """In Prometheus's text format; of all workers where there are several."""
        self._gauge.set(self._waiting())
        registry = self._registry
        if os.environ.get(SHARED_FOLDER):
            registry = CollectorRegistry()
            MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return generate_latest(registry)
