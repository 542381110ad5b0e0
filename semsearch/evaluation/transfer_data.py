"""Data of transfer tasks: labeled texts or pairs of texts, in SentEval's `data/downstream` layout or in your own files.

<folder>/MR/rt-polarity.{pos,neg}                      one sentence per line; the file is the label
<folder>/CR/custrev.{pos,neg}                          the same
<folder>/SUBJ/subj.{objective,subjective}              the same
<folder>/MPQA/mpqa.{pos,neg}                           the same
<folder>/SST/binary/sentiment-{train,dev,test}         sentence, tab, label
<folder>/SST/fine/sentiment-{train,dev,test}           label, space, sentence
<folder>/TREC/{train_5500,TREC_10}.label               COARSE:fine, space, question; the coarse class is the label
<folder>/MRPC/msr_paraphrase_{train,test}.txt          tab-separated with a header: label, two ids, two sentences
<folder>/*.{jsonl,csv,tsv}                             your own tasks, with `text` (or `sentence`) and `label`
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from semsearch.corpus.tables import field_names, lines_of, read_records
from semsearch.errors import RecordError, SourceError, UsageError
from semsearch.evaluation.classification import Labels
from semsearch.evaluation.probes import FOLDS, LEAST_OF_A_CLASS, n_folds
from semsearch.evaluation.significance import AVERAGE
from semsearch.paths import as_path

Example: TypeAlias = tuple[tuple[str, ...], str]
"""One text or two, and a label."""

TEXT, LABEL = ("text", "sentence"), "label"
"""Fields of a file of labeled texts; the first text field that a record has counts."""

OF_DOCUMENTS = frozenset(("_id", "id", "title"))
"""Fields of a corpus, by which documents that have a label among their metadata are told from labeled texts."""

EXPECTED = (
    "a folder in SentEval's layout, with MR/, CR/, SUBJ/, MPQA/, SST/, TREC/ or MRPC/, or a tsv, csv or jsonl file of "
    "labeled texts"
)


@dataclass(frozen=True, slots=True)
class TransferTask:
    """Labeled texts, or pairs of texts: those to train on, then those to choose the regularization by, then the test.

    Attributes:
        name: Name of the task, one column of the table.
        texts: One tuple of texts `[n]`, or two for pairs.
        labels: Class indices, int64 `[n]`.
        classes: Names of the classes, sorted.
        n_train, n_dev: Number of examples to train on, and to choose the regularization by; `n_train` is 0 if the task
            is cross-validated, and `n_dev` is 0 if the regularization is chosen by cross-validation.
        dropped: Number of blank lines in the files.
    """

    name: str
    texts: tuple[tuple[str, ...], ...]
    labels: Labels
    classes: tuple[str, ...]
    n_train: int = 0
    n_dev: int = 0
    dropped: int = 0

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def train(self) -> slice:
        """The examples to train on; all of them if the task is cross-validated."""
        return slice(0, self.n_train or len(self))

    @property
    def dev(self) -> slice:
        """The examples to choose the regularization by; may be empty."""
        return slice(self.n_train, self.n_train + self.n_dev)

    @property
    def test(self) -> slice:
        """The examples whose predictions count; all of them if the task is cross-validated."""
        return slice(self.n_train + self.n_dev, len(self))

    @property
    def folds(self) -> int:
        """The number of folds of the training examples; 0 if there is no cross-validation."""
        return 0 if self.n_dev else n_folds(self.labels[self.train])


@dataclass(frozen=True, slots=True)
class Layout:
    """The files of one of SentEval's tasks.

    Attributes:
        files: Paths in the folder: one for each class, or those to train, to develop and to test on.
        parse: Returns the example in a line of a file, or None if the line is malformed.
        line: Description of a line.
        split: Whether the files are parts for training and testing, rather than classes.
        header: Whether the files begin with a header.
    """

    files: tuple[str, ...]
    parse: Callable[[str, Path], Example | None]
    line: str
    split: bool = True
    header: bool = False


def load_transfer(path: str | Path, names: Sequence[str] = ()) -> list[TransferTask]:
    """Load the transfer tasks of a folder, or a single task from a file of labeled texts.

    Files of SentEval's tasks are read as UTF-8, or else as Latin-1, in which some copies of MR, SUBJ and TREC are.

    Args:
        path: A folder in SentEval's layout, optionally with files of labeled texts beside its own; or one such file, a
            tsv, csv or jsonl file with `text` (or `sentence`) and `label`.
        names: Names of tasks in the folder; empty for all that are there. Not used for a file.

    Raises:
        UsageError: If a task is unknown, or `path` is not a path.
        SourceError: If no task is there, a file of a task is missing or cannot be read, or a task has too few examples
            or classes.
        RecordError: If a line is malformed.
    """
    folder = as_path(path)
    if folder.is_file():
        return [_checked(_of_file(folder, _stem(folder)))]
    if not folder.is_dir():
        raise SourceError(f"{str(folder)!r} does not exist; expected {EXPECTED}")
    own = _own_files(folder)
    known = [*LAYOUTS, *own]
    if unknown := next((name for name in names if name not in known), None):
        raise UsageError(f"unknown task {unknown!r}; expected one of: {', '.join(known)}")
    present = [name for name in known if name not in LAYOUTS or holds_task(folder, name)]
    wanted = [name for name in known if name in names] if names else present
    if not wanted:
        raise SourceError(f"no known task in {str(folder)!r}; expected {EXPECTED}")
    return [_checked(_of_file(own[name], name) if name in own else _of_layout(folder, name)) for name in wanted]


def holds_task(folder: Path, name: str) -> bool:
    """Return whether a folder has at least one file of one of SentEval's tasks."""
    return any((folder / file).is_file() for file in LAYOUTS[name].files)


def labels_texts(path: Path) -> bool:
    """Return whether a path is a file of labeled texts, by its extension and the names in its first nonblank line."""
    names = field_names(path)
    return LABEL in names and not names.isdisjoint(TEXT) and names.isdisjoint(OF_DOCUMENTS)


def _own_files(folder: Path) -> dict[str, Path]:
    """Return the files of labeled texts in a folder by name, with the extension only where the name is taken."""
    found: dict[str, Path] = {}
    taken = (*LAYOUTS, AVERAGE)
    for file in sorted(folder.iterdir()):
        if labels_texts(file):
            stem = _stem(file)
            found[file.name if stem in found or stem in taken else stem] = file
    return found


def _stem(file: Path) -> str:
    return file.name.split(".")[0]


def _of_layout(folder: Path, name: str) -> TransferTask:
    layout = LAYOUTS[name]
    parts, dropped = list[list[Example]](), 0
    for file in layout.files:
        lines = lines_of(
            folder / file, f"SentEval's layout, in which {name} is {', '.join(layout.files)}", or_latin_1=True
        )
        numbered = list(enumerate(lines, 1))[layout.header :]
        parts.append([_parsed(layout, folder / file, *one) for one in numbered if one[1].strip()])
        dropped += len(numbered) - len(parts[-1])
    examples = [example for part in parts for example in part]
    if not layout.split:
        return _task(name, examples, dropped=dropped)
    for file, part in zip(layout.files, parts, strict=True):
        if not part:
            raise SourceError(f"{folder / file} has no examples; expected {layout.line} on each line")
    n_dev = len(parts[1]) if len(parts) == 3 else 0
    return _task(name, examples, len(parts[0]), n_dev, dropped)


def _parsed(layout: Layout, path: Path, number: int, line: str) -> Example:
    example = layout.parse(line, path)
    if example is None:
        raise RecordError(str(path), number, f"expected {layout.line}")
    if not all(text.strip() for text in example[0]):
        raise RecordError(str(path), number, f"an empty sentence; expected {layout.line}")
    return example


def _of_file(path: Path, name: str) -> TransferTask:
    return _task(name, [_labeled(path, *numbered) for numbered in read_records(path)])


def _labeled(path: Path, number: int, record: Mapping[str, Any]) -> Example:
    text = next((record[name] for name in TEXT if record.get(name) is not None), None)
    label = record.get(LABEL)
    if text is None or label is None:
        fields = ", ".join(map(str, record)) or "none"
        raise RecordError(str(path), number, f"expected 'text' (or 'sentence') and 'label' (fields found: {fields})")
    if not isinstance(text, str):
        raise RecordError(str(path), number, f"the text is {text!r:.40}; expected a string")
    if not isinstance(label, str | int | float) or label != label or not str(label).strip():  # NaN is not itself
        raise RecordError(str(path), number, f"the label is {label!r:.40}; expected a string or a number")
    if not text.strip():
        raise RecordError(str(path), number, "the text is empty; remove the record")
    try:
        f"{text}{label}".encode()
    except UnicodeEncodeError:
        raise RecordError(str(path), number, "a lone surrogate, which is half a character; remove it") from None
    return (text,), str(label).strip()


def _task(name: str, examples: Sequence[Example], n_train: int = 0, n_dev: int = 0, dropped: int = 0) -> TransferTask:
    classes = tuple(sorted({label for _, label in examples}))
    index = {label: number for number, label in enumerate(classes)}
    labels = np.array([index[label] for _, label in examples], np.int64)
    texts = tuple(zip(*(texts for texts, _ in examples), strict=True))
    return TransferTask(name, texts, labels, classes, n_train, n_dev, dropped)


def _checked(task: TransferTask) -> TransferTask:
    """Return the task; raise SourceError if a classifier cannot be trained on it, before anything is encoded."""
    counts = np.bincount(task.labels[task.train], minlength=1)
    sizes = {task.classes[index]: int(counts[index]) for index in np.flatnonzero(counts)}
    if len(sizes) < 2:
        found = f"only examples with the label {next(iter(sizes))!r:.60}" if sizes else "no examples"
        raise SourceError(f"task {task.name}: there are {found} to train on; expected at least 2 labels")
    rare = min(sizes, key=lambda label: sizes[label])
    if not task.n_dev and sizes[rare] < LEAST_OF_A_CLASS:
        raise SourceError(
            f"task {task.name}: too few examples with the label {rare!r:.60} for a cross-validation: {sizes[rare]}; "
            f"expected at least {LEAST_OF_A_CLASS} of each label, better {FOLDS}"
        )
    return task


def _one_of(label: str, labels: Sequence[str], *texts: str) -> Example | None:
    return (texts, label) if label in labels else None


def _of_side(line: str, path: Path) -> Example | None:
    return (line.strip(),), path.suffix.removeprefix(".")


def _of_binary(line: str, path: Path) -> Example | None:
    text, _, label = line.rpartition("\t")
    return _one_of(label.strip(), ("0", "1"), text)


def _of_fine(line: str, path: Path) -> Example | None:
    label, _, text = line.strip().partition(" ")
    return _one_of(label, ("0", "1", "2", "3", "4"), text)


def _of_question(line: str, path: Path) -> Example | None:
    coarse, _, rest = line.strip().partition(":")
    return _one_of(coarse, ("ABBR", "DESC", "ENTY", "HUM", "LOC", "NUM"), rest.partition(" ")[2])


def _of_paraphrases(line: str, path: Path) -> Example | None:
    cells = line.split("\t")
    return _one_of(cells[0], ("0", "1"), *cells[3:5]) if len(cells) > 4 else None


SENTENCE = "a sentence"

LAYOUTS: Mapping[str, Layout] = {
    "MR": Layout(("MR/rt-polarity.pos", "MR/rt-polarity.neg"), _of_side, SENTENCE, split=False),
    "CR": Layout(("CR/custrev.pos", "CR/custrev.neg"), _of_side, SENTENCE, split=False),
    "SUBJ": Layout(("SUBJ/subj.objective", "SUBJ/subj.subjective"), _of_side, SENTENCE, split=False),
    "MPQA": Layout(("MPQA/mpqa.pos", "MPQA/mpqa.neg"), _of_side, SENTENCE, split=False),
    "SST2": Layout(
        tuple(f"SST/binary/sentiment-{part}" for part in ("train", "dev", "test")),
        _of_binary,
        "a sentence, a tab and a label (0 or 1)",
    ),
    "SST5": Layout(
        tuple(f"SST/fine/sentiment-{part}" for part in ("train", "dev", "test")),
        _of_fine,
        "a label (0 to 4), a space and a sentence",
    ),
    "TREC": Layout(
        ("TREC/train_5500.label", "TREC/TREC_10.label"),
        _of_question,
        "a label such as NUM:date (coarse: ABBR, DESC, ENTY, HUM, LOC or NUM), a space and a question",
    ),
    "MRPC": Layout(
        ("MRPC/msr_paraphrase_train.txt", "MRPC/msr_paraphrase_test.txt"),
        _of_paraphrases,
        "a label (0 or 1), two ids and two sentences, separated by tabs",
        header=True,
    ),
}
"""SentEval's tasks by name, in the order of its paper."""
