"""How well the confidence of the best hit separates questions that an index can answer from those that it cannot.

Answerable questions are the corpus's own. Unanswerable questions are those of the other corpus, nonsense and, hardest
of all, the corpus's own questions after every document judged relevant to any of them has been deleted. All except the
last are asked again after a thousand tickets from one template have been added, which must make no difference. For each
mode, the table shows the area under the ROC curve and, at several thresholds, the share of questions with a hit.

    python bench/confidence.py
"""

from __future__ import annotations

import random
import string
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from machine import data_folder, describe

from semsearch import Index
from semsearch.corpus.readers import read_queries
from semsearch.evaluation.retrieval_data import read_qrels

MODES = ("dense", "keyword", "hybrid")

THRESHOLDS = (0.1, 0.3, 0.5, 0.7, 0.9)


def main() -> None:
    """Print a table for each corpus."""
    print(f"{describe()}\n")
    corpora = {"sample": Path(__file__).parents[1] / "corpora" / "sample", "cranfield": data_folder() / "cranfield"}
    asked = {name: questions(folder) for name, folder in corpora.items()}
    with tempfile.TemporaryDirectory() as temporary:
        for name, folder in corpora.items():
            (other,) = corpora.keys() - {name}
            print(f"| {name} | questions | AUC | {' | '.join(f'≥ {one}' for one in THRESHOLDS)} |")
            print("|---" * (3 + len(THRESHOLDS)) + "|")
            with Index.open(Path(temporary) / name, create=True) as index:
                index.add(str(folder / "corpus.jsonl"))
                sets = {"own": asked[name], "of the other corpus": asked[other], "nonsense": nonsense()}
                best = {(kind, mode): best_of(index, some, mode) for kind, some in sets.items() for mode in MODES}
                index.delete(sorted(relevant(folder)))
                best |= {("own, answers deleted", mode): best_of(index, asked[name], mode) for mode in MODES}
            with Index.open(Path(temporary) / f"{name} and tickets", create=True) as index:
                index.add(str(folder / "corpus.jsonl"))
                index.add(tickets())
                for kind, some in sets.items():
                    best |= {(f"{kind}, among tickets", mode): best_of(index, some, mode) for mode in MODES}
            print_rows(best)


def print_rows(best: Mapping[tuple[str, str], Sequence[float]]) -> None:
    """Print a row for each mode and kind of question."""
    for mode in MODES:
        for kind in dict.fromkeys(kind for kind, _ in best):
            sure = best[kind, mode]
            area = "" if kind in ("own", "own, among tickets") else f"{auc(best['own', mode], sure):.3f}"
            shares = (f"{sum(one >= least for one in sure) / len(sure):.0%}" for least in THRESHOLDS)
            print(f"| {mode} | {kind} | {area} | {' | '.join(shares)} |")
    print()


def best_of(index: Index, queries: Sequence[str], mode: str) -> list[float]:
    """Return the confidence of the best hit of each query, 0 if there are no hits."""
    found = index.search_many(queries, 10, mode=mode)
    return [max((hit.confidence or 0 for hit in hits), default=0) for hits in found]


def auc(high: Sequence[float], low: Sequence[float]) -> float:
    """Return the probability that a value of `high` exceeds one of `low`; a tie counts one half."""
    return sum((one > two) + (one == two) / 2 for one in high for two in low) / (len(high) * len(low))


def nonsense(n: int = 100) -> list[str]:
    """Return n queries of two to four words of random letters."""
    draw = random.Random(0)

    def word() -> str:
        return "".join(draw.choices(string.ascii_lowercase, k=draw.randint(4, 8)))

    return [" ".join(word() for _ in range(draw.randint(2, 4))) for _ in range(n)]


def tickets(n: int = 1_000) -> list[dict[str, str]]:
    """Return n records that differ only in a number, a name and a day."""
    draw = random.Random(1)

    def ticket() -> str:
        number, day, name = draw.randint(10_000, 99_999), draw.randint(1, 30), draw.choice(("Anna", "Bob", "Carl"))
        return (
            f"Ticket {number}. Status: closed. Assigned to: support. Subject: cannot log in. The user {name} reported "
            f"on day {day} that the password was not accepted. The password was reset and the user could log in again."
        )

    return [{"_id": f"ticket {one}", "text": ticket()} for one in range(n)]


def questions(folder: Path) -> list[str]:
    """Return the questions of a corpus."""
    return [query.text for query in read_queries(str(folder / "queries.jsonl"))]


def relevant(folder: Path) -> set[str]:
    """Return the ids of all documents judged relevant to any question."""
    qrels = read_qrels(next((folder / "qrels").glob("*.tsv")))
    return {doc_id for judged in qrels.values() for doc_id, gain in judged.items() if gain > 0}


if __name__ == "__main__":
    main()
