"""Distilling an encoder into a table of static token vectors, which needs no transformer to encode a text.

As in model2vec (Tulkens and van Dongen 2024), the teacher encodes each token of its vocabulary by itself, principal
components reduce the vectors, and a weight for each token makes the plain mean of a text's rows a weighted one (smooth
inverse frequency, Arora et al. 2017). The first components are left out (all-but-the-top, Mu and Viswanath 2018). No
training data is needed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from semsearch.arrays import Vectors
from semsearch.checks import is_whole
from semsearch.encoder.encoder import Encoder, Progress
from semsearch.encoder.static_table import TABLE
from semsearch.encoder.texts import check_texts
from semsearch.encoder.tokenization import closing_tokens
from semsearch.errors import UsageError
from semsearch.files import building
from semsearch.forks import encode_batch
from semsearch.paths import as_path

if TYPE_CHECKING:
    from tokenizers import Tokenizer

DIM = 256

TOP = 8
"""Default number of first components to leave out, the best on STS-B dev; with 5 or 12 it is the same, with 0 worse."""

SIF_BY_RANK, SIF_BY_COUNT = 1e-4, 1e-3
"""Default coefficients of the weights if frequencies are estimated from ranks, or counted in texts.

Arora et al. recommend 1e-4 to 1e-3. On STS-B dev, these do best, with the texts of STS-B's training set for the second.
"""

FIRST_RANK = 2
"""Rank of the first token in Zipf's law."""

UNUSED = re.compile(r"[\[<]unused_?\d+[\]>]")
"""Tokens that a vocabulary reserves; they have no vector worth keeping."""

COUNTED_AT_ONCE = 512
"""Number of texts whose encodings are in memory at a time."""

MODULES = ("StaticEmbedding", "Normalize")
"""Modules of the checkpoint, as sentence-transformers names them."""


CARD = """\
---
tags: [sentence-transformers, static-embeddings, semsearch]
---
# Static token vectors distilled from {teacher}

A table with a vector for each token and no transformer: the vector of a text is the mean of its tokens' vectors.
Load it with `semsearch.Encoder.load(FOLDER)` or `sentence_transformers.SentenceTransformer(FOLDER)`.

| setting | value |
|---|---|
| teacher | {teacher} |
| tokens | {n:,} |
| dimensions | {dim}, after leaving out the first {top} principal components |
| weight of a token of frequency p | {weights} |
"""
"""The model card."""


@dataclass(frozen=True, slots=True)
class Distilled:
    """A table that was distilled.

    Attributes:
        folder: The checkpoint.
        n_tokens: Number of tokens that have a vector; special and unused tokens have zeros.
        dim: Length of a vector.
        variance: Share of the variance of the teacher's token vectors, around their mean, that the components keep.
    """

    folder: Path
    n_tokens: int
    dim: int
    variance: float


def distill_static(
    teacher: Encoder,
    out: str | Path,
    *,
    dim: int = DIM,
    top: int = TOP,
    sif_coefficient: float | None = None,
    texts: Sequence[str] | None = None,
    progress: Progress | None = None,
) -> Distilled:
    """Distill an encoder into a table of static token vectors, and write it as a checkpoint.

    Both `Encoder.load` and sentence-transformers load the checkpoint (a StaticEmbedding, then Normalize).

    Args:
        teacher: The encoder; its pooler and prefixes stay out of the table's declarations.
        out: Folder to create; an empty one may exist.
        dim: Length of the vectors, at most the teacher's minus `top`.
        top: Number of first principal components to leave out: they carry what most tokens have in common.
        sif_coefficient: `a` in the weight `a / (a + p)` of a token with the frequency `p`; smaller values favor rare
            tokens more. None for 1e-4, or 1e-3 with `texts`.
        texts: Texts to count the frequencies in. None to estimate them by Zipf's law from a token's position in the
            vocabulary, which suits vocabularies in order of frequency, as most are.
        progress: Called with the number of tokens just encoded.

    Raises:
        UsageError: If a size or coefficient is out of range, `texts` holds no token of the vocabulary, or `out` exists
            and is not an empty folder.
        ModelError: If the teacher cannot compute its vectors.
        SourceError: If the folder cannot be written.
    """
    _check(teacher, dim, top, sif_coefficient)
    folder, tokenizer = as_path(out, "out"), teacher.tokenizer
    with building(folder) as half_made:
        kept = _ordinary_ids(tokenizer)
        frequencies = _counted(tokenizer, texts, kept) if texts is not None else _ranked(len(kept))
        reduced, variance = principal_components(_encode(teacher, kept, progress), dim, top)
        a = sif_coefficient or (SIF_BY_RANK if texts is None else SIF_BY_COUNT)
        table = np.zeros((max(tokenizer.get_vocab().values()) + 1, dim), np.float32)
        table[kept] = reduced * (a / (a + frequencies))[:, None]
        _write(half_made, table, tokenizer)
        weights = f"a / (a + p), a = {a:g}, p {'by rank' if texts is None else f'counted in {len(texts):,} texts'}"
        card = CARD.format(teacher=teacher.spec.model, n=len(kept), dim=dim, top=top, weights=weights)
        (half_made / "README.md").write_text(card, encoding="utf-8")
    return Distilled(folder, len(kept), dim, variance)


def principal_components(vectors: Vectors, dim: int, top: int = 0) -> tuple[Vectors, float]:
    """Project vectors on their principal components, around their mean.

    Args:
        vectors: Vectors, `[n, width]`.
        dim: Number of components.
        top: Number of first components to leave out.

    Returns:
        The projections, float32 `[n, dim]`, and the share of the variance that they keep. The sign of a component is
        such that its largest weight is positive.
    """
    centered = vectors - vectors.mean(0, dtype=np.float64).astype(np.float32)
    values, components = np.linalg.eigh((centered.T @ centered).astype(np.float64))  # in ascending order
    chosen = slice(len(values) - top - dim, len(values) - top)
    axes = components[:, chosen][:, ::-1]
    axes = axes * np.sign(axes[np.abs(axes).argmax(0), np.arange(dim)])
    total = values.sum()
    return (centered @ axes.astype(np.float32)), float(values[chosen].sum() / total) if total > 0 else 0.0


def _check(teacher: Encoder, dim: int, top: int, sif_coefficient: float | None) -> None:
    width = teacher.spec.dim
    if not is_whole(top) or not 0 <= top < width:
        raise UsageError(f"`top` must be from 0 to {width - 1} for this teacher, got {top!r:.40}")
    if not is_whole(dim) or not 1 <= dim <= width - top:
        raise UsageError(
            f"`dim` must be from 1 to {width - top}, the teacher's {width} without the first {top} components, got "
            f"{dim!r:.40}"
        )
    if sif_coefficient is not None and not 0 < sif_coefficient < float("inf"):
        raise UsageError(f"`sif_coefficient` must be above 0, got {sif_coefficient!r:.40}")


def _ordinary_ids(tokenizer: Tokenizer) -> NDArray[np.int64]:
    """Return the ids of all tokens that occur in texts: neither special nor unused ones."""
    special = {number for number, token in tokenizer.get_added_tokens_decoder().items() if token.special}
    vocabulary = tokenizer.get_vocab()
    ids = {number for token, number in vocabulary.items() if not UNUSED.fullmatch(token)} - special
    return np.array(sorted(ids), np.int64)


def _ranked(n: int) -> NDArray[np.float64]:
    """Return the frequencies of tokens in order of their frequency by Zipf's law."""
    inverse = 1 / np.arange(FIRST_RANK, n + FIRST_RANK)
    frequencies: NDArray[np.float64] = inverse / inverse.sum()
    return frequencies


def _counted(tokenizer: Tokenizer, texts: Sequence[str], kept: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the frequencies of tokens in texts."""
    counts = np.zeros(max(tokenizer.get_vocab().values()) + 1, np.int64)
    for start in range(0, len(check_texts(texts)), COUNTED_AT_ONCE):
        for encoding in encode_batch(tokenizer, texts[start : start + COUNTED_AT_ONCE]):
            np.add.at(counts, encoding.ids, 1)
    if not (total := counts[kept].sum()):
        raise UsageError("`texts` holds no token of the teacher's vocabulary; give texts of the domain, or None")
    frequencies: NDArray[np.float64] = counts[kept] / total
    return frequencies


def _encode(teacher: Encoder, ids: NDArray[np.int64], progress: Progress | None) -> Vectors:
    """Encode each token between the special tokens, as pooled: `[tokens, width]`."""
    raw = replace(teacher, spec=replace(teacher.spec, normalize=False))
    special = teacher.tokenizer.encode("").ids
    cut = len(special) - closing_tokens(teacher.tokenizer)
    return raw.encode_ids([[*special[:cut], token, *special[cut:]] for token in ids.tolist()], progress)


def _write(folder: Path, table: Vectors, tokenizer: Tokenizer) -> None:
    """Write a checkpoint that sentence-transformers from 3.2 on loads."""
    from safetensors.numpy import save_file

    save_file({TABLE: table}, folder / "model.safetensors")
    (folder / "tokenizer.json").write_text(tokenizer.to_str(pretty=True), encoding="utf-8")
    modules = [
        {
            "idx": number,
            "name": str(number),
            "path": f"{number}_{kind}" if number else "",
            "type": f"sentence_transformers.models.{kind}",
        }
        for number, kind in enumerate(MODULES)
    ]
    for module in modules[1:]:
        (folder / str(module["path"])).mkdir()
    _write_json(folder / "modules.json", modules)
    _write_json(folder / "config_sentence_transformers.json", {"prompts": {}, "similarity_fn_name": "cosine"})


def _write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=2), encoding="utf-8")
