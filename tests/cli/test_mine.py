"""`semsearch mine`: the file that it writes, its counts, and its messages."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from command import HASH, call, indexed, jsonl

TOPICS = ("heron water reeds fish", "flour salt dough oven", "moon tide sea night", "seed soil rain leaf")
DOCUMENTS = [
    {
        "_id": f"{topic[:2]}{n}",
        "title": f"{topic} {n}",
        "text": f"{topic} {' '.join(f'{topic[0]}{n}{m}' for m in 'abcdefgh')}",
    }
    for topic in TOPICS
    for n in range(5)
]
"""Five documents of each topic, which have the four words of their topic in common and no others."""


@pytest.fixture(autouse=True)
def _index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    indexed("notes", DOCUMENTS)


def lines(file: str = "t.jsonl") -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(file).read_text(encoding="utf-8").splitlines()]


def mine(*words: object) -> Any:
    return call("mine", "--out", "t.jsonl", *words)


def test_negatives_of_made_pairs_have_the_topic_of_their_anchor():
    outcome = mine("--kinds", "title", "--negatives", 2, "--max-score", 2).ok()
    assert outcome.out.splitlines() == [
        "20 pairs: 20 title",
        "20 with 2 hard negatives each: t.jsonl",
        "0 left out, without enough negatives",
        "0 candidates dropped as likely false negatives",
    ]
    texts = {one["title"]: one["text"] for one in DOCUMENTS}
    for line in lines():
        assert line["positive"] == texts[line["anchor"]]
        assert len({*line["negative"], line["positive"]}) == 3
        assert all(negative.split()[:4] == line["anchor"].split()[:4] for negative in line["negative"])
    dropped = mine("--kinds", "title", "--force").ok().out.splitlines()[3]
    assert dropped == "80 candidates dropped as likely false negatives", "the 4 others of the topic score as high"
    assert not any(line["negative"].split()[0] == line["anchor"].split()[0] for line in lines())


def test_counts_as_json_and_a_file_of_pairs():
    Path("pairs.jsonl").write_bytes(jsonl([{"query": "heron reeds", "positive": "a bird", "positive_id": "he0"}]))
    found = mine("--data", "pairs.jsonl", "--max-score", 0.9, "--json").ok().json
    assert found == {
        "index": "indexes/notes",
        "out": "t.jsonl",
        "sources": {"from pairs.jsonl": 1},
        "pairs": 1,
        "mined": 1,
        "short": 0,
        "positives": 1,
        "false_negatives": 0,
    }
    (line,) = lines()
    assert (line["anchor"], line["positive"]) == ("heron reeds", "a bird")
    assert line["negative"] in [one["text"] for one in DOCUMENTS[1:5]]


def test_the_same_seed_makes_the_same_file():
    files = []
    for seed in (1, 1, 2):
        mine("--kinds", "title,crop", "--max-pairs", 12, "--max-score", 2, "--seed", seed, "--force").ok()
        files.append(Path("t.jsonl").read_bytes())
    assert files[0] == files[1] != files[2]


def test_skipped_pairs_are_reported():
    Path("pairs.jsonl").write_bytes(jsonl([{"anchor": "heron", "positive": "bird"}, {"anchor": "x", "positive": "x"}]))
    outcome = mine("--data", "pairs.jsonl", "--max-score", 2)
    assert outcome.err == "warning: 1 records of pairs.jsonl left out: a text is empty, or both are the same\n"
    assert outcome.code == 0


def test_messages_name_options():
    Path("pairs.jsonl").write_bytes(jsonl([{"question": "heron", "positive": "bird"}]))
    mine("--data", "pairs.jsonl").fails(1, "pairs.jsonl:1: no 'anchor' (found: question, positive)")
    mine("--data", "pairs.jsonl", "--kinds", "title").fails(2, "--kinds: only for pairs made", "not with --data")
    mine("--data", "pairs.jsonl", "--chunk-tokens", 9).fails(2, "--chunk-tokens")
    mine("--kinds", "title,body").fails(2, "--kinds is 'title, body'; expected some of title, adjacent, crop")
    mine("--kinds", "adjacent").fails(1, "adjacent (20 with fewer than 2 passages)", "see --kinds")
    mine("--chunk-tokens", 0).fails(2, "--chunk-tokens is 0; expected 8 to")
    mine("--negatives", 0).fails(2, "--negatives must be at least 1")
    mine("--negatives", 30).fails(1, "has 20 passages, and at least 31 are needed", "--negatives or --from-rank")
    mine("--margin", 0.1, "--max-score", 1).fails(2, "2 of --positive-share, --margin and --max-score")
    mine("--cross-encoder", "nowhere/at-all").fails(1, "nowhere/at-all")
    mine("--index", "nothing").fails(1, "nothing")
    assert not Path("t.jsonl").exists()
    Path("t.jsonl").write_text("kept", encoding="utf-8")
    mine().fails(1, "already exists", "pass --force")
    assert Path("t.jsonl").read_text(encoding="utf-8") == "kept"
    assert [path.name for path in Path().glob("*tmp*")] == []
    Path("folder.jsonl").mkdir()
    mine("--out", "folder.jsonl", "--force").fails(1, "cannot write 'folder.jsonl': it is a folder")


def test_an_emptied_index():
    call("delete", *[one["_id"] for one in DOCUMENTS]).ok()
    mine("--data", "notes.jsonl").fails(1)
    mine().fails(1, "it has no documents")
    call("index", "notes.jsonl", *HASH).ok()
