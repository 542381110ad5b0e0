"""Description of the machine that measurements are made on, and access to the real data."""

from __future__ import annotations

import json
import os
import platform
from importlib.metadata import version
from pathlib import Path

from semsearch.planning.machine import processor


def describe() -> str:
    """Describe the machine and the package versions in one line."""
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "transformers", "faiss-cpu"))
    return f"{os.cpu_count()} cores, {processor()}; Python {platform.python_version()}, {packages}"


def data_folder() -> Path:
    """Return the folder with sts/ and cranfield/: $SEMSEARCH_DATA, or else shared/data next to the checkout."""
    folder = Path(os.environ.get("SEMSEARCH_DATA") or Path(__file__).parents[2] / "shared" / "data")
    if not folder.is_dir():
        raise SystemExit(f"no data in {folder}; set SEMSEARCH_DATA to the folder that holds sts/ and cranfield/")
    return folder


def short_texts() -> list[str]:
    """Return the sentences of STS-B's development set, about 15 tokens each."""
    lines = (data_folder() / "sts/STS/STSBenchmark/sts-dev.csv").read_text(encoding="utf-8").splitlines()
    return [cell for line in lines for cell in line.split("\t")[5:7]]


def long_texts() -> list[str]:
    """Return Cranfield's abstracts with their titles, about 200 tokens each."""
    lines = (data_folder() / "cranfield/corpus.jsonl").read_text(encoding="utf-8").splitlines()
    documents = [json.loads(line) for line in lines]
    return [f"{document['title']} {document['text']}" for document in documents if document["text"]]
