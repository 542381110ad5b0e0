"""The `semsearch eval` commands: which pooler searches best."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

import typer

from semsearch.cli import eval_output as out
from semsearch.cli import options as opt
from semsearch.cli import terminal
from semsearch.errors import SourceError, UsageError

app = typer.Typer(
    help="Compare poolers: by pairs of sentences, by judged queries, or by a corpus alone.", rich_markup_mode=None
)

DEFAULT_CACHE_MB = 2_048


@app.callback()
def root() -> None:
    """Compare poolers on data."""


@app.command()
def sts(
    data: Annotated[Path, typer.Option(help="Folder with STS/ and SICK/ as SentEval has them, or a file of pairs.")],
    model: opt.Model = None,
    poolers: opt.Poolers = "all",
    simcse_names: opt.SimcseNames = False,
    transforms: opt.Transforms = "",
    tasks: Annotated[str, typer.Option(help="Names joined by commas [default: all that there are]")] = "",
    mode: Annotated[str, typer.Option(help="test, or dev for STS-B and SICK-R.")] = "test",
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
    """Semantic textual similarity: Spearman x 100 of each pooler on each task, from one forward pass."""
    from semsearch.evaluation import evidence as gather
    from semsearch.evaluation.candidates import candidates_of
    from semsearch.evaluation.report import Report, Table
    from semsearch.evaluation.sts import average, evaluate_sts
    from semsearch.evaluation.sts_data import load_sts

    output = out.Output.of(markdown, csv, latex, as_json, intervals, geometry, report, duel, seed)
    if tasks and data.is_file():
        raise UsageError(f"--tasks chooses from a folder in SentEval's layout, and {str(data)!r} is a file of pairs")
    loaded = load_sts(data, out.names(tasks), mode)
    if not any(len(task.similarity) for task in loaded):
        raise SourceError(f"no pair of {str(data)!r} has a score")
    with out.loaded(output, cache_mb, model, poolers, simcse_names, max_tokens, precision, device, runtime) as encoder:
        out.named(output.duel, candidates_of(encoder, out.names(transforms)))
        with terminal.counting("encoding", "sentences") as tick:
            found = evaluate_sts(loaded, encoder, out.names(transforms), tick)
        comparison = found.compare(seed=seed)
        results = found.results()
        page = Report(
            f"Poolers of {encoder.spec.model} on {data.resolve().name}",
            out.facts(encoder, data=str(data), mode=mode, seed=seed),
            out.notes_of_sts(found, output),
            [Table("Spearman", comparison, 100, 2)],
        )
        values = {name: average(row) for name, row in results.items()}
        page = out.with_evidence(
            output,
            page,
            found.rows,
            lambda: gather.evidence_of_sts(found, seed),
            comparison.columns[-1],
            gather.layers("Spearman x 100, averaged over tasks", encoder.n_layers, values, 100, 2),
            lambda pair: gather.duels_of_sts(found, pair),
        )
    detail = {
        row.label: {
            "average": values[row.label],
            "tasks": {task: asdict(one) for task, one in results[row.label].items()},
        }
        for row in found.rows
    }
    out.show(output, page, encoder, {"poolers": detail})
    out.write(output, page, encoder)


@app.command()
def retrieval(
    data: Annotated[Path, typer.Option(help="Folder with corpus.jsonl, queries.jsonl and qrels/, as BEIR has them.")],
    model: opt.Model = None,
    poolers: opt.Poolers = "all",
    simcse_names: opt.SimcseNames = False,
    transforms: opt.Transforms = "",
    split: opt.Split = "test",
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
    """Retrieval: how well each pooler finds what people judged relevant, by exact search."""
    from semsearch.evaluation import evidence as gather
    from semsearch.evaluation.candidates import candidates_of
    from semsearch.evaluation.measures import check_measures
    from semsearch.evaluation.report import Report, Table
    from semsearch.evaluation.retrieval import candidates_in_modes, evaluate_retrieval
    from semsearch.evaluation.retrieval_data import load_retrieval
    from semsearch.files import make_folder
    from semsearch.reports.trec import write_runs

    output = out.Output.of(markdown, csv, latex, as_json, intervals, geometry, report, duel, seed)
    wanted = out.names(measures)
    check_measures(wanted)
    task = load_retrieval(data, split)
    if run_dir is not None:
        make_folder(run_dir)
    with out.loaded(output, cache_mb, model, poolers, simcse_names, max_tokens, precision, device, runtime) as encoder:
        out.named(output.duel, candidates_in_modes(candidates_of(encoder, out.names(transforms)), out.names(modes)))
        with terminal.counting("encoding", "texts") as tick:
            found = evaluate_retrieval(
                task,
                encoder,
                transforms=out.names(transforms),
                modes=out.names(modes),
                measures=wanted,
                style=style.value,
                fusion=fusion.value,
                chunking=out.chunking_of(on_long, chunk_tokens, overlap, title),
                drop_same_id=drop_same_id,
                progress=tick,
            )
        comparison = found.compare(seed=seed)
        milliseconds = {
            name: f"{1000 * spent / len(found.queries):.1f}" for name, spent in found.search_seconds.items()
        }
        page = Report(
            f"Poolers of {encoder.spec.model} on {task.name}",
            out.facts(encoder, data=str(data), split=split, style=style.value, seed=seed),
            out.notes_of(found, encoder),
            [Table(f"Retrieval ({style.value})", comparison, beside={"ms/query": milliseconds})],
        )
        if output.report:
            page = replace(page, recall_depths=gather.RECALL_DEPTHS, recall=gather.recall_curves(found.rows, found))
        values = {name: float(row[wanted[0]].mean()) for name, row in found.per_query.items()}
        page = out.with_evidence(
            output,
            page,
            found.rows,
            lambda: gather.evidence_of_retrieval(found, seed),
            wanted[0],
            gather.layers(wanted[0], encoder.n_layers, values),
            lambda pair: gather.duels_of_retrieval(found, pair, wanted[0]),
        )
    out.show(output, page, encoder, {"seconds": out.seconds_of(found)})
    out.write(output, page, encoder)
    if run_dir is not None:
        write_runs(run_dir, ((row.label, found.runs[row.label]) for row in found.rows))


@app.command()
def corpus(
    path: Annotated[str, typer.Argument(metavar="CORPUS", help="What `semsearch index` would be given.")],
    model: opt.Model = None,
    poolers: opt.Poolers = "all",
    simcse_names: opt.SimcseNames = False,
    transforms: opt.Transforms = "",
    sample: opt.Sample = 500,
    check: Annotated[bool, typer.Option(help="Compare with true judgments where the folder has some.")] = True,
    id_field: opt.IdField = None,
    text_field: opt.TextField = "text",
    title_field: opt.TitleField = "title",
    format: opt.Format = None,
    per_line: opt.PerLine = False,
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
    """A corpus without judgments: how well each pooler finds what pseudo-queries were taken from."""
    from semsearch.corpus.readers import ReadOptions, read_corpus
    from semsearch.evaluation import evidence as gather
    from semsearch.evaluation.candidates import candidates_of
    from semsearch.evaluation.label_free import ALL, MEASURE, evaluate_corpus, recommend
    from semsearch.evaluation.pseudo_queries import make_pseudo_tasks
    from semsearch.evaluation.report import Report, Table
    from semsearch.evaluation.significance import rank_agreement

    output = out.Output.of(markdown, csv, latex, as_json, intervals, geometry, report, duel, seed)
    options = ReadOptions(
        id_field=id_field, text_field=text_field, title_field=title_field, format=format, per_line=per_line
    )
    tasks, made = make_pseudo_tasks(out.good(read_corpus([path], options), skip_bad), sample=sample, seed=seed)
    notes = [out.PROXY, out.made_of(made)]
    judgments = out.judgments_of(path, options, skip_bad, notes) if check else None
    with out.loaded(output, cache_mb, model, poolers, simcse_names, max_tokens, precision, device, runtime) as encoder:
        out.named(output.duel, candidates_of(encoder, out.names(transforms)))
        with terminal.counting("encoding", "texts") as tick:
            found = evaluate_corpus(tasks, encoder, transforms=out.names(transforms), progress=tick)
            judged = out.judged_of(judgments, encoder, out.names(transforms), tick, notes) if judgments else None
        comparison = found.compare(seed=seed)
        tables = [Table(f"{MEASURE} on pseudo-queries", comparison)]
        place = comparison.columns.index(ALL)
        agreement = None
        if judged:
            true = judged.compare(seed=seed)
            tables.append(Table(f"true {MEASURE}", true))
            pairs = [(comparison.rows[row.label][place].value, true.rows[row.label][0].value) for row in found.rows]
            agreement = rank_agreement([one or 0.0 for one, _ in pairs], [two or 0.0 for _, two in pairs])
            notes.append(out.agreement_of(agreement, judged.task.name))
        page = Report(
            f"Poolers of {encoder.spec.model} on {Path(path).resolve().name}",
            out.facts(encoder, data=path, documents=f"{made.documents:,}", sampled=f"{made.sampled:,}", seed=seed),
            notes,
            tables,
        )
        values = {name: float(row[ALL].mean()) for name, row in found.per_query.items()}
        page = out.with_evidence(
            output,
            page,
            found.rows,
            lambda: gather.evidence_of_corpus(found, seed),
            ALL,
            gather.layers(f"{MEASURE}, pseudo-queries", encoder.n_layers, values),
            lambda pair: gather.duels_of_corpus(found, pair, MEASURE),
        )
        own = next((name for name, spec in encoder.specs.items() if spec.pooler == encoder.declared), None)
        chosen, why = recommend(comparison, found.rows, own)
        given = {"model": model, "max_tokens": max_tokens, "precision": precision, "skip_bad": skip_bad}
        given |= {name: value for name, value in asdict(options).items() if value != getattr(ReadOptions(), name)}
        pooler = encoder.specs[chosen.pooler].pooler
        command = out.index_command(path, {**given, "pooler": pooler, "transform": chosen.transform})
    out.show(output, page, encoder, {"agreement": agreement, "recommended": chosen.label, "why": why, "next": command})
    if output.form == "text":
        print(f"\n{chosen.label}: {why}\n{command}")
    out.write(output, page, encoder)
