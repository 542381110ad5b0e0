"""Real English texts in large numbers, from what is installed on this machine, with their vectors.

The texts are the docstrings of the standard library and of all installed packages, the packages' descriptions, manual
pages, and the data next to the checkout. They are cut into distinct sentences, or into overlapping windows of words,
shuffled with a fixed seed. Vectors are encoded once, by the default model, into $SEMSEARCH_BENCH or
~/.cache/semsearch-bench; an interrupted run resumes.

    python bench/large_corpus.py [--kind sentences|windows] [--n 300000]
"""

from __future__ import annotations

import argparse
import ast
import gzip
import json
import os
import random
import re
import sys
import sysconfig
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib.metadata import distributions
from pathlib import Path

import numpy as np
from machine import data_folder

from semsearch import Encoder
from semsearch.arrays import Vectors
from semsearch.encoder.encoder import Progress

SHARD = 20_000
"""Number of texts that are encoded before their vectors are saved."""

WINDOW, STEP = 40, 10
"""Words in a window, and between the beginnings of two windows of the same text."""

SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z])|\n\s*\n")
ROFF = re.compile(r"\\f.|\\&|\\-|\\\(..|\\\[[^]]*\]|\\s[+-]?\d|^[.'][A-Za-z]+ ?", re.MULTILINE)


def docstrings() -> Iterator[str]:
    """Yield the docstrings of every Python file of the standard library and of installed packages."""
    paths = {Path(sysconfig.get_path(name)) for name in ("stdlib", "purelib", "platlib")}
    for path in sorted(file for folder in paths for file in folder.rglob("*.py")):
        try:
            tree = ast.parse(path.read_bytes())
        except (SyntaxError, ValueError, RecursionError):
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                yield ast.get_docstring(node) or ""


def descriptions() -> Iterator[str]:
    """Yield the long descriptions of installed packages."""
    for one in sorted(distributions(), key=lambda each: each.metadata["Name"]):
        yield str(one.metadata.get_payload())


def manuals() -> Iterator[str]:
    """Yield the English manual pages of this machine, if it has some, without most of their markup."""
    folders = sorted(Path("/usr/share/man").glob("man*"))
    for path in (file for folder in folders for file in sorted(folder.rglob("*.gz"))):
        if path.is_file():
            lines = gzip.decompress(path.read_bytes()).decode("utf-8", "replace").splitlines()
            text = "\n".join("\n" if line.startswith((".SH", ".P", ".TP", '.\\"')) else line for line in lines)
            yield ROFF.sub("", text)


def data() -> Iterator[str]:
    """Yield the abstracts of Cranfield and the sentences of the STS tasks."""
    folder = data_folder()
    for line in (folder / "cranfield/corpus.jsonl").read_text(encoding="utf-8").splitlines():
        yield json.loads(line)["text"]
    for path in sorted((folder / "sts").rglob("*.txt")):
        yield from path.read_text(encoding="utf-8", errors="replace").replace("\t", "\n").splitlines()


def sources() -> Iterator[str]:
    """Yield all texts, in an order that depends only on what is installed."""
    for source in (data, docstrings, descriptions, manuals):
        yield from source()


def is_prose(words: list[str]) -> bool:
    """Return whether most words consist of letters alone, as they do in sentences but not in code and tables."""
    return sum(word.strip(".,;:()'\"`").isalpha() for word in words) > 0.7 * len(words)


def sentences(texts: Iterable[str]) -> Iterator[str]:
    """Yield sentences of 5 to 60 words."""
    for text in texts:
        for sentence in SENTENCE_END.split(text):
            words = sentence.split()
            if 5 <= len(words) <= 60 and is_prose(words):
                yield " ".join(words)


def windows(texts: Iterable[str]) -> Iterator[str]:
    """Yield overlapping windows of words."""
    for text in texts:
        words = text.split()
        for start in range(0, max(len(words) - WINDOW, 1), STEP):
            part = words[start : start + WINDOW]
            if len(part) >= WINDOW // 2 and is_prose(part):
                yield " ".join(part)


KINDS: dict[str, Callable[[Iterable[str]], Iterator[str]]] = {"sentences": sentences, "windows": windows}


def folder_of(kind: str) -> Path:
    """Return the folder of the cached texts and vectors of a kind."""
    home = Path(os.environ.get("SEMSEARCH_BENCH") or Path.home() / ".cache/semsearch-bench")
    folder = home / kind
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def texts_of(kind: str) -> list[str]:
    """Return all distinct texts of a kind, shuffled; collected once."""
    path = folder_of(kind) / "texts.json"
    if not path.exists():
        every = list(sources())
        for name, cut in KINDS.items():
            found = list(dict.fromkeys(cut(every)))
            random.Random(0).shuffle(found)
            (folder_of(name) / "texts.json").write_text(json.dumps(found), encoding="utf-8")
    texts: list[str] = json.loads(path.read_text(encoding="utf-8"))
    return texts


def load(kind: str, n: int) -> tuple[list[str], Vectors]:
    """Return n texts and their vectors float32 `[n, dim]`; what is not cached yet is encoded.

    Raises:
        SystemExit: If this machine has fewer texts.
    """
    texts, folder = texts_of(kind), folder_of(kind)
    if len(texts) < n:
        raise SystemExit(f"this machine has only {len(texts):,} {kind}; expected {n:,}: install the bench group")
    encoder = Encoder.load(device="cpu")
    parts = []
    for number, start in enumerate(range(0, n, SHARD)):
        path, some = folder / f"vectors.{number:04}.npy", texts[start : start + SHARD]
        if not path.exists():
            started = time.perf_counter()
            np.save(path.with_suffix(".tmp.npy"), encoder.encode_documents(some))
            path.with_suffix(".tmp.npy").replace(path)
            rate = len(some) / (time.perf_counter() - started)
            print(f"{start + len(some):,} of {n:,} {kind}, {rate:.0f} a second", file=sys.stderr, flush=True)
        parts.append(np.load(path, mmap_mode="r"))
    return texts[:n], np.concatenate(parts)[:n]


class Known:
    """Wrap an encoder and return the vectors of known texts without encoding them."""

    def __init__(self, encoder: Encoder, texts: Sequence[str], vectors: Vectors) -> None:
        self.spec, self.tokenizer, self.artifacts = encoder.spec, encoder.tokenizer, encoder.artifacts
        self.encode_queries, self.quantize = encoder.encode_queries, encoder.quantize
        self._encoder, self._vectors = encoder, vectors
        self._places = {text: place for place, text in enumerate(texts)}

    def encode_documents(self, texts: Sequence[str], progress: Progress | None = None) -> Vectors:
        """Return known vectors; passages of the few texts that are cut in two are encoded."""
        places = [self._places.get(text, -1) for text in texts]
        vectors: Vectors = self._vectors[places]
        new = [row for row, place in enumerate(places) if place < 0]
        if new:
            vectors[new] = self._encoder.encode_documents([texts[row] for row in new])
        return vectors


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kind", choices=KINDS, default="sentences")
    parser.add_argument("--n", type=int, default=300_000)
    options = parser.parse_args()
    texts, vectors = load(options.kind, options.n)
    words = np.mean([len(text.split()) for text in texts])
    print(f"{len(texts):,} of {len(texts_of(options.kind)):,} {options.kind}, {words:.1f} words, {vectors.shape}")


if __name__ == "__main__":
    main()
