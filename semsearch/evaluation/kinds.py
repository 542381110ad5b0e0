"""The kinds of data that poolers are compared on, with how each is recognized, loaded and evaluated.

sts: sentence pairs scored by people. retrieval: documents, queries and judgments. transfer: texts with labels. corpus:
documents alone.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import islice

from semsearch.corpus.gzipped import plain_or_gzipped
from semsearch.corpus.readers import Record, read_corpus
from semsearch.corpus.sources import ReadOptions
from semsearch.errors import RecordError, SourceError, UsageError
from semsearch.evaluation.measures import MEASURES, check_measures
from semsearch.evaluation.pseudo_queries import make_pseudo_tasks
from semsearch.evaluation.request import Request
from semsearch.evaluation.retrieval_data import RetrievalTask, holds_queries, load_retrieval, splits_of
from semsearch.evaluation.sts_data import holds_pairs, load_sts
from semsearch.evaluation.studies import study_corpus, study_retrieval, study_sts, study_transfer, tolerant
from semsearch.evaluation.study import Study
from semsearch.evaluation.transfer_data import EXPECTED, LAYOUTS, holds_task, labels_texts, load_transfer
from semsearch.search import MODES
from semsearch.types import AUTO, Document

SAMPLE = 500
"""Default number of documents to make pseudo-queries from."""

SHOWN = 5
"""Number of names in a folder that an error message lists."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of data.

    Attributes:
        expected: Description of the expected data.
        options: The options in OPTIONAL that apply to this kind.
        recognizes: Returns whether the data of a request is of this kind; reads only names and first lines.
        study: Loads the data and the poolers, and compares them.
    """

    expected: str
    options: frozenset[str]
    recognizes: Callable[[Request], bool]
    study: Callable[[Request], Study]


def study(request: Request) -> Study:
    """Run the comparison of poolers that a request describes.

    Raises:
        UsageError: If the kind is unknown, or an option does not apply to it.
        SourceError: If the data is of no known kind, or cannot be read.
        RecordError: If the data contains a bad record.
        ModelError: If the checkpoint cannot be loaded, or supports none of the poolers.
    """
    kind = kind_of(request)
    for name in sorted(OPTIONAL - KINDS[kind].options):
        if getattr(request, name) is not None:
            fitting = " or ".join(repr(other) for other in KINDS if name in KINDS[other].options)
            raise UsageError(
                f"`{name}` applies only to data of kind {fitting}, but {request.source!r} is treated as {kind!r}: "
                f"{KINDS[kind].expected}"
            )
    return KINDS[kind].study(request)


def kind_of(request: Request) -> str:
    """Return the name of the kind that a request specifies, or of the first kind that recognizes its data.

    Raises:
        UsageError: If the kind is unknown.
        SourceError: If no kind recognizes the data.
    """
    if request.kind != AUTO:
        if request.kind not in KINDS:
            raise UsageError(f"unknown kind {request.kind!r}; expected one of {', '.join((AUTO, *KINDS))}")
        return request.kind
    for name, kind in KINDS.items():
        if kind.recognizes(request):
            return name
    known = "; ".join(f"{kind.expected} ({name})" for name, kind in KINDS.items())
    raise SourceError(f"{_found(request)}; expected one of: {known}")


def _found(request: Request) -> str:
    """Describe what is at the path of the data."""
    path = request.path
    if path.is_dir():
        names = sorted(inner.name for inner in islice(path.iterdir(), 1_000))
        holds = f"contains {', '.join(names[:SHOWN])}{', …' * (len(names) > SHOWN)}" if names else "is empty"
        return f"the folder {request.source!r} {holds}"
    return f"{request.source!r} {'is a file of no known kind' if path.exists() else 'does not exist'}"


# --- pairs of sentences


def _is_sts(request: Request) -> bool:
    folder = request.path
    layouts = ("STS/STSBenchmark/sts-*.csv", "STS/STS1?-en-test", "SICK/SICK_*.txt")
    return holds_pairs(folder) or any(True for layout in layouts for _ in folder.glob(layout))


def _study_sts(request: Request) -> Study:
    if request.tasks and request.path.is_file():
        raise UsageError(
            f"`tasks` applies only to a folder in SentEval's layout, but {request.source!r} is a file of pairs"
        )
    split = request.split or "test"
    tasks = load_sts(request.path, request.tasks or (), split)
    if not any(len(task.similarity) for task in tasks):
        raise SourceError(f"no pair in {request.source!r} has a score")
    with request.encoder() as encoder:
        return study_sts(
            tasks,
            encoder,
            data=request.source,
            split=split,
            transforms=request.transforms,
            seed=request.seed,
            duel=request.duel,
            progress=request.progress,
            scored=request.scored,
        )


# --- judged queries


def _is_retrieval(request: Request) -> bool:
    folder = request.path
    return holds_queries(folder) and plain_or_gzipped(folder / "corpus.jsonl").is_file()


def _study_retrieval(request: Request) -> Study:
    measures = MEASURES if request.measures is None else request.measures
    check_measures(measures)
    split = request.split or "test"
    task = load_retrieval(request.path, split, request.reading or ReadOptions(), skip_bad=bool(request.skip_bad))
    with request.encoder() as encoder:
        return study_retrieval(
            task,
            encoder,
            data=request.source,
            split=split,
            transforms=request.transforms,
            modes=MODES if request.modes is None else request.modes,
            measures=measures,
            style=request.style or "trec",
            fusion=request.fusion or "convex",
            chunking=request.chunking,
            drop_same_id=bool(request.drop_same_id),
            seed=request.seed,
            duel=request.duel,
            progress=request.progress,
            scored=request.scored,
        )


# --- labeled texts


def _is_transfer(request: Request) -> bool:
    return labels_texts(request.path) or any(holds_task(request.path, name) for name in LAYOUTS)


def _study_transfer(request: Request) -> Study:
    if request.tasks and request.path.is_file():
        raise UsageError(
            f"`tasks` applies only to a folder of tasks, but {request.source!r} is a file of labeled texts"
        )
    tasks = load_transfer(request.path, request.tasks or ())
    with request.encoder() as encoder:
        return study_transfer(
            tasks,
            encoder,
            data=request.source,
            transforms=request.transforms,
            seed=request.seed,
            duel=request.duel,
            progress=request.progress,
            scored=request.scored,
        )


# --- a corpus alone


def _is_corpus(request: Request) -> bool:
    try:
        read_corpus([request.source], request.reading or ReadOptions())
    except SourceError:
        return False
    return True


def _study_corpus(request: Request) -> Study:
    reading, skip_bad = request.reading or ReadOptions(), bool(request.skip_bad)
    documents = _good(read_corpus([request.source], reading), skip_bad)
    sample = SAMPLE if request.sample is None else request.sample
    tasks, made = make_pseudo_tasks(documents, sample=sample, seed=request.seed)
    notes: list[str] = []
    judgments = None if request.check is False else _judgments(request, reading, skip_bad, notes)
    changed = {name: value for name, value in asdict(reading).items() if value != getattr(ReadOptions(), name)}
    if isinstance(reading.text_field, tuple):
        changed["text_field"] = ",".join(reading.text_field)
    asked = {"model": request.model, "max_tokens": request.max_tokens, "precision": request.precision}
    asked |= {"similarity": request.similarity} if request.similarity != AUTO else {}
    with request.encoder() as encoder:
        return study_corpus(
            tasks,
            made,
            encoder,
            data=request.source,
            judgments=judgments,
            transforms=request.transforms,
            seed=request.seed,
            duel=request.duel,
            notes=notes,
            index_options={**asked, "skip_bad": skip_bad, **changed},
            progress=request.progress,
            scored=request.scored,
        )


def _good(records: Iterable[Record], skip_bad: bool) -> Iterator[Document]:
    """Yield the documents among records; raise a bad record, or count it in a warning as indexing does."""
    bad = 0
    for record in records:
        if not isinstance(record, RecordError):
            yield record
        elif skip_bad or record.found:
            bad += 1
        else:
            raise record
    if bad:
        warnings.warn(f"bad records skipped: {bad:,}", stacklevel=2)


def _judgments(request: Request, reading: ReadOptions, skip_bad: bool, notes: list[str]) -> RetrievalTask | None:
    """Load the true judgments of a folder that has some; on an error, add a note and return None."""
    if not holds_queries(request.path):
        return None
    with tolerant(notes):
        splits = splits_of(request.path)
        split = "test" if "test" in splits else splits[0]
        return load_retrieval(request.path, split, reading, skip_bad=skip_bad)


KINDS = {
    "retrieval": Kind(
        "a folder in BEIR's layout, with corpus.jsonl, queries.jsonl and qrels/",
        frozenset(("split", "measures", "style", "modes", "fusion", "chunking", "drop_same_id", "reading", "skip_bad")),
        _is_retrieval,
        _study_retrieval,
    ),
    "sts": Kind(
        "a folder in SentEval's layout, with STS/ and SICK/, or a tsv, csv or jsonl file of scored pairs of sentences",
        frozenset(("tasks", "split")),
        _is_sts,
        _study_sts,
    ),
    "transfer": Kind(EXPECTED, frozenset(("tasks",)), _is_transfer, _study_transfer),
    "corpus": Kind(
        "a corpus that `semsearch index` accepts: a file or a folder of documents",
        frozenset(("sample", "check", "reading", "skip_bad")),
        _is_corpus,
        _study_corpus,
    ),
}
"""The kinds by name, in the order in which they are tried."""

OPTIONAL = frozenset().union(*(kind.options for kind in KINDS.values()))
"""Options that only some kinds have; None in a request that does not set them."""
