"""Plans: sums done by hand, the store's own choice of a vector index, engines, and arguments that are no amounts."""

from __future__ import annotations

import json
from dataclasses import replace
from math import ceil

import pytest

from semsearch.errors import ModelError, UsageError
from semsearch.planning.constants import DOCUMENTED, Constants
from semsearch.planning.plan import plan
from semsearch.stores.local.vectors.ann.kinds import choose

GIB = 2**30


def test_the_passages_tokens_and_hours_are_those_of_a_sum_by_hand():
    made = plan(1e6, 476)  # 254 tokens in the first passage, 222 more in the second
    assert (made.passages, made.passage_tokens, made.overlap, made.dim) == (2_000_000, 256, 32, 384)
    assert made.tokens_encoded == 1_000_000 * (476 + 32 + 2 * 2)
    assert made.encoder_hours == {DOCUMENTED.machine: pytest.approx(512e6 / 13_500 / 3_600)}


def test_other_workers_take_as_long_as_their_speed_says():
    made = plan(1e6, 254, tokens_per_second={"gpu": 256_000})
    assert made.encoder_hours["gpu"] == pytest.approx(1_000 / 3_600)


def test_a_million_passages_are_within_a_quarter_of_the_measured_run():
    made = plan(1_000_000, 68.5)  # the row of the growth table, which no constant of size was read off
    assert made.passages == 1_000_000
    assert made.disk_bytes / 2**20 == pytest.approx(4_672, rel=0.25)
    assert made.memory / 2**20 == pytest.approx(667, rel=0.25)
    assert made.index_hours * 3_600 == pytest.approx(408, rel=0.25)
    assert made.search_ms == pytest.approx(10.5, rel=0.25)


@pytest.mark.parametrize("documents", [5_000, 50_000, 1e6, 5e6, 1e9])
@pytest.mark.parametrize("memory", ["512MB", "2GB", "64GB"])
@pytest.mark.parametrize("dim", [None, 64])
def test_the_vector_index_is_the_one_that_the_store_chooses(documents, memory, dim):
    made = plan(documents, 60, memory=memory, dim=dim, mode="dense")
    if made.engine == "postgresql":
        assert made.vector_index == "HNSW over halfvec"
        return
    n_bytes = int(memory[:-2]) * (2**20 if memory.endswith("MB") else 2**30)
    assert made.vector_index == choose(ceil(made.passages / made.shards), dim or 384, n_bytes)


@pytest.mark.parametrize(
    ("documents", "qps", "engine"),
    [
        (1e6, 10, "local"),
        (1e6, 5_000, "postgresql"),
        (1e7, 10, "local"),
        (10_000_001, 10, "postgresql"),
        (1e8, 10, "postgresql"),
        (100_000_001, 10, "milvus"),
    ],
)
def test_the_engine_follows_from_passages_and_searches(documents, qps, engine):
    made = plan(documents, 100, qps=qps, mode="dense", memory="8GB")
    assert made.engine == engine
    assert made.reasons
    assert made.nodes == made.shards * made.replicas >= 1
    assert made.shards == 1 or engine == "milvus"


def test_one_core_more_than_enough_needs_no_second_machine():
    few = plan(1_000, 100, qps=1_000, cores=8)
    rate = few.qps_per_core * 8 * 0.7
    assert few.replicas == ceil(1_000 / rate)
    assert plan(1_000, 100, qps=rate * 0.999, cores=8).replicas == 1
    assert plan(1_000, 100, qps=rate * 1.001, cores=8).replicas == 2


def test_more_recall_takes_longer_and_int8_less_disk():
    assert plan(1e6, 60, recall=0.99, mode="dense").search_ms == pytest.approx(
        plan(1e6, 60, recall=0.98, mode="dense").search_ms * 2**0.8
    )
    by_precision = [plan(1e6, 60, store_precision=one).disk["vectors"] for one in ("float32", "float16", "int8")]
    assert by_precision == sorted(by_precision, reverse=True)


def test_it_says_where_it_stops_being_trustworthy():
    assert not any("extrapolat" in one for one in plan(1e6, 60).warnings)
    assert any("extrapolated from measurements of up to 1,000,000" in one for one in plan(5e6, 60).warnings)
    beyond = plan(5e7, 60, mode="dense")
    assert any("are beyond 10,000,000" in one and "extrapolation" in one for one in beyond.warnings)
    assert "not measured on this machine" in beyond.constants


def test_constants_of_a_machine_scale_everything_that_it_does():
    slow = replace(
        DOCUMENTED,
        fingerprint="f" * 64,
        tokens_per_second=DOCUMENTED.tokens_per_second / 3,
        index_seconds=DOCUMENTED.index_seconds * 3,
        hybrid_ms=DOCUMENTED.hybrid_ms * 3,
    )
    usual, made = plan(1e6, 60), plan(1e6, 60, constants=slow)
    assert made.index_hours == pytest.approx(3 * usual.index_hours)
    assert made.encoder_hours[slow.machine] == pytest.approx(3 * usual.encoder_hours[slow.machine])
    assert made.search_ms == pytest.approx(3 * usual.search_ms, rel=0.02)
    assert made.disk == usual.disk
    assert "measured on 2026-11-30" in made.constants


def test_hours_with_a_model_that_was_not_measured_are_unknown(checkpoint):
    made = plan(1e6, 20, model=checkpoint())
    assert made.dim == 32
    assert list(made.encoder_hours.values()) == [None]
    assert any("--calibrate --model" in one for one in made.warnings)


def test_it_is_json():
    made = plan(1e6, 300)
    read = json.loads(json.dumps(made.to_json()))
    assert read["nodes"] == 1
    assert read["disk_bytes"] == sum(read["disk"].values()) == made.disk_bytes


NAN, INF = float("nan"), float("1e400")


@pytest.mark.parametrize(
    ("given", "named"),
    [
        *(
            ({name: value}, name)
            for name in ("documents", "tokens", "qps")
            for value in (0, -1, NAN, INF, "3", None, True)
        ),
        ({"documents": 1.5}, "documents"),
        ({"documents": 1e16}, "documents"),
        *(({"recall": value}, "recall") for value in (0, 1, 1.5, -0.1, NAN, INF, "0.9")),
        *(({"cores": value}, "cores") for value in (0, -2, 1.5)),
        *(({"passage_tokens": value}, "passage_tokens") for value in (0, -2, 1.5, 9, 257)),
        *(({"overlap": value}, "overlap") for value in (-1, 1.5)),
        *(({"dim": value}, "dim") for value in (0, 385, 1.5)),
        *(({"memory": value}, "memory") for value in ("much", 0, -1, "1KB")),
        *(({"tokens_per_second": {"gpu": value}}, "tokens_per_second") for value in (0, NAN, INF, "fast")),
        ({"store_precision": "int4"}, "store_precision"),
        ({"mode": "fuzzy"}, "mode"),
        ({"model": "hash:none"}, "model"),
    ],
)
def test_what_is_no_amount_is_refused_in_one_line(given, named):
    with pytest.raises(UsageError) as caught:
        plan(**{"documents": 1e6, "tokens": 300, **given})
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_model_that_does_not_exist_is_named():
    with pytest.raises(ModelError, match="no/such/model"):
        plan(1e6, 300, model="./no/such/model")


@pytest.mark.parametrize(
    "change",
    [
        {"cores": 0},
        {"cores": 2.5},
        {"dense_ms": NAN},
        {"qps": 1},
        {"machine": ""},
        {"index_seconds": "3"},
        {"dim": True},
    ],
)
def test_constants_that_cannot_be_measured_are_refused(change):
    fields = {**DOCUMENTED.to_json(), "fingerprint": "f"}
    assert Constants.from_json(fields).is_calibrated
    with pytest.raises(ValueError, match="expected"):
        Constants.from_json({**fields, **change})
