"""The command line. Each command parses, calls one verb, and prints; nothing heavy is imported before it is needed."""

from __future__ import annotations

import os
import sys
import time
import warnings
from collections.abc import Iterator
from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import semsearch
from semsearch.errors import NoIndexError, SemsearchError, SourceError, UsageError
from semsearch.surfaces import render

if TYPE_CHECKING:
    from semsearch.encoder.encode import TextEncoder
    from semsearch.records import Hit, Query
    from semsearch.search import Searcher
    from semsearch.text.chunking import Chunking

HOME = Path("indexes")
"""Where indexes live unless --index says otherwise."""

QUERIES_AT_ONCE = 512

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Semantic search that says which pooler it used: index a corpus, query it, compare.",
)

As_json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Where_index = Annotated[
    Path | None, typer.Option("--index", "-i", help="Index folder; may be left out where indexes/ holds just one.")
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, mps.")]


class Mode(StrEnum):
    """How to search."""

    dense = "dense"
    keyword = "keyword"
    hybrid = "hybrid"


class Fusion(StrEnum):
    """How hybrid search mixes its two sides."""

    rrf = "rrf"
    convex = "convex"


class OnLong(StrEnum):
    """What becomes of a document that is longer than the encoder's maximum."""

    chunk = "chunk"
    truncate = "truncate"
    error = "error"


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context, version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False
) -> None:
    """Semantic search that says which pooler it used: index a corpus, query it, compare."""
    if version:
        print(f"semsearch {semsearch.__version__}")
    elif context.invoked_subcommand is None:
        print(context.get_help())


@app.command()
def index(
    paths: Annotated[
        list[str], typer.Argument(help="Files or folders (jsonl, csv, tsv, txt, md, html, pdf; .gz), or -.")
    ],
    index: Annotated[
        Path | None, typer.Option("--index", "-i", help="Index folder [default: indexes/<corpus name>]")
    ] = None,
    model: Annotated[str | None, typer.Option("--model", "-m", help="Hugging Face name or local directory.")] = None,
    pooler: Annotated[
        str | None, typer.Option("--pooler", "-p", help="See `semsearch poolers`; auto = as declared.")
    ] = None,
    simcse_names: Annotated[bool, typer.Option("--simcse-names", help="Read --pooler as SimCSE does.")] = False,
    max_tokens: Annotated[int | None, typer.Option(help="Cut what the encoder sees to this length.")] = None,
    dim: Annotated[int | None, typer.Option(help="Keep the first DIM components of a vector.")] = None,
    transform: Annotated[
        str | None, typer.Option(help="centre, whiten[:K], all-but-the-top[:K], truncate:DIM.")
    ] = None,
    query_prefix: Annotated[str | None, typer.Option(help="Put in front of queries.")] = None,
    passage_prefix: Annotated[str | None, typer.Option(help="Put in front of passages.")] = None,
    precision: Annotated[str | None, typer.Option(help="auto, float32, bfloat16, float16.")] = None,
    device: Device = "auto",
    on_long: Annotated[OnLong | None, typer.Option(help="What becomes of long documents.")] = None,
    chunk_tokens: Annotated[int | None, typer.Option(help="Longest passage, title included.")] = None,
    overlap: Annotated[int | None, typer.Option(help="Tokens that neighbouring passages share.")] = None,
    title: Annotated[
        bool | None, typer.Option("--title/--no-title", help="Encode the title with each passage.")
    ] = None,
    id_field: Annotated[str | None, typer.Option(help="Field with the id [default: _id, else id]")] = None,
    text_field: Annotated[str, typer.Option(help="Field with the text.")] = "text",
    title_field: Annotated[str, typer.Option(help="Field with the title.")] = "title",
    format: Annotated[str | None, typer.Option(help="Read every file as this: jsonl, csv, …")] = None,
    per_line: Annotated[bool, typer.Option("--per-line", help="Plain text: a document a line.")] = False,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Count bad records instead of stopping.")] = False,
    delete_missing: Annotated[
        bool, typer.Option("--delete-missing", help="Delete what the corpus no longer has.")
    ] = False,
    refit: Annotated[bool, typer.Option("--refit", help="Fit the transform again.")] = False,
    as_json: As_json = False,
) -> None:
    """Index a corpus, or bring its index up to date: only what is new or changed is encoded."""
    from semsearch.ingest import ingest
    from semsearch.text.readers import count_records, read_corpus
    from semsearch.text.sources import ReadOptions

    started = time.perf_counter()
    options = ReadOptions(id_field, text_field, title_field, format, per_line)
    records = read_corpus(paths, options)
    folder = index or HOME / _corpus_name(paths[0])
    encoder = _encoder(
        folder,
        device=device,
        model=model,
        pooler=pooler,
        simcse_names=simcse_names or None,
        max_tokens=max_tokens,
        dim=dim,
        transform=transform,
        query_prefix=query_prefix,
        passage_prefix=passage_prefix,
        precision=precision,
    )
    chunking = _chunking(folder, on_long=on_long and on_long.value, tokens=chunk_tokens, overlap=overlap, title=title)
    total = count_records(paths, options) if sys.stderr.isatty() else None
    with render.progress(total) as watch:
        report = ingest(
            folder,
            records,
            encoder,
            chunking=chunking,
            skip_bad=skip_bad,
            delete_missing=delete_missing,
            refit=refit,
            watch=watch,
        )
    seconds = time.perf_counter() - started
    if as_json:
        render.print_json(render.report_json(report, str(folder), seconds))
    else:
        render.summary(report, str(folder), seconds)


@app.command()
def query(
    text: Annotated[str | None, typer.Argument(help="What to look for.")] = None,
    index: Where_index = None,
    k: Annotated[int, typer.Option("-k", help="Number of documents.")] = 10,
    mode: Annotated[Mode, typer.Option(help="dense: meaning; keyword: words; hybrid: both.")] = Mode.dense,
    where: Annotated[str | None, typer.Option(help="Filter, such as: year >= 2020 and lang = 'en'")] = None,
    fusion: Annotated[Fusion, typer.Option(help="How hybrid mixes.")] = Fusion.convex,
    queries: Annotated[str | None, typer.Option(help="JSONL of _id and text: answer many at once.")] = None,
    run: Annotated[Path | None, typer.Option(help="With --queries: write a TREC run file.")] = None,
    device: Device = "auto",
    as_json: As_json = False,
) -> None:
    """Search an index with the encoder that it was built with."""
    from semsearch.search import Searcher

    if (text is None) == (queries is None):
        raise UsageError('give either a query, as in: semsearch query "how do plants drink", or --queries FILE')
    if run and not queries:
        raise UsageError("--run goes with --queries FILE")
    folder = _find_index(index)
    with Searcher.open(folder, device=device) as searcher:
        if queries is not None:
            answers = _answers(searcher, queries, k, mode, where, fusion)
            _write_run(run, answers) if run else _print_answers(answers, folder, mode)
            return
        assert text is not None
        found = searcher.search(text, k, mode=mode.value, where=where, fusion=fusion.value)
    if as_json:
        render.print_json(_answer(text, folder, mode, found))
    else:
        render.hits(text, found)


@app.command("list")
def list_(
    folder: Annotated[Path, typer.Option("--folder", help="Where to look.")] = HOME, as_json: As_json = False
) -> None:
    """List the indexes in a folder."""
    rows = [_brief(path) for path in _indexes(folder)]
    if as_json:
        render.print_json(rows)
    elif rows:
        render.table(list(rows[0]), [list(row.values()) for row in rows])
    else:
        print(f"no index in {folder}; make one with: semsearch index CORPUS")


@app.command()
def status(index: Where_index = None, as_json: As_json = False) -> None:
    """Show what an index holds and which encoder it belongs to."""
    from semsearch.index.store import Index

    with Index(_find_index(index)) as opened:
        fields = opened.status()
    if as_json:
        render.print_json(fields)
        return
    render.table(("", "value"), [row for name, value in fields.items() for row in _lines(name, value)])


@app.command()
def delete(
    ids: Annotated[list[str], typer.Argument(help="Document ids.")], index: Where_index = None, as_json: As_json = False
) -> None:
    """Delete documents from an index."""
    from semsearch.ingest import delete as delete_documents

    folder = _find_index(index)
    there = delete_documents(folder, ids)
    missing = [doc_id for doc_id in ids if doc_id not in there]
    if as_json:
        render.print_json({"index": str(folder), "deleted": there, "missing": missing})
    else:
        print(f"{len(there):,} deleted from {folder}")
    if missing:
        raise SourceError(f"not in {str(folder)!r}: {', '.join(missing)}")


@app.command()
def poolers(as_json: As_json = False) -> None:
    """List the poolers: what each computes, on which layers, and what others call it."""
    from semsearch.encoder.pooling import POOLERS

    columns = ("name", "formula", "layers", "known as")
    rows: list[tuple[str, str, str, str]] = [
        (pooler.name, pooler.formula, _layer_names(pooler.layers), pooler.known_as) for pooler in POOLERS.values()
    ]
    rows += [
        ("layer:N+NAME", "a single-layer pooler on layer N (0 = embeddings, -1 = last)", "h_N", ""),
        ("A+B", "concatenation of two or more poolers", "all of theirs", "st tuple of modes"),
    ]
    if as_json:
        render.print_json([dict(zip(columns, row, strict=True)) for row in rows])
    else:
        render.table(columns, rows)


@app.command()
def demo(as_json: As_json = False) -> None:
    """Index the sample corpus and answer three queries."""
    from semsearch.ingest import ingest
    from semsearch.search import Searcher
    from semsearch.text.readers import read_corpus

    corpus, folder, started = _sample_corpus(), HOME / "sample", time.perf_counter()
    encoder = _encoder(folder, device="auto")
    with render.progress(None) as watch:
        report = ingest(folder, read_corpus([str(corpus)]), encoder, watch=watch)
    if not as_json:
        render.summary(report, str(folder), time.perf_counter() - started)
    with Searcher.open(folder, encoder) as searcher:
        for text, mode, where in DEMO:
            found = searcher.search(text, 3, mode=mode.value, where=where)
            if as_json:
                render.print_json(_answer(text, folder, mode, found))
            else:
                note = f"{text}   [{mode.value}{f', {where}' if where else ''}]"
                render.hits(note, found)


DEMO = (
    ("my plants look thirsty although I water them every day", Mode.dense, None),
    ("how do I stop paying for things I never use", Mode.hybrid, "lang = 'en' and year >= 2015"),
    ("怎么让米饭更好吃", Mode.hybrid, "lang = 'zh'"),
)
"""Query, mode, filter: one that shares no word with its answer, one with a filter, one in Chinese."""


def main() -> None:
    """Run the command line; every error is one line on standard error."""
    warnings.showwarning = _show_warning
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    try:
        code = app(standalone_mode=False)
    except SemsearchError as error:
        _exit(str(error), 2 if isinstance(error, UsageError) else 1)
    except KeyboardInterrupt:
        _exit("stopped; what was committed is kept, and the same command goes on from there", 1)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except typer.TyperException as error:
        _exit(error.format_message(), 2)
    sys.exit(code if isinstance(code, int) else 0)


def _exit(message: str, code: int) -> None:
    render.say(f"error: {' '.join(message.split())}")
    sys.exit(code)


def _show_warning(message: Warning | str, *_: object, **__: object) -> None:
    render.say(f"warning: {' '.join(str(message).split())}")


def _encoder(folder: Path, *, device: str, simcse_names: bool | None = None, **wanted: Any) -> TextEncoder:
    """The encoder for an index: what was asked for, over what the index already has."""
    from semsearch.encoder.load import load_encoder
    from semsearch.index.store import Index

    asked = {name: value for name, value in wanted.items() if value is not None}
    if simcse_names:
        asked["simcse_names"] = True
    if not Index.exists(folder):
        return load_encoder(device=device, **asked)
    with Index(folder) as index:
        return load_encoder(device=device, base=index.spec, **asked)


def _chunking(folder: Path, **wanted: Any) -> Chunking:
    """As `_encoder`, for the cutting of documents."""
    from semsearch.ingest import stored_chunking
    from semsearch.text.chunking import Chunking

    asked = {name: value for name, value in wanted.items() if value is not None}
    stored = stored_chunking(folder)
    return Chunking(**{**(stored.to_json() if stored else {}), **asked})


def _corpus_name(path: str) -> str:
    """`data/notes.jsonl.gz` to `notes`; a folder's name; `stdin`."""
    if path == "-":
        return "stdin"
    name = Path(path).resolve().name
    return name if Path(path).is_dir() else name.split(".")[0] or name


def _indexes(folder: Path) -> list[Path]:
    from semsearch.index.store import Index

    return sorted(path for path in folder.iterdir() if Index.exists(path)) if folder.is_dir() else []


def _find_index(given: Path | None) -> Path:
    """The index that was named, or the only one there is."""
    if given:
        return given
    found = _indexes(HOME)
    if len(found) == 1:
        return found[0]
    if not found:
        raise NoIndexError(
            f"no index in {str(HOME)!r}; make one with: semsearch index CORPUS, or name one with --index"
        )
    raise UsageError(f"there are several indexes; name one with --index: {', '.join(map(str, found))}")


def _brief(path: Path) -> dict[str, Any]:
    from semsearch.index.store import Index

    try:
        with Index(path) as index:
            fields = index.status()
    except SemsearchError as error:
        return {
            "index": str(path),
            "documents": 0,
            "passages": 0,
            "model": f"unusable: {error}",
            "pooler": "",
            "MB": "",
            "updated": "",
        }
    spec, size = fields["encoder"], f"{fields['bytes'] / 1e6:.1f}"
    return {
        "index": str(path),
        "documents": fields["documents"],
        "passages": fields["passages"],
        "model": spec["model"],
        "pooler": spec["pooler"],
        "MB": size,
        "updated": fields["updated"],
    }


def _lines(name: str, value: Any) -> Iterator[tuple[str, object]]:
    """A status field as table rows; objects are laid out below their name."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _lines(f"{name}.{key}", inner)
    elif isinstance(value, list | tuple):
        yield name, ", ".join(map(str, value))
    else:
        yield name, value


def _layer_names(layers: tuple[int, ...]) -> str:
    return ", ".join(f"h_{layer}" if layer >= 0 else f"h_L{layer + 1 or ''}" for layer in layers)


def _answers(
    searcher: Searcher, file: str, k: int, mode: Mode, where: str | None, fusion: Fusion
) -> Iterator[tuple[Query, list[Hit]]]:
    """The queries of a file with their hits, some hundred at a time."""
    from semsearch.text.readers import read_queries

    every = read_queries(file)
    while batch := list(islice(every, QUERIES_AT_ONCE)):
        texts = [query.text for query in batch]
        found = searcher.search_many(texts, k, mode=mode.value, where=where, fusion=fusion.value)
        yield from zip(batch, found, strict=True)


def _print_answers(answers: Iterator[tuple[Query, list[Hit]]], folder: Path, mode: Mode) -> None:
    for query, found in answers:
        render.print_json({"query_id": query.query_id, **_answer(query.text, folder, mode, found)})


def _write_run(path: Path, answers: Iterator[tuple[Query, list[Hit]]]) -> None:
    """A TREC run: query id, Q0, document id, rank, score, tag; the file appears when it is complete."""
    temporary = path.with_name(f"{path.name}.tmp")
    answered = 0
    try:
        with temporary.open("w", encoding="utf-8") as file:
            for query, found in answers:
                answered += 1
                for hit in found:
                    ids = (query.query_id, hit.doc_id)
                    if any(len(name.split()) != 1 for name in ids):
                        raise UsageError(
                            f"ids {ids} hold white space, which a TREC run cannot; leave --run out for JSON lines"
                        )
                    file.write(f"{ids[0]} Q0 {ids[1]} {hit.rank} {hit.score:.6f} semsearch\n")
        temporary.replace(path)
    except OSError as error:
        raise SourceError(f"cannot write {str(path)!r}: {error.strerror}") from None
    finally:
        temporary.unlink(missing_ok=True)
    render.say(f"{answered:,} queries answered in {path}")


def _answer(text: str, folder: Path, mode: Mode, found: list[Hit]) -> dict[str, Any]:
    from dataclasses import asdict

    return {"query": text, "index": str(folder), "mode": mode.value, "hits": [asdict(hit) for hit in found]}


def _sample_corpus() -> Path:
    """The sample corpus: in a checkout, or inside the installed package."""
    here = Path(semsearch.__file__).parent
    for folder in (here.parent / "corpora" / "sample", here / "sample"):
        if folder.is_dir():
            return folder
    raise SourceError("the sample corpus is not installed; run the demo from a checkout of semsearch")
