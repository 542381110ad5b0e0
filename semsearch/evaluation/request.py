"""What a comparison of poolers is asked for, with everything refused that makes no sense before anything is read."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, fields
from pathlib import Path

from semsearch.checks import FLAG, NAMES, TEXT, WHOLE, Check, check_types
from semsearch.corpus.chunking import Chunking
from semsearch.corpus.sources import ReadOptions
from semsearch.encoder.checkpoint import open_checkpoint
from semsearch.encoder.encoder import Progress
from semsearch.errors import UsageError
from semsearch.evaluation.candidates import Scored
from semsearch.evaluation.evidence import layer_names
from semsearch.evaluation.multi_pooler import ALL, MultiPooler
from semsearch.evaluation.significance import SEED
from semsearch.evaluation.vector_cache import MAX_MB, VectorCache
from semsearch.paths import as_path

AUTO = "auto"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A comparison as it is asked for; `compare_poolers` says what each field means.

    What belongs to some kinds of data alone is None where the default of its kind is meant.

    Raises:
        UsageError: A value of a wrong type, or one that no data could fit.
    """

    data: str | Path
    kind: str = AUTO
    poolers: Sequence[str] = (ALL,)
    model: str | None = None
    simcse_names: bool = False
    transforms: Sequence[str] = ()
    max_tokens: int | None = None
    precision: str | None = None
    device: str = "auto"
    runtime: str = "auto"
    cache_mb: int = MAX_MB
    layers: bool = False
    duel: Sequence[str] = ()
    seed: int = SEED
    progress: Progress | None = None
    scored: Scored | None = None
    tasks: Sequence[str] | None = None
    split: str | None = None
    measures: Sequence[str] | None = None
    style: str | None = None
    modes: Sequence[str] | None = None
    fusion: str | None = None
    chunking: Chunking | None = None
    drop_same_id: bool | None = None
    sample: int | None = None
    check: bool | None = None
    reading: ReadOptions | None = None
    skip_bad: bool | None = None

    def __post_init__(self) -> None:
        as_path(self.data, "data")
        optional = [one.name for one in fields(self) if one.default is None]
        check_types({one.name: getattr(self, one.name) for one in fields(self)}, EXPECTED, optional)
        if not self.poolers:
            raise UsageError("no pooler is named; name some in `poolers`, or all")
        if len(self.duel) not in (0, 2):
            raise UsageError(f"`duel` names {len(self.duel)} rows; expected two, or none")
        for name, value, meant in (("seed", self.seed, ""), ("cache_mb", self.cache_mb, " MiB, 0 for no cache")):
            if value < 0:
                raise UsageError(f"`{name}` is {value}; expected 0 or more{meant}")

    @property
    def path(self) -> Path:
        """Where the data are."""
        return Path(self.data)

    @property
    def source(self) -> str:
        """The same as text, as it was given; `-` for standard input."""
        return os.fspath(self.data)

    @contextmanager
    def encoder(self) -> Iterator[MultiPooler]:
        """The poolers, loaded, with the cache of vectors open.

        Raises:
            ModelError: The checkpoint cannot be loaded, or has none of the poolers.
            UsageError: An unknown pooler, or a length that does not fit.
        """
        if AUTO in self.poolers:
            own = open_checkpoint(self.model).pooler
            declared = f"which this checkpoint says is {own}" if own else "but this checkpoint declares none"
            raise UsageError(
                f"`poolers` {AUTO} is the pooler that a checkpoint declares, {declared}; name some, or all"
            )
        with ExitStack() as stack:
            yield MultiPooler.load(
                self.model,
                self.poolers,
                simcse_names=self.simcse_names,
                max_tokens=self.max_tokens,
                precision=self.precision or AUTO,
                device=self.device,
                runtime=self.runtime,
                also=layer_names() if self.layers else (),
                cache=stack.enter_context(VectorCache(max_mb=self.cache_mb)) if self.cache_mb else None,
            )


EXPECTED: Mapping[str, Check] = {
    **dict.fromkeys(("kind", "model", "precision", "device", "runtime", "split", "style", "fusion"), TEXT),
    **dict.fromkeys(("poolers", "transforms", "duel", "tasks", "measures", "modes"), NAMES),
    **dict.fromkeys(("max_tokens", "cache_mb", "seed", "sample"), WHOLE),
    **dict.fromkeys(("simcse_names", "layers", "drop_same_id", "check", "skip_bad"), FLAG),
    "progress": (callable, "a function that is told the number of texts just encoded"),
    "scored": (callable, "a function that is told how many rows are scored, and of how many"),
    "chunking": (lambda value: isinstance(value, Chunking), "a semsearch.Chunking"),
    "reading": (lambda value: isinstance(value, ReadOptions), "a semsearch.ReadOptions"),
}
"""By field, what fits it, and the same in words."""
