"""The measured constants of a plan: those of the project's own machine, and how others are read and written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from math import isfinite
from typing import Any

from semsearch.encoder.checkpoints.locate import DEFAULT_MODEL


@dataclass(frozen=True, slots=True, kw_only=True)
class Constants:
    """What was measured on a machine, with a model.

    Attributes:
        machine: Name of the processor.
        cores: Number of cores that were used.
        date: Day of the measurement, such as 2026-12-01.
        version: Version of semsearch that was measured.
        model: Name of the model, or the absolute path of its folder.
        fingerprint: Fingerprint of the encoder; empty if it is that of no calibration.
        precision: Precision in which the encoder computes.
        tokens_per_second: Tokens of passages that all cores together encode in a second.
        query_ms: Processor time to encode a query together with 15 others, in milliseconds.
        passages: Number of passages, of about 40 words, of the index whose times follow.
        dim: Dimension of its vectors.
        index_seconds: Seconds that it took to index them, without encoding.
        dense_ms, keyword_ms, hybrid_ms: Median time of a search by each mode, without encoding, in milliseconds.
    """

    machine: str
    cores: int
    date: str
    version: str
    model: str
    fingerprint: str
    precision: str
    tokens_per_second: float
    query_ms: float
    passages: int
    dim: int
    index_seconds: float
    dense_ms: float
    keyword_ms: float
    hybrid_ms: float

    @property
    def is_calibrated(self) -> bool:
        """Whether they come from `semsearch plan --calibrate` rather than from the documentation."""
        return bool(self.fingerprint)

    def to_json(self) -> dict[str, Any]:
        """Return the constants as a JSON object; `from_json` restores them."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: object) -> Constants:
        """Restore constants.

        Raises:
            ValueError: If a field is missing or unknown, or has the wrong type or a value that cannot be measured.
        """
        expected = {field.name: field.type for field in fields(cls)}
        if not isinstance(value, Mapping) or set(value) != set(expected):
            raise ValueError(f"expected an object with {', '.join(expected)}")
        for name, kind in expected.items():
            if not _is_possible(value[name], str(kind)):
                raise ValueError(f"{name} is {value[name]!r:.40}; expected {WORDS[str(kind)]}")
        return cls(**value)


WORDS = {"str": "text", "int": "a whole number above 0", "float": "a number above 0"}
"""Expected values by the name of their type."""


def _is_possible(value: object, kind: str) -> bool:
    if kind == "str":
        return isinstance(value, str) and bool(value)
    if isinstance(value, bool) or not isinstance(value, int if kind == "int" else int | float):
        return False
    return isfinite(value) and value > 0


DOCUMENTED = Constants(
    machine="2 cores of an AMD EPYC",
    cores=2,
    date="2026-11-30",
    version="0.1.0",
    model=DEFAULT_MODEL,
    fingerprint="",
    precision="bfloat16",
    tokens_per_second=13_500,  # 82 abstracts a second, of 165 tokens on average: "Indexing throughput and memory"
    query_ms=1.7,  # "Serving"
    passages=100_000,  # here and below: "Large indexes", growth of an index of windows
    dim=384,
    index_seconds=36,
    dense_ms=0.16,
    keyword_ms=1.7,
    hybrid_ms=4.9,
)
"""Constants from docs/explanation/benchmarks.md, in the sections that the comments name."""
