"""Tests for transfer tasks: predictions of an independent path, two topics that a real model tells apart, and luck."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import tiny_checkpoint
from layouts import LABELED, transfer_tasks, write_labeled
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, f1_score
from sklearn.preprocessing import StandardScaler

from semsearch import Encoder
from semsearch.errors import UsageError
from semsearch.evaluation import MultiPooler, Study, evaluate_transfer, load_transfer, study_transfer
from semsearch.evaluation.evidence import evidence_of_transfer, layer_names
from semsearch.evaluation.significance import AVERAGE
from semsearch.evaluation.transfer import MAJORITY, TransferResult

pytestmark = pytest.mark.usefixtures("one_thread")

POOLERS = ("mean", "mean-sqrt-len", "cls")


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> MultiPooler:
    model = str(tiny_checkpoint(tmp_path_factory.mktemp("model") / "model", head=False))
    return MultiPooler.load(model, [*POOLERS, "pooler-output"], device="cpu")


@pytest.fixture(scope="module")
def result(encoder: MultiPooler, tmp_path_factory: pytest.TempPathFactory) -> TransferResult:
    folder = transfer_tasks(str(tmp_path_factory.mktemp("data") / "downstream"))
    return evaluate_transfer(load_transfer(folder), encoder, ["center"])


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def study_of(encoder: MultiPooler, examples: Any = LABELED, **wishes: Any) -> Study:
    write_labeled("labeled.tsv", examples)
    return study_transfer(load_transfer("labeled.tsv"), encoder, data="labeled.tsv", **wishes)


# --- the numbers are right


@pytest.mark.parametrize("pooler", ["mean", "cls"])
@pytest.mark.parametrize("name", ["SST2", "TREC", "MRPC"])
def test_test_examples_are_predicted_as_by_scikit_learn_on_the_encoder_s_vectors(
    result: TransferResult, encoder: MultiPooler, name: str, pooler: str
):
    (task,) = [task for task in result.tasks if task.name == name]
    alone = Encoder.load(encoder.spec.model, pooler, device="cpu")
    sides = [alone.encode_documents(side) for side in task.texts]
    features = sides[0]
    if name == "MRPC":
        features = np.hstack([abs(sides[0] - sides[1]), sides[0] * sides[1]])
    found = result.probes[pooler][name]
    scaler = StandardScaler().fit(features[: task.n_train])
    model = LogisticRegression(C=found.strengths[0], max_iter=10_000)
    model.fit(scaler.transform(features[: task.n_train]), task.labels[: task.n_train])
    expected = model.predict(scaler.transform(features[task.n_train + task.n_dev :]))
    assert np.mean(found.predictions == expected) >= 0.9  # one of 8 to 12 may be at the boundary
    assert len(found.predictions) == {"SST2": 8, "TREC": 8, "MRPC": 12}[name]


def test_the_tables_are_scikit_learn_s_accuracy_and_macro_f1_of_the_predictions(result: TransferResult):
    accuracy, macro_f1 = result.compare(), result.compare(measure="macro-F1")
    gold = result.gold()
    assert accuracy.columns == macro_f1.columns == (*gold, AVERAGE)
    for label, row in result.predictions().items():
        shares = [accuracy_score(gold[task], row[task]) for task in gold]
        scores = [f1_score(gold[task], row[task], average="macro") for task in gold]
        assert [cell.value for cell in accuracy.rows[label]] == pytest.approx([*shares, np.mean(shares)])
        assert [cell.value for cell in macro_f1.rows[label]] == pytest.approx([*scores, np.mean(scores)])


def test_the_last_row_always_predicts_the_most_frequent_label(result: TransferResult):
    assert [*result.predictions()][-1] == MAJORITY
    for task in result.tasks:
        train, test = task.labels[task.train], task.labels[task.test]
        theirs = DummyClassifier(strategy="most_frequent").fit(np.zeros((len(train), 1)), train)
        np.testing.assert_array_equal(
            result.predictions()[MAJORITY][task.name], theirs.predict(np.zeros((len(test), 1)))
        )


def test_rows_with_the_same_unit_vectors_have_the_same_predictions(result: TransferResult):
    assert result.repeats() == {"mean-sqrt-len": "mean"}
    for task in result.tasks:
        one, other = (result.probes[label][task.name].predictions for label in ("mean", "mean-sqrt-len"))
        np.testing.assert_array_equal(one, other)


def test_a_transform_is_fitted_on_the_task_s_own_texts(result: TransferResult, encoder: MultiPooler):
    alone = evaluate_transfer([result.tasks[0]], encoder, ["center"])
    name = result.tasks[0].name
    for label in ("mean, center", "cls, center"):
        np.testing.assert_array_equal(alone.probes[label][name].predictions, result.probes[label][name].predictions)


@pytest.mark.slow
def test_the_default_model_tells_two_topics_apart_and_finds_nothing_in_random_labels():
    encoder = MultiPooler.load(poolers=["mean"], device="cpu")
    labels = np.random.default_rng(0).permutation(["x", "y"] * 120)
    parts = [
        "waits in the reeds;flies off at dawn;has a long bill;sings in the rain;builds a nest".split(";"),
        "is in the oven;has cooled on the rack;needs more salt;rises for an hour;tastes of butter".split(";"),
    ]
    names = (
        "heron egret wren robin gull tern finch crane lark swan owl kite".split(),
        ("bread rye bun bagel roll loaf crust dough cake pie scone muffin".split()),
    )
    texts = [
        (f"{start} {name} {does}", topic)
        for topic, nouns, does_all in (("bird", names[0], parts[0]), ("baking", names[1], parts[1]))
        for name in nouns
        for does in does_all
        for start in ("the", "another")
    ]
    values = study_of(encoder, texts).tables[0].comparison.rows
    assert values["mean"][0].value > 0.98
    assert values[MAJORITY][0].value == 0.5
    random = [(text, label) for (text, _), label in zip(texts, labels, strict=True)]
    assert abs(study_of(encoder, random).tables[0].comparison.rows["mean"][0].value - 0.5) < 0.12


# --- what a study tells


def test_a_study_has_two_tables_of_which_accuracy_decides(encoder: MultiPooler):
    study = study_of(encoder)
    assert (study.kind, study.column, [*study.refused]) == ("transfer", "labeled", ["pooler-output"])
    assert [table.corner for table in study.tables] == ["accuracy x 100", "macro-F1 x 100"]
    values = {label: row[0].value for label, row in study.tables[0].comparison.rows.items()}
    assert [*values] == [*POOLERS, MAJORITY]
    assert study.best is not None
    assert values[study.best.label] == max(values[label] for label in POOLERS)
    assert study.detail["tasks"] == {
        "labeled": {"train": 0, "dev": 0, "test": 32, "folds": 10, "labels": {"bird": 16, "bread": 16}}
    }
    assert {label: len(row["labeled"]) for label, row in study.detail["strengths"].items()} == dict.fromkeys(
        POOLERS, 10
    )


def test_notes_say_what_the_numbers_are_and_of_how_many_examples(encoder: MultiPooler):
    tasks = load_transfer(transfer_tasks(), ["MR", "SST2", "TREC"])
    notes = study_transfer(tasks, encoder, data="downstream").notes
    assert (
        "examples: MR 32 in 10 folds; SST2 16 to train, 8 to choose C, 8 to test; TREC 24 to train, 8 to test" in notes
    )
    assert any("standardized features and C from 0.0001 to 1)" in note for note in notes)
    assert notes[-1].startswith("majority class: always predicts the most frequent label")


def test_fewer_folds_blank_lines_and_flat_transforms_are_noted(encoder: MultiPooler):
    notes = study_of(encoder, [*LABELED, *[(f"rain {n}", "weather") for n in range(4)]]).notes
    assert "labeled: 4 folds instead of 10, because a label has only 4 examples" in notes
    file = transfer_tasks() / "MR/rt-polarity.neg"
    file.write_text(file.read_text() + "\n\n")
    notes = study_transfer(load_transfer("downstream", ["MR"]), encoder, data="downstream").notes
    assert "MR: blank lines, left out: 2" in notes
    few = [*LABELED[:4], *LABELED[-4:]]
    notes = study_of(encoder, few, transforms=["whiten"]).notes
    assert any(
        note.startswith("mean, whiten: no information on labeled, because whitening on 8 texts makes all")
        for note in notes
    )


def test_layers_have_the_mean_accuracy(encoder: MultiPooler):
    layered = MultiPooler.load(encoder.spec.model, ["mean"], also=layer_names(), device="cpu")
    study = study_of(layered)
    assert study.layers is not None
    assert study.layers.values.shape == (3, 5)
    last = study.layers.values[study.layers.poolers.index("mean"), -1]
    assert last == pytest.approx(100 * study.tables[0].comparison.rows["mean"][0].value)
    assert [*study.tables[0].comparison.rows] == ["mean", MAJORITY]


def test_a_duel_shows_the_labels_that_each_row_predicts(encoder: MultiPooler):
    study = study_of(encoder, duel=["cls", "mean"])
    duels = study.duels
    assert duels is not None
    assert (duels.rows, duels.unit, duels.n_wins + duels.n_losses + duels.n_ties) == (("cls", "mean"), "examples", 32)
    shares = [study.tables[0].comparison.rows[row][0].value for row in ("cls", "mean")]
    assert duels.n_wins - duels.n_losses == round(32 * (shares[0] - shares[1]))
    labels = dict(LABELED)
    for each in (*duels.wins, *duels.losses):
        assert each.wanted == labels[each.text]
        assert [answer.text == each.wanted for answer in each.answers] == [answer.right for answer in each.answers]


def test_pairs_are_of_the_same_label_or_of_different_ones(result: TransferResult):
    evidence = evidence_of_transfer(result, seed=0)
    labels, tasks = (np.array(evidence.fields[name]) for name in ("label", "task"))
    for pairs, alike in ((evidence.similar, True), (evidence.dissimilar, False)):
        single = pairs[tasks[pairs[:, 0]] != "MRPC"]
        assert len(single) > 100
        assert ((labels[single[:, 0]] == labels[single[:, 1]]) == alike).all()
        assert (tasks[pairs[:, 0]] == tasks[pairs[:, 1]]).all()
        assert (pairs[:, 0] != pairs[:, 1]).all()
        for one, other in pairs[tasks[pairs[:, 0]] == "MRPC"]:
            assert (evidence.texts[other] == f"yes, {evidence.texts[one]}") == alike
    assert all(len(rows) == len(evidence.texts) for rows in evidence.vectors.values())


def test_an_unknown_transform_is_refused_before_anything_is_encoded(
    encoder: MultiPooler, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(MultiPooler, "_encode", lambda *_: pytest.fail("encoded"))
    with pytest.raises(UsageError, match="unknown transform 'zorg'"):
        study_of(encoder, transforms=["zorg"])
