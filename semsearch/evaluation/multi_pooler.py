"""Several poolers over one forward pass, for comparisons: the backbone accounts for nearly all of the cost."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np

from semsearch.arrays import Vectors
from semsearch.encoder.checkpoints.open import open_checkpoint
from semsearch.encoder.checkpoints.record import STATIC_POOLER, CheckpointWarning, Dense, Head
from semsearch.encoder.encoder import Progress
from semsearch.encoder.pooling import POOLERS, SIMCSE_NAMES, Pooler, parse_pooler
from semsearch.encoder.runtimes.base import Runtime
from semsearch.encoder.runtimes.load import load_runtime
from semsearch.encoder.runtimes.networks import PooledNetwork
from semsearch.encoder.similarity import choose_similarity
from semsearch.encoder.texts import check_texts
from semsearch.encoder.tokenization import TOKENIZED_AT_ONCE, Batcher, check_max_tokens, check_prefix, load_tokenizer
from semsearch.encoder.vectors import run
from semsearch.errors import ModelError
from semsearch.evaluation.vector_cache import VectorCache, key_of
from semsearch.transforms import unit_rows
from semsearch.types import AUTO, COSINE, EncoderSpec

if TYPE_CHECKING:
    from tokenizers import Tokenizer

ALL = "all"

EVERY_LAYER = "layer:*"


@dataclass(frozen=True)
class MultiPooler:
    """A backbone with several poolers; create one with `MultiPooler.load`.

    Attributes:
        specs: Everything that determines each pooler's vectors, by pooler name as requested, in that order.
        also: Names in `specs` that were only requested through `also`.
        refused: Requested poolers that this checkpoint does not support, with the reason.
        declared: The pooler that the checkpoint declares; None if it declares none.
        n_layers: Number of layers of the backbone.
        similarity: Function that ranks the vectors: `cosine`, `dot` or `euclidean`.
        counts: Number of texts so far by the origin of their vectors: `encoded`, `from the cache`, or `repeated` within
            a call.
    """

    specs: Mapping[str, EncoderSpec]
    also: tuple[str, ...]
    refused: Mapping[str, str]
    declared: str | None
    n_layers: int
    _batcher: Batcher
    _runtime: Runtime
    _kept: tuple[EncoderSpec, ...]
    _cache: VectorCache | None
    counts: Counter[str] = field(default_factory=Counter)
    similarity: str = COSINE
    _rescaled: bool = False
    _dims: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def load(
        cls,
        model: str | Path | None = None,
        poolers: Sequence[str] = (ALL,),
        *,
        simcse_names: bool = False,
        similarity: str = AUTO,
        max_tokens: int | None = None,
        precision: str = "auto",
        device: str = "auto",
        runtime: str = "auto",
        also: Sequence[str] = (),
        cache: VectorCache | None = None,
    ) -> Self:
        """Load a checkpoint once for several poolers.

        Args:
            model: Local directory or Hugging Face name, as for `Encoder.load`.
            poolers: Names of poolers; `all` for every registered one (a table of static token vectors has only `mean`),
                `layer:*+NAME` for NAME on each layer.
            simcse_names: Read `poolers` as SimCSE names; SimCSE's `cls` is our `pooler-output`.
            similarity: Function that ranks the vectors of every pooler, as for `Encoder.load`.
            max_tokens: Truncate inputs to this many tokens, special tokens included; None for the checkpoint's limit.
            precision: `auto`, `float32`, `bfloat16` or `float16`.
            device: `auto`, `cpu`, `cuda` or `mps`; `cuda:0,cuda:1` or `cuda:*` for several GPUs.
            runtime: `auto`, `openvino` or `torch`.
            also: More poolers, never as SimCSE names, to include if the checkpoint supports them.
            cache: Cache of vectors; with one, the vectors of every registered pooler are computed and stored, whichever
                poolers are requested.

        Raises:
            ModelError: If the checkpoint cannot be loaded, supports none of the poolers, or declares an unknown
                similarity function.
            UsageError: If a pooler is unknown, or `max_tokens` does not fit the model.
        """
        every = [*(SIMCSE_NAMES if simcse_names else POOLERS)]
        for name in _with_all(poolers, every):
            parse_pooler(name.replace(EVERY_LAYER, "layer:0"), simcse_names=simcse_names)  # before anything is loaded
        checkpoint = open_checkpoint(model)
        if checkpoint.table:
            every = [name for name in every if parse_pooler(name, simcse_names=simcse_names).name == STATIC_POOLER]
        wanted, along = (
            list(chain.from_iterable(_on_each_layer(name, checkpoint.n_layers) for name in names))
            for names in (_with_all(poolers, every), also)
        )
        parsed = {name: parse_pooler(name) for name in along}
        parsed |= {name: parse_pooler(name, simcse_names=simcse_names) for name in wanted}
        similarity, doubt = choose_similarity(checkpoint, similarity)
        if doubt:
            warnings.warn(doubt, CheckpointWarning, stacklevel=2)
        longest = check_max_tokens(checkpoint, max_tokens)
        tokenizer, tokenizer_hash = load_tokenizer(checkpoint)
        for prefix in (checkpoint.query_prefix, checkpoint.passage_prefix):
            check_prefix(tokenizer, prefix, longest)
        heads: dict[str, Head] = {}
        refused: dict[str, str] = {}
        for pooler in {one.name: one for one in (*parsed.values(), *(POOLERS.values() if cache else ()))}.values():
            try:
                heads[pooler.name] = checkpoint.head(pooler)
            except ModelError as error:
                refused[pooler.name] = str(error)
        reasons = {name: refused[parsed[name].name] for name in wanted if parsed[name].name in refused}
        if reasons.keys() >= {*wanted}:
            raise ModelError(f"no requested pooler is available for this checkpoint: {'; '.join(reasons.values())}")
        network = PooledNetwork(checkpoint, tuple(heads.values()), longest)
        runs = load_runtime(network, runtime=runtime, device=device, precision=precision)

        def spec(pooler: Pooler, dense: tuple[Dense, ...]) -> EncoderSpec:
            return EncoderSpec(
                model=checkpoint.name,
                weights=checkpoint.weights_hash(dense),
                tokenizer=tokenizer_hash,
                pooler=pooler.name,
                layers=pooler.resolve_layers(checkpoint.n_layers),
                max_tokens=longest,
                dim=dense[-1].out_features if dense else checkpoint.hidden_size * pooler.width,
                query_prefix=checkpoint.query_prefix,
                passage_prefix=checkpoint.passage_prefix,
                normalize=False,
                precision=runs.precision,
            )

        kept = {name: spec(*head) for name, head in heads.items()}
        names = [*wanted, *(name for name in along if name not in wanted)]
        specs = {name: kept[parsed[name].name] for name in names if parsed[name].name in kept}
        return cls(
            specs=specs,
            also=tuple(name for name in specs if name not in wanted),
            refused=reasons,
            declared=checkpoint.pooler,
            n_layers=checkpoint.n_layers,
            _batcher=Batcher(tokenizer, longest, checkpoint.pools_prefix, runs.batching, checkpoint.truncates_left),
            _runtime=runs,
            _kept=tuple(kept.values()),
            _cache=cache,
            similarity=similarity,
            _rescaled=checkpoint.normalizes and similarity != COSINE,
            _dims={name: checkpoint.dim_behind(spec.pooler, spec.dim) for name, spec in specs.items()},
        )

    @property
    def names(self) -> tuple[str, ...]:
        """The poolers as requested, in that order, followed by those of `also`."""
        return tuple(self.specs)

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer, without truncation or padding."""
        return self._batcher.tokenizer

    @property
    def spec(self) -> EncoderSpec:
        """The spec of the first pooler; model, tokenizer, prefixes and maximum length are the same for all poolers."""
        return next(iter(self.specs.values()))

    def encode_queries(self, texts: Sequence[str], progress: Progress | None = None) -> dict[str, Vectors]:
        """Encode queries with every pooler, with the query prefix in front; see `encode_documents`."""
        return self._encode(texts, self.spec.query_prefix, progress)

    def encode_documents(self, texts: Sequence[str], progress: Progress | None = None) -> dict[str, Vectors]:
        """Encode texts with every pooler, with the passage prefix in front; equal texts are encoded once.

        Args:
            texts: The texts to encode, `[n]`.
            progress: Called with the number of texts just encoded.

        Returns:
            float32 `[n, dim]` as pooled, by pooler name, cut to the declared length. They are rescaled to unit length
            only if the checkpoint has a Normalize module and they are not ranked by cosine; for cosine,
            `candidates.fit` rescales them.

        Raises:
            ModelError: If the runtime fails, for example for lack of memory, or the vectors are not finite.
            UsageError: If `texts` is a single string, or contains a non-string.
        """
        return self._encode(texts, self.spec.passage_prefix, progress)

    def _encode(self, texts: Sequence[str], prefix: str, progress: Progress | None) -> dict[str, Vectors]:
        texts = check_texts(texts)
        vectors = {name: np.empty((len(texts), spec.dim), np.float32) for name, spec in self.specs.items()}
        for start in range(0, len(texts), TOKENIZED_AT_ONCE):
            window = slice(start, start + TOKENIZED_AT_ONCE)
            some = {name: rows[window] for name, rows in vectors.items()}
            self._fill(texts[window], prefix, some, progress)
        if self._rescaled:
            vectors = {name: unit_rows(rows) for name, rows in vectors.items()}
        return {name: rows[:, : self._dims.get(name)] for name, rows in vectors.items()}

    def _fill(self, texts: Sequence[str], prefix: str, out: Mapping[str, Vectors], progress: Progress | None) -> None:
        """Write the vectors of texts into `out`: cached ones, and the others encoded, equal texts once."""
        first: dict[str, int] = {}
        same = np.array([first.setdefault(text, row) for row, text in enumerate(texts)], np.int64)
        known = np.zeros(len(texts), bool)
        keys = [key_of(prefix, text) for text in texts] if self._cache else []
        if self._cache:
            found = [self._cache.find(self.specs[name].fingerprint, keys, rows) for name, rows in out.items()]
            known = np.logical_and.reduce(found)
        missing = np.flatnonzero(~known & (same == np.arange(len(texts)))).tolist()
        self.counts["encoded"] += len(missing)
        self.counts["from the cache"] += int(known.sum())
        self.counts["repeated"] += len(texts) - len(missing) - int(known.sum())
        if progress:
            progress(len(texts) - len(missing))
        fresh = self._pass([texts[row] for row in missing], prefix, progress)
        for name, rows in out.items():
            rows[missing] = fresh[self.specs[name].pooler]
            rows[:] = rows[same]
        if self._cache and len(missing):
            by_print = {spec.fingerprint: fresh[spec.pooler] for spec in self._kept}
            self._cache.add([keys[row] for row in missing], by_print)

    def _pass(self, texts: Sequence[str], prefix: str, progress: Progress | None) -> dict[str, Vectors]:
        """Encode texts and return the vectors of every head, by the pooler's canonical name."""
        vectors = {spec.pooler: np.empty((len(texts), spec.dim), np.float32) for spec in self._kept}
        for batch, outputs in run(self._runtime, self._batcher, texts, prefix, self.spec.model):
            for rows, pooled in zip(vectors.values(), outputs, strict=True):
                rows[batch.rows] = pooled
            if progress:
                progress(len(batch.rows))
        return vectors


def _with_all(names: Sequence[str], every: Sequence[str]) -> list[str]:
    """Return the names without repetitions, with `all` replaced by every one of them."""
    return list(dict.fromkeys(one for name in names for one in (every if name == ALL else (name,))))


def _on_each_layer(name: str, n_layers: int) -> list[str]:
    """Expand `layer:*+mean` to `layer:0+mean` through `layer:L+mean`; return any other name as it is."""
    if EVERY_LAYER not in name:
        return [name]
    return [name.replace(EVERY_LAYER, f"layer:{layer}") for layer in range(n_layers + 1)]
