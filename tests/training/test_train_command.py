"""The command `semsearch train`: every objective from data to checkpoint, its report, and everything it refuses."""

from __future__ import annotations

import inspect
import json
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command import Outcome, call
from fakes import tiny_checkpoint
from layouts import beir
from making import RECORDS, SENTENCES, pairs, recipe, written

from semsearch import Encoder, Index
from semsearch.cli.train import train as command
from semsearch.training import Recipe, Scratch, train
from semsearch.training.card import command_of
from semsearch.training.recipe import NAMES

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]

QUICK = ("--steps", "3", "--eval-every", "2", "--batch-size", "8", "--device", "cpu", "--learning-rate", "1e-3")


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run each test in a folder with a tiny checkpoint."""
    monkeypatch.chdir(tmp_path)
    tiny_checkpoint(tmp_path / "tiny")
    tiny_checkpoint(tmp_path / "teacher", seed=1, files=MEAN)


MEAN = {"1_Pooling/config.json": {"pooling_mode_mean_tokens": True}}
"""A declaration of the pooler mean."""


def trained(objective: str, *words: str, data: str | None = None) -> Outcome:
    source = ("--data", data or written(Path(), objective)) if "--from-corpus" not in words else ()
    model = ("--model", "tiny") if "--from-scratch" not in words or objective != "mlm" else ()
    return call("train", "--objective", objective, *source, *model, "--out", "out", *QUICK, *words)


MORE: dict[str, tuple[str, ...]] = {
    "distill": ("--teacher", "teacher"),
    "mnr": ("--symmetric", "--matryoshka", "8,16", "--negative-weight", "2"),
    "simcse-unsup": ("--mlp", "train", "--mlm-weight", "0.1"),
    "softmax": ("--parts", "u,v,u*v"),
}


@pytest.mark.parametrize("objective", RECORDS)
def test_every_objective_writes_a_checkpoint(objective):
    assert RECORDS.keys() | {"distill-static"} == {*NAMES}
    pooler = () if objective == "mlm" else ("--pooler", "mean")
    done = trained(objective, *pooler, *MORE.get(objective, ()), "--json")
    assert done.code == 0, done.err
    assert (done.json["checkpoint"], done.json["steps"], done.json["best_step"]) == ("out", 3, 3)
    encoder = Encoder.load("out", "mean", device="cpu", runtime="torch", warn_of_pooler=False)
    before = Encoder.load("tiny", "mean", device="cpu", runtime="torch", warn_of_pooler=False)
    change = encoder.encode_documents(SENTENCES[:3]) - before.encode_documents(SENTENCES[:3])
    assert np.abs(change).max() > 1e-4


def test_scores_before_and_after_are_printed_and_the_checkpoint_is_used_at_once(tmp_path):
    report = tmp_path / "report.html"
    done = trained("regression", "--pooler", "mean", "--dev", pairs(Path()), "--report", str(report))
    assert (done.code, done.err.count("score")) == (0, 2), done.err
    first, head, row, test, *rest = done.out.splitlines()
    assert first.startswith("trained 3 steps in ")
    assert (head.split("\t"), row.split("\t")[0]) == (["", "before", "after", "p"], "pairs")
    assert "Spearman's correlation, x 100" in test
    assert rest == ["checkpoint: out", "next: semsearch index CORPUS --model out"]
    page = report.read_text("utf-8")
    assert "Training of out" in page
    for curve in ("loss", "score on the dev set", "learning rate", "norm of the gradient"):
        assert f">{curve}</option>" in page
    Path("corpus.jsonl").write_text('{"_id": "a", "text": "a heron"}\n', encoding="utf-8")
    assert call("index", "corpus.jsonl", "--model", "out", "--runtime", "torch").code == 0
    with Index.open("indexes/corpus") as index:
        assert index.spec.pooler == "mean"


def test_judged_queries_are_a_dev_set_too():
    beir("judged")
    done = trained("mnr", "--pooler", "mean", "--dev", "judged", "--json")
    assert done.code == 0, done.err
    assert done.json["dev"] == "judged (test), nDCG@10"
    assert "note: 'judged' has no dev split, so the test split is used" in done.err
    assert 0 <= done.json["scores"]["after"]["nDCG@10"]["value"] <= 1


def test_a_classifier_is_evaluated_by_accuracy_and_f1():
    held_out = written(Path(), "classify")
    words = ("--pooler", "mean", "--dev", held_out, "--steps", "120", "--eval-every", "60", "--learning-rate", "5e-3")
    done = trained("classify", *words, "--json")
    assert done.code == 0, done.err
    assert done.json["dev"] == "classify.jsonl, accuracy"
    assert done.json["scores"]["after"]["classify.jsonl"]["value"] > 0.9, "the class is a word of the text"
    lines = [json.loads(line) for line in Path("out/metrics.jsonl").read_text("utf-8").splitlines()]
    evaluated = [line for line in lines if "score" in line][-1]
    assert evaluated["more"]["macro-F1"] == pytest.approx(evaluated["score"], abs=0.1)


def test_a_new_model_is_trained_from_scratch_and_again_the_same():
    words = ("--from-scratch", "--layers", "1", "--hidden", "16", "--heads", "2", "--vocabulary", "400")
    held_out = written(Path(), "mlm")
    done = trained("mlm", *words, "--dev", held_out, "--steps", "30", "--eval-every", "10", "--json")
    assert done.code == 0, done.err
    scores = done.json["scores"]
    assert scores["after"]["loss"]["value"] > scores["before"]["loss"]["value"]
    config = json.loads(Path("out/config.json").read_text("utf-8"))
    assert (config["num_hidden_layers"], config["hidden_size"], config["max_position_embeddings"]) == (1, 16, 128)
    tokenizer = Encoder.load("out", "cls", device="cpu", runtime="torch", warn_of_pooler=False).tokenizer
    assert tokenizer.encode("The HERON stands").tokens == ["[CLS]", "the", "heron", "stands", "[SEP]"]
    weights = Path("out/model.safetensors").read_bytes()
    Path("out").rename("first")
    done = trained("mlm", *words, "--dev", held_out, "--steps", "30", "--eval-every", "10")
    assert done.code == 0, done.err
    assert Path("out/model.safetensors").read_bytes() == weights


def test_pairs_come_from_a_corpus_or_an_index():
    text = " ".join(SENTENCES[:30])
    records = [{"_id": str(n), "title": f"About {one}", "text": f"{one} {text}"} for n, one in enumerate("abcdefghij")]
    Path("corpus.jsonl").write_text("\n".join(map(json.dumps, records)), encoding="utf-8")
    words = ("--pooler", "mean", "--kinds", "title", "--json")
    done = trained("mnr", "--from-corpus", "corpus.jsonl", *words)
    assert done.code == 0, done.err
    assert call("index", "corpus.jsonl", "--index", "index", "--model", "hash:64").code == 0
    Path("out").rename("first")
    done = trained("mnr", "--from-corpus", "index", *words)
    assert done.code == 0, done.err
    assert Path("out/model.safetensors").read_bytes() == Path("first/model.safetensors").read_bytes()


def test_a_table_is_distilled_without_data_or_with_some():
    words = ("train", "--objective", "distill-static", "--teacher", "teacher", "--dim", "16", "--device", "cpu")
    done = call(*words, "--out", "out")
    assert done.code == 0, done.err
    assert done.out.splitlines()[1:] == ["checkpoint: out", "next: semsearch index CORPUS --model out"]
    done = call(*words, "--out", "counted", "--data", written(Path(), "simcse-unsup"), "--json")
    assert (done.code, done.json["steps"]) == (0, 0), done.err
    one, other = (Encoder.load(folder).encode_documents(SENTENCES[:5]) for folder in ("out", "counted"))
    assert one.shape == other.shape == (5, 16)
    assert np.abs(one - other).max() > 0.01
    call(*words, "--out", "out").fails(2, "'out' exists")
    call(*words, "--out", "more", "--dev", "x").fails(2, "--dev does not apply to objective 'distill-static'")
    call(*words, "--out", "more", "--epochs", "2").fails(2, "--epochs does not apply to objective 'distill-static'")
    call(*words[:3], "--out", "more").fails(2, "objective 'distill-static' needs an encoder to imitate")


# --- options


def test_the_command_has_an_option_for_every_setting_with_the_same_default():
    signature = inspect.signature(command).parameters
    for one in fields(Recipe):
        parameter = signature[one.name]
        if one.default is MISSING:
            assert parameter.default is inspect.Parameter.empty
        elif isinstance(one.default, tuple):
            assert parameter.default == ",".join(one.default)
        elif one.name not in ("pooler", "from_scratch"):
            assert parameter.default == one.default, one.name
    assert {one.name for one in fields(Scratch)} <= signature.keys()


def test_the_command_of_a_recipe_makes_the_same_recipe(monkeypatch):
    made: list[Any] = []

    def noted(given: Recipe, out: Any, **_: Any) -> Any:
        made.append(given)
        raise KeyboardInterrupt

    monkeypatch.setattr("semsearch.training.run.train", noted)
    scratch = Scratch(layers=2, hidden=64, heads=2, vocabulary=500, max_tokens=32)
    one = Recipe(objective="mnr", data="d.jsonl", matryoshka=(8, 16), symmetric=True, learning_rate=1.23456789e-5)
    two = Recipe(objective="mlm", data="t.txt", from_scratch=scratch, patience=3, dev="dev.txt")
    three = Recipe(objective="regression", data="d.tsv", scale=(0, 5), dev="sts", dev_tasks=("STS-B", "SICK-R"))
    import shlex

    for given in (one, two, three):
        assert call(*shlex.split(command_of(given, "x"))[1:]).code == 130
        assert made.pop() == given == Recipe.from_json(given.to_json())


# --- what is refused


@pytest.mark.parametrize(
    ("objective", "words", "said"),
    [
        ("nonsense", (), "unknown objective 'nonsense'; expected one of softmax, regression"),
        ("mnr", ("--batch-size", "1"), "--batch-size is 1, but objective 'mnr' contrasts the texts of a batch"),
        ("mnr", ("--margin", "2"), "--margin does not apply to objective 'mnr'; it is for triplet"),
        ("mnr", ("--teacher", "tiny"), "--teacher does not apply to objective 'mnr'; it is for distill"),
        ("distill", (), "needs an encoder to imitate; pass it as --teacher"),
        ("classify", ("--mlp", "train"), "--mlp 'train' would drop a layer that the classifier needs"),
        ("mnr", ("--decay", "slow"), "unknown decay 'slow'; expected one of linear, cosine, none"),
        ("mnr", ("--mlp", "maybe"), "unknown mlp 'maybe'"),
        ("softmax", ("--parts", "u,w"), "unknown parts 'w'; expected one of u, v, |u-v|, u*v"),
        ("softmax", ("--parts", ""), "--parts is empty"),
        ("mnr", ("--epochs", "0"), "--epochs must be above 0, got 0"),
        ("mnr", ("--steps", "0"), "--steps must be from 1"),
        ("mnr", ("--learning-rate", "-1"), "--learning-rate must be from 0 to 10, got -1"),
        ("mnr", ("--learning-rate", "nan"), "--learning-rate must be from 0 to 10, got nan"),
        ("mnr", ("--steps", "2000000000"), "--steps must be from 1 to 1,000,000,000, got 2,000,000,000"),
        ("mnr", ("--warmup", "2"), "--warmup must be from 0 to 1, got 2"),
        ("mnr", ("--seed", "-1"), "--seed must be from 0"),
        ("mnr", ("--patience", "2"), "--patience requires --dev"),
        ("mnr", ("--dev-tasks", "STS-B"), "--dev-tasks requires --dev"),
        ("mnr", ("--matryoshka", "a"), "--matryoshka is 'a'; expected whole numbers"),
        ("mnr", ("--matryoshka", "0"), "--matryoshka is (0,)"),
        ("mnr", ("--matryoshka", "8,64"), "--matryoshka is (8, 64), but vectors have 32 components"),
        ("regression", ("--scale", "5"), "--scale is '5'; expected 2 numbers"),
        ("regression", ("--scale", "0,0.5"), "the scores go from 0 to 1, outside of 0 to 0.5"),
        ("mnr", ("--mlm-weight", "1", "--cache-gradients", "4"), "--mlm-weight cannot be combined with --cache-grad"),
        ("mnr", ("--precision", "int4"), "unknown precision 'int4'"),
        ("mnr", ("--device", "tpu"), "device 'tpu' is not usable here"),
        ("mnr", ("--max-tokens", "4"), "--max-tokens must be at least 8"),
        ("mnr", ("--pooler", "average"), "unknown pooler 'average'"),
        ("mnr", ("--from-scratch",), "--from-scratch does not apply to objective 'mnr'; it is for mlm"),
        ("mlm", ("--layers", "2"), "--layers requires --from-scratch"),
        ("mlm", ("--from-scratch", "--model", "tiny"), "--model cannot be combined with --from-scratch"),
        ("mlm", ("--pooler", "mean"), "--pooler does not apply to objective 'mlm'"),
        ("mlm", ("--from-scratch", "--hidden", "30"), "--heads must divide --hidden"),
        ("mlm", ("--from-scratch", "--vocabulary", "10"), "--vocabulary must be at least 300, got 10"),
        ("mnr", ("--kinds", "title"), "--kinds requires --from-corpus"),
    ],
)
def test_settings_that_do_not_fit_are_refused(objective, words, said):
    data = written(Path(), objective if objective in RECORDS else "mnr")
    pooler = () if objective == "mlm" else ("--pooler", "mean")
    trained(objective, *pooler, *words, data=data).fails(2, said)
    assert sorted(path.name for path in Path().iterdir()) == sorted(["tiny", "teacher", data]), "nothing is left behind"


def test_data_that_are_missing_or_given_twice_are_refused():
    call("train", "--objective", "mnr", "--out", "out").fails(2, "no training examples; pass their path as --data")
    both = ("--data", "a.jsonl", "--from-corpus", "b")
    call("train", "--objective", "mnr", "--out", "out", *both).fails(2, "--data cannot be combined with --from-corpus")
    call("train", "--objective", "mnr", "--out", "out", "--data", "none.jsonl").fails(1, "no none.jsonl")
    call("train", "--objective", "mlm", "--out", "out", "--from-corpus", "x").fails(2, "--from-corpus does not apply")


@pytest.mark.parametrize(
    ("objective", "records", "code", "said"),
    [
        ("regression", RECORDS["triplet"], 1, "no 'sentence1' (found: anchor, positive, negative)"),
        ("regression", [{"sentence1": "a", "sentence2": "b", "score": 7}], 2, "the scores go from 7 to 7"),
        ("softmax", [{"sentence1": "a", "sentence2": "b", "label": "x"}] * 3, 2, "all examples have the class 'x'"),
        ("classify", [{"text": "a", "label": "x"}] * 3, 2, "all examples have the class 'x'"),
        ("mnr", [{"anchor": "a", "positive": "a"}] * 3, 1, "has no usable example"),
        ("mnr", [{"anchor": "a", "positive": "b"}] * 9, 2, "no two of the 9 examples are free of common texts"),
        ("simcse-unsup", [{"sentence": "\ud800"}], 1, "a lone surrogate"),
    ],
)
def test_data_that_do_not_fit_are_refused(objective, records, code, said):
    Path("data.jsonl").write_text("\n".join(map(json.dumps, records)), encoding="utf-8")
    trained(objective, "--pooler", "mean", data="data.jsonl").fails(code, said)
    assert not Path("out.unfinished").exists()


def test_a_teacher_of_another_dimension_is_refused(tmp_path):
    tiny_checkpoint(tmp_path / "wide", hidden_size=64, files=MEAN)
    done = trained("distill", "--pooler", "mean", "--teacher", "wide")
    assert done.code == 2
    assert "of the teacher" in done.err
    assert "have 64 components, those of the model 32" in done.err


def test_one_step_is_singular():
    assert trained("mnr", "--pooler", "mean", "--steps", "1").out.startswith("trained 1 step in ")


def test_a_table_has_no_steps_to_resume_or_to_report():
    words = ("train", "--objective", "distill-static", "--teacher", "teacher", "--out", "out")
    for option in (("--resume",), ("--report", "r.html")):
        call(*words, *option).fails(2, f"{option[0]} does not apply to objective 'distill-static'")
    assert not Path("out").exists()


def test_a_dev_set_that_does_not_fit_is_refused():
    trained("mnr", "--pooler", "mean", "--dev", "nowhere").fails(1, "no 'nowhere' for --dev; expected STS data")
    Path("equal.tsv").write_text("sentence1\tsentence2\tscore\na\tb\t1\nc\td\t1\n", encoding="utf-8")
    trained("mnr", "--pooler", "mean", "--dev", "equal.tsv").fails(1, "all scores of equal in 'equal.tsv' are the same")
    Path("unscored.tsv").write_text("sentence1\tsentence2\tscore\na\tb\t\n", encoding="utf-8")
    trained("mnr", "--pooler", "mean", "--dev", "unscored.tsv").fails(1, "no pair in 'unscored.tsv' has a score")
    Path("others.jsonl").write_text('{"text": "a", "label": "x"}\n{"text": "b", "label": "heron"}\n', encoding="utf-8")
    trained("classify", "--pooler", "mean", "--dev", "others.jsonl").fails(1, "has the class 'x', which no training")


def test_damaged_weights_are_refused():
    file = Path("tiny/model.safetensors")
    file.write_bytes(file.read_bytes()[:5_000])
    trained("mlm").fails(1, "cannot be loaded: Error while deserializing header")


def test_a_model_without_a_mask_token_is_refused():
    file = Path("tiny/tokenizer.json")
    file.write_text(file.read_text("utf-8").replace("[MASK]", "[HIDE]"), encoding="utf-8")
    Path("tiny/tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast"}')  # adds no tokens
    trained("mlm").fails(1, "the tokenizer has none of the mask tokens")


def test_a_table_has_no_layers_to_train():
    table = ("--teacher", "teacher", "--dim", "8", "--device", "cpu", "--out", "table")
    assert call("train", "--objective", "distill-static", *table).code == 0
    for objective in ("mnr", "mlm"):
        words = ("--data", written(Path(), objective), "--model", "table", "--out", "out")
        call("train", "--objective", objective, *words).fails(1, "a table of static token vectors, which has no layers")


def test_texts_too_few_for_a_vocabulary_are_refused():
    Path("one.txt").write_text("a\n", encoding="utf-8")
    done = trained("mlm", "--from-scratch", "--hidden", "16", "--heads", "2", data="one.txt")
    done.fails(1, "too few to learn a vocabulary from")


def test_a_report_that_cannot_be_written_is_refused_before_the_training():
    trained("mnr", "--pooler", "mean", "--report", "nowhere/report.html").fails(1, "nowhere")
    assert not Path("out").exists()


def test_notes_say_what_is_unusual(tmp_path):
    notes: list[str] = []
    Path("data.jsonl").write_text(
        "\n".join(map(json.dumps, [*RECORDS["mnr"], {"anchor": " ", "positive": "x", "negative": "y"}])), "utf-8"
    )
    one = recipe(tmp_path, "mnr", data="data.jsonl", pooler="auto", max_tokens=8, steps=1)
    found = train(one, "out", notify=notes.append)
    assert list(found.notes) == notes
    assert "declares no pooler; using 'mean'" in notes[0]
    assert notes[1] == "1 empty or trivial examples are left out"
    assert "texts reach the limit of 8 tokens and may be truncated" in notes[2]


def test_a_checkpoint_without_dropout_is_noted_where_it_matters(tmp_path):
    tiny_checkpoint(tmp_path / "tiny", hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    found = train(recipe(tmp_path, "simcse-unsup", max_tokens=8, steps=1), "out")
    assert any("the checkpoint has no dropout" in note for note in found.notes)
    assert f"{len(SENTENCES)} texts reach the limit of 8 tokens and may be truncated" in found.notes, "each once"
    with_adapters = train(recipe(tmp_path, "simcse-unsup", lora=2, steps=1), "adapted")
    assert not any("dropout" in note for note in with_adapters.notes), "the adapters have some"
    assert not any("dropout" in note for note in train(recipe(tmp_path, "mnr", steps=1), "labeled").notes)
