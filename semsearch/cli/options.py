"""Command-line options that several commands share or that would clutter the signature of a command."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from semsearch.cli.locations import complete_index


class Mode(StrEnum):
    """Search modes."""

    dense = "dense"
    keyword = "keyword"
    hybrid = "hybrid"


class Fusion(StrEnum):
    """Methods of combining the dense and keyword scores of a hybrid search."""

    convex = "convex"
    rrf = "rrf"


class Style(StrEnum):
    """Conventions for computing measures."""

    trec = "trec"
    st = "st"


class OnLong(StrEnum):
    """Ways of handling a document that is longer than the encoder's input limit."""

    chunk = "chunk"
    truncate = "truncate"
    error = "error"


class EngineName(StrEnum):
    """What encodes documents."""

    local = "local"
    ray = "ray"


class Stored(StrEnum):
    """Precisions of stored vectors."""

    float32 = "float32"
    float16 = "float16"
    int8 = "int8"


AsJson = Annotated[bool, typer.Option("--json", help="Print the output as JSON.")]
Device = Annotated[
    str, typer.Option(help="Device to run on: auto, cpu, cuda or mps; cuda:0,cuda:1 or cuda:* for several GPUs.")
]
RuntimeName = Annotated[
    str, typer.Option("--runtime", help="Inference runtime: auto, openvino (compiled, CPU only) or torch.")
]
WhichIndex = Annotated[
    str | None,
    typer.Option(
        "--index",
        "-i",
        metavar="INDEX",
        autocompletion=complete_index,
        help="Index folder, or its name in indexes/, here or in a folder above, or a database URL [default: the most "
        "recently updated there]",
    ),
]
OnlyIndex = Annotated[
    str | None,
    typer.Option(
        "--index",
        "-i",
        metavar="INDEX",
        autocompletion=complete_index,
        help="Index folder, or its name in indexes/, here or in a folder above, or a database URL [default: the only "
        "index there]",
    ),
]
NewIndex = Annotated[
    str | None,
    typer.Option(
        "--index",
        "-i",
        metavar="INDEX",
        autocompletion=complete_index,
        help="Index folder, or a database URL [default: indexes/<corpus name>]",
    ),
]

Paths = Annotated[
    list[str],
    typer.Argument(
        metavar="PATHS...",
        help="Files or folders, quoted patterns such as 'data/**/*.jsonl', URLs such as s3://bucket/folder, or - for "
        "stdin: text, Markdown, HTML, PDF, Word, spreadsheets, mail, source code, archives and others (see --format); "
        "each may be gzipped.",
    ),
]
IdField = Annotated[str | None, typer.Option(help="Field that contains the id [default: _id or id, or else derived]")]
TextField = Annotated[str, typer.Option(help="Field that contains the text, or several, such as name,description.")]
TitleField = Annotated[str, typer.Option(help="Field that contains the title.")]
Format = Annotated[
    str | None,
    typer.Option(
        help="Read every file in this format: text, markdown, html, pdf, rst, org, asciidoc, latex, docx, odt, pptx, "
        "epub, rtf, notebook, spreadsheet, mail, mbox, code, jsonl, json, csv, tsv or parquet "
        "[default: by the extension]"
    ),
]
PerLine = Annotated[bool, typer.Option("--per-line", help="Treat each line of a text file as a document.")]
FollowLinks = Annotated[bool, typer.Option("--follow-links", help="Follow symbolic links that point outside a folder.")]
AllFiles = Annotated[
    bool,
    typer.Option(
        "--all-files", help="Also read hidden files of a folder, and those in .gitignore, in caches, or generated."
    ),
]
Include = Annotated[
    list[str] | None,
    typer.Option(metavar="GLOB", help="Read only the files of a folder that match, as in a .gitignore; repeatable."),
]
Exclude = Annotated[
    list[str] | None,
    typer.Option(metavar="GLOB", help="Pass over files of a folder that match, as in a .gitignore; repeatable."),
]
SkipBad = Annotated[bool, typer.Option("--skip-bad", help="Skip and count bad records instead of stopping.")]
Strict = Annotated[bool, typer.Option("--strict", help="Stop at a bad file in a folder instead of skipping it.")]
Replace = Annotated[
    bool, typer.Option("--replace", help="Replace documents that have the same ids but come from other files.")
]
DeleteMissing = Annotated[
    bool, typer.Option("--delete-missing", help="Delete documents that are no longer in the given files and folders.")
]
Watched = Annotated[
    bool,
    typer.Option(
        "--watch", help="Keep running and update the index whenever files change; deletes documents of deleted files."
    ),
]
Poll = Annotated[
    bool, typer.Option("--poll", help="With --watch: look at all files every second instead of being notified.")
]

GivenVectors = Annotated[
    Path | None,
    typer.Option("--vectors", help="Take the vectors of an exported corpus from this .npy file instead of encoding."),
]

EngineOf = Annotated[
    EngineName,
    typer.Option("--engine", help="What encodes: local (this machine) or ray (the workers of a Ray cluster)."),
]
Address = Annotated[
    str | None,
    typer.Option(
        metavar="HOST:PORT",
        help="With --engine ray: the cluster's head node, or auto for the one that this machine belongs to [default: "
        "RAY_ADDRESS, or Ray started on this machine]",
    ),
]
ClusterWorkers = Annotated[
    int | None,
    typer.Option("--workers", help="With --engine ray: number of workers, of one CPU each [default: 1]"),
]
GpusPerWorker = Annotated[
    float | None,
    typer.Option(help="With --engine ray: number of GPUs of each worker, or the share of one [default: 0]"),
]
Shards = Annotated[
    str | None,
    typer.Option(
        metavar="FOLDER",
        help="With --engine ray: folder for work in progress, as a path or URL that all nodes share "
        "[default: INDEX.shards]",
    ),
]

Model = Annotated[
    str | None,
    typer.Option("--model", "-m", help="Hugging Face model name or local directory [default: all-MiniLM-L6-v2]"),
]
MovedModel = Annotated[
    str | None, typer.Option("--model", "-m", help="New location of the index's checkpoint, if it has moved.")
]
PoolerName = Annotated[
    str | None,
    typer.Option(
        "--pooler", "-p", help="Name from `semsearch poolers`, or auto: the one that the model declares [default: auto]"
    ),
]
SimcseNames = Annotated[bool, typer.Option("--simcse-names", help="Interpret pooler names as SimCSE does.")]
SimilarityName = Annotated[
    str | None,
    typer.Option(
        "--similarity",
        help="Rank by cosine, dot or euclidean (distance), or auto: as the model declares [default: auto]",
    ),
]
MaxTokens = Annotated[int | None, typer.Option(help="Truncate the encoder's input to this many tokens.")]
Dim = Annotated[int | None, typer.Option(help="Keep the first DIM components of each vector.")]
TransformName = Annotated[
    str | None,
    typer.Option(help="Transform applied to the vectors: center, whiten[:K], all-but-the-top[:K] or truncate:DIM."),
]
VectorIndex = Annotated[
    str | None,
    typer.Option(
        help="Vector index: auto, Flat (exact), or in FAISS's notation, such as HNSW32,SQ8 [default: auto]",
    ),
]
Memory = Annotated[
    str | None, typer.Option(help="Memory for the vector index that auto chooses, such as 512MB [default: 2GB]")
]
TargetRecall = Annotated[
    float | None, typer.Option(help="Share of the ten nearest vectors that a search should find [default: 0.98]")
]
Refit = Annotated[
    bool,
    typer.Option(
        "--refit", help="Fit the transform again on all vectors, for an index that has grown much since the first run."
    ),
]
QueryPrefix = Annotated[str | None, typer.Option(help="Text to prepend to each query.")]
PassagePrefix = Annotated[str | None, typer.Option(help="Text to prepend to each passage.")]
Precision = Annotated[
    str | None,
    typer.Option(help="Precision of the encoder: auto, float32, bfloat16 or float16; int8 only when indexing."),
]
StorePrecision = Annotated[
    Stored | None,
    typer.Option(
        "--store-precision",
        help="Precision of stored vectors: float16 halves their size, int8 quarters it [default: float32]",
    ),
]

Poolers = Annotated[
    str, typer.Option(help="Comma-separated pooler names, layer:*+NAME for a pooler on every layer, or all.")
]
Transforms = Annotated[
    str,
    typer.Option(
        help="Comma-separated transforms to compare too: center, whiten:K, all-but-the-top, truncate:K, or all."
    ),
]
CacheMb = Annotated[int, typer.Option(help="Size limit of the on-disk cache of vectors, in MiB; 0 turns it off.")]
Seed = Annotated[int, typer.Option(help="Random seed.")]
WithGeometry = Annotated[bool, typer.Option("--geometry", help="Also report the geometry of each row's vectors.")]
Intervals = Annotated[bool, typer.Option("--intervals", help="Print 95% confidence intervals.")]
ReportFile = Annotated[Path | None, typer.Option("--report", help="Write a self-contained HTML report to this file.")]
Duel = Annotated[
    list[str] | None, typer.Option("--duel", help="Label of a row to compare in the report; pass this option twice.")
]
AsMarkdown = Annotated[bool, typer.Option("--markdown", help="Print tables as Markdown.")]
AsCsv = Annotated[bool, typer.Option("--csv", help="Print CSV, one number per line with its interval and p-value.")]
AsLatex = Annotated[bool, typer.Option("--latex", help="Print tables as LaTeX (booktabs).")]
Sample = Annotated[int, typer.Option(help="Number of documents to make pseudo-queries from.")]
Split = Annotated[str, typer.Option(help="Split of the qrels, read from qrels/SPLIT.tsv.")]
Measures = Annotated[str, typer.Option(help="Comma-separated measures, named as in ir-measures.")]
ScoringStyle = Annotated[
    Style, typer.Option(help="Conventions for computing measures: trec (trec_eval) or st (sentence-transformers).")
]
SearchModes = Annotated[str, typer.Option(help="Comma-separated modes: dense, keyword, hybrid.")]
DropSameId = Annotated[
    bool, typer.Option("--drop-same-id", help="Ignore hits that have the query's own id (ArguAna, Quora).")
]
RunFolder = Annotated[Path | None, typer.Option(help="Write a TREC run for each row to this folder.")]

LongDocuments = Annotated[
    OnLong | None, typer.Option(help="How to handle documents longer than the model's limit [default: chunk]")
]
ChunkTokens = Annotated[
    int | None, typer.Option(help="Maximum length of a passage in tokens, title included [default: the model's limit]")
]
Overlap = Annotated[
    int | None, typer.Option(help="Maximum number of tokens that neighboring passages share [default: 32]")
]
WithTitle = Annotated[
    bool | None,
    typer.Option("--title/--no-title", help="Whether to encode the title with each passage [default: title]"),
]
WithSections = Annotated[
    bool | None,
    typer.Option(
        "--sections/--no-sections",
        help="Whether to encode headings with each passage, and to keep tables and code whole [default: sections]",
    ),
]

QueryText = Annotated[
    list[str] | None, typer.Argument(metavar="[TEXT]...", help="What to search for; several words need no quotes.")
]
K = Annotated[int, typer.Option("-k", help="Number of hits.")]
SearchMode = Annotated[
    Mode | None,
    typer.Option(help="Search by meaning (dense), by words (keyword), or both (hybrid) [default: hybrid]"),
]
FilterText = Annotated[
    str | None, typer.Option(help="Filter expression, e.g.: type = 'pdf' and modified >= 2026-01-01")
]
MinConfidence = Annotated[
    float | None, typer.Option(help="Minimum confidence of a hit, from 0 to 1.", show_default=False)
]
AsContext = Annotated[
    bool, typer.Option("--context", help="Print a numbered block of passages for a prompt instead of hits.")
]
Budget = Annotated[int | None, typer.Option(help="With --context: maximum size of the block in tokens [default: 1500]")]
Neighbors = Annotated[
    int | None, typer.Option(help="With --context: number of passages to add before and after each [default: 0]")
]
FusionName = Annotated[Fusion, typer.Option(help="How a hybrid search combines scores.")]
Group = Annotated[
    bool | None,
    typer.Option(
        "--group/--no-group",
        help="Show documents with nearly the same passage as one hit [default: --group, but not with --queries].",
    ),
]
Explain = Annotated[
    bool,
    typer.Option("--explain", help="Show what each word and token contributes to the score of a hit."),
]
QueryFile = Annotated[str | None, typer.Option(help="Answer all queries in this file (JSON lines with _id and text).")]
Interactive = Annotated[
    bool,
    typer.Option(
        "--interactive", help="Answer queries one by one, from a prompt (:help lists its commands) or a pipe."
    ),
]
Rerank = Annotated[
    str | None,
    typer.Option(help="Rerank the best candidates with late-interaction or cross-encoder:MODEL (name or directory)."),
]
RerankDepth = Annotated[
    int | None,
    typer.Option(
        help="With --rerank: number of candidates [default: 20 for late interaction, 50 for others; at least K]"
    ),
]
RunFile = Annotated[Path | None, typer.Option(help="With --queries: write a TREC run to this file.")]
AllIndexes = Annotated[
    list[str] | None,
    typer.Option(
        "--index",
        "-i",
        metavar="[NAME=]DIR",
        autocompletion=complete_index,
        help="Index folder; repeatable [default: all in indexes/]",
    ),
]
ServedIndexes = Annotated[
    list[str] | None,
    typer.Option(
        "--index",
        "-i",
        metavar="[NAME=]DIR",
        autocompletion=complete_index,
        help="Index folder; repeatable [default: the most recently updated in indexes/]",
    ),
]
PublicUrl = Annotated[
    str, typer.Option("--url", help="Address of the `semsearch serve` that citations should link to.")
]
