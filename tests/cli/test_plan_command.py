"""`semsearch plan`: what it prints, what it keeps, and a calibration that is broken or from elsewhere."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command import call

from semsearch.cli.plan import NAME, size
from semsearch.cli.state import state_folder
from semsearch.planning import calibrate
from semsearch.planning.constants import DOCUMENTED

PLAN = ("plan", "--documents", "1e6", "--tokens", "300")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure as little as possible, on a machine that seems idle."""
    monkeypatch.setattr(calibrate.calibrate, "__kwdefaults__", {**calibrate.calibrate.__kwdefaults__, "passages": 200})
    monkeypatch.setitem(calibrate.calibrate.__kwdefaults__, "seconds", 0.05)
    monkeypatch.setattr("os.getloadavg", lambda: (0.0, 0.0, 0.0), raising=False)


def kept_file() -> Path:
    return state_folder() / NAME


def test_a_plan_has_a_row_for_each_question_and_says_where_its_constants_are_from():
    done = call(*PLAN, "--recall", "0.95", "--qps", "500", "--tokens-per-second", "gpu=256000").ok()
    rows = {row[0]: row[-1] for row in done.rows}
    assert rows["passages"].startswith("2,000,000 of up to 256 tokens; 336,000,000 tokens")
    assert rows["encoder hours, gpu"] == "0.36"  # 336e6 / 256,000 / 3,600
    assert rows["engine"] == "postgresql"
    assert "recall@10 0.95" in rows["vector index"]
    assert "constants: not measured on this machine" in done.out
    assert "`memory`" not in done.out


def test_json_has_the_same_numbers():
    found = call(*PLAN, "--json").ok().json
    assert (found["passages"], found["engine"], found["nodes"]) == (2_000_000, "local", 1)
    assert found["disk_bytes"] == sum(found["disk"].values())


def test_a_calibration_is_kept_and_used_for_its_model(quick):
    done = call("plan", "--calibrate", "--model", "hash:64")
    assert done.code == 0
    assert f"kept in {kept_file()}" in done.out
    measured = {row[0]: row[1] for row in done.rows if len(row) == 2}
    (record,) = json.loads(kept_file().read_text(encoding="utf-8"))["measured"]
    assert record["model"] == "hash:64"
    assert str(record["tokens_per_second"]) == measured["tokens_per_second"].replace(",", "")
    planned = call(*PLAN, "--model", "hash:64").ok()
    assert "constants: measured on 20" in planned.out
    assert f"fingerprint {record['fingerprint'][:12]}" in planned.out
    other = call(*PLAN).ok()
    assert "no speed was measured with sentence-transformers/all-MiniLM-L6-v2" in other.out
    assert "\tunknown" in other.out


def test_calibrations_of_several_models_are_kept_and_one_can_be_planned_with_at_once(quick):
    for dim in (32, 64, 32):
        found = call("plan", "--calibrate", "--model", f"hash:{dim}", "--documents", 10, "--tokens", 5, "--json")
        assert found.json["dim"] == dim
    kept = json.loads(kept_file().read_text(encoding="utf-8"))["measured"]
    assert [one["model"] for one in kept] == ["hash:64", "hash:32"]


def test_a_busy_machine_is_mentioned(quick, monkeypatch):
    monkeypatch.setattr("os.getloadavg", lambda: (50.0, 0.0, 0.0), raising=False)
    done = call("plan", "--calibrate", "--model", "hash:16", "--json")
    assert "warning: other programs are using this machine (load 50.0" in done.err


def keep(text: str) -> None:
    kept_file().parent.mkdir(parents=True, exist_ok=True)
    kept_file().write_text(text, encoding="utf-8")


def record(**changes: object) -> str:
    return json.dumps({"measured": [{**DOCUMENTED.to_json(), "fingerprint": "f" * 64, **changes}]})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "broken"),
        ("not json", "broken"),
        ("[]", "broken"),
        ("{}", "broken"),
        ('{"measured": [3]}', "broken"),
        (record(cores=-1), "cores is -1; expected a whole number above 0"),
        (record(dense_ms="NaN"), "dense_ms is 'NaN'; expected a number above 0"),
        (record(version="0.0.1"), "was made by semsearch 0.0.1, and this is"),
        (record(more=1), "broken"),
        ("[" * 100_000, "broken"),
    ],
)
def test_a_broken_calibration_or_one_of_another_version_is_one_line(text, said):
    keep(text)
    call(*PLAN).fails(1, said, NAME, "--calibrate")


def test_a_broken_calibration_is_replaced(quick):
    keep("not json")
    assert call("plan", "--calibrate", "--model", "hash:16", "--json").code == 0
    assert call(*PLAN, "--model", "hash:16").code == 0


def test_a_calibration_of_another_machine_is_mentioned():
    keep(record(machine="a pocket calculator"))
    done = call(*PLAN)
    assert done.code == 0
    assert "warning: the constants were measured on 2 cores of a pocket calculator" in done.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--documents", "-1"), "--documents is -1.0; expected a number above 0"),
        (("--documents", "0"), "--documents"),
        (("--documents", "nan"), "--documents is nan"),
        (("--documents", "1e400"), "--documents is inf"),
        (("--documents", "1.5"), "--documents is 1.5; expected a whole number"),
        (("--documents", "many"), "--documents"),
        (("--tokens", "nan"), "--tokens is nan"),
        (("--qps", "0"), "--qps"),
        (("--recall", "0"), "--recall"),
        (("--recall", "1"), "--recall"),
        (("--recall", "1.2"), "--recall"),
        (("--passage-tokens", "1.5"), "--passage-tokens"),
        (("--passage-tokens", "5000"), "--passage-tokens is 5000; expected 10 to 256"),
        (("--overlap", "-1"), "--overlap"),
        (("--memory", "lots"), "--memory"),
        (("--cores", "0"), "--cores"),
        (("--dim", "400"), "--dim"),
        (("--tokens-per-second", "fast"), "--tokens-per-second"),
        (("--tokens-per-second", "gpu=nan"), "--tokens-per-second"),
        (("--store-precision", "int4"), "--store-precision"),
    ],
)
def test_bad_input_is_one_line(words, said):
    call(*PLAN, *words).fails(2, said)


def test_an_unknown_model_is_one_line():
    call(*PLAN, "--model", "./nowhere").fails(1, "./nowhere")


def test_without_a_corpus_there_is_nothing_to_plan():
    call("plan").fails(2, "--documents is missing")
    call("plan", "--documents", "5").fails(2, "--tokens is missing")


@pytest.mark.parametrize(
    ("n", "text"), [(0, "0.0 KiB"), (1_536, "1.5 KiB"), (3 * 2**30, "3.0 GiB"), (2**52, "4,096.0 TiB")]
)
def test_sizes_have_units(n, text):
    assert size(n) == text
