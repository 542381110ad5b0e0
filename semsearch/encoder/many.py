"""Several poolers over one forward pass: what a comparison needs, for the backbone is nearly all of the cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from semsearch.encoder.encode import Progress, Runtime
from semsearch.encoder.pooling import POOLERS, SIMCSE_NAMES, parse_pooler
from semsearch.encoder.pretrained import open_checkpoint
from semsearch.encoder.tokens import Batcher, check_max_tokens, load_tokenizer
from semsearch.errors import ModelError
from semsearch.records import Vectors
from semsearch.transforms import unit_rows

ALL = "all"


@dataclass(frozen=True)
class ManyPoolers:
    """A backbone with several poolers; make one with `ManyPoolers.load`.

    Attributes:
        model: The checkpoint's name.
        names: The poolers as they were asked for, in that order.
        refused: Those that this checkpoint cannot have, with the reason.
    """

    model: str
    names: tuple[str, ...]
    refused: dict[str, str]
    _runtime: Runtime
    _batcher: Batcher
    _passage_prefix: str

    @classmethod
    def load(
        cls,
        model: str | None = None,
        poolers: Sequence[str] = (ALL,),
        *,
        simcse_names: bool = False,
        max_tokens: int | None = None,
        precision: str = "auto",
        device: str = "auto",
    ) -> Self:
        """Load a checkpoint once for several poolers.

        Args:
            model: As for `Encoder.load`.
            poolers: Names, or `all` for every registered one.
            simcse_names: Read them as SimCSE does.
            max_tokens: None for the checkpoint's own.
            precision: As for `Encoder.load`.
            device: Likewise.

        Raises:
            ModelError: The checkpoint cannot be loaded, or has none of the poolers.
            UsageError: An unknown pooler.
        """
        from semsearch.encoder.torch_runtime import TorchRuntime

        every = SIMCSE_NAMES if simcse_names else POOLERS
        wanted = dict.fromkeys(name for given in poolers for name in (every if given == ALL else (given,)))
        parsed = {name: parse_pooler(name, simcse_names=simcse_names) for name in wanted}
        checkpoint = open_checkpoint(model)
        longest = check_max_tokens(checkpoint, max_tokens)
        runtime = TorchRuntime(checkpoint, [], device=device, precision=precision)
        refused = {}
        for name, pooler in parsed.items():
            try:
                pooler.resolve_layers(checkpoint.n_layers)
                runtime.add(pooler, checkpoint.dense_behind(pooler.name))
            except ModelError as error:
                refused[name] = str(error)
        if len(refused) == len(parsed):
            raise ModelError(f"none of the poolers can be had: {'; '.join(refused.values())}")
        tokenizer, _ = load_tokenizer(checkpoint)
        batcher = Batcher.of(tokenizer, longest, checkpoint.pools_prefix, runtime.device)
        names = tuple(name for name in parsed if name not in refused)
        return cls(checkpoint.name, names, refused, runtime, batcher, checkpoint.passage_prefix)

    def encode_passages(self, texts: Sequence[str], progress: Progress | None = None) -> dict[str, Vectors]:
        """Encode texts with every pooler: float32 `[n, dim]` with unit rows, by the pooler's name."""
        vectors: dict[str, Vectors] = {}
        for batch in self._batcher(texts, self._passage_prefix):
            for name, pooled in zip(self.names, self._runtime(batch.ids, batch.skip), strict=True):
                if name not in vectors:
                    vectors[name] = np.empty((len(texts), pooled.shape[1]), np.float32)
                vectors[name][batch.rows] = unit_rows(pooled)
            if progress:
                progress(len(batch.rows))
        return vectors
