"""The `reencode` command: move an index to another encoder from its stored texts."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from semsearch.cli import options as opt
from semsearch.cli import terminal
from semsearch.cli.chunking import chunking_of
from semsearch.cli.locations import find_index

if TYPE_CHECKING:
    from semsearch.reencode import ReencodeResult
    from semsearch.types import EncoderSpec

SHOWN = ("similarity", "max_tokens", "dim", "query_prefix", "passage_prefix", "transform", "precision")
"""Settings of an encoder that the summary shows if they change."""

HASH_DIGITS = 12


def reencode(
    index: opt.OnlyIndex = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model", "-m", help="Hugging Face model name or local directory [default: the model of the index]"
        ),
    ] = None,
    pooler: Annotated[
        str | None,
        typer.Option(
            "--pooler",
            "-p",
            help="Name from `semsearch poolers`, or auto [default: auto with --model, otherwise that of the index]",
        ),
    ] = None,
    simcse_names: opt.SimcseNames = False,
    similarity: opt.SimilarityName = None,
    max_tokens: opt.MaxTokens = None,
    dim: opt.Dim = None,
    transform: opt.TransformName = None,
    query_prefix: opt.QueryPrefix = None,
    passage_prefix: opt.PassagePrefix = None,
    precision: Annotated[
        str | None, typer.Option(help="Precision of the encoder: auto, float32, bfloat16, float16 or int8.")
    ] = None,
    device: opt.Device = "auto",
    runtime: opt.RuntimeName = "auto",
    store_precision: Annotated[
        opt.Stored | None,
        typer.Option("--store-precision", help="Precision of stored vectors [default: that of the index]"),
    ] = None,
    on_long: Annotated[
        opt.OnLong | None,
        typer.Option(help="How to handle documents longer than the model's limit [default: as the index does]"),
    ] = None,
    chunk_tokens: Annotated[
        int | None,
        typer.Option(help="Maximum length of a passage in tokens, title included [default: that of the index]"),
    ] = None,
    overlap: Annotated[
        int | None,
        typer.Option(help="Maximum number of tokens that neighboring passages share [default: that of the index]"),
    ] = None,
    title: Annotated[
        bool | None,
        typer.Option(
            "--title/--no-title", help="Whether to encode the title with each passage [default: as the index does]"
        ),
    ] = None,
    sections: Annotated[
        bool | None,
        typer.Option(
            "--sections/--no-sections",
            help="Whether to encode headings with each passage [default: as the index does]",
        ),
    ] = None,
    as_json: opt.AsJson = False,
) -> None:
    """Move an index to another encoder, from its stored texts.

    Also changes the chunking or the precision of stored vectors. To fit only the transform again: index --refit.
    Searches use the old encoder until the new one is complete. An interrupted run can be resumed.
    """
    from semsearch.index import Index

    started = time.perf_counter()
    folder = find_index(index)
    with Index.open(folder) as opened:
        before = opened.spec, opened.chunking, opened.storage.store_precision
        chunking = chunking_of(
            folder,
            on_long=on_long and on_long.value,
            tokens=chunk_tokens,
            overlap=overlap,
            title=title,
            sections=sections,
        )
        try:
            with terminal.progress(len(opened), "reencoding") as watch:
                result = opened.reencode(
                    model=model,
                    pooler=pooler,
                    simcse_names=simcse_names,
                    similarity=similarity,
                    max_tokens=max_tokens,
                    dim=dim,
                    transform=transform,
                    query_prefix=query_prefix,
                    passage_prefix=passage_prefix,
                    precision=precision,
                    device=device,
                    runtime=runtime,
                    chunking=chunking,
                    store_precision=store_precision and store_precision.value,
                    watch=watch,
                )
        except KeyboardInterrupt:
            if (opened.spec, opened.chunking, opened.storage.store_precision) == before:
                raise
            terminal.line(f"index moved to {_name(opened.spec, before[0])} before the command was stopped: {folder}")
            return
    seconds = time.perf_counter() - started
    terminal.quantization(result.quantization)
    if as_json:
        terminal.print_json({"index": str(folder), "seconds": round(seconds, 3), **_json(result)})
    else:
        _summary(result, str(folder), seconds)


def _summary(result: ReencodeResult, folder: str, seconds: float) -> None:
    before, after = _name(result.before, result.after), _name(result.after, result.before)
    if not result.moved:
        terminal.line(f"{folder} already has this encoder and chunking: {after}; nothing to do")
        return
    documents = terminal.count(result.documents, "document")
    how = f"moved from {before} to {after}" if before != after else f"chunked and encoded again with {after}"
    terminal.line(f"{documents} {how} in {seconds:.1f} s")
    if left := result.documents - result.encoded:
        terminal.line(f"{left:,} of them had been encoded by an interrupted run")
    terminal.truncation(result)
    terminal.storage(result.storage)
    terminal.line(f"index: {folder}")
    terminal.unknown(result)


def _name(spec: EncoderSpec, other: EncoderSpec) -> str:
    """Return the model and pooler of an encoder, with other settings in which it differs from another one."""
    shown = [f"pooler {spec.pooler}"]
    for name in SHOWN:
        value = str(getattr(spec, name)).partition(":")[0] if name == "precision" else getattr(spec, name)
        if getattr(spec, name) != getattr(other, name):
            shown.append(f"{name.replace('_', ' ')} {value or 'none'}")
    if spec.model == other.model and spec.weights != other.weights:
        shown.append(f"weights {spec.weights[:HASH_DIGITS]}…")
    return f"{spec.model} ({', '.join(shown)})"


def _json(result: ReencodeResult) -> dict[str, Any]:
    fields = {name: value for name, value in asdict(result).items() if name != "quantization"}
    return {**fields, **(asdict(result.quantization) if result.quantization else {})}
