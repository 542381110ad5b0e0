"""Training data: columns and labels by hand, and records that do not fit their objective."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from semsearch.errors import RecordError, SourceError, UsageError
from semsearch.training.data import load_examples
from semsearch.training.objectives import OBJECTIVES


def written(tmp_path: Path, *records: Any, name: str = "data.jsonl") -> Path:
    file = tmp_path / name
    file.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return file


def test_scores_on_the_scale_of_sts_become_0_to_1(tmp_path):
    file = tmp_path / "pairs.tsv"
    file.write_text("sentence1\tsentence2\tscore\na\tb\t5.0\nc\td\t2.5\ne\tf\t0\n", encoding="utf-8")
    found = load_examples(file, OBJECTIVES["regression"], scale=(0, 5))
    assert found.columns == (("a", "c", "e"), ("b", "d", "f"))
    assert found.labels.tolist() == [1, 0.5, 0]
    assert (len(found), found.classes, found.n_skipped) == (3, (), 0)


def test_only_the_published_files_of_sts_b_have_a_known_scale(tmp_path):
    published = tmp_path / "sts-train.csv"
    published.write_text("g\tf\t2012\t1\t5.0\ta\tb\ng\tf\t2012\t2\t2.5\tc\td\n", encoding="utf-8")
    assert load_examples(published, OBJECTIVES["regression"]).labels.tolist() == [1, 0.5]
    own = tmp_path / "sts-mine.csv"
    own.write_text("sentence1,sentence2,score\na,b,1\nc,d,0.5\n", encoding="utf-8")
    assert load_examples(own, OBJECTIVES["regression"]).labels.tolist() == [1, 0.5]


def test_classes_are_numbered_in_the_order_of_their_names(tmp_path):
    file = tmp_path / "nli.csv"
    file.write_text("premise,hypothesis,label\na,b,neutral\nc,d,contradiction\ne,f,neutral\n", encoding="utf-8")
    found = load_examples(file, OBJECTIVES["softmax"])
    assert (found.labels.tolist(), found.classes) == ([1, 0, 1], ("contradiction", "neutral"))


def test_hard_negatives_are_optional_and_may_be_several(tmp_path):
    pairs = written(tmp_path, {"anchor": "a", "positive": "b"}, {"query": "c", "positive": "d"})
    assert load_examples(pairs, OBJECTIVES["mnr"]).columns == (("a", "c"), ("b", "d"))
    simcse = tmp_path / "nli_for_simcse.csv"
    simcse.write_text("sent0,sent1,hard_neg\na,b,x\nc,d,y\n", encoding="utf-8")
    assert load_examples(simcse, OBJECTIVES["simcse-sup"]).columns == (("a", "c"), ("b", "d"), ("x", "y"))
    several = written(tmp_path, {"anchor": "a", "positive": "b", "negative": ["x", "y"]})
    assert load_examples(several, OBJECTIVES["mnr"]).columns == (("a",), ("b",), ("x",), ("y",))


def test_sentences_come_from_lines_of_text_and_from_records(tmp_path):
    lines = tmp_path / "wiki.txt.gz"
    lines.write_bytes(gzip.compress("one\n\ntwo\u2028half\n".encode()))
    assert load_examples(lines, OBJECTIVES["simcse-unsup"]).columns == (("one", "two\u2028half"),)
    records = written(tmp_path, {"text": "one"}, {"sentence": "two"})
    assert load_examples(records, OBJECTIVES["simcse-unsup"]).columns == (("one", "two"),)


def test_what_teaches_nothing_is_left_out_and_counted(tmp_path):
    pairs = [{"anchor": "a", "positive": "b"}, {"anchor": "c", "positive": "c"}, {"anchor": " ", "positive": "d"}]
    found = load_examples(written(tmp_path, *pairs), OBJECTIVES["mnr"])
    assert (found.columns, found.n_skipped) == ((("a",), ("b",)), 2)
    same = {"sentence1": "a", "sentence2": "a", "score": 1}
    assert len(load_examples(written(tmp_path, same), OBJECTIVES["cosent"])) == 1, "a score says something about it"


PAIR = {"sentence1": "a", "sentence2": "b"}
TRIPLET = {"anchor": "a", "positive": "b", "negative": "c"}


@pytest.mark.parametrize(
    ("objective", "records", "error", "said"),
    [
        ("regression", [{"sentence1": "a", "score": 1}], RecordError, "no 'sentence2' (found: sentence1, score)"),
        ("regression", [PAIR], RecordError, "no 'score'; expected sentence1, sentence2, score"),
        ("regression", [PAIR | {"score": "high"}], RecordError, "the score is 'high'; expected a number"),
        ("regression", [PAIR | {"score": float("nan")}], RecordError, "expected a number"),
        ("regression", [PAIR | {"score": 0}, PAIR | {"score": 5}], UsageError, "from 0 to 5, outside of -1 to 1"),
        ("softmax", [PAIR | {"label": "x"}, PAIR | {"label": "x"}], UsageError, "all examples have the class 'x'"),
        ("triplet", [{"anchor": "a", "positive": "b"}], RecordError, "no 'negative'"),
        ("simcse-unsup", [{"sentence": 7}], RecordError, "7 is not text"),
        ("simcse-unsup", [{"sentence": " "}], SourceError, "has no usable example"),
        ("mnr", [{"anchor": "a", "positive": ["b", "c"]}], RecordError, "['b', 'c'] is not text"),
        ("mnr", [{"anchor": "a", "positive": []}], RecordError, "[] is not text"),
        ("mnr", [TRIPLET, {"anchor": "a", "positive": "b"}], SourceError, "has 2 texts, the first one 3"),
    ],
)
def test_data_that_do_not_fit_the_objective_are_refused(tmp_path, objective, records, error, said):
    with pytest.raises(error) as caught:
        load_examples(written(tmp_path, *records), OBJECTIVES[objective])
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("objective", "scale", "said"),
    [
        ("mnr", (0, 5), "`scale` applies only to objectives with scores"),
        ("regression", (5, 0), "`scale` is 5 to 0"),
        ("regression", (0, float("inf")), "`scale` is 0 to inf"),
        ("regression", (0, 0.5), "the scores go from 0.25 to 1, outside of 0 to 0.5"),
    ],
)
def test_a_scale_that_does_not_fit_is_refused(tmp_path, objective, scale, said):
    texts = {"anchor": "a", "positive": "b"} | PAIR
    file = written(tmp_path, texts | {"score": 0.25}, texts | {"score": 1})
    with pytest.raises(UsageError) as caught:
        load_examples(file, OBJECTIVES[objective], scale=scale)
    assert said in str(caught.value)


def test_a_file_that_is_missing_or_of_another_kind_is_refused(tmp_path):
    with pytest.raises(SourceError, match=r"no .*nowhere\.jsonl; expected a file"):
        load_examples(tmp_path / "nowhere.jsonl", OBJECTIVES["mnr"])
    with pytest.raises(SourceError, match="unknown extension"):
        load_examples(tmp_path / "pairs.parquet", OBJECTIVES["mnr"])
