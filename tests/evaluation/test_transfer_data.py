"""Tests for loading transfer tasks: SentEval's layout and encodings, labeled files, and one line for each error."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from layouts import BIRDS, LABELED, LOAVES, transfer_tasks, write_labeled, write_lines

from semsearch.errors import RecordError, SourceError, UsageError
from semsearch.evaluation.transfer_data import LAYOUTS, TransferTask, load_transfer


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def load(*names: str) -> TransferTask:
    (task,) = load_transfer("downstream", names)
    return task


def by_label(task: TransferTask, part: slice) -> dict[str, int]:
    """Count the examples of a part by the name of their label."""
    counts = np.bincount(task.labels[part], minlength=len(task.classes))
    return dict(zip(task.classes, counts.tolist(), strict=True))


# --- SentEval's layout


def test_every_task_of_the_folder_is_loaded_in_the_paper_s_order():
    tasks = load_transfer(transfer_tasks())
    assert [task.name for task in tasks] == ["MR", "CR", "SUBJ", "MPQA", "SST2", "SST5", "TREC", "MRPC"]
    assert [(task.n_train, task.n_dev, len(task), task.folds) for task in tasks] == [
        *[(0, 0, 32, 10)] * 4,
        *[(16, 8, 32, 0)] * 2,
        (24, 0, 32, 10),
        (36, 0, 48, 10),
    ]
    assert {task.dropped for task in tasks} == {0}


def test_the_labels_are_those_of_the_files():
    transfer_tasks()
    assert by_label(load("MR"), slice(None)) == {"neg": 16, "pos": 16}
    assert by_label(load("SUBJ"), slice(None)) == {"objective": 16, "subjective": 16}
    for name, labels in (("SST2", ("0", "1")), ("SST5", ("0", "4"))):
        task = load(name)
        for part, n in ((task.train, 8), (task.dev, 4), (task.test, 4)):
            assert by_label(task, part) == dict.fromkeys(labels, n)
    assert by_label(load("TREC"), load("TREC").test) == {"HUM": 4, "NUM": 4}
    assert by_label(load("MRPC"), load("MRPC").test) == {"0": 4, "1": 8}


def test_texts_and_labels_stay_together():
    transfer_tasks()
    for name, bird in (("MR", "pos"), ("SST2", "0"), ("SST5", "0"), ("TREC", "HUM")):
        task = load(name)
        (texts,) = task.texts
        for text, label in zip(texts, task.labels, strict=True):
            assert (text.split()[1] in BIRDS) == (task.classes[label] == bird)
            assert (text.split()[1] in LOAVES) != (task.classes[label] == bird)
    first, second = load("MRPC").texts
    for one, two, label in zip(first, second, load("MRPC").labels, strict=True):
        assert (two == f"yes, {one}") == (load("MRPC").classes[label] == "1")


def test_a_question_keeps_its_colons_and_loses_its_fine_label():
    transfer_tasks()
    lines = ["DESC:def What is 5:15 ?"] * 3 + ["ABBR:exp What does AD : BC mean ?"] * 3
    write_lines(Path("downstream/TREC/train_5500.label"), *lines)
    write_lines(Path("downstream/TREC/TREC_10.label"), "LOC:city Where ?")
    task = load("TREC")
    assert task.texts[0] == (*["What is 5:15 ?"] * 3, *["What does AD : BC mean ?"] * 3, "Where ?")
    assert task.classes == ("ABBR", "DESC", "LOC")


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_a_file_is_utf_8_or_else_latin_1(encoding: str):
    write_lines(Path("downstream/MR/rt-polarity.pos"), *["a clichéd film\u0085 naïve"] * 3, encoding=encoding)
    write_lines(Path("downstream/MR/rt-polarity.neg"), *["dull"] * 3)
    assert load("MR").texts == ((*["a clichéd film\u0085 naïve"] * 3, *["dull"] * 3),)


def test_blank_lines_are_left_out_and_counted():
    write_lines(Path("downstream/CR/custrev.pos"), "good", "", "fine", "  ", "great")
    write_lines(Path("downstream/CR/custrev.neg"), "bad", "poor", "weak", "")
    task = load("CR")
    assert (len(task), task.dropped) == (6, 3)


def test_quotes_are_nothing_special_in_paraphrases():
    transfer_tasks()
    file = Path("downstream/MRPC/msr_paraphrase_test.txt")
    write_lines(file, "Quality\ta\tb\tc\td", '1\t1\t2\t"He said\tHe said"')
    task = load("MRPC")
    assert [side[task.test] for side in task.texts] == [('"He said',), ('He said"',)]


def test_only_the_tasks_that_are_there_or_named_are_loaded():
    folder = transfer_tasks()
    assert [task.name for task in load_transfer(folder, ["TREC", "MR"])] == ["MR", "TREC"]
    for name in ("MR", "CR", "SUBJ", "SST"):
        (folder / name).rename(name)
    assert [task.name for task in load_transfer(folder)] == ["MPQA", "TREC", "MRPC"]


# --- labeled files


@pytest.mark.parametrize("field", ["text", "sentence"])
@pytest.mark.parametrize("ending", ["tsv", "csv", "jsonl"])
def test_a_file_of_labeled_texts_is_a_task(ending: str, field: str):
    file = Path(f"topics.{ending}")
    if ending == "jsonl":
        file.write_text("".join(json.dumps({"label": label, field: text}) + "\n" for text, label in LABELED))
    else:
        mark = {"tsv": "\t", "csv": ","}[ending]
        file.write_text("".join(f"{text}{mark}{label}\n" for text, label in [(field, "label"), *LABELED]))
    (task,) = load_transfer(file)
    assert (task.name, task.folds, task.n_train) == ("topics", 10, 0)
    (texts,) = task.texts
    assert [(text, task.classes[label]) for text, label in zip(texts, task.labels, strict=True)] == LABELED


def test_numbers_are_labels_by_their_digits():
    Path("a.jsonl").write_text("".join(json.dumps({"text": "a", "label": n % 2}) + "\n" for n in range(6)))
    (task,) = load_transfer("a.jsonl")
    assert by_label(task, slice(None)) == {"0": 3, "1": 3}


def test_labeled_files_of_a_folder_are_tasks_beside_senteval_s():
    folder = transfer_tasks()
    write_labeled("downstream/topics.tsv")
    write_labeled("downstream/MR.tsv")  # not SentEval's
    Path("downstream/documents.jsonl").write_text(json.dumps({"id": 1, "text": "a", "label": "b"}))
    Path("downstream/README.md").write_text("text label")
    assert [task.name for task in load_transfer(folder)] == [*LAYOUTS, "MR.tsv", "topics"]
    assert [task.name for task in load_transfer(folder, ["topics"])] == ["topics"]


def test_few_examples_of_a_label_make_fewer_folds():
    write_labeled("a.tsv", [*LABELED, *[("the rain", "weather")] * 4])
    assert load_transfer("a.tsv")[0].folds == 4


# --- errors of one line

BROKEN: dict[str, tuple[str, str, str]] = {
    "binary without a label": ("SST/binary/sentiment-dev", "good film", "a sentence, a tab and a label (0 or 1)"),
    "binary with another label": ("SST/binary/sentiment-dev", "good film\t2", "a label (0 or 1)"),
    "binary without a sentence": ("SST/binary/sentiment-dev", " \t1", "an empty sentence"),
    "fine without a label": ("SST/fine/sentiment-train", "good film", "a label (0 to 4), a space and a sentence"),
    "fine with another label": ("SST/fine/sentiment-train", "5 good film", "a label (0 to 4)"),
    "fine without a sentence": ("SST/fine/sentiment-train", "3", "an empty sentence"),
    "a question without a label": ("TREC/TREC_10.label", "What is it ?", "a label such as NUM:date"),
    "a question with another label": ("TREC/TREC_10.label", "WHAT:def What is it ?", "ABBR, DESC, ENTY, HUM, LOC"),
    "a label without a question": ("TREC/TREC_10.label", "NUM:date", "an empty sentence"),
    "a single sentence": ("MRPC/msr_paraphrase_test.txt", "1\t2\t3\tone", "two ids and two sentences"),
    "pairs with another label": ("MRPC/msr_paraphrase_test.txt", "2\t2\t3\tone\ttwo", "a label (0 or 1)"),
    "pairs with an empty sentence": ("MRPC/msr_paraphrase_test.txt", "1\t2\t3\tone\t", "an empty sentence"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_malformed_line_is_an_error_that_names_it(name: str):
    file, line, said = BROKEN[name]
    path = transfer_tasks() / file
    n = len(path.read_text().splitlines())
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(RecordError) as raised:
        load_transfer("downstream")
    assert str(raised.value).startswith(f"{path}:{n + 1}: ")
    assert said in str(raised.value)
    assert len(str(raised.value).splitlines()) == 1


RECORDS: dict[str, tuple[str, str]] = {
    '{"text": "a"}': ("expected 'text' (or 'sentence') and 'label' (fields found: text)", "no label"),
    '{"label": "a"}': ("(fields found: label)", "no text"),
    '{"text": "a", "label": null}': ("expected 'text'", "null"),
    '{"text": "a", "label": " "}': ("the label is ' '; expected", "a blank label"),
    '{"text": "a", "label": ["b"]}': ("the label is ['b']; expected a string or a number", "a list"),
    '{"text": "a", "label": NaN}': ("the label is nan; expected", "not a number"),
    '{"text": 5, "label": "b"}': ("the text is 5; expected a string", "a number as text"),
    '{"text": " ", "label": "b"}': ("the text is empty; remove the record", "an empty text"),
    '{"text": "\\ud800", "label": "b"}': ("a lone surrogate", "half a character"),
    "{oops": ("not valid JSON", "bad JSON"),
}


@pytest.mark.parametrize("record", RECORDS, ids=[name for _, name in RECORDS.values()])
def test_a_bad_record_is_an_error_that_names_its_line(record: str):
    Path("a.jsonl").write_text('{"text": "a", "label": "b"}\n' + record + "\n")
    with pytest.raises(RecordError) as raised:
        load_transfer("a.jsonl")
    assert str(raised.value).startswith("a.jsonl:2: ")
    assert RECORDS[record][0] in str(raised.value)
    assert len(str(raised.value).splitlines()) == 1


def test_a_missing_file_of_a_task_is_an_error_that_names_all_of_them():
    for name, layout in LAYOUTS.items():
        for file in layout.files:
            path = transfer_tasks(f"{name}-{Path(file).name}") / file
            path.unlink()
            with pytest.raises(SourceError) as raised:
                load_transfer(path.parents[file.count("/")])
            assert str(raised.value).startswith(f"no {path}; expected SentEval's layout, in which {name} is ")
            assert all(each in str(raised.value) for each in layout.files)


@pytest.mark.parametrize("name", ["SST/binary/sentiment-dev", "TREC/TREC_10.label", "MRPC/msr_paraphrase_test.txt"])
def test_an_empty_part_is_an_error(name: str):
    (transfer_tasks() / name).write_text("\n")
    with pytest.raises(SourceError, match=rf"^downstream/{name} has no examples; expected a "):
        load_transfer("downstream")


def test_a_file_with_the_name_of_the_mean_keeps_its_extension():
    for name in ("average", "topics"):
        write_labeled(str(transfer_tasks("folder") / f"{name}.tsv"))
    assert [task.name for task in load_transfer("folder", ["average.tsv", "topics"])] == ["average.tsv", "topics"]


def test_a_folder_without_a_task_is_an_error():
    Path("void").mkdir()
    for folder, said in (("void", "no known task in 'void'; "), ("nowhere", "'nowhere' does not exist; ")):
        with pytest.raises(SourceError, match=rf"^{said}expected a folder in SentEval's layout, with MR/, CR/"):
            load_transfer(folder)


def test_an_unknown_task_is_an_error_that_lists_the_known_ones():
    write_labeled(str(transfer_tasks() / "topics.tsv"))
    with pytest.raises(UsageError, match=r"^unknown task 'SST'; expected one of: MR, CR, .*, MRPC, topics$"):
        load_transfer("downstream", ["MR", "SST"])
    Path("void").mkdir()
    with pytest.raises(SourceError, match=r"^no void/MR/rt-polarity.pos; expected SentEval's layout, in which MR is"):
        load_transfer("void", ["MR"])


@pytest.mark.parametrize(
    ("examples", "said"),
    [
        ([], "task a: there are no examples to train on; expected at least 2 labels"),
        (
            [("a", "x")] * 20,
            "task a: there are only examples with the label 'x' to train on; expected at least 2 labels",
        ),
        (
            [*[("a", "x")] * 20, *[("b", "y")] * 2],
            "task a: too few examples with the label 'y' for a cross-validation: 2; expected at least 3 of each label, "
            "better 10",
        ),
    ],
)
def test_too_few_examples_or_labels_are_an_error(examples: list[tuple[str, str]], said: str):
    write_labeled("a.tsv", examples)
    with pytest.raises(SourceError) as raised:
        load_transfer("a.tsv")
    assert str(raised.value) == said


def test_a_side_without_a_line_leaves_one_label():
    write_lines(Path("downstream/MR/rt-polarity.pos"), "good")
    write_lines(Path("downstream/MR/rt-polarity.neg"))
    with pytest.raises(SourceError, match="task MR: there are only examples with the label 'pos' to train on"):
        load_transfer("downstream")


def test_what_is_no_path_or_no_file_of_records_is_an_error():
    with pytest.raises(UsageError, match="expected a path"):
        load_transfer(5)  # type: ignore[arg-type]
    Path("a.md").touch()
    with pytest.raises(SourceError, match=r"'a\.md' has an unknown extension; expected one of \.jsonl, \.csv, \.tsv"):
        load_transfer("a.md")
