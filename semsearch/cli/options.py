"""Options of the command line: those that several commands share, and those that would clutter a command."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Mode(StrEnum):
    """Ways of searching."""

    dense = "dense"
    keyword = "keyword"
    hybrid = "hybrid"


class Fusion(StrEnum):
    """Ways of combining the dense and keyword scores of a hybrid search."""

    convex = "convex"
    rrf = "rrf"


class Style(StrEnum):
    """Conventions by which measures are computed."""

    trec = "trec"
    st = "st"


class OnLong(StrEnum):
    """Ways of handling a document that is longer than the encoder's maximum."""

    chunk = "chunk"
    truncate = "truncate"
    error = "error"


AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps; cuda:0,cuda:1 or cuda:* for several GPUs.")]
RuntimeName = Annotated[str, typer.Option("--runtime", help="auto, openvino (compiled, CPU only) or torch.")]
WhichIndex = Annotated[
    Path | None, typer.Option("--index", "-i", help="Index folder [default: the most recently updated in indexes/]")
]
OnlyIndex = Annotated[Path | None, typer.Option("--index", "-i", help="Index folder [default: the only one there is]")]
NewIndex = Annotated[Path | None, typer.Option("--index", "-i", help="Index folder [default: indexes/<corpus name>]")]

Paths = Annotated[
    list[str],
    typer.Argument(help="Files or folders (jsonl, csv, tsv, txt, md, html, pdf; each also .gz), or - for stdin."),
]
IdField = Annotated[str | None, typer.Option(help="Field that holds the id [default: _id, else id]")]
TextField = Annotated[str, typer.Option(help="Field that holds the text.")]
TitleField = Annotated[str, typer.Option(help="Field that holds the title.")]
Format = Annotated[
    str | None, typer.Option(help="Read every file in this format: jsonl, csv, tsv, text, markdown, html or pdf.")
]
PerLine = Annotated[bool, typer.Option("--per-line", help="Treat each line of a text file as a document.")]
FollowLinks = Annotated[bool, typer.Option("--follow-links", help="Follow symbolic links that lead out of a folder.")]
SkipBad = Annotated[bool, typer.Option("--skip-bad", help="Skip and count bad records instead of stopping.")]
Strict = Annotated[bool, typer.Option("--strict", help="Stop at a bad file in a folder instead of skipping it.")]
Replace = Annotated[
    bool, typer.Option("--replace", help="Let documents take the place of those with the same ids from other files.")
]
DeleteMissing = Annotated[
    bool, typer.Option("--delete-missing", help="Delete documents that are no longer in the given files and folders.")
]

Model = Annotated[str | None, typer.Option("--model", "-m", help="Hugging Face model name or local directory.")]
MovedModel = Annotated[
    str | None, typer.Option("--model", "-m", help="New location of the index's checkpoint, if it has moved.")
]
PoolerName = Annotated[
    str | None, typer.Option("--pooler", "-p", help="A name from `semsearch poolers`, or auto: as the model declares.")
]
SimcseNames = Annotated[bool, typer.Option("--simcse-names", help="Interpret pooler names as SimCSE does.")]
MaxTokens = Annotated[int | None, typer.Option(help="Truncate the encoder's input to this many tokens.")]
Dim = Annotated[int | None, typer.Option(help="Keep the first DIM components of each vector.")]
TransformName = Annotated[
    str | None, typer.Option(help="Transform of the vectors: center, whiten[:K], all-but-the-top[:K] or truncate:DIM.")
]
Refit = Annotated[bool, typer.Option("--refit", help="Fit the transform again.")]
QueryPrefix = Annotated[str | None, typer.Option(help="Text to put in front of each query.")]
PassagePrefix = Annotated[str | None, typer.Option(help="Text to put in front of each passage.")]
Precision = Annotated[str | None, typer.Option(help="auto, float32, bfloat16 or float16; int8 for an index.")]

Poolers = Annotated[str, typer.Option(help="Comma-separated names, layer:*+NAME for a pooler on every layer, or all.")]
Transforms = Annotated[
    str,
    typer.Option(
        help="Comma-separated transforms to compare as well: center, whiten:K, all-but-the-top, truncate:K, or all."
    ),
]
CacheMb = Annotated[int, typer.Option(help="Size limit of the on-disk cache of vectors, in MiB; 0 turns it off.")]
Seed = Annotated[int, typer.Option(help="Random seed.")]
WithGeometry = Annotated[bool, typer.Option("--geometry", help="Also describe the geometry of each row's vectors.")]
Intervals = Annotated[bool, typer.Option("--intervals", help="Print 95% confidence intervals.")]
ReportFile = Annotated[Path | None, typer.Option("--report", help="Write a report as one HTML file.")]
Duel = Annotated[
    list[str] | None, typer.Option("--duel", help="A row to compare with another in the report; give it twice.")
]
AsMarkdown = Annotated[bool, typer.Option("--markdown", help="Print tables as Markdown.")]
AsCsv = Annotated[bool, typer.Option("--csv", help="Print CSV, one number per line with its interval and p-value.")]
AsLatex = Annotated[bool, typer.Option("--latex", help="Print tables as LaTeX (booktabs).")]
Sample = Annotated[int, typer.Option(help="Number of documents to make pseudo-queries from.")]
Split = Annotated[str, typer.Option(help="Split of the judgments: reads qrels/SPLIT.tsv.")]
Measures = Annotated[str, typer.Option(help="Comma-separated measures, named as in ir-measures.")]
ScoringStyle = Annotated[
    Style, typer.Option(help="Conventions of the measures: trec (trec_eval) or st (sentence-transformers).")
]
SearchModes = Annotated[str, typer.Option(help="Comma-separated modes: dense, keyword, hybrid.")]
DropSameId = Annotated[
    bool, typer.Option("--drop-same-id", help="Ignore hits that have the query's own id (ArguAna, Quora).")
]
RunFolder = Annotated[Path | None, typer.Option(help="Folder to write a TREC run for each row to.")]

LongDocuments = Annotated[OnLong | None, typer.Option(help="How to handle documents longer than the model's limit.")]
ChunkTokens = Annotated[int | None, typer.Option(help="Maximum length of a passage in tokens, title included.")]
Overlap = Annotated[int | None, typer.Option(help="Number of tokens that neighboring passages may share.")]
WithTitle = Annotated[
    bool | None, typer.Option("--title/--no-title", help="Whether to encode the title with each passage.")
]

QueryText = Annotated[str | None, typer.Argument(help="What to search for.")]
K = Annotated[int, typer.Option("-k", help="Number of documents to return.")]
SearchMode = Annotated[
    Mode | None,
    typer.Option(help="Search by meaning (dense), by words (keyword), or both (hybrid) [default: hybrid]"),
]
FilterText = Annotated[str | None, typer.Option(help="Filter expression, e.g.: year >= 2020 and lang = 'en'")]
MinConfidence = Annotated[
    float | None, typer.Option(help="Leave out hits with a lower confidence, from 0 to 1.", show_default=False)
]
AsContext = Annotated[
    bool, typer.Option("--context", help="Print a numbered block of passages for a prompt, in place of hits.")
]
Budget = Annotated[int | None, typer.Option(help="With --context: tokens the block may have [default: 1500]")]
Neighbors = Annotated[int | None, typer.Option(help="With --context: passages to add on each side [default: 0]")]
FusionName = Annotated[Fusion, typer.Option(help="How a hybrid search combines scores.")]
Explain = Annotated[
    bool,
    typer.Option("--explain", help="Say why each hit was found: what its words contribute to the score."),
]
QueryFile = Annotated[str | None, typer.Option(help="JSON lines with _id and text: answer many queries at once.")]
Interactive = Annotated[
    bool,
    typer.Option("--interactive", help="Answer one query after another, from a prompt (Ctrl-D ends it) or a pipe."),
]
Rerank = Annotated[
    str | None,
    typer.Option(help="Score the best candidates again: late-interaction, or cross-encoder:MODEL (name or directory)."),
]
RerankDepth = Annotated[
    int | None,
    typer.Option(
        help="With --rerank: how many candidates [default: 20 for late interaction, 50 for others; at least K]"
    ),
]
RunFile = Annotated[Path | None, typer.Option(help="With --queries: write a TREC run to this file.")]
AllIndexes = Annotated[
    list[str] | None,
    typer.Option("--index", "-i", metavar="[NAME=]DIR", help="Index folder; repeat it [default: all in indexes/]"),
]
ServedIndexes = Annotated[
    list[str] | None,
    typer.Option(
        "--index",
        "-i",
        metavar="[NAME=]DIR",
        help="Index folder; repeat it [default: the most recently updated in indexes/]",
    ),
]
PublicUrl = Annotated[
    str, typer.Option("--url", help="Where `semsearch serve` shows the documents; citations link there.")
]
