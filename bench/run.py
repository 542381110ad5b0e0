"""Run every benchmark, one after another, and print the results as Markdown: `make bench`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

MEASUREMENTS = (
    *("encoding", "encoding_memory", "precision", "startup", "search_latency", "ingest_throughput", "ingest_memory"),
    *(
        "fusion",
        "rerank",
        "confidence",
        "languages",
        "filters",
        "keywords",
        "batch_tokens",
        "embeddings_api",
        "sts_poolers",
        "serve",
    ),
    *("checkpoints", "training", "training_quality"),
)

for name in MEASUREMENTS:
    print(f"\n## {name.replace('_', ' ')}\n", flush=True)
    subprocess.run([sys.executable, Path(__file__).with_name(f"{name}.py")], check=True)
