"""Options of the command line that several commands share, or that would hide what a command does."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Mode(StrEnum):
    """How to search."""

    dense = "dense"
    keyword = "keyword"
    hybrid = "hybrid"


class Fusion(StrEnum):
    """How hybrid search mixes its two sides."""

    convex = "convex"
    rrf = "rrf"


class Style(StrEnum):
    """Whose conventions measures follow."""

    trec = "trec"
    st = "st"


class OnLong(StrEnum):
    """What becomes of a document that is longer than the encoder's maximum."""

    chunk = "chunk"
    truncate = "truncate"
    error = "error"


AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, mps; cuda:0,cuda:1 or cuda:* for several.")]
RuntimeName = Annotated[str, typer.Option("--runtime", help="auto, openvino (compiled, CPU), torch.")]
WhichIndex = Annotated[
    Path | None, typer.Option("--index", "-i", help="Index folder [default: the last written in indexes/]")
]
OnlyIndex = Annotated[Path | None, typer.Option("--index", "-i", help="Index folder [default: the only one there is]")]
NewIndex = Annotated[Path | None, typer.Option("--index", "-i", help="Index folder [default: indexes/<corpus name>]")]

Paths = Annotated[list[str], typer.Argument(help="Files or folders (jsonl, csv, tsv, txt, md, html, pdf; .gz), or -.")]
IdField = Annotated[str | None, typer.Option(help="Field with the id [default: _id, else id]")]
TextField = Annotated[str, typer.Option(help="Field with the text.")]
TitleField = Annotated[str, typer.Option(help="Field with the title.")]
Format = Annotated[str | None, typer.Option(help="Read every file as jsonl, csv, tsv, text, markdown, html or pdf.")]
PerLine = Annotated[bool, typer.Option("--per-line", help="Plain text: a document a line.")]
SkipBad = Annotated[bool, typer.Option("--skip-bad", help="Count bad records instead of stopping.")]
DeleteMissing = Annotated[bool, typer.Option("--delete-missing", help="Delete what the corpus no longer has.")]

Model = Annotated[str | None, typer.Option("--model", "-m", help="Hugging Face name or local directory.")]
MovedModel = Annotated[str | None, typer.Option("--model", "-m", help="Where the index's checkpoint is now, if moved.")]
PoolerName = Annotated[str | None, typer.Option("--pooler", "-p", help="See `semsearch poolers`; auto = as declared.")]
SimcseNames = Annotated[bool, typer.Option("--simcse-names", help="Read names of poolers as SimCSE does.")]
MaxTokens = Annotated[int | None, typer.Option(help="Cut what the encoder sees to this length.")]
Dim = Annotated[int | None, typer.Option(help="Keep the first DIM components of a vector.")]
TransformName = Annotated[str | None, typer.Option(help="center, whiten[:K], all-but-the-top[:K], truncate:DIM.")]
Refit = Annotated[bool, typer.Option("--refit", help="Fit the transform again.")]
QueryPrefix = Annotated[str | None, typer.Option(help="Put in front of queries.")]
PassagePrefix = Annotated[str | None, typer.Option(help="Put in front of passages.")]
Precision = Annotated[str | None, typer.Option(help="auto, float32, bfloat16, float16; int8 for an index.")]

Poolers = Annotated[str, typer.Option(help="Names joined by commas, layer:*+NAME for every layer, or all.")]
Transforms = Annotated[
    str, typer.Option(help="Rows with these too: center, whiten:K, all-but-the-top, truncate:K, all.")
]
CacheMb = Annotated[int, typer.Option(help="Bound on the vectors kept on disk for the next comparison; 0 keeps none.")]
Seed = Annotated[int, typer.Option(help="Of resamples, permutations and samples.")]
WithGeometry = Annotated[bool, typer.Option("--geometry", help="The shape of each row's cloud of vectors as well.")]
Intervals = Annotated[bool, typer.Option("--intervals", help="Print 95% intervals.")]
ReportFile = Annotated[Path | None, typer.Option("--report", help="Write everything into one HTML file.")]
Duel = Annotated[list[str] | None, typer.Option("--duel", help="Two rows whose wins and losses the report shows.")]
AsMarkdown = Annotated[bool, typer.Option("--markdown", help="Print tables as Markdown.")]
AsCsv = Annotated[bool, typer.Option("--csv", help="Print a line a number, with its interval and p.")]
AsLatex = Annotated[bool, typer.Option("--latex", help="Print tables as LaTeX (booktabs).")]
Sample = Annotated[int, typer.Option(help="Documents to make pseudo-queries from.")]
Split = Annotated[str, typer.Option(help="Which qrels/SPLIT.tsv.")]
Measures = Annotated[str, typer.Option(help="As ir-measures writes them, joined by commas.")]
ScoringStyle = Annotated[Style, typer.Option(help="trec: trec_eval's conventions; st: sentence-transformers'.")]
SearchModes = Annotated[str, typer.Option(help="Some of dense, keyword, hybrid, joined by commas.")]
DropSameId = Annotated[
    bool, typer.Option("--drop-same-id", help="Leave out hits with the query's id (ArguAna, Quora).")
]
RunFolder = Annotated[Path | None, typer.Option(help="Write a TREC run for each row here.")]

LongDocuments = Annotated[OnLong | None, typer.Option(help="What becomes of long documents.")]
ChunkTokens = Annotated[int | None, typer.Option(help="Longest passage, title included.")]
Overlap = Annotated[int | None, typer.Option(help="Tokens that neighboring passages share.")]
WithTitle = Annotated[bool | None, typer.Option("--title/--no-title", help="Encode the title with each passage.")]

QueryText = Annotated[str | None, typer.Argument(help="What to look for.")]
K = Annotated[int, typer.Option("-k", help="Number of documents.")]
SearchMode = Annotated[Mode, typer.Option(help="dense: meaning; keyword: words; hybrid: both.")]
FilterText = Annotated[str | None, typer.Option(help="Filter, such as: year >= 2020 and lang = 'en'")]
FusionName = Annotated[Fusion, typer.Option(help="How hybrid mixes.")]
QueryFile = Annotated[str | None, typer.Option(help="JSONL of _id and text: answer many at once.")]
Interactive = Annotated[
    bool, typer.Option("--interactive", help="Ask one after the other; Ctrl-D ends, piped lines are answered.")
]
RunFile = Annotated[Path | None, typer.Option(help="With --queries: write a TREC run file.")]
