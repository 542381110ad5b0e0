"""Explaining the hits of a query."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from semsearch.errors import UnsupportedError, UsageError
from semsearch.explain.records import Dense, Explanation, Keyword, Share, TermShare
from semsearch.explain.sides import KINDS, WORDS_ALONE, Asked, Both, Side
from semsearch.explain.tokens import Splitter, weighted
from semsearch.filters.syntax import Filter
from semsearch.snippets import Snippet, by_rarity, cut
from semsearch.stores.base import Readable
from semsearch.stores.words.matches import READ, Spans, find_matches, find_terms
from semsearch.types import Hit

if TYPE_CHECKING:
    from semsearch.arrays import Vector

SAME = 1e-3
"""Relative difference above which two scores are considered different: bfloat16 has about three digits."""


def check_hits(hits: object) -> Sequence[Hit]:
    """Return the hits if they can be explained.

    Raises:
        UsageError: If `hits` is not a list of hits, or the score of a hit is of a kind that cannot be explained.
    """
    if isinstance(hits, Hit) or not isinstance(hits, Sequence):
        raise UsageError(f"`hits` is {hits!r:.60}; expected a list of hits, such as [hit]")
    for hit in hits:
        if not isinstance(hit, Hit):
            raise UsageError(f"`hits` contains {hit!r:.60}; expected hits returned by a search")
        if hit.kind not in KINDS:
            raise UsageError(
                f"the score of the hit {hit.doc_id!r:.60} is of kind {hit.kind!r:.40}, which cannot be explained; "
                f"expected one of {', '.join(KINDS)}"
            )
    return hits


def needs_encoder(hits: Sequence[Hit]) -> bool:
    """Return whether the score of any of these hits has a dense part, which requires the query's vector."""
    return not {hit.kind for hit in hits} <= WORDS_ALONE


def gather(
    store: Readable,
    query: str,
    vector: Vector | None,
    hits: Sequence[Hit],
    *,
    where: Filter | None,
    unit: str,
    unknown: float = 0.0,
) -> list[Both]:
    """Look up in a store, in one snapshot, the parts of each hit's score.

    Args:
        store: The store in which the hits were found.
        query: The query as it was searched.
        vector: The query's vector as the encoder returns it, float32 `[dim]`; None if `needs_encoder` is false.
        hits: The hits to explain.
        where: The filter of the search, on which ranks and the lowest dense score depend.
        unit: The unit of the search.
        unknown: Share of the query's letters that the encoder does not know, which lowers the dense score's weight.

    Returns:
        The dense and keyword sides of each hit, in the order given.

    Raises:
        UsageError: If a hit is no longer in the index, or belongs to another search.
    """
    depth = max((hit.rank for hit in hits), default=1)
    with store.snapshot():
        meaning = Asked(store, query, vector, where, unit, depth, unknown)
        words = replace(meaning, vector=None)
        return [KINDS[hit.kind](words if hit.kind in WORDS_ALONE else meaning, hit) for hit in hits]


def explain(
    query: str,
    hits: Sequence[Hit],
    gathered: Sequence[Both],
    splitter: Splitter | None,
) -> list[Explanation]:
    """Explain hits, in the order given.

    Args:
        query: The query as it was searched.
        hits: The hits to explain.
        gathered: The sides of each hit, as returned by `gather`.
        splitter: Splitter of dense scores of the query; None if no hit has a dense part.
    """
    every = zip(hits, gathered, find_matches(query, [hit.text for hit in hits]), strict=True)
    return [_explain(query, hit, dense, words, splitter, matches) for hit, (dense, words), matches in every]


def _explain(
    query: str, hit: Hit, near: Side | None, words: Side | None, splitter: Splitter | None, matches: Spans
) -> Explanation:
    dense = None if near is None else _dense(near, hit, splitter)
    keyword = None if words is None else _keyword(query, words, hit)
    score = sum(side.share for side in (near, words) if side)
    changed = abs(score - hit.score) > SAME * max(abs(score), abs(hit.score))
    note = f"the hit had a score of {hit.score:.4f}; the index or the search has changed since" if changed else ""
    return Explanation(
        hit.doc_id,
        hit.start,
        hit.end,
        hit.kind,
        score,
        dense,
        keyword,
        _snippet(hit, dense, keyword, matches),
        note,
    )


def _dense(side: Side, hit: Hit, splitter: Splitter | None) -> Dense:
    plain = Dense(*_shares(side, hit), offsets={}, note=side.note)
    if splitter is None:
        return plain
    plain = replace(plain, similarity=splitter.similarity)
    if side.passage is None or side.score is None:
        return plain
    try:
        split = splitter.split(side.passage, side.score)
    except UnsupportedError as error:
        return replace(plain, note=str(error))
    return replace(plain, tokens=split.tokens, offsets=split.offsets, rounding=split.rounding, n_lost=split.n_lost)


def _keyword(query: str, side: Side, hit: Hit) -> Keyword:
    plain = Keyword(*_shares(side, hit), note=side.note)
    if side.passage is None or side.score is None or side.terms is None:
        return plain
    text, title = (find_terms(query, each) for each in (side.passage.text, side.passage.title))
    terms = tuple(
        TermShare(term.text, term.exact, score, tuple(text.get(term, ())), tuple(title.get(term, ())))
        for term, score in sorted(side.terms.items(), key=lambda item: -item[1])
    )
    return replace(plain, terms=terms, rounding=side.score - sum(term.score for term in terms))


def _shares(side: Side, hit: Hit) -> tuple[float, float | None, float, float, float, int | None, int, int]:
    """Return the fields of a `Share`."""
    passage = side.passage or hit
    return side.share, side.score, side.zero, side.one, side.weight, side.rank, passage.start, passage.end


def _snippet(hit: Hit, dense: Dense | None, keyword: Keyword | None, matches: Spans) -> Snippet:
    """Return the window that contributes most to the score; if that is unknown, the one chosen without explanation."""
    worth: list[tuple[int, int, float]] = []
    if dense and (dense.start, dense.end) == (hit.start, hit.end):
        worth += weighted(dense.tokens, _scale(dense))
    if keyword and (keyword.start, keyword.end) == (hit.start, hit.end):
        for term in keyword.terms:
            each = _scale(keyword) * term.score / max(1, len(term.spans))
            worth += [(start, end, each) for start, end in term.spans]
    text = hit.text[:READ]
    return cut(text, matches, worth or by_rarity(text, matches))


def _scale(part: Share) -> float:
    """Return the contribution to the hit's score per unit of this side's score; an average if only the rank counts."""
    if part.rank is not None:
        return part.share / part.score if part.score else 0.0
    return part.weight / (part.one - part.zero) if part.one > part.zero else 0.0
