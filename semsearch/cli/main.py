"""The `semsearch` command: its subcommands, and the reporting of errors and warnings.

Each command parses its options, makes one call into the library, and prints the result. Heavy modules are imported only
by the commands that need them.
"""

from __future__ import annotations

import logging
import os
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import nullcontext, redirect_stdout
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from typer.main import get_command

import semsearch
from semsearch import interrupts
from semsearch.cli import (
    care,
    datasets,
    doctor,
    evaluate,
    mcp,
    mine,
    open_document,
    panels,
    parameters,
    plan,
    query,
    reencode,
    registry,
    serve,
    streams,
    terminal,
    train,
    vector_kinds,
    watching,
)
from semsearch.cli import options as opt
from semsearch.cli.chunking import chunking_of
from semsearch.cli.engines import engine_of
from semsearch.cli.locations import find_index, home, indexes_in, new_index, writer_at
from semsearch.encoder.cache import CacheWarning
from semsearch.errors import NoIndexError, SemsearchError, SourceError, StoreError, UsageError

if TYPE_CHECKING:
    from semsearch.index import Index
    from semsearch.ingest import IngestResult

MANY_SEGMENTS, COMPACT = 8, "semsearch compact"
"""Number of segments from which the command to merge them is mentioned."""

FEW = 10
"""Maximum number of values that a metadata field may have for `status` to show them."""

MAX_COUNTED = 50_000
"""Number of documents up to which `status` counts values, which takes 1.4 s then, on one core."""

app = typer.Typer(
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Semantic search with the pooler made explicit: index a corpus, query it, compare poolers.",
)


app.add_typer(evaluate.app, name="eval")
app.add_typer(datasets.app, name="data")


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context, version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False
) -> None:
    """Semantic search with the pooler made explicit: index a corpus, query it, compare poolers."""
    if version:
        terminal.line(f"semsearch {semsearch.__version__}")
    elif context.invoked_subcommand is None:
        terminal.block(context.get_help())


@app.command()
def index(
    paths: opt.Paths,
    index: opt.NewIndex = None,
    model: opt.Model = None,
    pooler: opt.PoolerName = None,
    simcse_names: opt.SimcseNames = False,
    similarity: opt.SimilarityName = None,
    max_tokens: opt.MaxTokens = None,
    dim: opt.Dim = None,
    transform: opt.TransformName = None,
    query_prefix: opt.QueryPrefix = None,
    passage_prefix: opt.PassagePrefix = None,
    precision: opt.Precision = None,
    device: opt.Device = "auto",
    runtime: opt.RuntimeName = "auto",
    store_precision: opt.StorePrecision = None,
    on_long: opt.LongDocuments = None,
    chunk_tokens: opt.ChunkTokens = None,
    overlap: opt.Overlap = None,
    title: opt.WithTitle = None,
    sections: opt.WithSections = None,
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
    strict: opt.Strict = False,
    replace: opt.Replace = False,
    delete_missing: opt.DeleteMissing = False,
    refit: opt.Refit = False,
    vector_index: opt.VectorIndex = None,
    memory: opt.Memory = None,
    target_recall: opt.TargetRecall = None,
    vectors: opt.GivenVectors = None,
    engine: opt.EngineOf = opt.EngineName.local,
    address: opt.Address = None,
    cluster_workers: opt.ClusterWorkers = None,
    gpus_per_worker: opt.GpusPerWorker = None,
    shards: opt.Shards = None,
    watched: opt.Watched = False,
    poll: opt.Poll = False,
    as_json: opt.AsJson = False,
) -> None:
    """Index a corpus or update an existing index.

    Only new and changed documents are encoded.
    """
    from semsearch.corpus.readers import count_bytes
    from semsearch.corpus.sources import ReadOptions
    from semsearch.index import Index

    if poll and not watched:
        raise UsageError("`poll` requires `watched`")
    cluster = engine_of(engine, address, cluster_workers, gpus_per_worker, shards, device=device, watched=watched)
    started = time.perf_counter()
    options = ReadOptions(
        id_field,
        text_field,
        title_field,
        format,
        per_line,
        follow_links,
        all_files,
        include=include or (),
        exclude=exclude or (),
    )
    folder = new_index(index, paths[0])
    if isinstance(folder, Path) and folder.exists() and not folder.is_dir():
        raise StoreError(f"{str(folder)!r} is not a folder; choose another location with --index")
    with Index.open(
        folder,
        create=True,
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
        chunking=chunking_of(
            folder,
            on_long=on_long and on_long.value,
            tokens=chunk_tokens,
            overlap=overlap,
            title=title,
            sections=sections,
        ),
        store_precision=store_precision and store_precision.value,
    ) as opened:

        def run() -> IngestResult:
            total = count_bytes(paths, options) if sys.stderr.isatty() else None
            # Ray prints the loss of a worker to standard output
            aside = redirect_stdout(sys.stderr) if cluster else nullcontext()
            with terminal.ingesting(total) as watch, aside:
                return opened.add(
                    paths,
                    options=options,
                    skip_bad=skip_bad,
                    strict=strict,
                    replace=replace,
                    delete_missing=delete_missing or watched,
                    refit=refit,
                    vector_index=vector_index,
                    memory=memory,
                    target_recall=target_recall,
                    vectors=vectors,
                    engine=cluster,
                    watch=watch,
                )

        if watched:
            from semsearch.watching import watch as watch_files

            updates = watch_files(opened, paths, options=options, replace=replace, poll=poll, first=run)
            result = next(updates).result
        else:
            result = run()
        _show_added(opened, result, str(folder), time.perf_counter() - started, as_json=as_json)
        if watched:
            watching.follow(updates, str(folder), as_json=as_json)


def _show_added(index: Index, result: IngestResult, folder: str, seconds: float, *, as_json: bool) -> None:
    """Print what a run has added to an index."""
    terminal.quantization(result.quantization)
    if as_json:
        terminal.print_json(terminal.result_json(result, folder, seconds))
        return
    terminal.summary(result, folder, seconds)
    n_segments = index.status().get("segments", 0)
    if n_segments > MANY_SEGMENTS:
        terminal.line(f"the index has {n_segments} parts, which makes searches slower; merge them with: {COMPACT}")


app.command()(reencode.reencode)
app.command()(query.query)
app.command("open")(open_document.open_)
app.command()(mine.mine)
app.command()(vector_kinds.tune)
for command in (
    care.verify,
    care.rebuild,
    care.compact,
    care.backup,
    care.restore,
    care.export,
    care.copy,
    care.migrate,
):
    app.command()(command)


@app.command("list")
def list_(
    folder: Annotated[
        Path | None, typer.Option("--folder", help="Folder that contains the indexes [default: indexes/]")
    ] = None,
    every: Annotated[
        bool, typer.Option("--all", help="List all indexes that were used on this machine, wherever they are.")
    ] = False,
    as_json: opt.AsJson = False,
) -> None:
    """List the indexes in a folder, or all on this machine."""
    if every and folder:
        raise UsageError("--all and --folder are mutually exclusive; choose one")
    place = folder or home()
    rows = [_brief(path) for path in (registry.remembered() if every else indexes_in(place, broken=True))]
    if as_json:
        terminal.print_json(rows)
    elif rows:
        shown = rows if any(row["writing"] for row in rows) else [_without(row, "writing") for row in rows]
        shown = [_narrow(row) for row in shown] if sys.stdout.isatty() else shown
        terminal.table(list(shown[0]), [list(row.values()) for row in shown])
    else:
        where = "known on this machine" if every else f"in {place}"
        terminal.line(f"no index {where}; create one with: semsearch index CORPUS")


def _narrow(row: dict[str, Any]) -> dict[str, Any]:
    """Return what fits on a line of a terminal; `status` shows the rest."""
    own, path = Path(os.path.expanduser("~")), Path(row["index"])
    short = {
        "index": f"~/{path.relative_to(own)}" if path.is_relative_to(own) else str(path),
        "model": row["model"] if row["model"].startswith(UNUSABLE) else Path(row["model"]).name,
        "updated": row["updated"][:10],
    }
    return {name: value for name, value in (row | short).items() if name not in ("passages", "pooler")}


UNUSABLE = "unusable: "
"""What `list` shows before the reason in place of a model."""


def _without(row: dict[str, Any], column: str) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != column}


@app.command()
def status(index: opt.WhichIndex = None, as_json: opt.AsJson = False) -> None:
    """Show what an index contains and which encoder built it."""
    from semsearch.index import Index

    folder = find_index(index, newest=True)
    with Index.open(folder) as opened:
        fields = {**opened.status(), "writing": writer_at(folder)}
        facets = _facets(opened) if fields["documents"] <= MAX_COUNTED else {}
    if as_json:
        counted = {name: [{"value": value, "count": n} for value, n in values] for name, values in facets.items()}
        terminal.print_json({**fields, "facets": counted})
        return
    fields["facets"] = {name: [f"{value} {n:,}" for value, n in values] for name, values in facets.items()}
    shown = fields if fields["writing"] else _without(fields, "writing")
    terminal.table(("", "value"), [row for name, value in shown.items() for row in _lines(name, value)])


@app.command()
def delete(
    ids: Annotated[list[str], typer.Argument(metavar="IDS...", help="Ids of the documents to delete.")],
    index: opt.OnlyIndex = None,
    as_json: opt.AsJson = False,
) -> None:
    """Delete documents from an index."""
    from semsearch.index import Index

    folder = find_index(index)
    with Index.open(folder) as opened:
        there = opened.delete(ids)
    missing = [doc_id for doc_id in ids if doc_id not in there]
    if as_json:
        terminal.print_json({"index": str(folder), "deleted": there, "missing": missing})
    else:
        terminal.line(f"deleted {len(there):,} document{'s' * (len(there) != 1)} from {folder}")
    if missing:
        raise SourceError(f"no such documents in {str(folder)!r}: {', '.join(missing)}")


@app.command()
def poolers(as_json: opt.AsJson = False) -> None:
    """List the available poolers.

    Shows what each pooler computes, which layers it reads, and what other tools call it.
    """
    from semsearch.encoder.pooling import POOLERS

    columns = ("name", "formula", "layers", "known as")
    rows: list[tuple[str, str, str, str]] = [
        (pooler.name, pooler.formula, _layer_names(pooler.layers), pooler.known_as) for pooler in POOLERS.values()
    ]
    rows += [
        ("layer:N+NAME", "a single-layer pooler on layer N (0 = embeddings, -1 = last)", "h_N", ""),
        ("A+B", "concatenation of two or more poolers", "all of their layers", "st tuple of modes"),
    ]
    if as_json:
        terminal.print_json([dict(zip(columns, row, strict=True)) for row in rows])
    else:
        terminal.table(columns, rows)


app.command()(train.train)
app.command()(serve.serve)
app.command()(mcp.mcp)
app.command()(doctor.doctor)
app.command()(plan.plan)


@app.command()
def demo(as_json: opt.AsJson = False) -> None:
    """Index the sample corpus and answer three queries."""
    from semsearch.cli import hits
    from semsearch.cli.answers import as_object
    from semsearch.index import Index

    corpus, started = str(_sample_corpus()), time.perf_counter()
    folder = new_index(None, corpus)
    with Index.open(folder, create=True) as opened:
        with terminal.ingesting(None) as watch:
            result = opened.add(corpus, watch=watch)
        if not as_json:
            terminal.summary(result, str(folder), time.perf_counter() - started)
        for text, mode, where in DEMO:
            found = opened.search(text, 3, mode=mode, where=where)
            if as_json:
                terminal.print_json(as_object(text, folder, mode or opened.default_mode, found))
            else:
                options = f"{f' --mode {mode}' if mode else ''}{f' --where {where!r}' if where else ''}"
                terminal.heading(f'semsearch query "{text}"{options}')
                hits.show(text, found)


DEMO = (
    ("my plants look thirsty although I water them every day", None, None),
    ("stop paying for subscriptions I forgot about", None, "year >= 2015 and lang = 'en'"),
    ("怎样备份照片", "keyword", "lang = 'zh'"),
)
"""Query, mode and filter of each search: one that shares few words with its answer, one filtered, one in Chinese."""


def main() -> None:
    """Run the command line and report each error as one line on standard error."""
    warnings.showwarning = _show_warning
    warnings.simplefilter("always", CacheWarning)
    logging.getLogger("semsearch").handlers = [_Lines()]
    logging.getLogger("semsearch.ingest").setLevel(logging.INFO)  # announces slow steps
    logging.getLogger("semsearch.watching").setLevel(logging.INFO)  # announces how changes are noticed
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    if isinstance(sys.stdout, TextIOWrapper):  # do not fail on what the encoding lacks
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        code = _run()
    except KeyboardInterrupt:
        exit_interrupted()
    except Exception as error:
        if interrupts.is_behind(error):
            exit_interrupted()
        if isinstance(error, SemsearchError):
            _exit(str(error), 2 if isinstance(error, UsageError) else 1)
        if isinstance(error, typer.TyperException):
            _exit(error.format_message(), 2)
        if not isinstance(error, OSError):
            raise
        streams.abandon("stdout")
        if isinstance(error, BrokenPipeError):
            sys.exit(1)
        _exit(f"{error.strerror or error}{f': {str(error.filename)!r}' if error.filename else ''}", 1)
    sys.exit(code)


def _run() -> int:
    """Run the command, flush its output, and return the exit code."""
    try:
        command = get_command(app)
        parameters.speak_for(command)
        code = command(prog_name="semsearch", standalone_mode=False)
    finally:
        if sys.stdout:
            sys.stdout.flush()
    if code == INTERRUPTED:
        raise KeyboardInterrupt
    return code if isinstance(code, int) else 0


INTERRUPTED = 130
"""Exit code that typer returns after Ctrl-C."""


KEPT = {
    "index": "committed batches are kept, and the same command resumes from there",
    "reencode": "the index is unchanged, and the same command resumes from there",
    "rebuild": "the index stays usable, and the same command starts over",
    "compact": "the index stays usable, and the same command starts over",
    "backup": "there is no partial backup",
    "restore": "an index that was there is unchanged",
    "export": "there is no partial file",
    "train": "its state is kept if there were any steps, and the same command continues from there with --resume",
}
"""What a command that is interrupted leaves behind."""


def exit_interrupted() -> NoReturn:
    """Report that the command was stopped and exit, with 130 after Ctrl-C or 143 after SIGTERM."""
    kept = "".join(f"; {KEPT[command]}" for command in sys.argv[1:2] if command in KEPT)
    _exit(f"stopped{kept}", 128 + (interrupts.noted() or INTERRUPTED - 128))


def _exit(message: str, code: int) -> NoReturn:
    terminal.say(f"error: {' '.join(message.split())}")
    sys.exit(code)


class _Lines(logging.Handler):
    """A log handler that prints the library's messages as lines on standard error."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print a record, with the prefix `warning:` from that level on."""
        show = _show_warning if record.levelno >= logging.WARNING else terminal.say
        show(record.getMessage())


def _show_warning(message: Warning | str, *_: object, **__: object) -> None:
    terminal.say(f"warning: {' '.join(str(message).split())}")


def _brief(path: Path) -> dict[str, Any]:
    from semsearch.index import Index
    from semsearch.stores.local.holder import writer_of

    writing = writer_of(path)
    brief = {"index": str(path), "documents": 0, "passages": 0, "model": "", "pooler": "", "MB": "", "updated": ""}
    brief |= {"writing": writing}
    try:
        with Index.open(path) as index:
            fields = index.status()
    except (SemsearchError, OSError) as error:
        if writing and isinstance(error, NoIndexError):  # no batch is committed yet
            return brief
        return {**brief, "model": f"{UNUSABLE}{parameters.as_options(str(error))}"}
    flat = {**brief, **fields, **fields["encoder"], "MB": f"{fields['bytes'] / 1e6:.1f}"}
    return {name: flat[name] for name in brief}


def _facets(index: Index) -> dict[str, list[tuple[Any, int]]]:
    """Return the values of each metadata field that has few and repeats one, with their numbers of documents."""
    found = index.facets(FEW + 1)
    return {name: values for name, values in found.items() if len(values) <= FEW and values[0][1] > 1}


def _lines(name: str, value: Any) -> Iterator[tuple[str, object]]:
    """Yield a status field as table rows; the fields of an object are prefixed with its name."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _lines(f"{name}.{key}", inner)
    elif name == "vectors.segments":
        yield name, "; ".join(map(vector_kinds.describe, value)) or "none"
    elif isinstance(value, list | tuple):
        yield name, ", ".join(map(str, value))
    else:
        yield name, value


panels.group_help(app)


def _layer_names(layers: tuple[int, ...]) -> str:
    return ", ".join(f"h_{layer}" if layer >= 0 else f"h_L{layer + 1 or ''}" for layer in layers)


def _sample_corpus() -> Path:
    """Return the sample corpus: in the package if that was built as a wheel, otherwise in the checkout."""
    package = Path(semsearch.__file__).parent
    for folder in (package / "sample", package.parent / "corpora" / "sample"):
        if folder.is_dir():
            return folder
    raise SourceError("this installation lacks the sample corpus; reinstall semsearch")
