"""Masked language models: loading them, making new ones, and preparing their training."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from semsearch.encoder.checkpoints.open import open_checkpoint
from semsearch.encoder.checkpoints.record import Checkpoint
from semsearch.encoder.quiet import quiet_transformers
from semsearch.encoder.runtimes.torch import choose_device, choose_precision
from semsearch.encoder.runtimes.torch_model import read_transformer, refuse_invented
from semsearch.encoder.tokenization import Batcher, Batching, check_max_tokens, load_tokenizer
from semsearch.errors import ModelError, SourceError
from semsearch.training.batches import Batches
from semsearch.training.data import load_examples
from semsearch.training.dev import masked_dev
from semsearch.training.objectives import OBJECTIVES
from semsearch.training.prepared import Prepared
from semsearch.training.randomness import seeded
from semsearch.training.recipe import Recipe, Scratch
from semsearch.training.save import copy_tokenizer, save_backbone, write_json
from semsearch.training.siamese import Siamese
from semsearch.training.tasks import MaskedModel, MaskedTask

if TYPE_CHECKING:
    from tokenizers import Tokenizer

MASKS = ("[MASK]", "<mask>")

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
"""Special tokens of a new vocabulary, in the order of their ids."""

ALPHABET = 1_000
"""Maximum number of different characters in a new vocabulary; rarer ones are unknown."""

LEAST_PIECES = 10
"""Minimum number of pieces of several characters in a new vocabulary."""

START = "start"


def prepare_masked(recipe: Recipe, folder: Path) -> Prepared:
    """Load the texts and the masked language model of a recipe.

    Args:
        recipe: The recipe.
        folder: Folder of the run, which keeps a new model that is trained from scratch.

    Raises:
        SourceError, RecordError: If the texts cannot be read.
        ModelError: If the checkpoint cannot be loaded, or its tokenizer has no mask token.
    """
    assert recipe.data is not None
    texts = plain_texts(recipe.data)
    start = recipe.model
    if recipe.from_scratch:
        start = str(folder / START)
        if not (folder / START).is_dir():
            new_checkpoint(folder / START, recipe.from_scratch, texts, recipe.seed)
    checkpoint = open_trainable(start)
    device = choose_device(recipe.device)
    precision = choose_precision(recipe.precision, device)
    max_tokens = check_max_tokens(checkpoint, recipe.max_tokens)
    tokenizer, _ = load_tokenizer(checkpoint)
    batcher = Batcher(tokenizer, max_tokens, True, Batching(1), checkpoint.truncates_left)
    with seeded(recipe.seed):  # of new weights
        whole, new = load_masked(checkpoint)
        model = _masked_model(whole, tokenizer, recipe, device, precision)
    ids = batcher.tokenize(texts)

    def write(target: Path) -> None:
        save_backbone(target, whole)
        copy_tokenizer(checkpoint.backbone, target)

    dev = None
    if recipe.dev:
        dev = masked_dev(recipe.dev, model, batcher.tokenize(plain_texts(recipe.dev)), recipe.seed)
    return Prepared(
        task=MaskedTask(model, ids),
        batches=Batches(len(texts), recipe.batch_size, recipe.seed),
        device=device,
        dev=dev,
        write=write,
        facts={
            "base model": "none, trained from scratch" if recipe.from_scratch else checkpoint.name,
            "objective": f"mlm: {recipe.mask:.0%} of the tokens are masked",
            "examples": f"{len(texts):,} texts from {recipe.data}",
            "precision": precision,
            "device": device,
        },
        notes=("the checkpoint has no head for masked tokens, so a new one is trained",) if new else (),
        digest=hashlib.sha256("\0".join([checkpoint.weights_hash(()), *texts]).encode()).hexdigest(),
    )


def open_trainable(model: str | None) -> Checkpoint:
    """Find a checkpoint, as `open_checkpoint` does.

    Raises:
        ModelError: Also if it has no layers to train.
    """
    checkpoint = open_checkpoint(model)
    if checkpoint.table:
        raise ModelError(
            f"model {checkpoint.name!r} is a table of static token vectors, which has no layers to train; choose a "
            "transformer"
        )
    return checkpoint


def plain_texts(path: str) -> list[str]:
    """Read plain texts: a jsonl, csv or tsv file with `sentence` or `text`, or the lines of a txt file.

    Raises:
        SourceError, RecordError: If they cannot be read.
    """
    return list(load_examples(path, OBJECTIVES["simcse-unsup"]).columns[0])


def load_masked(checkpoint: Checkpoint) -> tuple[Any, bool]:
    """Load a masked language model in float32, and return whether its head is new.

    Raises:
        ModelError: If the backbone cannot be loaded, or there is no masked language model of its kind.
    """
    whole, missing = read_transformer(checkpoint, torch.float32, "AutoModelForMaskedLM", " as a masked language model")
    refuse_invented(checkpoint, [key for key in missing if key.startswith(f"{whole.base_model_prefix}.")])
    return whole, bool(missing)


def attach_masked(recipe: Recipe, checkpoint: Checkpoint, siamese: Siamese, tokenizer: Tokenizer) -> MaskedModel:
    """Return a masked language model that shares the backbone of an encoder, for an auxiliary loss.

    LoRA adapters may be added to the backbone afterwards.

    Raises:
        ModelError: If there is no masked language model of this kind.
    """
    whole, _ = load_masked(checkpoint)
    setattr(whole, whole.base_model_prefix, siamese.pooled.backbone)
    whole.tie_weights()
    return _masked_model(whole, tokenizer, recipe, siamese.device, siamese.precision)


def _masked_model(whole: Any, tokenizer: Tokenizer, recipe: Recipe, device: str, precision: str) -> MaskedModel:
    mask = next((found for token in MASKS if (found := tokenizer.token_to_id(token)) is not None), None)
    if mask is None:
        raise ModelError(f"the tokenizer has none of the mask tokens {', '.join(MASKS)}; choose a BERT-like checkpoint")
    added = {number for number, token in tokenizer.get_added_tokens_decoder().items() if token.special}
    return MaskedModel(whole, frozenset(added), mask, share=recipe.mask, device=device, precision=precision)


def new_checkpoint(folder: Path, scratch: Scratch, texts: Sequence[str], seed: int) -> None:
    """Write a BERT with random weights, and a vocabulary of word pieces learned from texts.

    Args:
        folder: A new folder.
        scratch: Dimensions.
        texts: Texts to learn the vocabulary from.
        seed: Random seed of the weights.

    Raises:
        SourceError: If the texts are too few for a vocabulary.
    """
    transformers: Any = import_module("transformers")
    tokenizer = new_tokenizer(texts, scratch.vocabulary)
    size = tokenizer.get_vocab_size()
    config = transformers.BertConfig(
        vocab_size=size,
        hidden_size=scratch.hidden,
        num_hidden_layers=scratch.layers,
        num_attention_heads=scratch.heads,
        intermediate_size=4 * scratch.hidden,
        max_position_embeddings=scratch.max_tokens,
        type_vocab_size=1,
    )
    with seeded(seed), quiet_transformers():
        whole = transformers.BertForMaskedLM(config)
    folder.mkdir(parents=True)
    settings = {"tokenizer_class": "BertTokenizerFast", "model_max_length": scratch.max_tokens, "mask_token": MASKS[0]}
    write_json(folder / "tokenizer_config.json", settings)
    tokenizer.save(str(folder / "tokenizer.json"))
    save_backbone(folder, whole)


def new_tokenizer(texts: Sequence[str], vocabulary: int) -> Tokenizer:
    """Learn an uncased vocabulary of word pieces from texts, with BERT's normalization and special tokens.

    The result depends only on the texts. For that, the pieces of a single character are given in a fixed order: the
    library would number them in the order of a hash table, and that decides between merges that are equally frequent.

    Raises:
        SourceError: If the texts are too few.
    """
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

    normalizer = normalizers.BertNormalizer(lowercase=True)
    counts = Counter(letter for text in texts for letter in normalizer.normalize_str(text) if not letter.isspace())
    letters = sorted(letter for letter, _ in sorted(counts.items(), key=lambda one: (-one[1], one[0]))[:ALPHABET])
    learner = Tokenizer(models.WordPiece(unk_token=SPECIAL[1]))
    learner.normalizer, learner.pre_tokenizer = normalizer, pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocabulary,
        min_frequency=2,
        show_progress=False,
        special_tokens=[*SPECIAL, *(f"##{letter}" for letter in letters)],
        initial_alphabet=letters,
        limit_alphabet=len(letters),
    )
    learner.train_from_iterator(texts, trainer)
    pieces = learner.get_vocab()
    if len(pieces) < len(SPECIAL) + 2 * len(letters) + LEAST_PIECES:
        raise SourceError(f"the {len(texts):,} training texts are too few to learn a vocabulary from")
    tokenizer = Tokenizer(models.WordPiece(pieces, unk_token=SPECIAL[1]))
    tokenizer.normalizer, tokenizer.pre_tokenizer = learner.normalizer, learner.pre_tokenizer
    tokenizer.add_special_tokens(list(SPECIAL))
    tokenizer.post_processor = processors.BertProcessing((SPECIAL[3], 3), (SPECIAL[2], 2))
    return tokenizer
