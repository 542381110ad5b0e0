"""The encoder, which turns texts into vectors and records everything that determines a vector in its `spec`."""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeAlias

import numpy as np

from semsearch.arrays import Vector, Vectors
from semsearch.checks import FLAG, check_types
from semsearch.encoder.checkpoints.locate import hash_weights_ahead
from semsearch.encoder.checkpoints.open import open_checkpoint
from semsearch.encoder.checkpoints.record import Checkpoint, CheckpointWarning
from semsearch.encoder.pooling import Pooler, parse_pooler
from semsearch.encoder.runtimes.base import Runtime
from semsearch.encoder.runtimes.load import import_ahead, load_runtime
from semsearch.encoder.runtimes.networks import PooledNetwork
from semsearch.encoder.similarity import choose_similarity
from semsearch.encoder.texts import check_text, check_texts
from semsearch.encoder.token_parts import TokenParts, tokenize
from semsearch.encoder.token_vectors import TokenReader, TokenVectors
from semsearch.encoder.tokenization import Batcher, Batching, TokenIds, check_max_tokens, check_prefix, load_tokenizer
from semsearch.encoder.vectors import Batches, run
from semsearch.errors import ModelError, UsageError
from semsearch.messages import listed
from semsearch.transforms import canonical_transform, parse_transform, unit_rows
from semsearch.types import AUTO, COSINE, SETTINGS, EncoderSpec

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from semsearch.encoder.runtimes.static import StaticSplit
    from semsearch.encoder.runtimes.torch_split import TorchSplit

Progress: TypeAlias = Callable[[int], None]
"""Callback that receives the number of texts just encoded."""

log = logging.getLogger(__name__)


class PoolingWarning(UserWarning):
    """Warning that the pooler in use is not one that the checkpoint declares."""


class TextEncoder(Protocol):
    """Interface of an encoder for indexing and search; `Encoder` and `WordHashEncoder` implement it."""

    @property
    def spec(self) -> EncoderSpec:
        """Everything that determines a vector."""
        ...

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer, without truncation or padding."""
        ...

    @property
    def artifacts(self) -> Mapping[str, Path]:
        """Folders that an index must keep a copy of, by their names in the index folder."""
        ...

    def quantize(self, texts: Sequence[str]) -> TextEncoder:
        """Return an 8-bit version of this encoder, calibrated on texts.

        Raises:
            UnsupportedError: If the runtime cannot quantize it, or a library is missing.
            UsageError: If the encoder has no 8-bit form.
        """
        ...

    def encode_queries(self, texts: Sequence[str], progress: Progress | None = None) -> Vectors:
        """Encode queries as float32 `[n, dim]`, in the order given."""
        ...

    def encode_documents(self, texts: Sequence[str], progress: Progress | None = None) -> Vectors:
        """Encode passages as float32 `[n, dim]`, in the order given."""
        ...

    def split_documents(self, texts: Sequence[str]) -> list[TokenParts]:
        """Split the vector of each passage into the contributions of its tokens, in full precision.

        Raises:
            UnsupportedError: If the vector is not a sum over tokens.
        """
        ...


@dataclass(frozen=True)
class Encoder:
    """A BERT-like backbone with a pooler, or a table of static token vectors; create one with `Encoder.load`.

    A vector depends only on its text: on the CPU, the vectors of a text encoded alone and in a batch differ in every
    component by less than 1e-5 in float32, and by less than 1e-3 in bfloat16.

    Attributes:
        spec: Everything that determines a vector.
        tokenizer: The checkpoint's tokenizer, without truncation or padding.
    """

    spec: EncoderSpec
    tokenizer: Tokenizer
    _runtime: Runtime
    _batcher: Batcher
    _tokens: TokenReader

    @classmethod
    def load(
        cls,
        model: str | Path | None = None,
        pooler: str = "auto",
        *,
        simcse_names: bool = False,
        similarity: str = AUTO,
        max_tokens: int | None = None,
        dim: int | None = None,
        transform: str = "",
        normalize: bool = True,
        query_prefix: str | None = None,
        passage_prefix: str | None = None,
        precision: str = "auto",
        device: str = "auto",
        runtime: str = "auto",
        artifacts: Path | None = None,
        warn_of_pooler: bool = True,
    ) -> Encoder:
        """Load a checkpoint.

        Args:
            model: Local directory or Hugging Face name; None loads all-MiniLM-L6-v2.
            pooler: A name listed by `semsearch poolers`, or `auto` for the pooler that the checkpoint declares.
            simcse_names: Read `pooler` as a SimCSE name; SimCSE's `cls` is our `pooler-output`.
            similarity: Function that ranks passages: `cosine`, `dot`, `euclidean` (the distance with a minus sign), or
                `auto` for the one that the checkpoint declares, or `dot` if it declares none but is named so.
            max_tokens: Truncate inputs to this many tokens, special tokens included; None for the checkpoint's limit.
            dim: Keep only the first `dim` components (Matryoshka, Kusupati et al. 2022), and rescale them for cosine.
            transform: `center`, `whiten[:k]` or `all-but-the-top[:k]`, which an index fits on its corpus; the encoder
                then returns pooled vectors without rescaling them. `truncate:dim` is the same as `dim`.
            normalize: Rescale vectors to unit length; for `dot` and `euclidean`, only if the checkpoint has a Normalize
                module.
            query_prefix: Text put in front of each query; None for the prefix that the checkpoint declares.
            passage_prefix: Text put in front of each passage; None for the prefix that the checkpoint declares.
            precision: `auto`, `float32`, `bfloat16` or `float16`.
            device: `auto`, `cpu`, `cuda` or `mps`; `cuda:0,cuda:1` or `cuda:*` for several GPUs.
            runtime: `openvino` (compiled, CPU only), `torch`, or `auto`: $SEMSEARCH_RUNTIME if set, else openvino on a
                CPU if the model runs on it, else torch. A table of static token vectors has its own runtime, `static`.
            artifacts: Folder of the index that the encoder belongs to, which may hold its 8-bit model.
            warn_of_pooler: Whether to warn if the checkpoint does not declare this pooler or similarity function.

        Raises:
            ModelError: If the checkpoint cannot be found, lacks something that the pooler needs, or declares an unknown
                similarity function.
            UsageError: If the pooler, similarity, transform or device is unknown, a size is out of range, or the
                process was forked from one that had loaded an encoder.
        """
        started = time.perf_counter()
        check_types(
            {
                **{"pooler": pooler, "simcse_names": simcse_names, "transform": transform, "normalize": normalize},
                "similarity": similarity,
                **{"max_tokens": max_tokens, "dim": dim, "query_prefix": query_prefix},
                **{"passage_prefix": passage_prefix, "precision": precision, "device": device, "runtime": runtime},
            },
            {**SETTINGS, "normalize": FLAG},
            ("max_tokens", "dim", "query_prefix", "passage_prefix"),
        )
        hash_weights_ahead(model)
        import_ahead(model, runtime, device)
        checkpoint = open_checkpoint(model, artifacts)
        wanted, doubt = choose_pooler(checkpoint, pooler, simcse_names)
        chosen, dense = checkpoint.head(wanted)
        if doubt and warn_of_pooler:
            warnings.warn(doubt, PoolingWarning, stacklevel=2)
        if checkpoint.other_prompts and query_prefix is None and passage_prefix is None:
            warnings.warn(_unused(checkpoint), CheckpointWarning, stacklevel=2)
        full = dense[-1].out_features if dense else checkpoint.hidden_size * chosen.width
        dim, transform = _check_dim(full, dim, transform)
        dim = dim or checkpoint.dim_behind(chosen.name, full)
        similarity, doubt = choose_similarity(checkpoint, similarity, transform)
        if doubt and warn_of_pooler:
            warnings.warn(doubt, CheckpointWarning, stacklevel=2)
        max_tokens = check_max_tokens(checkpoint, max_tokens)
        with ThreadPoolExecutor(1) as beside:
            loading = beside.submit(load_tokenizer, checkpoint)
            runs = load_runtime(
                PooledNetwork(checkpoint, ((chosen, dense),), max_tokens),
                runtime=runtime,
                device=device,
                precision=precision,
            )
            tokenizer, tokenizer_hash = loading.result()
        query_prefix = checkpoint.query_prefix if query_prefix is None else query_prefix
        passage_prefix = checkpoint.passage_prefix if passage_prefix is None else passage_prefix
        for prefix in (query_prefix, passage_prefix):
            check_prefix(tokenizer, prefix, max_tokens)
        batcher = Batcher(tokenizer, max_tokens, checkpoint.pools_prefix, runs.batching, checkpoint.truncates_left)
        encoder = cls(
            spec=EncoderSpec(
                model=checkpoint.name,
                weights=checkpoint.weights_hash(dense),
                tokenizer=tokenizer_hash,
                pooler=chosen.name,
                layers=chosen.resolve_layers(checkpoint.n_layers),
                max_tokens=max_tokens,
                dim=dim,
                query_prefix=query_prefix,
                passage_prefix=passage_prefix,
                normalize=normalize and not transform and (similarity == COSINE or checkpoint.normalizes),
                transform=transform,
                precision=runs.precision,
                similarity=similarity,
            ),
            tokenizer=tokenizer,
            _runtime=runs,
            _batcher=batcher,
            _tokens=TokenReader(checkpoint, batcher, runs),
        )
        log.info(
            "loaded %s on %s in %.2f s, pooler %s, precision %s, runtime %s",
            *(checkpoint.name, runs.device, time.perf_counter() - started, chosen.name, runs.precision, runs.name),
        )
        return encoder

    def __repr__(self) -> str:
        spec = self.spec
        shown = {"pooler": spec.pooler, "dim": spec.dim, "transform": spec.transform}
        shown |= {"precision": spec.precision[:17], "runtime": self._runtime.name}  # 12 digits of an 8-bit hash
        return f"Encoder({spec.model!r}, {', '.join(f'{name}={value!r}' for name, value in shown.items() if value)})"

    @property
    def artifacts(self) -> Mapping[str, Path]:
        """Folders that an index must keep a copy of, by their names in the index folder: an 8-bit model, if any."""
        return self._runtime.artifacts

    def quantize(self, texts: Sequence[str]) -> Encoder:
        """Return an 8-bit version of this encoder, calibrated on texts.

        Args:
            texts: A few hundred passages of the corpus to be indexed.

        Raises:
            UnsupportedError: If the encoder does not run on openvino, or NNCF is not installed.
            UsageError: If `texts` is a single string, or one of them is not a string.
        """
        alone = replace(self._batcher, batching=Batching(tokens=1))
        runtime = self._runtime.quantize(alone(check_texts(texts), self.spec.passage_prefix))
        return replace(self, spec=replace(self.spec, precision=runtime.precision), _runtime=runtime)

    def encode_query(self, text: str) -> Vector:
        """Encode one query, with the query prefix in front, as float32 `[dim]`; see `encode_queries`."""
        vector: Vector = self.encode_queries([check_text(text)])[0]
        return vector

    def encode_queries(self, texts: Sequence[str], progress: Progress | None = None) -> Vectors:
        """Encode queries, with the query prefix in front of each.

        Args:
            texts: The queries; the list may be empty.
            progress: Called with the number of texts just encoded, several times.

        Returns:
            Vectors, float32 `[n, dim]`, in the order given.

        Raises:
            ModelError: If the runtime cannot compute the vectors, for example for lack of memory, or one is not finite.
            UsageError: If `texts` is a single string, one of them is not a string, or the process was forked from the
                one that loaded the encoder.
        """
        return self._encode(texts, self.spec.query_prefix, progress)

    def encode_document(self, text: str) -> Vector:
        """Encode one passage, with the passage prefix in front, as float32 `[dim]`; see `encode_queries`."""
        vector: Vector = self.encode_documents([check_text(text)])[0]
        return vector

    def encode_documents(self, texts: Sequence[str], progress: Progress | None = None) -> Vectors:
        """Encode passages, with the passage prefix in front of each, as float32 `[n, dim]`; see `encode_queries`."""
        return self._encode(texts, self.spec.passage_prefix, progress)

    def encode_ids(self, ids: Sequence[TokenIds], progress: Progress | None = None) -> Vectors:
        """Encode texts given as token ids, special tokens included, as float32 `[n, dim]`, without a prefix.

        Args:
            ids: Ids of the tokens of each text, at most `max_tokens`.
            progress: Called with the number of texts just encoded.

        Raises:
            ModelError: As for `encode_queries`.
            UsageError: If the process was forked from the one that loaded the encoder.
        """
        names = self.tokenizer.decode_batch([*ids], skip_special_tokens=False)
        return self._vectors(names, "", lambda *_: self._batcher.group(ids), progress)

    def encode_query_tokens(self, texts: Sequence[str]) -> list[TokenVectors]:
        """Encode queries token by token, with the query prefix in front of each; see `encode_document_tokens`."""
        return self._tokens(texts, self.spec.query_prefix)

    def encode_document_tokens(self, texts: Sequence[str]) -> list[TokenVectors]:
        """Return the last layer's hidden states of each passage, with the passage prefix in front.

        Texts are truncated as in `encode_documents`. The first call loads the backbone a second time, without a pooler.

        Raises:
            ModelError: As for `encode_queries`.
            UsageError: As for `encode_queries`.
        """
        return self._tokens(texts, self.spec.passage_prefix)

    def split_documents(self, texts: Sequence[str]) -> list[TokenParts]:
        """Split the vector of each passage, with the passage prefix in front, into the contributions of its tokens.

        The contributions are computed in float32, for a transformer with torch, whatever runtime the encoder uses:
        `offset + vectors.sum(0)` is the vector before it is rescaled to unit length, up to the encoder's own precision.

        Raises:
            UnsupportedError: If the vector is not a sum over tokens, as with BERT's own head.
            ModelError: If the checkpoint cannot be loaded, or has changed since the encoder was loaded.
            UsageError: If `texts` is a single string, one of them is not a string, or the process was forked from one
                in which torch runs.
        """
        prefix, cut = self.spec.passage_prefix, self._batcher.cut
        skip = self._batcher.skipped(prefix)
        found = []
        for text in check_texts(texts):
            ids, spans, n_lost = tokenize(self.tokenizer, prefix, text, cut)
            vectors, offset = self._reference(ids, skip)
            found.append(TokenParts(spans, vectors[:, : self.spec.dim], offset[: self.spec.dim], n_lost))
        return found

    @cached_property
    def _reference(self) -> TorchSplit | StaticSplit:
        """The reference model, loaded on first use."""
        checkpoint, pooler = open_checkpoint(self.spec.model), parse_pooler(self.spec.pooler)
        if checkpoint.weights_hash(checkpoint.dense_behind(pooler.name)) != self.spec.weights:
            raise ModelError(
                f"the checkpoint at {self.spec.model!r} has changed since it was loaded; load the encoder again"
            )
        if checkpoint.table:
            from semsearch.encoder.runtimes.static import StaticSplit

            return StaticSplit(checkpoint, pooler)
        from semsearch.encoder.runtimes.torch_split import TorchSplit

        return TorchSplit(checkpoint, pooler)

    def _encode(self, texts: Sequence[str], prefix: str, progress: Progress | None) -> Vectors:
        return self._vectors(check_texts(texts), prefix, self._batcher, progress)

    def _vectors(self, texts: Sequence[str], prefix: str, batches: Batches, progress: Progress | None) -> Vectors:
        spec, vectors = self.spec, np.empty((len(texts), self.spec.dim), dtype=np.float32)
        whole = spec.normalize and spec.similarity != COSINE  # rescale first, as sentence-transformers' truncate_dim
        for batch, (pooled,) in run(self._runtime, batches, texts, prefix, spec.model):
            vectors[batch.rows] = (unit_rows(pooled) if whole else pooled)[:, : spec.dim]
            if progress:
                progress(len(batch.rows))
        return unit_rows(vectors) if spec.normalize and not whole else vectors


def choose_pooler(checkpoint: Checkpoint, name: str, simcse_names: bool) -> tuple[Pooler, str]:
    """Return the requested pooler, or the declared one for `auto`, and a warning, or an empty string.

    Raises:
        UsageError: If the pooler is unknown, or `simcse_names` is set for `auto`.
    """
    declared, doubt = checkpoint.pooler, ""
    if name == "auto" and simcse_names:
        raise UsageError("`simcse_names` requires `pooler`; name one")
    if name != "auto":
        chosen = parse_pooler(name, simcse_names=simcse_names)
        if declared not in (None, chosen.name):
            left = "; its Dense layers are not applied" if checkpoint.dense else ""
            doubt = f"{checkpoint.name} was trained with pooler {declared!r}, but {chosen.name!r} was requested{left}"
        return chosen, doubt
    if declared is None:
        doubt = f"{checkpoint.name} declares no pooler; using 'mean'. Compare poolers and choose one with `pooler`"
    return parse_pooler(declared or "mean"), doubt


def _unused(checkpoint: Checkpoint) -> str:
    """Return a warning about prompts that belong to neither role."""
    names = listed([*map(repr, checkpoint.other_prompts)], 8)
    return (
        f"{checkpoint.name} declares prompts for tasks ({names}), but none for queries or passages, so no prefix "
        "is used; choose the text for your task with `query_prefix` and `passage_prefix`"
    )


def _check_dim(full: int, dim: int | None, transform: str) -> tuple[int | None, str]:
    """Resolve `dim` and `transform` to the requested length of a pooled vector and the transform to be fitted."""
    transform = canonical_transform(transform)
    kind, _, size = transform.partition(":")
    if kind == "truncate" and size.isdecimal():
        if dim not in (None, int(size)):
            raise UsageError(f"`dim` {dim} contradicts `transform` {transform!r}; give only one of them")
        dim, transform = int(size), ""
    if dim is not None and not 1 <= dim <= full:
        raise UsageError(f"`dim` must be from 1 to {full} for this encoder, got {dim}")
    if transform:
        parse_transform(transform, dim or full)
    return dim, transform
