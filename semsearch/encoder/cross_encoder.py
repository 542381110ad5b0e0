"""Cross-encoders: models that read a query and a passage together and score the passage's relevance.

Any sequence-classification checkpoint with one logit, or with a label for relevance, can be used (Nogueira and Cho
2019). A cross-encoder has its own tokenizer and weights, independent of the encoder of an index.
"""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from semsearch.checks import check_types
from semsearch.encoder.checkpoints.json_files import read_json
from semsearch.encoder.checkpoints.kinds import CLASSIFIER, PAIRS
from semsearch.encoder.checkpoints.locate import hash_weights_ahead
from semsearch.encoder.checkpoints.open import open_checkpoint
from semsearch.encoder.checkpoints.record import Checkpoint
from semsearch.encoder.runtimes.base import Runtime
from semsearch.encoder.runtimes.load import import_ahead, load_runtime
from semsearch.encoder.runtimes.networks import PairNetwork
from semsearch.encoder.texts import check_text, check_texts
from semsearch.encoder.tokenization import (
    TOKENIZED_AT_ONCE,
    Batching,
    PairBatch,
    TokenIds,
    check_max_tokens,
    length_sorted_batches,
    load_tokenizer,
)
from semsearch.encoder.vectors import run
from semsearch.errors import ModelError, UsageError
from semsearch.forks import encode_batch
from semsearch.types import SETTINGS

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Scores: TypeAlias = NDArray[np.float32]
"""float32 `[n]`, higher is better."""

RELEVANT = ("relevant", "relevance", "is_relevant", "true", "yes")
"""Labels that stand for relevance, in lower case."""

LEAST = 8
"""Minimum number of passage tokens that the query must leave room for."""

log = logging.getLogger(__name__)


class TruncationWarning(UserWarning):
    """Warning that a passage is too long to be read together with the query, so only its beginning was read."""


@dataclass(frozen=True)
class CrossEncoder:
    """A cross-encoder; create one with `CrossEncoder.load`.

    A score depends only on the query and the passage: on the CPU in float32, the scores of a passage scored alone and
    together with others differ by less than 1e-5.

    Attributes:
        model: Hugging Face name, or the absolute path of a local directory.
        max_tokens: Maximum number of tokens of a query and a passage together.
        kind: Name of the reranker, `cross-encoder`.
        first_share: Weight of the first-stage score in the final score: 0, so it is ignored.
    """

    model: str
    max_tokens: int
    kind: ClassVar[str] = "cross-encoder"
    first_share: ClassVar[float] = 0
    _relevant: int
    _runtime: Runtime
    _batcher: PairBatcher

    @classmethod
    def load(
        cls,
        model: str | Path,
        *,
        max_tokens: int | None = None,
        precision: str = "auto",
        device: str = "auto",
        runtime: str = "auto",
    ) -> Self:
        """Load a checkpoint.

        Args:
            model: Local directory or Hugging Face name.
            max_tokens: Truncate passages so that query and passage together have at most this many tokens; None for the
                checkpoint's limit.
            precision: As for `Encoder.load`.
            device: As for `Encoder.load`, but only a single device.
            runtime: As for `Encoder.load`.

        Raises:
            ModelError: If the checkpoint cannot be found, has no classification head, or does not say which of its
                labels stands for relevance.
            UsageError: If a setting is invalid or out of range.
        """
        started = time.perf_counter()
        settings = {"max_tokens": max_tokens, "precision": precision, "device": device, "runtime": runtime}
        check_types(settings, SETTINGS, ("max_tokens",))
        hash_weights_ahead(model)
        import_ahead(model, runtime, device)
        checkpoint = open_checkpoint(model, task=PAIRS)
        relevant = _relevant(checkpoint)
        names = (read_json(checkpoint.backbone / "tokenizer_config.json") or {}).get("model_input_names")
        longest = check_max_tokens(checkpoint, max_tokens)
        network = PairNetwork(checkpoint, types=names is None or "token_type_ids" in names, max_tokens=longest)
        runs = load_runtime(network, runtime=runtime, device=device, precision=precision)
        tokenizer, _ = load_tokenizer(checkpoint)
        log.info(
            "loaded cross-encoder %s on %s in %.2f s, precision %s, runtime %s",
            *(checkpoint.name, runs.device, time.perf_counter() - started, runs.precision, runs.name),
        )
        batcher = PairBatcher(tokenizer, longest, runs.batching, checkpoint.name)
        return cls(checkpoint.name, longest, relevant, runs, batcher)

    def scores(self, query: str, passages: Sequence[str]) -> Scores:
        """Score passages for a query.

        A score is the sigmoid of the only logit, or the softmax of the relevance label among several; it does not
        depend on the other passages.

        Args:
            query: Text of the query, which is never truncated.
            passages: Texts of the passages.

        Returns:
            Scores, float32 `[n]` in the order given, from 0 (irrelevant) to 1 (relevant).

        Raises:
            ModelError: If the runtime cannot compute the scores, for example for lack of memory, or one is not finite.
            UsageError: If `passages` is a single string, one of them is not a string, the query leaves no room for a
                passage, or the process was forked from the one that loaded the model.
        """
        check_text(query)
        passages = check_texts(passages)
        scores = np.empty(len(passages), np.float32)
        for batch, (logits,) in run(self._runtime, self._batcher, passages, query, self.model):
            scores[batch.rows] = probabilities(logits, self._relevant)
        return scores

    def __repr__(self) -> str:
        return f"CrossEncoder({self.model!r}, max_tokens={self.max_tokens}, runtime={self._runtime.name!r})"


@dataclass(frozen=True)
class PairBatcher:
    """Tokenizes pairs, truncates passages so that a pair fits in `max_tokens`, and groups pairs by length."""

    tokenizer: Tokenizer
    max_tokens: int
    batching: Batching
    model: str

    def __call__(self, passages: Sequence[str], query: str) -> Iterator[PairBatch]:
        """Yield batches that hold each passage once, after the query."""
        self._refuse_long(query)
        for start in range(0, len(passages), TOKENIZED_AT_ONCE):
            pairs = [(query, passage) for passage in passages[start : start + TOKENIZED_AT_ONCE]]
            whole = encode_batch(self.tokenizer, pairs)
            self._tell(sum(len(encoding.ids) > self.max_tokens for encoding in whole))
            encodings = [self._cut(encoding) for encoding in whole]
            for rows in length_sorted_batches([len(ids) for ids, _ in encodings], self.batching):
                ids, types = ([encodings[row][part] for row in rows] for part in (0, 1))
                yield PairBatch(start + np.asarray(rows), ids, 0, types)

    def _refuse_long(self, query: str) -> None:
        n_tokens = len(self.tokenizer.encode(query, "").ids)
        if n_tokens > self.max_tokens - LEAST:
            raise UsageError(
                f"the query takes {n_tokens:,} of {self.max_tokens:,} tokens, which leaves cross-encoder "
                f"{self.model!r} no room for a passage; shorten the query"
            )

    def _tell(self, n_cut: int) -> None:
        """Warn that passages are truncated, with the same text for every query so that it is shown only once."""
        if n_cut:
            log.info("truncating %d passages to %d tokens, query included", n_cut, self.max_tokens)
            warnings.warn(
                f"passages that do not fit in {self.max_tokens} tokens together with the query are truncated for "
                f"cross-encoder {self.model!r}",
                TruncationWarning,
                stacklevel=2,
            )

    def _cut(self, encoding: Any) -> tuple[TokenIds, TokenIds]:
        """Return the ids and types of a pair, dropping the end of a passage that is too long."""
        excess = len(encoding.ids) - self.max_tokens
        if excess <= 0:
            return encoding.ids, encoding.type_ids
        end = len(encoding.ids) - encoding.sequence_ids[::-1].index(1)  # just past the passage's last token
        kept = [*range(end - excess), *range(end, len(encoding.ids))]
        return [encoding.ids[at] for at in kept], [encoding.type_ids[at] for at in kept]


def _relevant(checkpoint: Checkpoint) -> int:
    """Return the index of the logit that stands for relevance.

    Raises:
        ModelError: If there is no classification head, or the labels do not tell which logit it is.
    """
    config = read_json(checkpoint.backbone / "config.json") or {}  # a table of static token vectors has none
    architectures = [str(name) for name in config.get("architectures") or ()]
    if not any(name.endswith(CLASSIFIER) for name in architectures):
        raise ModelError(
            f"model {checkpoint.name!r} has no classification head ({', '.join(architectures) or 'no architecture'}; "
            "its scores would be random); a cross-encoder is a sequence-classification checkpoint"
        )
    declared = config.get("id2label")  # transformers defaults to two labels
    labels = [str(label) for label in declared.values()] if isinstance(declared, dict) else ["LABEL_0", "LABEL_1"]
    if len(labels) == 1:
        return 0
    found = [number for number, label in enumerate(labels) if label.lower() in RELEVANT]
    if len(found) != 1:
        raise ModelError(
            f"model {checkpoint.name!r} has {len(labels)} labels ({', '.join(labels)}), and it is unclear which of "
            "them means relevance; if you know, rename that label to 'relevant' in id2label of its config.json"
        )
    return found[0]


def probabilities(logits: NDArray[np.float32], relevant: int) -> Scores:
    """Return the sigmoid of the only logit, or the softmax of the relevant one: `[n, labels]` to `[n]`.

    The softmax of a logit is the sigmoid of its distance from the log-sum-exp of the others; for a single logit, the
    other is taken as 0.
    """
    exact = logits.astype(np.float64)
    others = np.delete(exact, relevant, axis=1) if exact.shape[1] > 1 else np.zeros_like(exact)
    distance = exact[:, relevant] - np.logaddexp.reduce(others, axis=1)
    scores: Scores = (1 / (1 + np.exp(-np.clip(distance, -700, 700)))).astype(np.float32)
    return scores
