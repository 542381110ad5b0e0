"""Hard negatives against brute force over the vectors, and the rule for false negatives on scores chosen by hand."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from semsearch import Chunking, Encoder, Index, WordHashEncoder
from semsearch.encoder.foreign import ForeignEncoder
from semsearch.errors import MismatchError, ModelError, RecordError, SourceError, UsageError
from semsearch.training.data import load_examples
from semsearch.training.from_corpus import pairs_from_corpus
from semsearch.training.mining import (
    Pair,
    Rule,
    Triplet,
    check_output,
    load_pairs,
    mine_negatives,
    pairs_of,
    write_triplets,
)
from semsearch.training.objectives import OBJECTIVES

# --- brute force


def random_vectors(texts: list[str]) -> np.ndarray:
    """Return a vector for each text that depends on the text alone, on one side of the space so that cosines differ."""
    return np.array([np.random.default_rng(list(text.encode())).normal(0.3, 1, 8) for text in texts])


def brute_force(anchor: str, positive: str, own: str, texts: dict[str, str], n: int, first: int, share: float):
    rows = {key: random_vectors([text])[0] for key, text in {"a": anchor, "p": positive}.items()}
    cosine = lambda u, v: u @ v / np.linalg.norm(u) / np.linalg.norm(v)  # noqa: E731
    others = {doc_id: cosine(rows["a"], random_vectors([text])[0]) for doc_id, text in texts.items() if doc_id != own}
    ranked = sorted(others, key=lambda doc_id: -others[doc_id])[first - 1 :]
    target = cosine(rows["a"], rows["p"])
    limit = min(target, share * target)
    return tuple([texts[doc_id] for doc_id in ranked if others[doc_id] < limit][:n])


@pytest.mark.parametrize(("n", "first", "share"), [(1, 1, 0.95), (3, 1, 0.5), (2, 4, 1.0)])
def test_negatives_are_the_best_of_what_brute_force_leaves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n: int, first: int, share: float
):
    monkeypatch.setattr("semsearch.training.mining.AT_ONCE", 16)
    texts = {str(number): " ".join(f"w{number}x{word}" for word in range(9)) for number in range(100)}
    pairs = [Pair(f"question {number}", texts[str(number)], (str(number),)) for number in range(60)]
    encoder = ForeignEncoder("random", random_vectors, random_vectors)
    with Index.open(tmp_path / "i", create=True, encoder=encoder, chunking=Chunking(title=False)) as index:
        index.add([{"_id": doc_id, "text": text} for doc_id, text in texts.items()])
        wishes: dict[str, Any] = {"negatives": n, "from_rank": first, "depth": 100}
        triplets, counts = mine_negatives(index, pairs, rule=Rule(positive_share=share), **wishes)
    expected = {
        pair.anchor: brute_force(pair.anchor, pair.positive, *pair.doc_ids, texts, n, first, share) for pair in pairs
    }
    assert [one.anchor for one in triplets] == [anchor for anchor, chosen in expected.items() if len(chosen) == n]
    assert {one.anchor: one.negatives for one in triplets}.items() <= expected.items()
    assert (counts.pairs, counts.mined + counts.short) == (60, 60)
    assert counts.mined > 40


# --- scores chosen by hand


def by_hand(texts: list[str]) -> list[tuple[float, float]]:
    """Return vectors whose cosine with that of `anchor` is the number at the end of the text, or else 0."""
    ends = [text.split()[-1] for text in texts]
    cosines = [1.0 if end == "anchor" else float(end) if "." in end[:-1] else 0.0 for end in ends]
    return [(cosine, float(np.sqrt(1 - cosine**2))) for cosine in cosines]


@pytest.fixture
def scored(tmp_path: Path):
    encoder = ForeignEncoder("hand", by_hand, by_hand)
    with Index.open(tmp_path / "i", create=True, encoder=encoder, chunking=Chunking(title=False)) as index:
        names = ("herons", "dough", "tides", "kettles", "tulips", "trains")
        scores = (0.9, 0.78, 0.765, 0.755, 0.7, 0.2)
        index.add([{"_id": name, "text": f"{name} {score}"} for name, score in zip(names, scores, strict=True)])
        yield index


@pytest.mark.parametrize(
    ("rule", "expected", "dropped"),
    [
        (Rule(positive_share=0.95), "kettles 0.755", 3),  # the limit is 0.95 x 0.8 = 0.76
        (Rule(positive_share=1), "dough 0.78", 1),  # 0.8
        (Rule(margin=0.05), "tulips 0.7", 4),  # 0.75
        (Rule(max_score=0.77), "tides 0.765", 2),
        (Rule(max_score=0.95), "herons 0.9", 0),
    ],
)
def test_candidates_from_the_limit_on_are_false_negatives(scored: Index, rule: Rule, expected: str, dropped: int):
    (triplet,), counts = mine_negatives(scored, [Pair("anchor", "birds 0.8")], rule=rule)
    assert triplet == Triplet("anchor", "birds 0.8", (expected,))
    assert (counts.mined, counts.false_negatives) == (1, dropped)


def test_limits_of_positive_and_negative_scores():
    scores = np.array([0.8, -0.2])
    assert Rule(positive_share=0.5).limits(scores).tolist() == pytest.approx([0.4, -0.2])
    assert Rule(margin=0.1).limits(scores).tolist() == pytest.approx([0.7, -0.3])
    assert Rule(max_score=0.6).limits(scores).tolist() == [0.6, 0.6]


def test_rank_and_number_count_what_is_left(scored: Index):
    pair = Pair("anchor", "birds 0.8", ("herons",))
    (triplet,), counts = mine_negatives(scored, [pair], negatives=2, from_rank=3)
    assert triplet.negatives == ("kettles 0.755", "tulips 0.7"), "ranks 3 and 4 after the positive's document"
    assert (counts.positives, counts.false_negatives) == (1, 0)


def test_pairs_without_enough_negatives_are_left_out(scored: Index):
    pairs = [Pair("anchor", "birds 0.8"), Pair("anchor", "stars 0.5")]
    triplets, counts = mine_negatives(scored, pairs, negatives=2)
    assert [one.positive for one in triplets] == ["birds 0.8"]
    assert (counts.pairs, counts.mined, counts.short) == (2, 1, 1)
    with pytest.raises(SourceError, match="none of 1 pairs has 3 negatives among the best 50 passages"):
        mine_negatives(scored, pairs[1:], negatives=3)


class Judge:
    """A reranker that knows the right answers, and notes what it was asked."""

    kind, first_share = "judge", 0.0

    def __init__(self, known: dict[str, float]) -> None:
        self.known, self.asked = known, list[str]()

    def scores(self, query: str, passages: Any) -> np.ndarray:
        self.asked += passages
        return np.array([self.known.get(text.split()[0], 0.1) for text in passages], np.float32)


def test_a_judge_decides_instead_of_the_cosines(scored: Index):
    judge = Judge({"birds": 0.9, "herons": 0.2, "dough": 0.86})
    (triplet,), counts = mine_negatives(scored, [Pair("anchor", "birds 0.8")], negatives=2, judge=judge)
    assert triplet.negatives == ("herons 0.9", "tides 0.765"), "dough reaches 0.95 x 0.9"
    assert counts.false_negatives == 1
    assert judge.asked[0] == "birds 0.8"


# --- positives among the hits

BODY = "the grey heron stands still in shallow water and waits for small fish to come near"
OTHERS = [f"water and fish {' '.join(words)}" for words in ("abcdef", "ghijkl", "mnopqr", "stuvwx")]


def mined(tmp_path: Path, documents: list[dict[str, Any]], *pairs: Pair, **wishes: Any) -> list[Triplet]:
    with Index.open(tmp_path / "i", create=True, encoder=WordHashEncoder(1024)) as index:
        index.add([*documents, *({"_id": text, "text": text} for text in OTHERS)])
        return mine_negatives(index, pairs, rule=Rule(max_score=2), **wishes)[0]


@pytest.mark.parametrize(
    "text", [BODY, BODY.upper(), f"{BODY} again", f"Yesterday {BODY}, as always, and then it left", BODY[:70]]
)
def test_what_repeats_the_positive_is_no_negative(tmp_path: Path, text: str):
    (triplet,) = mined(tmp_path, [{"_id": "1", "text": text}], Pair("heron water fish", BODY), negatives=4)
    assert sorted(triplet.negatives) == OTHERS


def test_another_passage_of_the_document_of_the_positive_is_no_negative(tmp_path: Path):
    text = f"{BODY}\n\n{' '.join(['heron water fish'] * 60)}\n\n{BODY} {' '.join(['fish'] * 90)}"
    document = {"_id": "1", "text": text}
    for pair in (Pair("heron water fish", BODY), Pair("heron water fish", "something else", ("1",))):
        (triplet,) = mined(tmp_path, [document], pair, negatives=4)
        assert sorted(triplet.negatives) == OTHERS


def test_other_positives_of_the_same_anchor_and_the_anchor_itself_are_no_negatives(tmp_path: Path):
    documents = [{"_id": "1", "text": BODY}, {"_id": "2", "text": "heron water fish"}]
    pairs = [Pair("heron water fish", BODY), Pair("heron water fish", "it eats fish")]
    for triplet in mined(tmp_path, documents, *pairs, negatives=4):
        assert sorted(triplet.negatives) == OTHERS


def test_a_text_is_a_negative_only_once(tmp_path: Path):
    documents = [{"_id": str(n), "text": "heron water fish and more"} for n in range(3)]
    (triplet,) = mined(tmp_path, documents, Pair("heron water fish", "nothing"), negatives=2)
    assert triplet.negatives[0] == "heron water fish and more"
    assert triplet.negatives[1] in OTHERS


def test_a_transform_applies_to_the_positive_too(tmp_path: Path, minilm: Encoder):
    texts = ["A heron waits by the water.", "Bread needs salt.", "The tide follows the moon.", "A train is late."]
    with Index.open(tmp_path / "i", create=True, transform="center", runtime="torch", device="cpu") as index:
        index.add([{"_id": str(n), "text": text} for n, text in enumerate(texts)])
        (hit,) = index.search("a bird", 1, mode="dense")
        assert index.score_pairs(["a bird"], [hit.text])[0] == pytest.approx(hit.score, abs=1e-5)
        raw = minilm.encode_query("a bird") @ minilm.encode_document(hit.text)
        assert abs(hit.score - raw) > 0.01, "the transform changes it"


def test_scores_of_pairs_are_the_cosines_of_their_vectors(tmp_path: Path):
    with Index.open(tmp_path / "i", create=True, encoder=WordHashEncoder(1024)) as index:
        index.add([{"_id": "1", "text": BODY}])
        scores = index.score_pairs(["grey heron", "fish"], ["grey heron still waits", "bread"])
        assert scores.tolist() == pytest.approx([2 / np.sqrt(2 * 4), 0])
        assert index.score_pairs([], []).shape == (0,)
        with pytest.raises(UsageError, match="1 queries and 2 passages"):
            index.score_pairs(["a"], ["b", "c"])


def test_scores_of_pairs_do_not_mix_two_encoders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    inner, moved = WordHashEncoder.encode_documents, []

    def encode(self: Any, texts: Any, progress: Any = None) -> Any:
        vectors = inner(self, texts, progress)
        if not moved:
            moved.append(True)
            with Index.open(tmp_path / "i") as other:
                other.reencode(model="hash:64")
        return vectors

    with Index.open(tmp_path / "i", create=True, model="hash:1024") as index:
        index.add([{"_id": "1", "text": BODY}])
    with Index.open(tmp_path / "i") as index:
        monkeypatch.setattr(WordHashEncoder, "encode_documents", encode)
        with pytest.raises(MismatchError, match="try again"):
            index.score_pairs(["heron"], ["a heron"])
        assert index.score_pairs(["heron"], ["heron"])[0] == pytest.approx(1)


# --- files


def test_pairs_are_read_with_the_ids_of_their_positives(tmp_path: Path):
    file = tmp_path / "pairs.jsonl"
    records = [
        {"anchor": "a", "positive": "b", "positive_id": 7},
        {"query": "c", "positive": "d", "positive_id": ["x", "y"]},
        {"anchor": "e", "positive": "f"},
        {"anchor": "g", "positive": "g"},
        {"anchor": " ", "positive": "h"},
    ]
    file.write_text("".join(f"{json.dumps(one)}\n" for one in records), encoding="utf-8")
    assert load_pairs(file) == ([Pair("a", "b", ("7",)), Pair("c", "d", ("x", "y")), Pair("e", "f")], 2)
    table = tmp_path / "pairs.csv"
    with table.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([("query", "positive", "positive_id"), ("a", "b", "7"), ("c", "d", "")])
    assert load_pairs(table) == ([Pair("a", "b", ("7",)), Pair("c", "d")], 0)


@pytest.mark.parametrize(
    ("record", "error", "said"),
    [
        ({"question": "a", "positive": "b"}, RecordError, r":1: no 'anchor' \(found: question, positive\); expected"),
        ({"anchor": "a"}, RecordError, "no 'positive'"),
        ({"anchor": 1, "positive": "b"}, RecordError, "the anchor is 1; expected text"),
        ({"anchor": "a", "positive": "b", "positive_id": {}}, RecordError, "the positive_id is {}; expected an id"),
        ({"anchor": "a", "positive": "b", "positive_id": [[1]]}, RecordError, "expected an id or a list of ids"),
        ({"anchor": "a", "positive": "a"}, SourceError, r"no usable pair \(1 with an empty text or with two equal"),
        (None, SourceError, "the file is empty"),
    ],
)
def test_files_without_usable_pairs(tmp_path: Path, record: Any, error: type[Exception], said: str):
    file = tmp_path / "pairs.jsonl"
    file.write_text(f"{json.dumps(record)}\n" if record else "", encoding="utf-8")
    with pytest.raises(error, match=said):
        load_pairs(file)
    with pytest.raises(SourceError, match=r"no .*missing\.jsonl"):
        load_pairs(tmp_path / "missing.jsonl")


@pytest.mark.parametrize("objective", ["mnr", "simcse-sup", "triplet"])
def test_training_reads_what_mining_writes(tmp_path: Path, objective: str):
    file = tmp_path / "triplets.jsonl"
    write_triplets(file, [Triplet("a", "b", ("c",)), Triplet("ä\u2028", "e", ("f",))])
    assert json.loads(file.read_text(encoding="utf-8").split("\n")[0]) == {
        "anchor": "a",
        "positive": "b",
        "negative": "c",
    }
    assert load_examples(file, OBJECTIVES[objective]).columns == (("a", "ä\u2028"), ("b", "e"), ("c", "f"))


def test_several_negatives_are_a_list(tmp_path: Path):
    file = tmp_path / "triplets.jsonl"
    write_triplets(file, [Triplet("a", "b", ("c", "d"))])
    assert load_examples(file, OBJECTIVES["mnr"]).columns == (("a",), ("b",), ("c",), ("d",))


def test_an_existing_file_is_replaced_only_by_force(tmp_path: Path):
    file = tmp_path / "triplets.jsonl"
    file.write_text("mine", encoding="utf-8")
    with pytest.raises(SourceError, match=r"already exists; choose another name, or pass `force`"):
        write_triplets(file, [Triplet("a", "b", ("c",))])
    assert file.read_text(encoding="utf-8") == "mine"
    write_triplets(file, [Triplet("a", "b", ("c",))], force=True)
    assert json.loads(file.read_text(encoding="utf-8"))["negative"] == "c"
    assert [path.name for path in tmp_path.iterdir()] == ["triplets.jsonl"]
    with pytest.raises(SourceError, match="there is no folder"):
        check_output(tmp_path / "no" / "t.jsonl")
    for name in ("t.csv", "t.jsonl.gz", "t"):
        with pytest.raises(UsageError, match=r"ends in .jsonl"):
            check_output(tmp_path / name)


# --- bad input


@pytest.mark.parametrize(
    ("wishes", "said"),
    [
        ({"negatives": 0}, "`negatives` must be at least 1, got 0"),
        ({"from_rank": 0}, "`from_rank` must be at least 1"),
        ({"negatives": 1.5}, "`negatives` is 1.5"),
        ({"negatives": 2, "from_rank": 3, "depth": 4}, "`depth` is 4; expected at least 5 passages for `negatives` 2"),
    ],
)
def test_invalid_arguments(scored: Index, wishes: dict[str, Any], said: str):
    with pytest.raises(UsageError, match=said):
        mine_negatives(scored, [Pair("anchor", "birds 0.8")], **wishes)


@pytest.mark.parametrize(
    ("wishes", "said"),
    [
        ({}, "0 of `positive_share`, `margin` and `max_score` are given"),
        ({"margin": 0.1, "max_score": 0.5}, "2 of `positive_share`"),
        ({"positive_share": 0}, "`positive_share` is 0; expected a number above 0"),
        ({"positive_share": 1.1}, "`positive_share` is 1.1"),
        ({"margin": -0.1}, "`margin` is -0.1"),
        ({"max_score": "x"}, "`max_score` is 'x'"),
        ({"max_score": float("nan")}, "`max_score` is nan"),
    ],
)
def test_invalid_rules(wishes: dict[str, Any], said: str):
    with pytest.raises(UsageError, match=said):
        Rule(**wishes)


def test_an_index_that_is_too_small_or_empty(tmp_path: Path):
    with Index.open(tmp_path / "i", create=True, encoder=WordHashEncoder(64)) as index:
        index.add([{"_id": "1", "text": "one"}, {"_id": "2", "text": "two"}])
        with pytest.raises(SourceError, match=r"too small to mine: it has 2 passages, and at least 6 are needed"):
            mine_negatives(index, [Pair("a", "b")], negatives=3, from_rank=3)
        index.delete(["1", "2"])
        with pytest.raises(SourceError, match="i' has no documents to mine"):
            mine_negatives(index, [Pair("a", "b")])


def test_an_index_of_another_program(tmp_path: Path):
    with Index.open(tmp_path / "i", create=True, encoder=ForeignEncoder("theirs", by_hand, by_hand)) as index:
        index.add([{"_id": str(n), "text": f"text {n / 10}"} for n in range(5)])
    with Index.open(tmp_path / "i") as index, pytest.raises(ModelError, match="vectors of another program's model"):
        mine_negatives(index, [Pair("anchor", "birds 0.8")])


# --- the real model


@pytest.mark.slow
def test_mined_negatives_are_closer_to_the_anchor_than_random_passages(tmp_path: Path, data: Path):
    lines = (data / "cranfield" / "corpus.jsonl").read_text(encoding="utf-8").splitlines()[:80]
    documents = [json.loads(line) for line in lines]
    with Index.open(tmp_path / "i", create=True, device="cpu") as index:
        index.add(documents)
        encoder = index.encoder
        made = pairs_from_corpus(index, tokenizer=encoder.tokenizer, kinds=["title", "adjacent"], max_pairs=40)
        triplets, counts = mine_negatives(index, pairs_of(made))
        anchors = [one.anchor for one in triplets]
        negatives = [one.negatives[0] for one in triplets]
    assert counts.mined > 20
    random = np.random.default_rng(0).permutation([document["text"] for document in documents])[: len(anchors)]
    queries = encoder.encode_queries(anchors)
    hard, easy = ((queries * encoder.encode_documents(list(texts))).sum(1) for texts in (negatives, random))
    positive = (queries * encoder.encode_documents([one.positive for one in triplets])).sum(1)
    assert hard.mean() > easy.mean() + 0.15
    assert (hard > easy).mean() > 0.9
    assert positive.mean() > hard.mean(), "likely false negatives are gone"
