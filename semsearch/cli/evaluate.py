"""The `semsearch eval` commands, which compare poolers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from semsearch.cli import comparison_output as out
from semsearch.cli import options as opt
from semsearch.errors import UsageError

if TYPE_CHECKING:
    from semsearch.corpus.chunking import Chunking

app = typer.Typer(help="Compare poolers on STS, retrieval, classification or your corpus.", rich_markup_mode=None)

DEFAULT_CACHE_MB = 2_048

TEST = "test"


@app.callback()
def root() -> None:
    """Compare poolers on STS, retrieval, classification or your corpus."""


@app.command()
def sts(
    data: Annotated[
        Path, typer.Option(help="Folder with STS/ and SICK/ in SentEval's layout, or a file of sentence pairs.")
    ],
    model: opt.Model = None,
    poolers: opt.Poolers = "all",
    simcse_names: opt.SimcseNames = False,
    similarity: opt.SimilarityName = None,
    transforms: opt.Transforms = "",
    tasks: Annotated[str, typer.Option(help="Comma-separated task names [default: all in the folder]")] = "",
    split: Annotated[str, typer.Option(help="Split to score: test, or dev for STS-B and SICK-R.")] = TEST,
    mode: Annotated[str | None, typer.Option("--mode", hidden=True)] = None,
    max_tokens: opt.MaxTokens = None,
    precision: opt.Precision = None,
    device: opt.Device = "auto",
    runtime: opt.RuntimeName = "auto",
    cache_mb: opt.CacheMb = DEFAULT_CACHE_MB,
    seed: opt.Seed = 0,
    geometry: opt.WithGeometry = False,
    report: opt.ReportFile = None,
    duel: opt.Duel = None,
    intervals: opt.Intervals = False,
    markdown: opt.AsMarkdown = False,
    csv: opt.AsCsv = False,
    latex: opt.AsLatex = False,
    as_json: opt.AsJson = False,
) -> None:
    """Compare poolers on semantic textual similarity (STS).

    Reports Spearman's correlation x 100 of each pooler on each task, all from one forward pass.
    """
    from semsearch.comparison import compare_poolers

    output = out.Output.of(markdown, csv, latex, as_json, intervals, geometry, report, duel)
    if mode and split not in (TEST, mode):
        raise UsageError(f"--split {split} conflicts with --mode {mode}, its older name; choose one")
    with out.progress("sentences") as (encoded, scored):
        found = compare_poolers(
            data,
            kind="sts",
            poolers=out.names(poolers),
            model=model,
            simcse_names=simcse_names,
            similarity=similarity or "auto",
            transforms=out.names(transforms),
            max_tokens=max_tokens,
            precision=precision,
            device=device,
            runtime=runtime,
            cache_mb=cache_mb,
            layers=report is not None,
            duel=output.duel,
            seed=seed,
            progress=encoded,
            scored=scored,
            tasks=out.names(tasks),
            split=mode or split,
        )
        out.show(output, found)


@app.command()
def retrieval(
    data: Annotated[Path, typer.Option(help="Folder with corpus.jsonl, queries.jsonl and qrels/, in BEIR's layout.")],
    model: opt.Model = None,
    poolers: opt.Poolers = "all",
    simcse_names: opt.SimcseNames = False,
    similarity: opt.SimilarityName = None,
    transforms: opt.Transforms = "",
    split: opt.Split = TEST,
    measures: opt.Measures = "nDCG@10,MAP,RR@10,R@10,R@100,P@10",
    style: opt.ScoringStyle = opt.Style.trec,
    modes: opt.SearchModes = "dense,keyword,hybrid",
    fusion: opt.FusionName = opt.Fusion.convex,
    drop_same_id: opt.DropSameId = False,
    run_dir: opt.RunFolder = None,
    on_long: opt.LongDocuments = None,
    chunk_tokens: opt.ChunkTokens = None,
    overlap: opt.Overlap = None,
    title: opt.WithTitle = None,
    max_tokens: opt.MaxTokens = None,
    precision: opt.Precision = None,
    device: opt.Device = "auto",
    runtime: opt.RuntimeName = "auto",
    cache_mb: opt.CacheMb = DEFAULT_CACHE_MB,
    seed: opt.Seed = 0,
    geometry: opt.WithGeometry = False,
    report: opt.ReportFile = None,
    duel: opt.Duel = None,
    intervals: opt.Intervals = False,
    markdown: opt.AsMarkdown = False,
    csv: opt.AsCsv = False,
    latex: opt.AsLatex = False,
    as_json: opt.AsJson = False,
) -> None:
    """Compare poolers on retrieval with judged queries.

    Reports how well exact search with each pooler finds the documents that people judged relevant.
    """
    from semsearch.comparison import compare_poolers
    from semsearch.files import make_folder
    from semsearch.reports.trec import write_runs

    output = out.Output.of(markdown, csv, latex, as_json, intervals, geometry, report, duel)
    if run_dir is not None:
        make_folder(run_dir)
    with out.progress("texts") as (encoded, scored):
        found = compare_poolers(
            data,
            kind="retrieval",
            poolers=out.names(poolers),
            model=model,
            simcse_names=simcse_names,
            similarity=similarity or "auto",
            transforms=out.names(transforms),
            max_tokens=max_tokens,
            precision=precision,
            device=device,
            runtime=runtime,
            cache_mb=cache_mb,
            layers=report is not None,
            duel=output.duel,
            seed=seed,
            progress=encoded,
            scored=scored,
            split=split,
            measures=out.names(measures),
            style=style.value,
            modes=out.names(modes),
            fusion=fusion.value,
            chunking=_chunking(on_long, chunk_tokens, overlap, title),
            drop_same_id=drop_same_id,
        )
        out.show(output, found)
    if run_dir is not None:
        write_runs(run_dir, ((one.label, found.study.runs[one.label]) for one in found.candidates))


@app.command()
def transfer(
    data: Annotated[
        Path,
        typer.Option(
            help="Folder with MR/, TREC/ and so on in SentEval's layout, or a file with text and label fields."
        ),
    ],
    model: opt.Model = None,
    poolers: opt.Poolers = "all",
    simcse_names: opt.SimcseNames = False,
    similarity: opt.SimilarityName = None,
    transforms: opt.Transforms = "",
    tasks: Annotated[str, typer.Option(help="Comma-separated task names [default: all in the folder]")] = "",
    max_tokens: opt.MaxTokens = None,
    precision: opt.Precision = None,
    device: opt.Device = "auto",
    runtime: opt.RuntimeName = "auto",
    cache_mb: opt.CacheMb = DEFAULT_CACHE_MB,
    seed: opt.Seed = 0,
    geometry: opt.WithGeometry = False,
    report: opt.ReportFile = None,
    duel: opt.Duel = None,
    intervals: opt.Intervals = False,
    markdown: opt.AsMarkdown = False,
    csv: opt.AsCsv = False,
    latex: opt.AsLatex = False,
    as_json: opt.AsJson = False,
) -> None:
    """Compare poolers on classification (SentEval's transfer tasks).

    Reports accuracy and macro-F1 x 100 of logistic regression on each pooler's frozen vectors.
    """
    from semsearch.comparison import compare_poolers

    output = out.Output.of(markdown, csv, latex, as_json, intervals, geometry, report, duel)
    with out.progress("texts") as (encoded, scored):
        found = compare_poolers(
            data,
            kind="transfer",
            poolers=out.names(poolers),
            model=model,
            simcse_names=simcse_names,
            similarity=similarity or "auto",
            transforms=out.names(transforms),
            max_tokens=max_tokens,
            precision=precision,
            device=device,
            runtime=runtime,
            cache_mb=cache_mb,
            layers=report is not None,
            duel=output.duel,
            seed=seed,
            progress=encoded,
            scored=scored,
            tasks=out.names(tasks),
        )
        out.show(output, found)


@app.command()
def corpus(
    path: Annotated[str, typer.Argument(metavar="CORPUS", help="File or folder, as for `semsearch index`.")],
    model: opt.Model = None,
    poolers: opt.Poolers = "all",
    simcse_names: opt.SimcseNames = False,
    similarity: opt.SimilarityName = None,
    transforms: opt.Transforms = "",
    sample: opt.Sample = 500,
    check: Annotated[bool, typer.Option(help="Compare with real judgments if the folder has any.")] = True,
    id_field: opt.IdField = None,
    text_field: opt.TextField = "text",
    title_field: opt.TitleField = "title",
    format: opt.Format = None,
    per_line: opt.PerLine = False,
    follow_links: opt.FollowLinks = False,
    all_files: opt.AllFiles = False,
    include: opt.Include = None,
    exclude: opt.Exclude = None,
    skip_bad: opt.SkipBad = False,
    max_tokens: opt.MaxTokens = None,
    precision: opt.Precision = None,
    device: opt.Device = "auto",
    runtime: opt.RuntimeName = "auto",
    cache_mb: opt.CacheMb = DEFAULT_CACHE_MB,
    seed: opt.Seed = 0,
    geometry: opt.WithGeometry = False,
    report: opt.ReportFile = None,
    duel: opt.Duel = None,
    intervals: opt.Intervals = False,
    markdown: opt.AsMarkdown = False,
    csv: opt.AsCsv = False,
    latex: opt.AsLatex = False,
    as_json: opt.AsJson = False,
) -> None:
    """Compare poolers on a corpus without judgments.

    Takes pseudo-queries from the documents and reports how well each pooler finds the passages they came from.
    """
    from semsearch.comparison import compare_poolers
    from semsearch.corpus.sources import ReadOptions

    output = out.Output.of(markdown, csv, latex, as_json, intervals, geometry, report, duel)
    with out.progress("texts") as (encoded, scored):
        found = compare_poolers(
            path,
            kind="corpus",
            poolers=out.names(poolers),
            model=model,
            simcse_names=simcse_names,
            similarity=similarity or "auto",
            transforms=out.names(transforms),
            max_tokens=max_tokens,
            precision=precision,
            device=device,
            runtime=runtime,
            cache_mb=cache_mb,
            layers=report is not None,
            duel=output.duel,
            seed=seed,
            progress=encoded,
            scored=scored,
            sample=sample,
            check=check,
            reading=ReadOptions(
                id_field,
                text_field,
                title_field,
                format,
                per_line,
                follow_links,
                all_files,
                include=include or (),
                exclude=exclude or (),
            ),
            skip_bad=skip_bad,
        )
        out.show(output, found)


def _chunking(on_long: opt.OnLong | None, tokens: int | None, overlap: int | None, title: bool | None) -> Chunking:
    """Return the default chunking with the requested options applied."""
    from semsearch.corpus.chunking import Chunking

    asked: dict[str, Any] = {"on_long": on_long and on_long.value, "tokens": tokens, "overlap": overlap, "title": title}
    return Chunking(**{name: value for name, value in asked.items() if value is not None})
