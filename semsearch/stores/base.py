"""The protocol that search and ingest require of an index store; `local` is one implementation, others are possible.

A store holds documents, their passages, one vector per passage, the words of each passage, and the spec of the single
encoder that produced all vectors. It receives vectors and knows nothing about the models that produced them. Passages
and documents are identified by numbers internal to the store; a number is never reused.

`tests/stores/test_contract.py` is the test suite that every store must pass.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

from semsearch.errors import MismatchError, RecordError
from semsearch.layout import NO_LAYOUT, Layout
from semsearch.types import Document, EncoderSpec, Metadata, Origin, Passage, Root, Storage, Term

if TYPE_CHECKING:
    from semsearch.arrays import Ids, Vectors
    from semsearch.filters.syntax import Filter, Value
    from semsearch.transforms import Transform

OTHER_ENCODER = (
    "Omit the encoder options to keep using this index, move it to the other encoder with `semsearch reencode`, or "
    "build a new one at another `location`"
)


@dataclass(frozen=True, slots=True)
class StoredPassage:
    """A passage as a search result shows it.

    Attributes:
        start, end: Character offsets into the document's text, half-open.
        section: Path of the section that contains the passage, such as `Module Contents > Reader Objects`.
    """

    doc_id: str
    title: str
    text: str
    start: int
    end: int
    metadata: Metadata
    section: str = ""


@dataclass(frozen=True, slots=True)
class StoredDocument:
    """A document as it is stored.

    Attributes:
        spans: Character offsets (start, end) of its passages, in order; neighbors may overlap.
        passages: Numbers of these passages, in the same order.
        layout: Sections of the text, and the tables and code in it.
    """

    doc_id: str
    title: str
    text: str
    metadata: Metadata
    spans: Sequence[tuple[int, int]]
    passages: Sequence[int] = ()
    layout: Layout = NO_LAYOUT


@dataclass(frozen=True, slots=True)
class Entry:
    """A document with its passages and their vectors `[passages, dim]`, ready to be committed."""

    document: Document
    passages: Sequence[Passage]
    vectors: Vectors


@dataclass(frozen=True, slots=True)
class Plan:
    """The work that a batch of documents requires.

    Attributes:
        encode: Documents with a new or changed title or text.
        describe: Documents of which only the metadata changed.
        unchanged: Number of documents that need neither, including `moved`.
        moved: Unchanged documents that the index has from another file, each with that file; None if it is unknown.
        refused: Errors for documents whose id belongs to a document from another file.
    """

    encode: list[Document]
    describe: list[Document]
    unchanged: int
    moved: list[tuple[Document, Origin | None]] = field(default_factory=list)
    refused: list[RecordError] = field(default_factory=list)


class Searchable(Protocol):
    """The operations that ranking requires. Threads may share one instance."""

    def snapshot(self) -> AbstractContextManager[None]:
        """Return a context in which every read sees the same committed state, whatever a writer does meanwhile."""
        ...

    @property
    def similarity(self) -> str:
        """The function that dense scores are computed by: `cosine`, `dot` or `euclidean`."""
        ...

    def search_vectors(self, queries: Vectors, k: int, where: Filter | None) -> tuple[Vectors, Ids]:
        """Find the k passages that are most similar to each query.

        The filter is applied before the search, so it never costs recall.

        Args:
            queries: float32 `[n, dim]`, as the encoder returns them.
            k: Number of passages per query.
            where: Restricts the search to passages of documents that match this filter; None for all.

        Returns:
            Scores and passage numbers, both `[n, at most k]`, best first, ties ordered by passage number. Rows of
            queries with fewer hits are padded with score -inf and number -1.

        Raises:
            FilterError: If the filter reads a field that no document has.
        """
        ...

    def search_keywords(self, query: str, k: int, where: Filter | None) -> tuple[Vectors, Ids]:
        """Find the k passages with the highest BM25 score for a query.

        Returns:
            Scores and passage numbers, both `[at most k]`, best first.

        Raises:
            FilterError: If the filter reads a field that no document has.
        """
        ...

    def highest_keyword_score(self, query: str) -> float:
        """Return a positive upper bound on the score in `search_keywords` of any conceivable passage.

        It depends on the words of the query and on how rare they are in the index. It is only called if the search
        found something.
        """
        ...

    def reference_scores(self, queries: Vectors) -> tuple[Vectors, Vectors]:
        """Return the dense scores `[n]` that stand for an unrelated passage and for a perfect match of each query.

        `semsearch.similarity.reference_scores` defines them. They depend on all passages, whatever the filter. The
        passages that it adds keep a very small index from treating its own passages as unrelated.

        Args:
            queries: float32 `[n, dim]`, as the encoder returns them.
        """
        ...

    def similarities(self, queries: Vectors, passages: Sequence[int]) -> Vectors:
        """Return the dense score `[n, passages]` of each passage for each query `[n, dim]`, as the encoder returns it.

        For a passage that is deleted, it is that of a vector of zeros.
        """
        ...

    def keyword_scores(self, query: str, passages: Sequence[int]) -> Vectors:
        """Return the score of each passage in `search_keywords`; 0 for a passage with no word of the query."""
        ...

    def documents_of(self, passages: Sequence[int]) -> dict[int, int]:
        """Return the document number of each passage; deleted passages are left out."""
        ...

    def passages_of(self, documents: Sequence[int], most: int) -> dict[int, list[int]]:
        """Return the passages of each document number that has at most `most` of them, ascending."""
        ...

    def doc_ids(self, documents: Iterable[int]) -> dict[int, str]:
        """Return the `doc_id` of each document number; deleted documents are left out."""
        ...


class Readable(Searchable, Protocol):
    """The further read operations that show hits, and that measure and explain their scores."""

    def show(self, passages: Sequence[int]) -> dict[int, StoredPassage]:
        """Return the text and metadata of each passage; deleted passages are left out."""
        ...

    def documents(self, doc_ids: Sequence[str]) -> dict[str, StoredDocument]:
        """Return whole documents by id, in the order given; unknown ids are left out."""
        ...

    def select(self, where: Filter | None) -> list[str]:
        """Return the ids of the documents that match a filter, or of all for None, in the order they were first added.

        Raises:
            FilterError: If the filter reads a field that no document has.
        """
        ...

    @property
    def background(self) -> Mapping[str, Any] | None:
        """The value last passed to `StoreWriter.keep_background`; None if there is none yet."""
        ...

    def passages_from(self, position: float, n: int) -> list[int]:
        """Return up to n consecutive passages, starting at a position between 0 (the oldest) and 1 (the newest)."""
        ...

    def vectors_of(self, passages: Sequence[int]) -> Vectors:
        """Return the vectors of passages `[n, dim]` as they are searched, with zeros for deleted passages.

        They are unit rows if the similarity is cosine.
        """
        ...

    def keyword_terms(self, query: str, passage: int) -> dict[Term, float]:
        """Return what each query term contributes to the score of a passage in `search_keywords`, which is their sum.

        Terms that do not occur in the passage are left out.
        """
        ...

    def fitted(self) -> Transform | None:
        """Return the transform from vectors as encoded to vectors as searched; None if the index has none.

        Raises:
            StoreError: If the index has a transform that is not fitted yet.
        """
        ...


class Store(Readable, Protocol):
    """Storage for one index, which may not exist yet; until it does, whatever reads it raises NoIndexError."""

    @property
    def location(self) -> str:
        """The location of the index, as shown in messages."""
        ...

    @property
    def artifacts(self) -> Path | None:
        """The folder that contains the artifacts passed to `write`; None if there is none."""
        ...

    @property
    def spec(self) -> EncoderSpec:
        """The encoder that produced all vectors."""
        ...

    @property
    def chunking(self) -> Mapping[str, Any]:
        """The chunking settings, as JSON."""
        ...

    @property
    def storage(self) -> Storage:
        """The precision of stored vectors, and what it costs."""
        ...

    @property
    def origin(self) -> str:
        """The source of the first corpus."""
        ...

    @property
    def roots(self) -> Sequence[Root]:
        """The root folders that file names are relative to."""
        ...

    @property
    def modes(self) -> Sequence[str]:
        """The search modes that the store supports, the default first; see `semsearch.search.MODES`."""
        ...

    def files_of(self, root: str, n: int) -> dict[str, str]:
        """Return up to n files under the named root that are one document each, with their content hashes."""
        ...

    def file_of(self, doc_id: str) -> str:
        """Return the absolute path of the file that a document was read from; empty if it is not from a file."""
        ...

    def entries(self, doc_ids: Sequence[str]) -> list[Entry]:
        """Return whole documents with their passages and vectors as they were committed, for another index.

        They are in the order given; unknown ids are left out. Encoded texts are not stored, and thus empty.
        """
        ...

    def exists(self) -> bool:
        """Return whether an index has been created here."""
        ...

    def fields(self) -> list[str]:
        """Return the names of the metadata fields that documents have, sorted."""
        ...

    def facets(self, n: int) -> dict[str, list[tuple[Value, int]]]:
        """Return the n most frequent values of each metadata field, each with the number of documents that have it.

        Lists count by element. Ties are ordered by value; objects and null are left out.
        """
        ...

    def counts(self) -> dict[str, int]:
        """Return the counts `documents`, `passages`, `tokens`, `truncated` (passages), and `tokens_lost` to that."""
        ...

    def status(self) -> dict[str, Any]:
        """Return what `semsearch status` shows, as JSON: counts, encoder, chunking, and details of the store."""
        ...

    def migrate(self) -> tuple[int, int]:
        """Bring the schema up to date; return the former version and that of now.

        Raises:
            NoIndexError: If there is no index.
            SchemaError: If the index is from a newer semsearch, or cannot be written.
        """
        ...

    def prepare(self) -> None:
        """Start loading in the background what a search will need."""
        ...

    def write(
        self,
        spec: EncoderSpec,
        chunking: Mapping[str, Any],
        origin: str = "",
        artifacts: Mapping[str, Path] = MappingProxyType({}),
        vectors: Mapping[str, Any] = MappingProxyType({}),
        store_precision: str | None = None,
    ) -> AbstractContextManager[StoreWriter]:
        """Open the index for writing; create it if it does not exist.

        A store may allow one writer at a time, or several, whose batches are committed one after another.

        Args:
            spec: The encoder that produces all vectors.
            chunking: The chunking settings, as JSON.
            origin: The source of the corpus; stored when the index is created.
            artifacts: Folders, by name, that belong to the encoder but cannot be obtained from its checkpoint. The
                store keeps copies, and a new index exists only once it has all of them.
            vectors: Fields of `VectorOptions` to change; a store may search its vectors in another way.
            store_precision: Precision of stored vectors, see `Storage`; None for that of the index, or float32 for a
                new one. It can only change while the index has no vectors.

        Raises:
            LockedError: If someone else is writing, and the store allows one writer; the message says who.
            MismatchError: If the index was built with another encoder, other chunking settings or another precision of
                stored vectors.
            NoIndexError: If the location contains something else.
        """
        ...

    def close(self) -> None:
        """Release files and connections, after the operations in progress have finished."""
        ...


class StoreWriter(Protocol):
    """A writer of an index. Each batch is committed atomically; nothing is visible or durable until then."""

    def see(self, document: Document) -> RecordError | None:
        """Record that this run has seen a document; return the error if it has seen the same id before."""
        ...

    def remember(self, roots: Sequence[Root]) -> None:
        """Store the root folders that file names are relative to."""
        ...

    def plan(self, documents: Sequence[Document], *, replace: bool = False) -> Plan:
        """Compare the content, metadata and origin of a batch with the index, and sort it by the work it requires.

        A changed document whose id the index has from another file is refused, unless `replace` lets it take that
        document's place. A document from memory is never refused, because the caller chose its id.
        """
        ...

    def commit(self, entries: Iterable[Entry], describe: Sequence[Document] = ()) -> None:
        """Write a batch: insert new documents, replace changed ones, and update changed metadata and origins.

        A batch must not contain a document twice.

        Raises:
            UsageError: If a vector is not finite, or beyond the range of the precision in which vectors are stored.
        """
        ...

    def delete(self, doc_ids: Sequence[str]) -> list[str]:
        """Delete documents in one commit; return the ids that existed."""
        ...

    def unseen(self, within: Origin | None = None) -> list[tuple[str, Origin | None]]:
        """Return documents in the index that this run has not seen, with their origins (None if unknown or memory).

        Args:
            within: Restricts the result to documents from this file, or from files in this folder; None for all.
        """
        ...

    def fit(self, *, again: bool = False) -> bool:
        """Fit the encoder's transform on all vectors, if it has one that is not fitted yet (or `again`).

        Returns:
            Whether this call fitted it.
        """
        ...

    def keep_transform(self, transform: Transform) -> None:
        """Store the encoder's transform, which was fitted elsewhere, and search all vectors as it makes them."""
        ...

    def keep_loss(self, storage: Storage) -> None:
        """Store what the store precision costs, as it was measured on the vectors before they were rounded."""
        ...

    def keep_background(self, background: Mapping[str, Any]) -> None:
        """Store how unrelated pairs score, as JSON; see `semsearch.confidence`."""
        ...

    def seal(self, *, final: bool) -> None:
        """Convert committed data to the form that is fastest to search; `final` marks the end of a run."""
        ...

    def compact(self, *, secure: bool = False) -> bool:
        """Convert all data to the form that is fastest to search, and free unused space, however long that takes.

        Args:
            secure: Also remove every trace of deleted documents.

        Returns:
            Whether the form in which data is searched has changed.

        Raises:
            UsageError: If the options for vectors do not allow it.
        """
        ...

    def draft(self) -> Store:
        """Return a store for the same documents with another encoder or chunking, to be filled and then adopted.

        No reader of the index sees it. It contains what an interrupted run has left there; its documents need neither
        metadata nor origins.
        """
        ...

    def discard_draft(self) -> None:
        """Delete the draft, if there is one; a store that `draft` returned must be closed first."""
        ...

    def adopt(self, draft: Store) -> None:
        """Replace encoder, chunking, passages, vectors, their precision, transform and background by those of a draft.

        This is one commit. The documents stay as they are. Numbers of passages are not used again. The draft is not
        deleted.

        Raises:
            StoreError: If the draft does not have exactly the index's documents, with the same titles and texts.
        """
        ...


def refuse_other_encoder(location: str, stored: EncoderSpec, spec: EncoderSpec, advice: str = OTHER_ENCODER) -> None:
    """Check that an encoder is the one that an index was built with.

    Raises:
        MismatchError: If it is not; the message lists the differences and ends with the advice.
    """
    if spec.fingerprint != stored.fingerprint:
        raise MismatchError(
            f"{location!r} was built with another encoder: it has {'; '.join(stored.differences(spec))}. {advice}"
        )


def refuse_other_chunking(location: str, stored: Mapping[str, Any], chunking: Mapping[str, Any]) -> None:
    """Check that chunking settings are the ones that an index was built with.

    Raises:
        MismatchError: If they are not; the message lists the differences.
    """
    different = [f"{name} {value}, not {chunking[name]}" for name, value in stored.items() if chunking[name] != value]
    if different:
        raise MismatchError(
            f"{location!r} was built with other chunking settings: it has {'; '.join(different)}. "
            "Omit these options to keep using this index, pass them to `semsearch reencode` to cut its stored texts "
            "anew, or build a new one at another `location`"
        )


def refuse_other_precision(location: str, stored: str, asked: str) -> None:
    """Check that vectors are asked to be stored in the precision of the index.

    Raises:
        MismatchError: If they are not; the message says what to do.
    """
    if asked != stored:
        raise MismatchError(
            f"the vectors of {location!r} are stored as {stored}, not {asked}. Omit `store_precision` to keep using "
            f"this index, or reencode it with `store_precision` {asked!r}, from its stored texts (`semsearch reencode`)"
        )
