"""The recipe of a training run: everything that determines its result, as plain values that are stored as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from semsearch.checks import FLAG, NUMBER, TEXT, WHOLE, Check, check_types, is_whole
from semsearch.errors import UsageError
from semsearch.training.objectives import DEFAULT_PARTS, OBJECTIVES, PARTS, TEMPERATURE

MASKED = "mlm"
"""The objective that trains the backbone alone, by predicting masked tokens."""

CONTRASTIVE = ("mnr", "simcse-sup", "simcse-unsup")
"""Objectives that contrast the texts of a batch with one another."""

STATIC = "distill-static"
"""The objective that turns an encoder into a table of static token vectors, without any steps."""

NAMES = (*OBJECTIVES, MASKED, STATIC)
"""Objectives that can be trained."""

DECAYS = ("linear", "cosine", "none")
MLPS = ("none", "train", "keep")

ONLY_FOR: dict[str, tuple[str, ...]] = {
    "parts": ("softmax",),
    "margin": ("triplet",),
    "temperature": (*CONTRASTIVE, "cosent"),
    "symmetric": ("mnr",),
    "negative_weight": ("mnr", "simcse-sup"),
    "mlm_weight": CONTRASTIVE,
    "teacher": ("distill", STATIC),
    "dim": (STATIC,),
    "dev": (*OBJECTIVES, MASKED),
    "model": (*OBJECTIVES, MASKED),
    **dict.fromkeys(("pooler", "simcse_names", "query_prefix", "passage_prefix", "lora"), tuple(OBJECTIVES)),
    "scale": ("regression", "cosent"),
    "from_scratch": (MASKED,),
    "mask": (MASKED, *CONTRASTIVE),
    "cache_gradients": tuple(OBJECTIVES),
    "mlp": tuple(OBJECTIVES),
    "matryoshka": tuple(name for name in OBJECTIVES if name not in ("softmax", "classify", "distill")),
    "from_corpus": ("mnr",),
    "kinds": ("mnr",),
}
"""Options that apply only to some objectives."""

OF_STATIC = ("objective", "data", "max_tokens", "device")
"""Other options that apply to `distill-static`, the last objective, which takes no steps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scratch:
    """Dimensions of a BERT that is trained from random weights, with a vocabulary of its own.

    Attributes:
        layers: Number of transformer layers.
        hidden: Length of a hidden state.
        heads: Number of attention heads; it divides `hidden`.
        vocabulary: Number of word pieces, learned from the training texts.
        max_tokens: Maximum length of an input.
    """

    layers: int = 4
    hidden: int = 256
    heads: int = 4
    vocabulary: int = 8_000
    max_tokens: int = 128

    def __post_init__(self) -> None:
        check_types(asdict(self), dict.fromkeys(("layers", "hidden", "heads", "vocabulary", "max_tokens"), WHOLE))
        for name, least in (("layers", 1), ("hidden", 8), ("heads", 1), ("vocabulary", 300), ("max_tokens", 8)):
            if getattr(self, name) < least:
                raise UsageError(f"`{name}` must be at least {least}, got {getattr(self, name)}")
        if self.hidden % self.heads:
            raise UsageError(f"`heads` must divide `hidden`, but {self.hidden} is not a multiple of {self.heads}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Everything that determines the result of a training run, except for the content of the files it names.

    Attributes:
        objective: Name of the objective; see `OBJECTIVES`, or `mlm` or `distill-static`.
        data: Path of the training examples; see `load_examples`.
        from_corpus: Instead of `data`: a corpus or an index to make pairs from.
        kinds: Kinds of pairs to make from it: `title`, `adjacent`, `crop`.
        model: Checkpoint to start from; None for the default.
        pooler: Pooler to train; `auto` for the one that the checkpoint declares.
        simcse_names: Interpret `pooler` as SimCSE does.
        max_tokens: Truncate inputs to this many tokens; None for the checkpoint's limit.
        query_prefix, passage_prefix: Text in front of anchors and queries, and of all other texts; None for the
            checkpoint's.
        scale: Lowest and highest possible score, which become 0 and 1.
        dev: STS data or judged queries to evaluate on while training; for `classify` and `mlm`, more examples.
        dev_tasks: For a folder of STS data: which tasks to evaluate on; empty for all with a dev split.
        parts: For `softmax`: features of a pair, from `PARTS`.
        margin: For `triplet`.
        temperature: For contrastive objectives and `cosent`.
        symmetric: For `mnr`: also contrast each positive's anchor with all other anchors.
        negative_weight: For contrastive objectives: weight of an anchor's own hard negatives.
        mlp: An additional layer tanh(W x + b) after the pooler: `none`, `train` (while training only) or `keep`.
        mlm_weight: Weight of an auxiliary masked-language-model loss, as in SimCSE.
        mask: Share of tokens to mask.
        matryoshka: Numbers of leading components that should work on their own, besides all of them.
        teacher: For `distill` and `distill-static`: the encoder to imitate.
        dim: For `distill-static`: length of the vectors.
        from_scratch: For `mlm`: start from random weights with these dimensions.
        lora: Rank of LoRA adapters, which are trained instead of the weights and merged in the end; None for none.
        epochs: Passes over the examples.
        steps: Number of optimizer steps instead of `epochs`.
        batch_size: Examples in a batch.
        accumulate: Batches whose gradients are summed up for one step.
        cache_gradients: Encode at most this many texts at a time, so that a batch may exceed memory.
        learning_rate: Highest learning rate.
        warmup: Share of the steps during which the learning rate rises.
        decay: How it falls afterwards: `linear`, `cosine` or `none`.
        weight_decay: Of AdamW, not for biases and layer normalization.
        clip: Maximum norm of the gradient; 0 for no limit.
        eval_every: Steps between two evaluations; None for ten evaluations in all.
        patience: Stop after this many evaluations without improvement; None to train to the end.
        precision: `float32`, or `bfloat16` or `float16` for the backbone's matrix products; `auto` for float32 on CPUs.
        device: Device to run on.
        seed: Random seed of the order of examples, dropout, masks and new weights.
    """

    objective: str
    data: str | None = None
    from_corpus: str | None = None
    kinds: tuple[str, ...] = ("title", "adjacent")
    model: str | None = None
    pooler: str = "auto"
    simcse_names: bool = False
    max_tokens: int | None = None
    query_prefix: str | None = None
    passage_prefix: str | None = None
    scale: tuple[float, float] | None = None
    dev: str | None = None
    dev_tasks: tuple[str, ...] = ()
    parts: tuple[str, ...] = DEFAULT_PARTS
    margin: float = 1.0
    temperature: float = TEMPERATURE
    symmetric: bool = False
    negative_weight: float = 1.0
    mlp: str = "none"
    mlm_weight: float = 0.0
    mask: float = 0.15
    matryoshka: tuple[int, ...] = ()
    teacher: str | None = None
    dim: int = 256
    from_scratch: Scratch | None = None
    lora: int | None = None
    epochs: float = 1.0
    steps: int | None = None
    batch_size: int = 32
    accumulate: int = 1
    cache_gradients: int | None = None
    learning_rate: float = 2e-5
    warmup: float = 0.1
    decay: str = "linear"
    weight_decay: float = 0.01
    clip: float = 1.0
    eval_every: int | None = None
    patience: int | None = None
    precision: str = "auto"
    device: str = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        given = {one.name: getattr(self, one.name) for one in fields(self)}
        check_types(given, EXPECTED, [one.name for one in fields(self) if one.default is None])
        _choose("objective", self.objective, NAMES)
        self._check_options()
        self._check_combinations()
        self._check_numbers()

    def _check_options(self) -> None:
        """Reject options that do not apply to the objective, and unknown names."""
        defaults = {one.name: one.default for one in fields(self)}
        for name, default in defaults.items():
            objectives = ONLY_FOR.get(name, NAMES if name in OF_STATIC else NAMES[:-1])
            if getattr(self, name) != default and self.objective not in objectives:
                raise UsageError(
                    f"`{name}` does not apply to objective {self.objective!r}; it is for {', '.join(objectives)}"
                )
        for name, known in (("decay", DECAYS), ("mlp", MLPS)):
            _choose(name, getattr(self, name), known)
        for part in self.parts:
            _choose("parts", part, tuple(PARTS))
        if not self.parts:
            raise UsageError(f"`parts` is empty; expected some of {', '.join(PARTS)}")
        for name, needed in (("dev_tasks", "dev"), ("patience", "dev"), ("kinds", "from_corpus")):
            if getattr(self, name) != defaults[name] and getattr(self, needed) is None:
                raise UsageError(f"`{name}` requires `{needed}`")

    def _check_combinations(self) -> None:
        """Reject options that contradict one another, or lack one that they need."""
        if self.from_corpus is None and self.data is None and self.objective != STATIC:
            raise UsageError("no training examples; pass their path as `data`, or a corpus as `from_corpus`")
        if self.from_corpus is not None and self.data is not None:
            raise UsageError("`data` cannot be combined with `from_corpus`; choose one")
        if self.objective in ONLY_FOR["teacher"] and self.teacher is None:
            raise UsageError(f"objective {self.objective!r} needs an encoder to imitate; pass it as `teacher`")
        if self.mlp == "train" and self.objective == "classify":
            raise UsageError("`mlp` 'train' would drop a layer that the classifier needs; expected none or keep")
        if self.from_scratch and self.model is not None:
            raise UsageError("`model` cannot be combined with `from_scratch`; choose one")
        if self.mlm_weight and self.cache_gradients:
            raise UsageError("`mlm_weight` cannot be combined with `cache_gradients`; choose one")

    def _check_numbers(self) -> None:
        """Reject numbers out of range."""
        for name, least, most in RANGES:
            value = getattr(self, name)
            if value is not None and not least <= value <= most:
                raise UsageError(f"`{name}` must be from {_plain(least)} to {_plain(most)}, got {_plain(value)}")
        for name in ("epochs", "learning_rate", "temperature", "negative_weight", "mask"):
            if getattr(self, name) <= 0:
                raise UsageError(f"`{name}` must be above 0, got {getattr(self, name):g}")
        if self.objective in CONTRASTIVE and self.batch_size < 2:
            raise UsageError(
                f"`batch_size` is {self.batch_size}, but objective {self.objective!r} contrasts the texts of a batch "
                "with one another; use at least 2, better 32 or more"
            )
        if any(not is_whole(dim) or dim < 1 for dim in self.matryoshka):
            raise UsageError(f"`matryoshka` is {self.matryoshka!r}; expected numbers of components, such as (64, 128)")

    def to_json(self) -> dict[str, Any]:
        """Return the recipe as JSON values."""
        values: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return values

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Recipe:
        """Return the recipe that `to_json` was called on.

        Raises:
            UsageError: If a value is invalid.
        """
        scratch = values.get("from_scratch")
        lists = {name: tuple(value) for name, value in values.items() if isinstance(value, list)}
        return cls(**{**values, **lists, "from_scratch": Scratch(**scratch) if scratch else None})

    @property
    def options(self) -> dict[str, Any]:
        """The keyword arguments of the objective's function."""
        names = ("parts", "margin", "temperature", "symmetric", "negative_weight")
        return {name: getattr(self, name) for name in names if self.objective in ONLY_FOR[name]}

    def differences(self, other: Recipe) -> list[str]:
        """Return the names of the fields in which two recipes differ."""
        return [one.name for one in fields(self) if getattr(self, one.name) != getattr(other, one.name)]


def _plain(number: float) -> str:
    return f"{number:,}" if is_whole(number) else f"{number:g}"


def _choose(name: str, value: str, known: Sequence[str]) -> None:
    if value not in known:
        raise UsageError(f"unknown {name} {value!r}; expected one of {', '.join(known)}")


BIG = 10**9

RANGES: tuple[tuple[str, float, float], ...] = (
    *((name, 1, BIG) for name in ("steps", "batch_size", "accumulate", "cache_gradients", "eval_every", "patience")),
    ("lora", 1, 4_096),
    ("epochs", 0, BIG),
    ("learning_rate", 0, 10),
    ("warmup", 0, 1),
    ("weight_decay", 0, 10),
    ("clip", 0, BIG),
    ("margin", 0, BIG),
    ("temperature", 0, BIG),
    ("negative_weight", 0, BIG),
    ("mlm_weight", 0, BIG),
    ("mask", 0, 0.9),
    ("seed", 0, 2**31 - 1),
)
"""Lowest and highest value of numbers."""

SCALE: Check = (
    lambda value: isinstance(value, tuple) and len(value) == 2 and all(NUMBER[0](one) for one in value),
    "the lowest and the highest score, such as (0, 5)",
)
TUPLE: Check = (lambda value: isinstance(value, tuple), "a tuple")

EXPECTED: dict[str, Check] = {
    **dict.fromkeys(("objective", "data", "from_corpus", "model", "pooler", "query_prefix", "passage_prefix"), TEXT),
    **dict.fromkeys(("dev", "mlp", "teacher", "decay", "precision", "device"), TEXT),
    **dict.fromkeys(("max_tokens", "dim", "lora", "steps", "batch_size", "accumulate", "cache_gradients"), WHOLE),
    **dict.fromkeys(("eval_every", "patience", "seed"), WHOLE),
    **dict.fromkeys(("margin", "temperature", "negative_weight", "mlm_weight", "mask", "epochs"), NUMBER),
    **dict.fromkeys(("learning_rate", "warmup", "weight_decay", "clip"), NUMBER),
    **dict.fromkeys(("simcse_names", "symmetric"), FLAG),
    **dict.fromkeys(("dev_tasks", "kinds", "parts", "matryoshka"), TUPLE),
    "scale": SCALE,
    "from_scratch": (lambda value: isinstance(value, Scratch), "a Scratch"),
}
"""Checks by field."""
