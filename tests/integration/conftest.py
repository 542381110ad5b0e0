"""The worker process that tests of damage share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fuzzing import Worker


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    """Start a worker process when it is first asked, and end it after the tests of a file."""
    worker = Worker()
    yield worker
    worker.close()
