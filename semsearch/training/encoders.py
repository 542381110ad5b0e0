"""Preparing the training of an encoder: examples as token ids, labels, the objective, and what is evaluated."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from semsearch.encoder.checkpoints.record import Checkpoint, Head
from semsearch.encoder.encoder import Encoder, choose_pooler
from semsearch.encoder.runtimes.torch import choose_device, choose_precision
from semsearch.encoder.tokenization import Batcher, Batching, check_max_tokens, check_prefix, load_tokenizer
from semsearch.errors import SourceError, UsageError
from semsearch.training.batches import Batches
from semsearch.training.data import Examples, load_examples
from semsearch.training.dev import Dev, LiveRuntime, classes_dev, encoder_dev, live_encoder
from semsearch.training.from_corpus import pairs_from_corpus
from semsearch.training.masked import attach_masked, open_trainable
from semsearch.training.objectives import OBJECTIVES
from semsearch.training.prepared import Prepared
from semsearch.training.randomness import seeded
from semsearch.training.recipe import CONTRASTIVE, Recipe
from semsearch.training.save import Declared, linear_layers, save_classifier, save_encoder
from semsearch.training.siamese import Siamese
from semsearch.training.tasks import Column, VectorTask
from semsearch.types import COSINE, EncoderSpec

QUERIES = ("anchor", "query")
"""Names of text columns that get the query prefix."""

AT_ONCE = 256
"""Number of texts that are classified at a time."""

TWICE = "simcse-unsup"
"""The objective that sees each text twice."""

NO_DROPOUT = "the checkpoint has no dropout, so a text and its positive are always the same; raise it in config.json"


def prepare_encoder(recipe: Recipe) -> Prepared:
    """Load the examples and the encoder of a recipe.

    Raises:
        SourceError, RecordError: If the examples or the dev set cannot be read.
        UsageError: If they do not fit the objective, or a setting does not fit the checkpoint.
        ModelError: If the checkpoint or the teacher cannot be loaded.
    """
    objective = OBJECTIVES[recipe.objective]
    checkpoint = open_trainable(recipe.model)
    pooler, doubt = choose_pooler(checkpoint, recipe.pooler, recipe.simcse_names)
    head = checkpoint.head(pooler)
    device = choose_device(recipe.device)
    precision = choose_precision(recipe.precision, device)
    batcher, prefixes = _batcher(checkpoint, recipe)
    examples, distinct = _examples(recipe, batcher)
    with seeded(recipe.seed):  # of new layers
        siamese = Siamese(checkpoint, head, device=device, precision=precision, mlp=recipe.mlp != "none")
        masked = attach_masked(recipe, checkpoint, siamese, batcher.tokenizer) if recipe.mlm_weight else None
        if recipe.lora:
            siamese.pooled.backbone = _with_lora(siamese.pooled.backbone, recipe.lora)
        if recipe.matryoshka and max(recipe.matryoshka) > siamese.dim:
            raise UsageError(f"`matryoshka` is {recipe.matryoshka}, but vectors have {siamese.dim} components")
        columns = _columns(recipe, examples, batcher, prefixes)
        labels = _teach(recipe, examples, siamese.dim) if recipe.teacher else examples.labels
        seen = columns * 2 if recipe.objective == TWICE else columns
        task = VectorTask(recipe, siamese, seen, labels, objective.loss, len(examples.classes), masked)
    spec = _spec(checkpoint, head, batcher, prefixes, siamese.dim)
    dev = _dev(recipe, examples, siamese, task, spec, batcher, checkpoint.n_layers) if recipe.dev else None
    cut = sum(len(ids) >= batcher.max_tokens for column in columns for ids in column.ids)
    notes = [doubt] if doubt else []
    notes += [NO_DROPOUT] if recipe.objective == TWICE and not _has_dropout(siamese) else []
    notes += [f"{examples.n_skipped:,} empty or trivial examples are left out"] if examples.n_skipped else []
    notes += [f"{cut:,} texts reach the limit of {batcher.max_tokens} tokens and may be truncated"] if cut else []
    notes += [dev.note] if dev and dev.note else []

    def write(folder: Path) -> None:
        dense = [
            *linear_layers(siamese.pooled.dense[0].children()),
            *(linear_layers(siamese.mlp.children()) if recipe.mlp == "keep" else ()),
        ]
        width = checkpoint.hidden_size * pooler.width
        declared = Declared(pooler.name, width, batcher.max_tokens, *prefixes, dense)
        save_encoder(folder, siamese.pooled.backbone, checkpoint, declared)
        if recipe.objective == "classify":
            save_classifier(folder, task.head, examples.classes)

    return Prepared(
        task=task,
        batches=Batches(len(examples), recipe.batch_size, recipe.seed, distinct),
        device=device,
        dev=dev,
        write=write,
        facts={
            "base model": checkpoint.name,
            "pooler": pooler.name,
            "objective": f"{objective.name}: {objective.formula}",
            "examples": f"{len(examples):,} from {recipe.data or recipe.from_corpus}",
            "precision": precision,
            "device": device,
        },
        notes=tuple(notes),
        digest=_digest(examples, labels, spec),
    )


def _examples(recipe: Recipe, batcher: Batcher) -> tuple[Examples, Sequence[Sequence[str]]]:
    """Return the examples, and columns of which no value may occur twice in a batch."""
    if recipe.from_corpus is None:
        assert recipe.data is not None
        examples = load_examples(recipe.data, OBJECTIVES[recipe.objective], scale=recipe.scale)
        return examples, examples.columns if recipe.objective in CONTRASTIVE else ()
    made = pairs_from_corpus(
        recipe.from_corpus,
        tokenizer=batcher.tokenizer,
        kinds=recipe.kinds,
        seed=recipe.seed,
        max_tokens=batcher.max_tokens,
    )
    return made.examples, (*made.examples.columns, made.doc_ids)


def _batcher(checkpoint: Checkpoint, recipe: Recipe) -> tuple[Batcher, tuple[str, str]]:
    """Return the tokenizer with its limit, and the prefixes of queries and of passages."""
    max_tokens = check_max_tokens(checkpoint, recipe.max_tokens)
    tokenizer, _ = load_tokenizer(checkpoint)
    query = checkpoint.query_prefix if recipe.query_prefix is None else recipe.query_prefix
    passage = checkpoint.passage_prefix if recipe.passage_prefix is None else recipe.passage_prefix
    for prefix in (query, passage):
        check_prefix(tokenizer, prefix, max_tokens)
    batcher = Batcher(tokenizer, max_tokens, checkpoint.pools_prefix, Batching(1), checkpoint.truncates_left)
    return batcher, (query, passage)


def _columns(recipe: Recipe, examples: Examples, batcher: Batcher, prefixes: tuple[str, str]) -> list[Column]:
    """Tokenize the examples, with the query prefix for anchors and queries, and the passage prefix for other texts."""
    names = [name.rstrip("*") for name in OBJECTIVES[recipe.objective].texts]
    columns = []
    for place, texts in enumerate(examples.columns):
        prefix = prefixes[0] if names[min(place, len(names) - 1)] in QUERIES else prefixes[1]
        columns.append(Column(batcher.tokenize([prefix + text for text in texts]), batcher.skipped(prefix)))
    return columns


def _teach(recipe: Recipe, examples: Examples, dim: int) -> NDArray[np.float32]:
    """Return the teacher's vectors of the first text of each example, `[n, dim]`."""
    teacher = Encoder.load(recipe.teacher, similarity=COSINE, device=recipe.device)  # as the student is
    if teacher.spec.dim != dim:
        raise UsageError(
            f"the vectors of the teacher {teacher.spec.model!r} have {teacher.spec.dim} components, those of the model "
            f"{dim}; choose a teacher and a model with equal ones"
        )
    return teacher.encode_documents(list(examples.columns[0]))


def _with_lora(backbone: Any, rank: int) -> Any:
    """Freeze a backbone and add low-rank adapters to all its linear layers (LoRA, Hu et al. 2022)."""
    try:
        peft = import_module("peft")
    except ImportError:
        raise UsageError("`lora` needs peft, which is not installed; pip install 'semsearch[train]'") from None
    settings = peft.LoraConfig(r=rank, lora_alpha=2 * rank, lora_dropout=0.05, target_modules="all-linear")
    with warnings.catch_warnings():  # peft 0.21 uses names that transformers 5 renamed
        warnings.simplefilter("ignore", FutureWarning)
        return peft.get_peft_model(backbone, settings)


def _has_dropout(module: torch.nn.Module) -> bool:
    return any(isinstance(one, torch.nn.Dropout) and one.p > 0 for one in module.modules())


def _spec(checkpoint: Checkpoint, head: Head, batcher: Batcher, prefixes: tuple[str, str], dim: int) -> EncoderSpec:
    pooler, dense = head
    return EncoderSpec(
        model=checkpoint.name,
        weights=checkpoint.weights_hash(dense),
        tokenizer="",
        pooler=pooler.name,
        layers=pooler.resolve_layers(checkpoint.n_layers),
        max_tokens=batcher.max_tokens,
        dim=dim,
        query_prefix=prefixes[0],
        passage_prefix=prefixes[1],
        normalize=False,
    )


def _dev(
    recipe: Recipe,
    examples: Examples,
    siamese: Siamese,
    task: VectorTask,
    spec: EncoderSpec,
    batcher: Batcher,
    n_layers: int,
) -> Dev:
    assert recipe.dev is not None
    if recipe.objective != "classify":
        encode = siamese if recipe.mlp == "keep" else siamese.encode
        runtime = LiveRuntime(encode, siamese.device)
        return encoder_dev(recipe.dev, recipe.dev_tasks, live_encoder(runtime, spec, batcher, n_layers), recipe.seed)
    held_out = load_examples(recipe.dev, OBJECTIVES["classify"])
    if unknown := sorted({*held_out.classes} - {*examples.classes}):
        raise SourceError(f"{recipe.dev!r} has the class {unknown[0]!r}, which no training example has")
    place = [examples.classes.index(name) for name in held_out.classes]
    labels = np.array(place)[held_out.labels]
    (column,) = _columns(recipe, held_out, batcher, (spec.query_prefix, spec.passage_prefix))

    def classify() -> NDArray[np.int64]:
        found = []
        with torch.no_grad():
            for start in range(0, len(column.ids), AT_ONCE):
                logits = task.head(siamese(column.ids[start : start + AT_ONCE], column.skip))
                found.append(logits.argmax(1).cpu().numpy())
        return np.concatenate(found)

    return classes_dev(recipe.dev, classify, labels, recipe.seed)


def _digest(examples: Examples, labels: NDArray[Any] | None, spec: EncoderSpec) -> str:
    """Return the sha256, in hex, of examples and of the encoder to start from."""
    digest = hashlib.sha256(spec.fingerprint.encode())
    for column in examples.columns:
        for text in column:
            digest.update(text.encode() + b"\0")
    if labels is not None:
        digest.update(np.ascontiguousarray(labels).tobytes())
    return digest.hexdigest()
