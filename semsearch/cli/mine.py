"""The `semsearch mine` command, which mines hard negatives for training with an index."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from semsearch.cli import options as opt
from semsearch.cli import terminal
from semsearch.cli.locations import find_index
from semsearch.errors import UsageError

if TYPE_CHECKING:
    from semsearch.index import Index
    from semsearch.training.mining import Pair

Data = Annotated[
    Path | None,
    typer.Option(
        help="File of pairs (anchor or query, positive, optionally positive_id; jsonl, csv or tsv) "
        "[default: pairs made from the documents of the index]"
    ),
]
Kinds = Annotated[
    str | None, typer.Option(help="Comma-separated kinds of pairs to make: title, adjacent, crop [default: all]")
]
MaxPairs = Annotated[int | None, typer.Option(help="Make at most this many pairs, drawn at random.")]
ChunkTokens = Annotated[
    int | None, typer.Option(help="Length of the passages in made pairs, in tokens [default: as in the index]")
]
Out = Annotated[Path, typer.Option("--out", "-o", help="File to write the triplets to (jsonl).")]
Negatives = Annotated[int, typer.Option(help="Number of negatives per pair.")]
FromRank = Annotated[int, typer.Option(help="Rank of the first candidate, positives not counted.")]
Depth = Annotated[
    int | None, typer.Option(help="Number of passages to search per anchor [default: 50, or more if needed]")
]
PositiveShare = Annotated[
    float | None, typer.Option(help="Drop candidates that score this share of the positive's score [default: 0.95]")
]
Margin = Annotated[
    float | None, typer.Option(help="Instead: drop candidates that are not this much below the positive.")
]
MaxScore = Annotated[float | None, typer.Option(help="Instead: drop candidates with this score or a higher one.")]
CrossEncoder = Annotated[
    str | None,
    typer.Option(help="Judge candidates by this cross-encoder (name or directory) instead of by the index's scores."),
]
Force = Annotated[bool, typer.Option("--force", help="Replace the output file if it exists.")]


def mine(
    out: Out,
    index: opt.OnlyIndex = None,
    data: Data = None,
    kinds: Kinds = None,
    max_pairs: MaxPairs = None,
    chunk_tokens: ChunkTokens = None,
    negatives: Negatives = 1,
    from_rank: FromRank = 1,
    depth: Depth = None,
    positive_share: PositiveShare = None,
    margin: Margin = None,
    max_score: MaxScore = None,
    cross_encoder: CrossEncoder = None,
    seed: opt.Seed = 0,
    force: Force = False,
    model: opt.MovedModel = None,
    device: opt.Device = "auto",
    runtime: opt.RuntimeName = "auto",
    as_json: opt.AsJson = False,
) -> None:
    """Mine hard negatives for training.

    Searches the index for each anchor and writes passages that rank high but do not answer it. Pairs without enough
    negatives are left out.
    """
    from semsearch.index import Index
    from semsearch.training.mining import DEFAULT_RULE, Rule, check_output, mine_negatives, write_triplets

    made = {"kinds": kinds, "max_pairs": max_pairs, "tokens": chunk_tokens}
    if data is not None and (given := [f"`{name}`" for name, value in made.items() if value is not None]):
        raise UsageError(f"{', '.join(given)}: only for pairs made from the index, so not with --data")
    limits = {"positive_share": positive_share, "margin": margin, "max_score": max_score}
    rule = DEFAULT_RULE if all(value is None for value in limits.values()) else Rule(**limits)
    file, folder = check_output(out, force=force), find_index(index)
    with Index.open(folder, model=model, device=device, runtime=runtime) as opened:
        pairs, sources = _pairs(opened, data, seed, made)
        with terminal.counting("mining", "pairs", len(pairs)) as tick:
            triplets, counts = mine_negatives(
                opened,
                pairs,
                negatives=negatives,
                from_rank=from_rank,
                depth=depth,
                rule=rule,
                judge=None if cross_encoder is None else f"cross-encoder:{cross_encoder}",
                progress=tick,
            )
    write_triplets(file, triplets, force=force)
    if as_json:
        terminal.print_json({"index": str(folder), "out": str(file), "sources": sources, **asdict(counts)})
        return
    terminal.line(f"{counts.pairs:,} pairs: {', '.join(f'{n:,} {what}' for what, n in sources.items() if n)}")
    terminal.line(f"{counts.mined:,} with {negatives} hard negative{'s' * (negatives != 1)} each: {file}")
    terminal.line(f"{counts.short:,} left out, without enough negatives")
    terminal.line(f"{counts.false_negatives:,} candidates dropped as likely false negatives")


def _pairs(index: Index, data: Path | None, seed: int, made: dict[str, Any]) -> tuple[list[Pair], dict[str, int]]:
    """Return pairs from a file, or made from the documents of the index, and their numbers by source."""
    from semsearch.corpus.chunking import MAX_CHUNK_TOKENS
    from semsearch.training.from_corpus import KINDS, pairs_from_corpus
    from semsearch.training.mining import load_pairs, pairs_of

    if data is not None:
        pairs, n_skipped = load_pairs(data)
        if n_skipped:
            terminal.say(f"warning: {n_skipped:,} records of {data} left out: a text is empty, or both are the same")
        return pairs, {f"from {data}": len(pairs)}
    kinds = tuple(KINDS) if made["kinds"] is None else [kind.strip() for kind in made["kinds"].split(",")]
    tokens = made["tokens"]
    if tokens is None:
        tokens = index.chunking.tokens or min(index.spec.max_tokens, MAX_CHUNK_TOKENS)
    wishes = {"kinds": kinds, "max_pairs": made["max_pairs"], "tokens": tokens, "max_tokens": index.spec.max_tokens}
    found = pairs_from_corpus(index, tokenizer=index.encoder.tokenizer, seed=seed, **wishes)
    return pairs_of(found), {kind: count.pairs for kind, count in found.counts.items()}
