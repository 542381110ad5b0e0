"""How much of the encoder's own speed is left when it indexes: reading, chunking, SQLite, FTS5 and FAISS included.

Both sides encode the same texts with the same encoder object; rounds alternate, so that a noisy machine hits both.

    python bench/ingest_throughput.py [--rounds 5]
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

from machine import describe, long_texts, short_texts

from semsearch import Chunking, Encoder, index_corpus, read_corpus


def corpora(folder: Path) -> dict[str, Path]:
    """The two corpora as files."""
    texts = {"short (STS-B sentences)": short_texts(), "long (Cranfield abstracts)": long_texts()[:400]}
    paths = {}
    for name, corpus in texts.items():
        paths[name] = folder / f"{name.split()[0]}.jsonl"
        lines = [json.dumps({"_id": str(number), "text": text}) for number, text in enumerate(corpus)]
        paths[name].write_text("\n".join(lines), encoding="utf-8")
    return paths


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    encoder = Encoder.load()
    print(f"{describe()}\n")
    print("| corpus | texts | encoder alone, texts/s | index end to end, texts/s | ratio, median | ratio, min to max |")
    print("|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as temporary:
        for name, path in corpora(Path(temporary)).items():
            chunking = Chunking(on_long="truncate")  # so that both sides encode the same texts
            texts = [json.loads(line)["text"] for line in path.read_text(encoding="utf-8").splitlines()]
            alone, whole = [], []
            for number in range(rounds):
                started = time.perf_counter()
                folder = Path(temporary) / f"{path.stem}-{number}"
                report = index_corpus(folder, read_corpus([str(path)]), encoder, chunking=chunking)
                whole.append(report.passages / (time.perf_counter() - started))
                started = time.perf_counter()
                encoder.encode_passages(texts)
                alone.append(len(texts) / (time.perf_counter() - started))
            ratios = [a / b for a, b in zip(whole, alone, strict=True)]
            print(
                f"| {name} | {len(texts):,} | {statistics.median(alone):.1f} | {statistics.median(whole):.1f} "
                f"| {statistics.median(ratios):.3f} | {min(ratios):.3f} to {max(ratios):.3f} |"
            )


if __name__ == "__main__":
    main()
