"""Training makes an encoder better: a default checkpoint that was degraded on purpose rises significantly."""

from __future__ import annotations

import pytest
from making import degraded

from semsearch.training import Recipe, train

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]


def test_regression_on_sts_b_lifts_a_degraded_encoder(tmp_path, data):
    benchmark = data / "sts" / "STS" / "STSBenchmark"
    dev = tmp_path / "dev.tsv"
    rows = [line.split("\t") for line in (benchmark / "sts-dev.csv").read_text("utf-8").splitlines()][::5]
    lines = ["sentence1\tsentence2\tscore", *("\t".join((row[5], row[6], row[4])) for row in rows)]
    dev.write_text("\n".join(lines) + "\n", encoding="utf-8")
    recipe = Recipe(
        objective="regression",
        data=str(benchmark / "sts-train.csv"),
        dev=str(dev),
        model=degraded(tmp_path / "degraded"),
        pooler="mean",
        steps=20,
        eval_every=20,
        batch_size=16,
        learning_rate=1e-4,
        device="cpu",
    )
    found = train(recipe, tmp_path / "out").comparison
    (before,), (after,) = found.rows["before"], found.rows["after"]
    assert 0.5 < before.value < 0.7
    assert after.value > before.value + 0.03
    assert after.best
    assert before.p < 0.001
