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

from machine import data_folder, describe

from semsearch import Encoder, ReadOptions, ingest, read_corpus


def corpora(folder: Path) -> dict[str, Path]:
    """Two corpora as files: STS-B sentences (short), Cranfield abstracts (long)."""
    data = data_folder()
    lines = (data / "sts/STS/STSBenchmark/sts-dev.csv").read_text(encoding="utf-8").splitlines()
    sentences = [cell for line in lines for cell in line.split("\t")[5:7]]
    short = folder / "short.jsonl"
    with short.open("w", encoding="utf-8") as file:
        for number, text in enumerate(sentences):
            file.write(json.dumps({"_id": str(number), "text": text}) + "\n")
    long = folder / "long.jsonl"
    with long.open("w", encoding="utf-8") as file:
        for line in (data / "cranfield/corpus.jsonl").read_text(encoding="utf-8").splitlines()[:400]:
            file.write(line + "\n")
    return {"short (STS-B sentences)": short, "long (Cranfield abstracts)": long}


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
            documents = list(read_corpus([str(path)], ReadOptions()))
            alone, whole = [], []
            for number in range(rounds):
                started = time.perf_counter()
                report = ingest(Path(temporary) / f"{path.stem}-{number}", read_corpus([str(path)]), encoder)
                whole.append(report.passages / (time.perf_counter() - started))
                texts = [f"{d.title} {d.text}".strip() for d in documents]
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
