"""What search and ingest ask of a place where an index is kept; `local` is one, and others can stand beside it.

A store holds documents, their passages, a vector for each passage, the words of each passage, and the spec of the one
encoder that all vectors come from. It is handed vectors and knows nothing of the models behind them. Passages and
documents go by numbers of the store's own; a number is never used again for something else.

`tests/stores/test_contract.py` is the suite that every store must pass.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

from semsearch.errors import MismatchError, RecordError
from semsearch.types import Document, EncoderSpec, Metadata, Origin, Passage, Root, Term

if TYPE_CHECKING:
    from semsearch.arrays import Ids, Vectors
    from semsearch.filters.syntax import Filter, Value
    from semsearch.transforms import Transform

UNRELATED = 20
"""Passages with a cosine of 0 that count into a mean cosine."""

OTHER_ENCODER = "Leave the encoder's options out to continue with the index, or build another one at another `location`"


@dataclass(frozen=True, slots=True)
class StoredPassage:
    """A passage as a search shows it.

    Attributes:
        start, end: Character offsets into the document's text, half open.
    """

    doc_id: str
    title: str
    text: str
    start: int
    end: int
    metadata: Metadata


@dataclass(frozen=True, slots=True)
class StoredDocument:
    """A document as it is stored.

    Attributes:
        spans: Character offsets (start, end) of its passages, in their order; neighbors may overlap.
        passages: Their numbers.
    """

    doc_id: str
    title: str
    text: str
    metadata: Metadata
    spans: Sequence[tuple[int, int]]
    passages: Sequence[int] = ()


@dataclass(frozen=True, slots=True)
class Entry:
    """A document with its passages and their vectors `[passages, dim]`, ready to be committed."""

    document: Document
    passages: Sequence[Passage]
    vectors: Vectors


@dataclass(frozen=True, slots=True)
class Plan:
    """What a batch of documents asks for.

    Attributes:
        encode: Documents with new text.
        describe: Documents of which only the metadata changed.
        unchanged: How many need neither, `moved` among them.
        moved: Unchanged documents that are also in another file, and that file; None where it is not known.
        refused: Documents with the id of another one, which the index has from another file.
    """

    encode: list[Document]
    describe: list[Document]
    unchanged: int
    moved: list[tuple[Document, Origin | None]] = field(default_factory=list)
    refused: list[RecordError] = field(default_factory=list)


class Searchable(Protocol):
    """What a ranking of documents asks. Threads may share one."""

    def snapshot(self) -> AbstractContextManager[None]:
        """Everything asked inside sees one committed state, whatever a writer does meanwhile."""
        ...

    def search_vectors(self, queries: Vectors, k: int, where: Filter | None) -> tuple[Vectors, Ids]:
        """The k passages with the highest cosine to each query; the filter comes first, so it never costs recall.

        Args:
            queries: float32 `[n, dim]` as the encoder gives them.
            k: Passages a query.
            where: Only passages of documents that meet this.

        Returns:
            Scores and passage numbers `[n, at most k]`, best first, equal scores by number; where a query has fewer,
            -inf and -1.

        Raises:
            FilterError: The filter reads a field that no document has.
        """
        ...

    def search_keywords(self, query: str, k: int, where: Filter | None) -> tuple[Vectors, Ids]:
        """The k passages with the highest BM25 for a query: scores and passage numbers `[at most k]`, best first.

        Raises:
            FilterError: The filter reads a field that no document has.
        """
        ...

    def highest_keyword_score(self, query: str) -> float:
        """A score above 0 that no passage, whatever it said, could exceed in `search_keywords`.

        It depends on the words of the query and on how rare they are in the index; asked only where something is found.
        """
        ...

    def mean_cosines(self, queries: Vectors) -> Vectors:
        """The mean cosine `[n]` of each query `[n, dim]` with all passages, and with UNRELATED more that have 0.

        It is what an unrelated passage has, whatever is filtered. The added ones keep an index of a few passages from
        taking its own for unrelated.
        """
        ...

    def documents_of(self, passages: Sequence[int]) -> dict[int, int]:
        """The document of each of these passages; those that are gone are left out."""
        ...

    def doc_ids(self, documents: Iterable[int]) -> dict[int, str]:
        """The id of each of these documents; those that are gone are left out."""
        ...


class Readable(Searchable, Protocol):
    """What is asked of an index besides: to show what was found, and to say how good it is, and why."""

    def show(self, passages: Sequence[int]) -> dict[int, StoredPassage]:
        """Text and metadata of each of these passages; those that are gone are left out."""
        ...

    def documents(self, doc_ids: Sequence[str]) -> dict[str, StoredDocument]:
        """Whole documents by their ids, in the order given; ids that are not there are left out."""
        ...

    def select(self, where: Filter | None) -> list[str]:
        """The ids of the documents that meet a filter, all for None, in the order in which they were first added.

        Raises:
            FilterError: The filter reads a field that no document has.
        """
        ...

    @property
    def background(self) -> Mapping[str, Any] | None:
        """What `StoreWriter.keep_background` was given last; None for nothing yet."""
        ...

    def passages_from(self, position: float, n: int) -> list[int]:
        """At most n consecutive passages from a position on, which is 0 for the oldest and 1 for the newest."""
        ...

    def vectors_of(self, passages: Sequence[int]) -> Vectors:
        """The vectors of passages `[n, dim]` as they are searched, unit rows; zeros for those that are gone."""
        ...

    def cosines(self, queries: Vectors, passages: Sequence[int]) -> Vectors:
        """The cosine of each query `[n, dim]`, as the encoder gives it, with each of some passages: `[n, passages]`."""
        ...

    def keyword_scores(self, query: str, passages: Sequence[int]) -> Vectors:
        """The score that each of some passages has in `search_keywords`; 0 for one without a word of the query."""
        ...

    def keyword_terms(self, query: str, passage: int) -> dict[Term, float]:
        """What each term of a query contributes to the score of a passage in `search_keywords`, which is their sum.

        Terms that the passage does not have are left out.
        """
        ...

    def fitted(self) -> Transform | None:
        """The transform between vectors as the encoder gives them and as they are searched; None where there is none.

        Raises:
            StoreError: The index has one that is not fitted yet.
        """
        ...


class Store(Readable, Protocol):
    """A place for one index, which may not have been made yet: then everything but `write` raises NoIndexError."""

    @property
    def location(self) -> str:
        """Where it is, as messages name it."""
        ...

    @property
    def artifacts(self) -> Path | None:
        """The folder with the artifacts that `write` was given; None where there is none."""
        ...

    @property
    def spec(self) -> EncoderSpec:
        """The encoder that all vectors come from."""
        ...

    @property
    def chunking(self) -> Mapping[str, Any]:
        """How documents are cut, as JSON."""
        ...

    @property
    def origin(self) -> str:
        """Where the first corpus came from."""
        ...

    @property
    def roots(self) -> Sequence[Root]:
        """The folders by which files are named."""
        ...

    @property
    def modes(self) -> Sequence[str]:
        """The modes of search that it can answer, the default first; see `semsearch.search.MODES`."""
        ...

    def files_of(self, root: str, n: int) -> dict[str, str]:
        """At most n files under the root of that name that are a document each, with their content hashes."""
        ...

    def exists(self) -> bool:
        """Whether an index has been made here."""
        ...

    def fields(self) -> list[str]:
        """Names of the metadata fields that documents have, sorted."""
        ...

    def facets(self, n: int) -> dict[str, list[tuple[Value, int]]]:
        """The n most frequent values of each metadata field, with how many documents have them; lists count by member.

        Equal counts go by value; objects and null are left out.
        """
        ...

    def counts(self) -> dict[str, int]:
        """How many there are: documents, passages, tokens, passages truncated, tokens_lost by that."""
        ...

    def status(self) -> dict[str, Any]:
        """What `semsearch status` shows, as JSON: the counts, encoder, chunking, and what else the store knows."""
        ...

    def prepare(self) -> None:
        """Start to load what a search will need, while the caller does something else."""
        ...

    def write(
        self,
        spec: EncoderSpec,
        chunking: Mapping[str, Any],
        origin: str = "",
        artifacts: Mapping[str, Path] = MappingProxyType({}),
    ) -> AbstractContextManager[StoreWriter]:
        """Hold the one writer; the index is made where there is none.

        Args:
            spec: The encoder that all vectors come from.
            chunking: How documents are cut, as JSON.
            origin: Where the corpus came from; a new index keeps it.
            artifacts: Folders that belong to the encoder and cannot be had from its checkpoint, by name; the store
                keeps copies, and a new index is there when it has all of them.

        Raises:
            LockedError: Somebody else is writing; names them.
            MismatchError: The index was built with another encoder or other chunking.
            NoIndexError: The place holds something else.
        """
        ...

    def close(self) -> None:
        """Let go of files and connections, after what is being done with them."""
        ...


class StoreWriter(Protocol):
    """The one writer of an index: each batch is committed as a whole, and only a commit is seen or survives."""

    def see(self, document: Document) -> RecordError | None:
        """Remember that this run has met a document; gives the error where it has met the id before."""
        ...

    def remember(self, roots: Sequence[Root]) -> None:
        """Store the folders by which files are named."""
        ...

    def plan(self, documents: Sequence[Document], *, replace: bool = False) -> Plan:
        """Sort a batch by what has to be done: content, metadata and origin are compared with the index.

        A changed document whose id the index has from another file is refused, unless `replace` lets it take the
        other's place. A document from memory, whose caller chose the id, is never refused.
        """
        ...

    def commit(self, entries: Iterable[Entry], describe: Sequence[Document] = ()) -> None:
        """Write a batch: new documents, changed ones in place of the old, changed metadata and origins.

        Each document stands in the batch once.
        """
        ...

    def delete(self, doc_ids: Sequence[str]) -> list[str]:
        """Delete documents as one commit; returns the ids that were there."""
        ...

    def unseen(self, within: Origin | None = None) -> list[tuple[str, Origin | None]]:
        """Documents in the index that this run has not met, with their origins (None for memory, or not known).

        Args:
            within: Only those of this file, or of the files in this folder; None for all.
        """
        ...

    def fit(self, *, again: bool = False) -> bool:
        """Fit the encoder's transform on all vectors, where it has one and it is not fitted yet (or `again`).

        Returns:
            Whether it was fitted now.
        """
        ...

    def keep_background(self, background: Mapping[str, Any]) -> None:
        """Store how unrelated pairs score, as JSON; see `semsearch.confidence`."""
        ...

    def seal(self, *, final: bool) -> None:
        """Bring what is committed into the form that is searched fastest; `final` at the end of a run."""
        ...


def refuse_other_encoder(location: str, stored: EncoderSpec, spec: EncoderSpec, advice: str = OTHER_ENCODER) -> None:
    """Check that an encoder is the one that an index was built with.

    Raises:
        MismatchError: With what differs, and the advice.
    """
    if spec.fingerprint != stored.fingerprint:
        raise MismatchError(
            f"{location!r} belongs to another encoder: it has {'; '.join(stored.differences(spec))}. {advice}"
        )


def refuse_other_chunking(location: str, stored: Mapping[str, Any], chunking: Mapping[str, Any]) -> None:
    """Check that documents are cut as those of an index were.

    Raises:
        MismatchError: With what differs.
    """
    different = [f"{name} {value}, not {chunking[name]}" for name, value in stored.items() if chunking[name] != value]
    if different:
        raise MismatchError(
            f"{location!r} was built with other passages: it has {'; '.join(different)}. "
            "Leave these options out to continue with the index, or build another one at another `location`"
        )
