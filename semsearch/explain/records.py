"""What an explanation says, as records and as JSON.

`Explanation.to_json` gives this; `semsearch query --explain --json` prints it as the `explanation` of each hit, and
the `snippet` beside it:

    {
      "doc_id": "b", "start": 0, "end": 22,      the hit: its document, and the passage's place in the document's text
      "kind": "hybrid", "score": 0.41,           as in the hit; dense.share + keyword.share
      "dense": {                                 null where only words were searched
        "share": 0.22,                           what it contributes to the hit's score
        "score": 0.447,                          the cosine: sum of contributions, offsets and rounding; null where the
                                                 document is not among those that were mixed, and `note` says so
        "zero": 0.02, "one": 1.0, "weight": 0.5, share = weight * (score - zero) / (one - zero)
        "rank": null,                            for rrf: share = 1 / (60 + rank)
        "start": 0, "end": 22,                   the passage that it is about, in the document's text
        "tokens": [{"token": "water", "part": "text", "start": 7, "end": 12, "contribution": 0.31}, …],
        "offsets": {"transform": -0.01},         what belongs to no token: the corpus mean of a transform, a bias
        "rounding": 0.0001,                      what the index's precision makes of it
        "n_lost": 0,                             tokens behind the encoder's limit, which it did not see
        "note": ""                               why there are no tokens, such as a pooler that cannot be split
      },
      "keyword": {                               null where only meaning was searched
        "share": …, "score": 1.2, "zero": 0.0, "one": 2.6, "weight": 0.5, "rank": null, "start": 0, "end": 22,
        "terms": [{"term": "water", "exact": false, "score": 1.2, "spans": [[7, 12]], "title_spans": []}, …],
        "rounding": 0.0,                         `score` is the sum of the terms' scores and this
        "note": ""
      },
      "snippet": {"text": …, "start": 0, "end": 22, "highlights": [[7, 12]]},
      "note": ""                                 such as that the index has changed since the search
    }

`part` is `text`, `title`, `prefix` or `special`. The offsets of a token are into the text of the passage, or into the
title; they are null in a prefix and for a special token such as [CLS]. `spans` are offsets into the text of the passage
that the part is about. An `exact` term is the bonus of an exact token such as `C++`, whose pieces are terms as well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from semsearch.snippets import Snippet


@dataclass(frozen=True, slots=True)
class TokenShare:
    """What a token contributes to a cosine; see the module for its fields."""

    token: str
    part: str
    start: int | None
    end: int | None
    contribution: float


@dataclass(frozen=True, slots=True)
class TermShare:
    """What a term of the query contributes to a BM25; see the module for its fields."""

    term: str
    exact: bool
    score: float
    spans: tuple[tuple[int, int], ...]
    title_spans: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Share:
    """How a cosine or a BM25 becomes a part of a hit's score; see the module for its fields.

    Attributes:
        score: None where the passage is not among those that were mixed, so that its share was assumed, or nothing.
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
    """The cosine of a hit, token by token."""

    tokens: tuple[TokenShare, ...] = ()
    offsets: Mapping[str, float] | None = None
    rounding: float = 0.0
    n_lost: int = 0
    note: str = ""


@dataclass(frozen=True, slots=True)
class Keyword(Share):
    """The BM25 of a hit, term by term."""

    terms: tuple[TermShare, ...] = ()
    rounding: float = 0.0
    note: str = ""


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a hit was found; `to_json` and the module say what its fields are."""

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
        """As a JSON object; see the module."""
        return {**asdict(self), "snippet": self.snippet.to_json()}


def whole_words(tokens: Sequence[TokenShare]) -> list[TokenShare]:
    """Tokens with the pieces of one word made one, whose contribution is their sum."""
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
