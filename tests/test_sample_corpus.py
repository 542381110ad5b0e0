from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import ir_measures
import numpy as np
import pytest
from fakes import index_corpus, run_of
from ir_measures import nDCG
from scipy.stats import spearmanr

from semsearch import Encoder, Index, Query, read_corpus

CORPORA = Path(__file__).parents[1] / "corpora"
SAMPLE = CORPORA / "sample"
HAN = re.compile("[\u4e00-\u9fff]")
TYPES = {
    "topic": str,
    "year": int,
    "lang": str,
    "level": str,
    "tags": list,
    "minutes": int,
    "rating": float,
    "near_duplicate_of": str,
}


def json_lines(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (SAMPLE / name).read_text(encoding="utf-8").splitlines()]


def rows(name: str, header: str) -> list[list[str]]:
    first, *lines = (SAMPLE / name).read_text(encoding="utf-8").splitlines()
    assert first.split("\t") == header.split()
    return [line.split("\t") for line in lines]


DOCUMENTS = {document["_id"]: document for document in json_lines("corpus.jsonl")}
QUERIES = {query["_id"]: query["text"] for query in json_lines("queries.jsonl")}
QRELS = rows("qrels/test.tsv", "query-id corpus-id score")
PAIRS = rows("pairs.tsv", "sentence1 sentence2 score")


def test_it_holds_200_distinct_documents_over_a_dozen_topics():
    assert len(DOCUMENTS) == len(json_lines("corpus.jsonl")) >= 200
    assert len({document["text"] for document in DOCUMENTS.values()}) == len(DOCUMENTS)
    assert all(document["title"].strip() and document["text"].strip() for document in DOCUMENTS.values())
    topics = Counter(document["metadata"]["topic"] for document in DOCUMENTS.values())
    assert len(topics) >= 12
    assert min(topics.values()) >= 10


def test_documents_said_to_be_chinese_are_and_no_other_is_but_japanese():
    for document in DOCUMENTS.values():
        share = len(HAN.findall(document["text"])) / len(document["text"])
        lang = document["metadata"]["lang"]
        assert share > 0.5 if lang == "zh" else share < 0.5 if lang == "ja" else share == 0, document["_id"]
    languages = Counter(document["metadata"]["lang"] for document in DOCUMENTS.values())
    assert languages["zh"] >= 5
    assert languages["en"] >= 200


def test_metadata_have_one_type_each_and_sane_values():
    for document in DOCUMENTS.values():
        metadata = document["metadata"]
        assert TYPES.keys() >= metadata.keys() >= {"topic", "year", "lang", "level", "tags"}
        assert all(type(value) is TYPES[name] for name, value in metadata.items()), document["_id"]
        assert 2012 <= metadata["year"] <= 2025
        assert 1 <= metadata.get("rating", 1) <= 5
        assert metadata.get("minutes", 1) > 0
        assert metadata["level"] in {"beginner", "intermediate", "advanced"}
        assert metadata["tags"]
        assert all(isinstance(tag, str) and tag for tag in metadata["tags"])


def near_duplicates() -> list[tuple[str, str]]:
    """Return the ids of each near-duplicate and its original."""
    originals = {name: document["metadata"].get("near_duplicate_of") for name, document in DOCUMENTS.items()}
    return [(name, original) for name, original in originals.items() if original]


def test_40_queries_are_judged_in_at_least_two_grades_on_documents_that_exist():
    assert len(QUERIES) == len(json_lines("queries.jsonl")) == 40
    assert len({(query, document) for query, document, _ in QRELS}) == len(QRELS)
    assert {query for query, _, _ in QRELS} == QUERIES.keys()
    assert {document for _, document, _ in QRELS} <= DOCUMENTS.keys()
    assert len({int(grade) for _, _, grade in QRELS}) >= 2
    assert {int(grade) for _, _, grade in QRELS} <= {0, 1, 2}
    assert {query for query, _, grade in QRELS if grade == "2"} == QUERIES.keys()


def test_a_query_shares_no_sentence_with_its_answer():
    for query, document, _ in QRELS:
        assert QUERIES[query].lower() not in DOCUMENTS[document]["text"].lower()


def test_100_pairs_have_scores_over_the_whole_range():
    scores = np.array([float(score) for _, _, score in PAIRS])
    assert len(PAIRS) == len({(one, other) for one, other, _ in PAIRS}) == 100
    assert (scores.min(), scores.max()) == (0, 5)
    assert np.histogram(scores, bins=5, range=(0, 5))[0].min() >= 10


@pytest.mark.parametrize("name", [CORPORA / "README.md", CORPORA.parent / "LICENSE"], ids=lambda path: path.name)
def test_its_license_is_said(name: Path):
    assert "Apache" in name.read_text(encoding="utf-8")


def test_the_readme_says_that_it_was_written_for_this_project_and_counts_right():
    readme = " ".join((CORPORA / "README.md").read_text(encoding="utf-8").split())
    assert "written from scratch for this project" in readme
    for count in (f"{len(DOCUMENTS)} documents", "40 queries", f"{len(QRELS)} judgments", "100 sentence pairs"):
        assert count in readme


@pytest.fixture(scope="module")
def searcher(minilm: Encoder, tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("sample") / "index"
    report = index_corpus(folder, read_corpus([str(SAMPLE)]), minilm)
    assert (report.documents, report.tokens_lost) == (len(DOCUMENTS), 0)
    with Index.open(folder, encoder=minilm) as searcher:
        yield searcher


def ndcg(run: dict[str, dict[str, float]]) -> float:
    qrels = [ir_measures.Qrel(query, document, int(grade)) for query, document, grade in QRELS]
    return ir_measures.calc_aggregate([nDCG @ 10], qrels, run)[nDCG @ 10]


@pytest.mark.slow
def test_the_default_model_finds_what_was_judged_relevant_where_words_alone_do_not(searcher: Index):
    queries = [Query(name, text) for name, text in QUERIES.items()]
    dense, keyword = (ndcg(run_of(searcher, queries, mode=mode)) for mode in ("dense", "keyword"))
    assert dense >= 0.75
    assert keyword < dense - 0.1


@pytest.mark.slow
def test_a_near_duplicate_is_close_to_its_original(searcher: Index):
    assert len(near_duplicates()) >= 5
    copies, originals = zip(*near_duplicates(), strict=True)
    found = searcher.search_many([DOCUMENTS[original]["text"] for original in originals], 4)
    for copy, hits in zip(copies, found, strict=True):
        assert copy in [hit.doc_id for hit in hits]


@pytest.mark.slow
def test_the_chinese_documents_are_found_by_chinese_words(searcher: Index):
    hits = searcher.search("怎么让米饭更好吃", 3, mode="keyword")
    assert "米饭" in hits[0].title + hits[0].text
    assert {hit.metadata["lang"] for hit in hits} <= {"zh", "ja"}


def test_cosines_of_pairs_follow_their_scores(minilm: Encoder):
    first, second, scores = zip(*PAIRS, strict=True)
    cosines = (minilm.encode_queries(first) * minilm.encode_queries(second)).sum(1)
    assert spearmanr(cosines, [float(score) for score in scores]).statistic >= 0.6
