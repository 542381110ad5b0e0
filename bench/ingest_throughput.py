"""Speed of indexing relative to encoding alone: reading, chunking, SQLite, FTS5 and FAISS included.

Both sides encode the same texts with the same encoder object; the rounds alternate, so that noise on the machine
affects both alike.

    python bench/ingest_throughput.py [--rounds 5]
"""

from __future__ import annotations

import json
import statistics
import tempfile
from pathlib import Path

from machine import describe, long_texts, short_texts
from measure import ratios, rounds, spread, take_turns

from semsearch import Chunking, Encoder, Index


def corpora(folder: Path) -> dict[str, Path]:
    """Write the two corpora to files and return their paths."""
    texts = {"short (STS-B sentences)": short_texts(), "long (Cranfield abstracts)": long_texts()[:400]}
    paths = {}
    for name, corpus in texts.items():
        paths[name] = folder / f"{name.split()[0]}.jsonl"
        lines = [json.dumps({"_id": str(number), "text": text}) for number, text in enumerate(corpus)]
        paths[name].write_text("\n".join(lines), encoding="utf-8")
    return paths


def main() -> None:
    n = rounds(__doc__, 5)
    encoder = Encoder.load()
    chunking = Chunking(on_long="truncate")  # so that both sides encode the same texts
    print(f"{describe()}\n")
    print("| corpus | texts | encoder alone, texts/s | index end to end, texts/s | ratio |")
    print("|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as temporary:
        for name, path in corpora(Path(temporary)).items():
            texts = [json.loads(line)["text"] for line in path.read_text(encoding="utf-8").splitlines()]

            def index(path: Path = path) -> None:
                folder = Path(tempfile.mkdtemp(dir=temporary))
                with Index.open(folder, create=True, encoder=encoder, chunking=chunking) as index:
                    index.add(path)

            def encode(texts: list[str] = texts) -> None:
                encoder.encode_documents(texts)

            alone, whole = take_turns({"alone": encode, "whole": index}, n).values()
            speeds = [len(texts) / statistics.median(spent) for spent in (alone, whole)]
            print(
                f"| {name} | {len(texts):,} | {speeds[0]:.0f} | {speeds[1]:.0f} | {spread(ratios(alone, whole))} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
