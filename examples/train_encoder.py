"""From plain text to a sentence encoder on two cores, with the diagnosis before and after each step.

    semsearch data get sts
    python examples/train_encoder.py data/sts

It trains a small masked language model from scratch on sentences at hand, shows how its poolers do, and trains two
encoders from it: SimCSE on plain sentences, and Sentence-BERT's regression on scored pairs. The guide to training walks
through its output.
"""

from __future__ import annotations

import argparse
import ast
import json
import re
import sysconfig
import time
from collections.abc import Iterator
from pathlib import Path

from semsearch import Document, PoolerComparison, compare_poolers, read_corpus
from semsearch.errors import SemsearchError
from semsearch.training import Recipe, Scratch, train

POOLERS = ("cls", "mean", "first-last")

SAMPLE = Path(__file__).parents[1] / "corpora" / "sample"


def docstrings() -> Iterator[str]:
    """Yield the docstrings of Python's standard library, which every reader has."""
    for file in sorted(Path(sysconfig.get_paths()["stdlib"]).rglob("*.py")):
        if not {"site-packages", "test", "tests", "idlelib", "lib2to3"} & {*file.parts}:
            try:
                tree = ast.parse(file.read_text(encoding="utf-8"))
            except (OSError, ValueError, SyntaxError):
                continue
            for node in ast.walk(tree):
                if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                    yield ast.get_docstring(node) or ""


def sentences(text: str) -> Iterator[str]:
    """Yield the sentences of a text that consist mostly of words."""
    for paragraph in re.split(r"\n\s*\n", text):
        for sentence in re.split(r"(?<=[.!?]) +", " ".join(paragraph.split())):
            letters = sum(letter.isalpha() or letter == " " for letter in sentence)
            if 4 <= len(sentence.split()) <= 60 and letters > 0.85 * len(sentence):
                yield sentence


def gather(sts: Path, corpora: list[Path]) -> list[str]:
    """Return the sentences at hand, each once: STS-B's training set without its scores, docstrings, and corpora."""
    lines = (sts / "STS/STSBenchmark/sts-train.csv").read_text(encoding="utf-8").splitlines()
    documents = [record for path in corpora for record in read_corpus([str(path)]) if isinstance(record, Document)]
    texts = [*docstrings(), *(document.text for document in documents)]
    found = [sentence for text in texts for sentence in sentences(text)]
    return list(dict.fromkeys([*(cell for line in lines for cell in line.split("\t")[5:7]), *found]))


def first_table(found: PoolerComparison) -> str:
    """Return the table of a comparison without its explanations."""
    return str(found).split("\n\n")[0]


def show(name: str, model: Path, sts: Path, retrieval: list[Path], poolers: tuple[str, ...]) -> None:
    """Print the tables of a checkpoint: STS-B and SICK-R if they are there, then each retrieval set."""
    print(f"\n## {name}\n")
    tasks = ["STS-B", *(["SICK-R"] if (sts / "SICK").is_dir() else [])]
    found = compare_poolers(sts, kind="sts", tasks=tasks, poolers=poolers, model=str(model))
    print(first_table(found))
    for pooler, shape in found.study.geometry.items():
        print(f"{pooler}: mean cosine of unrelated sentences {shape.mean_cosine:.2f}, rank {shape.effective_rank:.0f}")
    for path in retrieval:
        found = compare_poolers(
            path, kind="retrieval", poolers=poolers, model=str(model), modes=["dense"], measures=["nDCG@10", "R@100"]
        )
        print(f"\n{path.name}: {first_table(found)}")


def main() -> None:
    """Run all steps and print their tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sts", type=Path, help="folder with STS/STSBenchmark, from `semsearch data get sts`")
    parser.add_argument("--retrieval", type=Path, action="append", help="folder in BEIR's layout [default: the sample]")
    parser.add_argument("--out", type=Path, default=Path("models"), help="folder for the checkpoints")
    parser.add_argument("--steps", type=int, default=1_500, help="steps of the masked language model")
    parser.add_argument("--precision", default="auto", help="bfloat16 is faster on processors that support it")
    given = parser.parse_args()
    retrieval = given.retrieval or [SAMPLE]
    started = time.perf_counter()

    def done(what: str) -> None:
        print(f"\n[{time.perf_counter() - started:.0f} s] {what}", flush=True)

    given.out.mkdir(parents=True, exist_ok=True)
    texts = gather(given.sts, retrieval)
    plain = given.out / "sentences.jsonl"
    plain.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
    raw, simcse, sbert = (given.out / name for name in ("raw", "simcse", "sbert"))

    train(
        Recipe(
            objective="mlm",
            data=str(plain),
            from_scratch=Scratch(layers=3, hidden=128, heads=4, vocabulary=4_000, max_tokens=128),
            batch_size=64,
            steps=given.steps,
            learning_rate=2e-3,
            precision=given.precision,
        ),
        raw,
    )
    done(f"a masked language model, trained on {len(texts):,} sentences")
    show("The raw model", raw, given.sts, retrieval, POOLERS)

    shared = {"model": str(raw), "pooler": "mean", "dev": str(given.sts), "dev_tasks": ("STS-B",)}
    train(
        Recipe(
            objective="simcse-unsup",
            data=str(plain),
            batch_size=64,
            learning_rate=1e-4,
            precision=given.precision,
            **shared,  # type: ignore[arg-type]
        ),
        simcse,
    )
    done("SimCSE on the same sentences")
    show("After SimCSE", simcse, given.sts, retrieval, ("mean",))

    train(
        Recipe(
            objective="regression",
            data=str(given.sts / "STS/STSBenchmark/sts-train.csv"),
            epochs=4,
            learning_rate=1e-4,
            precision=given.precision,
            **shared,  # type: ignore[arg-type]
        ),
        sbert,
    )
    done("regression on STS-B's training set")
    show("After Sentence-BERT's regression", sbert, given.sts, retrieval, ("mean",))
    done("everything")


if __name__ == "__main__":
    try:
        main()
    except SemsearchError as error:
        raise SystemExit(f"error: {error}") from None
