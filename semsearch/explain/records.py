"""Explanations of hits, as records and as JSON.

`Explanation.to_json` returns the following object; `semsearch query --explain --json` prints it as the `explanation` of
each hit, with the `snippet` beside it:

    {
      "doc_id": "b", "start": 0, "end": 22,      the hit: its document, and the passage's offsets in the document
      "kind": "hybrid", "score": 0.41,           as in the hit; dense.share + keyword.share
      "dense": {                                 null for keyword search
        "share": 0.22,                           contribution to the hit's score
        "similarity": "cosine",                  what `score` is: cosine, dot, or euclidean (the distance with a minus)
        "score": 0.447,                          the sum of contributions, offsets and rounding; null if the document is
                                                 not among the fused candidates, as `note` then says
        "zero": 0.02, "one": 1.0, "weight": 0.5, share = weight * (score - zero) / (one - zero); the weight is lower if
                                                 the encoder does not know the language of the query
        "rank": null,                            for rrf: share = weight / (60 + rank), usually with the weight 1
        "start": 0, "end": 22,                   the passage that is explained, in the document's text
        "tokens": [{"token": "water", "part": "text", "start": 7, "end": 12, "contribution": 0.31}, …],
        "offsets": {"transform": -0.01},         parts that belong to no token: the corpus mean of a transform, a bias
        "rounding": 0.0001,                      error due to the precision of the index
        "n_lost": 0,                             tokens beyond the encoder's limit, which it did not see
        "note": ""                               why there are no tokens, such as a pooler that cannot be split, or a
                                                 distance, which is not a sum over tokens
      },
      "keyword": {                               null for dense search
        "share": …, "score": 1.2, "zero": 0.0, "one": 2.6, "weight": 0.5, "rank": null, "start": 0, "end": 22,
        "terms": [{"term": "water", "exact": false, "score": 1.2, "spans": [[7, 12]], "title_spans": []}, …],
        "rounding": 0.0,                         `score` is the sum of the terms' scores and this value
        "note": ""
      },
      "snippet": {"text": …, "start": 0, "end": 22, "highlights": [[7, 12]]},
      "note": ""                                 a caveat, such as that the index has changed since the search
    }

`part` is `text`, `title`, `prefix` or `special`. The offsets of a token refer to the text of the passage, or to the
title; they are null in a prefix and for a special token such as [CLS]. `spans` are offsets into the text of the passage
that is explained. An `exact` term is the bonus for an exact token such as `C++`, whose pieces are terms as well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from semsearch.snippets import Snippet


@dataclass(frozen=True, slots=True)
class TokenShare:
    """Contribution of a token to a dense score; the module docstring describes the fields."""

    token: str
    part: str
    start: int | None
    end: int | None
    contribution: float


@dataclass(frozen=True, slots=True)
class TermShare:
    """Contribution of a query term to a BM25 score; the module docstring describes the fields."""

    term: str
    exact: bool
    score: float
    spans: tuple[tuple[int, int], ...]
    title_spans: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Share:
    """Contribution of a dense or a BM25 score to a hit's score; the module docstring describes the fields.

    Attributes:
        score: Dense or BM25 score; None if the passage is not among the fused candidates, so that its share was
            assumed, or is 0.
    """

    share: float
    score: float | None
    zero: float
    one: float
    weight: float
    rank: int | None
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Dense(Share):
    """The dense score of a hit, token by token."""

    similarity: str = "cosine"
    tokens: tuple[TokenShare, ...] = ()
    offsets: Mapping[str, float] | None = None
    rounding: float = 0.0
    n_lost: int = 0
    note: str = ""


@dataclass(frozen=True, slots=True)
class Keyword(Share):
    """The BM25 score of a hit, term by term."""

    terms: tuple[TermShare, ...] = ()
    rounding: float = 0.0
    note: str = ""


@dataclass(frozen=True, slots=True)
class Explanation:
    """Explanation of why a hit was found; the module docstring describes the fields."""

    doc_id: str
    start: int
    end: int
    kind: str
    score: float
    dense: Dense | None
    keyword: Keyword | None
    snippet: Snippet
    note: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the explanation as a JSON object, in the format that the module docstring describes."""
        return {**asdict(self), "snippet": self.snippet.to_json()}


def whole_words(tokens: Sequence[TokenShare]) -> list[TokenShare]:
    """Return the tokens with the pieces of each word merged into one, whose contribution is their sum."""
    words: list[TokenShare] = []
    for token in tokens:
        last = words[-1] if words else None
        if (
            last
            and token.start is not None
            and (last.part, last.end) == (token.part, token.start)
            and last.token[-1:].isalnum()
            and token.token[:1].isalnum()
        ):
            joined = last.token + token.token, last.contribution + token.contribution
            words[-1] = replace(last, token=joined[0], end=token.end, contribution=joined[1])
        else:
            words.append(token)
    return words
