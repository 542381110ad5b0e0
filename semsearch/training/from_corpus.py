"""Training pairs without labels, from the user's own documents: titles with bodies, adjacent passages, and crops.

title      the title, and the first passage of the body
adjacent   two passages of a document that follow one another
crop       two random spans of one passage, drawn independently (Contriever, Izacard et al. 2022)

Passages are cut by `semsearch.corpus.chunking`, without overlap and without the title, so that the texts of a pair have
only their subject in common. What occurs in many documents, such as a footer or the title "Introduction", is left out.
"""

from __future__ import annotations

import math
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from itertools import islice, pairwise
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, TypeAlias

from semsearch.checks import NAMES, WHOLE, check_types
from semsearch.corpus.chunking import MAX_CHUNK_TOKENS, Chunker, Chunking
from semsearch.corpus.readers import Corpus, ReadOptions, as_records
from semsearch.errors import RecordError, SourceError, UsageError
from semsearch.index import Index
from semsearch.training.data import Examples
from semsearch.types import Document

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer

TOKENS = 128
"""Default maximum length of a passage: half of what small encoders read, and a quarter of the cost of 256 or more."""

LEAST_TOKENS = 8
"""Minimum length of a passage, and of a crop in words; shorter texts say too little."""

CROP_SHARES = (0.1, 0.5)
"""Shortest and longest crop, as shares of the words of its passage. Contriever uses 0.05 to 0.5 of 256 tokens."""

IN_MANY = 3
"""Number of documents from which a title or passage that occurs in them counts as boilerplate."""

AT_ONCE = 256
"""Number of documents that are cut at a time."""

Source: TypeAlias = Corpus | Index
"""An index, the folder of one, or anything that can be indexed."""


@dataclass(slots=True)
class KindCounts:
    """Counts for one kind of pair.

    Attributes:
        pairs: Number of pairs that were kept.
        unsuitable: Number of documents that no pair of this kind can be made from; see `UNSUITABLE`.
        boilerplate: Number of pairs left out because one of the texts occurs in IN_MANY or more documents.
        repeated: Number of pairs left out because both texts are the same, or because one of them is already in a pair
            of this kind in the same role.
        not_drawn: Number of further pairs, left out because of `max_pairs`.
    """

    pairs: int = 0
    unsuitable: int = 0
    boilerplate: int = 0
    repeated: int = 0
    not_drawn: int = 0


@dataclass(frozen=True, slots=True)
class CorpusPairs:
    """Training pairs made from a corpus, kind by kind, each kind in the order of the corpus.

    Attributes:
        examples: The pairs, as columns of anchors and positives.
        kinds: The kind of each pair.
        doc_ids: The document that each pair comes from.
        counts: Counts by kind.
        documents: Number of different documents that were read.
        passages: Number of passages that these were cut into.
        copies: Number of documents left out because an earlier one has the same title and text.
        bad: Number of records that could not be read.
    """

    examples: Examples
    kinds: tuple[str, ...]
    doc_ids: tuple[str, ...]
    counts: Mapping[str, KindCounts]
    documents: int
    passages: int
    copies: int
    bad: int

    def __len__(self) -> int:
        return len(self.examples)


@dataclass(frozen=True, slots=True)
class _Pair:
    kind: str
    doc_id: str
    anchor: str
    positive: str


@dataclass(frozen=True, slots=True)
class _Cut:
    """A document as pairs are made from it: its passages, and for each the offsets of its words `(start, end)`."""

    doc_id: str
    title: str
    passages: tuple[str, ...]
    words: tuple[Sequence[tuple[int, int]], ...]


@dataclass(slots=True)
class _Reading:
    """The different documents of a corpus, cut, and counts of the rest."""

    cuts: list[_Cut] = field(default_factory=list)
    copies: int = 0
    bad: int = 0


def pairs_from_corpus(
    source: Source,
    *,
    tokenizer: Tokenizer,
    kinds: Sequence[str] = ("title", "adjacent", "crop"),
    max_pairs: int | None = None,
    seed: int = 0,
    max_tokens: int = MAX_CHUNK_TOKENS,
    tokens: int | None = None,
    options: ReadOptions | None = None,
    skip_bad: bool = False,
) -> CorpusPairs:
    """Make positive pairs without labels from documents, for objectives with in-batch negatives.

    All passages are held in memory. The pairs depend on the texts and the seed alone: a text is cropped in the same way
    in whatever corpus and order it occurs.

    Args:
        source: An index or its folder, whose stored documents are used; or what can be indexed: a file, a folder, or
            documents.
        tokenizer: The tokenizer of the encoder to be trained, without truncation or padding.
        kinds: Kinds of pairs to make, from `KINDS`.
        max_pairs: Maximum number of pairs, drawn at random and divided among the kinds as evenly as their numbers
            allow; None for all.
        seed: Random seed for crops and draws.
        max_tokens: Maximum number of tokens that the encoder reads, special tokens included.
        tokens: Maximum length of a passage in tokens; None for 128, or `max_tokens` if that is less.
        options: How to read files.
        skip_bad: Count bad records instead of stopping at the first; a bad file found in a folder is always skipped.

    Raises:
        UsageError: If a kind is unknown or given twice, or `max_pairs` or the length of a passage is out of range.
        SourceError: If the source cannot be read or has no document, or no pair can be made from its documents.
        RecordError: If there is a bad record.
        StoreError: If the index cannot be read.
    """
    _check(kinds, max_pairs, seed, tokens)
    length = min(TOKENS, max_tokens) if tokens is None else tokens
    chunker = Chunker(tokenizer, max_tokens, "", Chunking(tokens=length, overlap=0, title=False))
    reading = _read(source, options or ReadOptions(), chunker, tokenizer, skip_bad)
    if not reading.cuts:
        raise SourceError(f"no training pairs from {_named(source)}: it has no documents; expected documents with text")
    made, counts = dict[str, list[_Pair]](), dict[str, KindCounts]()
    common = _in_many(reading.cuts)
    for kind in kinds:
        made[kind], counts[kind] = _made(kind, reading.cuts, common, seed)
    if not any(made.values()):
        raise SourceError(f"no training pairs from {_named(source)}: {_why(counts, len(reading.cuts))}")
    if max_pairs is not None:
        made = _drawn(made, max_pairs, seed)
        for kind, count in counts.items():
            count.not_drawn, count.pairs = count.pairs - len(made[kind]), len(made[kind])
    pairs = [pair for some in made.values() for pair in some]
    return CorpusPairs(
        examples=Examples((tuple(one.anchor for one in pairs), tuple(one.positive for one in pairs)), None, (), 0),
        kinds=tuple(one.kind for one in pairs),
        doc_ids=tuple(one.doc_id for one in pairs),
        counts=counts,
        documents=len(reading.cuts),
        passages=sum(len(cut.passages) for cut in reading.cuts),
        copies=reading.copies,
        bad=reading.bad,
    )


def _check(kinds: Sequence[str], max_pairs: int | None, seed: int, tokens: int | None) -> None:
    given = {"kinds": kinds, "max_pairs": max_pairs, "seed": seed, "tokens": tokens}
    expected = {"kinds": NAMES, **dict.fromkeys(("max_pairs", "seed", "tokens"), WHOLE)}
    check_types(given, expected, ("max_pairs", "tokens"))
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown or not kinds:
        raise UsageError(f"`kinds` is {', '.join(kinds)!r}; expected some of {', '.join(KINDS)}")
    if len({*kinds}) < len(kinds):
        raise UsageError(f"`kinds` is {', '.join(kinds)!r}; expected each kind once")
    if max_pairs is not None and max_pairs < 1:
        raise UsageError(f"`max_pairs` must be at least 1, got {max_pairs}")


def _named(source: Source) -> str:
    place = source.location if isinstance(source, Index) else source
    return repr(os.fspath(place)) if isinstance(place, str | os.PathLike) else "the given documents"


def _why(counts: Mapping[str, KindCounts], documents: int) -> str:
    """Say for each kind why there is no pair of it."""
    reasons = []
    for kind, count in counts.items():
        numbers = {UNSUITABLE[kind]: count.unsuitable, "boilerplate": count.boilerplate, "repeated": count.repeated}
        reasons.append(f"{kind} ({', '.join(f'{n} {reason}' for reason, n in numbers.items() if n)})")
    return f"{documents} document{'s' * (documents != 1)}; {'; '.join(reasons)}; see `kinds`"


# --- reading


def _read(source: Source, options: ReadOptions, chunker: Chunker, tokenizer: Tokenizer, skip_bad: bool) -> _Reading:
    """Read and cut all different documents."""
    reading = _Reading()
    documents = _different(_records(source, options), reading, skip_bad)
    while batch := list(islice(documents, AT_ONCE)):
        reading.cuts += _cut(batch, chunker, tokenizer)
    return reading


def _different(records: Iterable[Document | RecordError], reading: _Reading, skip_bad: bool) -> Iterator[Document]:
    """Yield the documents, those with the same title and text once, and count the other records."""
    seen: set[str] = set()
    for record in records:
        if isinstance(record, RecordError):
            if not (skip_bad or record.found):
                raise record
            reading.bad += 1
        elif record.content_hash in seen:
            reading.copies += 1
        else:
            seen.add(record.content_hash)
            yield record


def _records(source: Source, options: ReadOptions) -> Iterator[Document | RecordError]:
    if isinstance(source, Index):
        yield from _stored(source)
    elif isinstance(source, str | os.PathLike) and Index.exists(Path(source)):
        with Index.open(Path(source)) as index:
            yield from _stored(index)
    else:
        yield from as_records(source, options)


def _stored(index: Index) -> Iterator[Document]:
    """Yield the documents of an index in the order in which they were first added."""
    doc_ids = iter(index.select())
    while some := list(islice(doc_ids, AT_ONCE)):
        for one in index.documents(some).values():
            yield Document(one.doc_id, one.text, one.title)


def _cut(documents: Sequence[Document], chunker: Chunker, tokenizer: Tokenizer) -> Iterator[_Cut]:
    bodies = [Document(one.doc_id, without_title(one.text, one.title)) for one in documents]
    for document, passages in zip(documents, chunker.passages(bodies), strict=True):
        assert not isinstance(passages, RecordError)  # only for `on_long` error
        texts = [one.encoded_text for one in passages if one.n_tokens >= LEAST_TOKENS]
        words = tuple(_words(tokenizer.encode(text, add_special_tokens=False)) for text in texts)
        yield _Cut(document.doc_id, " ".join(document.title.split()), tuple(texts), words)


def without_title(text: str, title: str) -> str:
    """Return a text without its first line or sentence if that repeats the title."""
    words = re.findall(r"\w+", title)
    if not words:
        return text
    repeated = r"\W+".join(map(re.escape, words))
    return re.sub(rf"\A\W*{repeated}[^\w\n]*?(?:[.:!?。：！？]+(?=\s|\Z)|\n|\Z)\s*", "", text, flags=re.IGNORECASE)


def _words(encoding: Encoding) -> Sequence[tuple[int, int]]:
    """Return the character offsets of the words of a text, which may have several tokens each."""
    spans: dict[int, tuple[int, int]] = {}
    for word, (start, end) in zip(encoding.word_ids, encoding.offsets, strict=True):
        if word is not None:
            spans[word] = (spans.get(word, (start, end))[0], end)
    return list(spans.values())


def plain(text: str) -> str:
    """Return a text in folded case, with single spaces as its only white space, to compare it with others."""
    return " ".join(text.casefold().split())


# --- pairs of one document

Made: TypeAlias = tuple[str, str, tuple[str, ...]]
"""Anchor, positive, and the titles or passages that they were taken from."""


def _titled(cut: _Cut, seed: int) -> Iterator[Made]:
    if cut.title and cut.passages:
        yield cut.title, cut.passages[0], (cut.title, cut.passages[0])


def _adjacent(cut: _Cut, seed: int) -> Iterator[Made]:
    for pair in pairwise(cut.passages):
        yield *pair, pair


def _cropped(cut: _Cut, seed: int) -> Iterator[Made]:
    for text, words in zip(cut.passages, cut.words, strict=True):
        if len(words) * CROP_SHARES[1] >= LEAST_TOKENS:
            random = Random(f"{seed} {text}")
            yield _span(text, words, random), _span(text, words, random), (text,)


def _span(text: str, words: Sequence[tuple[int, int]], random: Random) -> str:
    """Draw the length of a span in words, then its place."""
    shortest, longest = (share * len(words) for share in CROP_SHARES)
    size = random.randint(max(LEAST_TOKENS, math.ceil(shortest)), int(longest))
    first = random.randint(0, len(words) - size)
    return text[words[first][0] : words[first + size - 1][1]]


KINDS: dict[str, Callable[[_Cut, int], Iterator[Made]]] = {"title": _titled, "adjacent": _adjacent, "crop": _cropped}
"""Functions by kind that make the pairs of a document; they also get the random seed."""

UNSUITABLE = {
    "title": "without a title or a body",
    "adjacent": "with fewer than 2 passages",
    "crop": f"without a passage of {2 * LEAST_TOKENS} words",
}
"""Why no pair of a kind can be made from a document."""


# --- pairs of a corpus


def _made(kind: str, cuts: Sequence[_Cut], common: Set[str], seed: int) -> tuple[list[_Pair], KindCounts]:
    """Return the usable pairs of a kind, none of which is made from a text that is common to many documents."""
    count, pairs = KindCounts(), list[_Pair]()
    anchors, positives = set[str](), set[str]()
    for cut in cuts:
        made = list(KINDS[kind](cut, seed))
        count.unsuitable += not made
        for anchor, positive, origins in made:
            ends = plain(anchor), plain(positive)
            if not common.isdisjoint(map(plain, origins)):
                count.boilerplate += 1
            elif ends[0] == ends[1] or ends[0] in anchors or ends[1] in positives:
                count.repeated += 1
            else:
                pairs.append(_Pair(kind, cut.doc_id, anchor, positive))
                anchors.add(ends[0])
                positives.add(ends[1])
    count.pairs = len(pairs)
    return pairs, count


def _in_many(cuts: Iterable[_Cut]) -> set[str]:
    """Return the titles and passages that occur in many documents."""
    counts = Counter(text for cut in cuts for text in {plain(text) for text in (cut.title, *cut.passages)})
    return {text for text, n in counts.items() if n >= IN_MANY}


def _drawn(made: Mapping[str, list[_Pair]], max_pairs: int, seed: int) -> dict[str, list[_Pair]]:
    """Draw pairs of each kind, in the order of the corpus."""
    wanted = shares({kind: len(pairs) for kind, pairs in made.items()}, max_pairs)
    return {
        kind: [pairs[at] for at in sorted(Random(f"{seed} {kind}").sample(range(len(pairs)), wanted[kind]))]
        for kind, pairs in made.items()
    }


def shares(numbers: Mapping[str, int], total: int) -> dict[str, int]:
    """Divide a total among kinds as evenly as their numbers allow."""
    divided, left = dict[str, int](), total
    for done, (kind, number) in enumerate(sorted(numbers.items(), key=lambda each: each[1])):
        divided[kind] = min(number, left // (len(numbers) - done))
        left -= divided[kind]
    return divided
