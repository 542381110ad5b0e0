"""Converting downloaded files to the layouts that `semsearch eval` reads: those of SentEval and BEIR.

A writer converts one downloaded file; it raises ValueError if the file is malformed.
"""

from __future__ import annotations

import csv
import gzip
import json
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from io import TextIOWrapper
from pathlib import Path
from typing import IO, Any, cast

from semsearch.evaluation.retrieval_data import COLUMNS as QRELS
from semsearch.evaluation.sts_data import COLUMNS


def _open(source: Path) -> IO[bytes]:
    return cast("IO[bytes]", gzip.open(source)) if source.suffix == ".gz" else source.open("rb")


def copy(source: Path, target: Path) -> None:
    """Copy the bytes as they were published."""
    with _open(source) as stream, target.open("wb") as file:
        shutil.copyfileobj(stream, file)


def write_qrels(source: Path, target: Path) -> None:
    """Write qrels in BEIR's format, with integer gains."""
    rows = ((query, doc, _gain(number, cell)) for number, (query, doc, cell) in _rows(source, QRELS))
    _write_table(target, [QRELS, *rows])


def _gain(number: int, cell: str) -> str:
    """Convert a gain that MTEB may write as 1.0 to BEIR's 1."""
    if not re.fullmatch(r"-?\d+(\.0+)?", cell):
        raise ValueError(f"line {number}: the score is {cell!r:.40}, expected a whole number")
    return cell.partition(".")[0]


def write_year(source: Path, target: Path) -> None:
    """Write a folder with one subset, `all`: MTEB publishes a year's pairs without the names of their subsets."""
    target.mkdir()
    rows = [cells for _, cells in _rows(source, COLUMNS)]
    _write_table(target / "STS.input.all.txt", [cells[:2] for cells in rows])
    _write_table(target / "STS.gs.all.txt", [cells[2:] for cells in rows])


def write_benchmark(source: Path, target: Path) -> None:
    """Write STS-B in SentEval's format, with the unused columns genre, file, year and id left empty."""
    _write_table(target, (["", "", "", "", score, one, two] for _, (one, two, score) in _rows(source, COLUMNS)))


def write_pairs(source: Path, target: Path) -> None:
    """Write a file of pairs with a header."""
    _write_table(target, [COLUMNS, *(cells for _, cells in _rows(source, COLUMNS))])


def _write_table(target: Path, rows: Iterable[Iterable[str]]) -> None:
    lines = ["\t".join(row) for row in rows]
    target.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", newline="\n")


def _rows(source: Path, columns: tuple[str, ...]) -> Iterator[tuple[int, list[str]]]:
    """Yield the line number and the given columns of each record; tabs and line breaks in a cell become spaces."""
    for number, record in _records(source):
        if not isinstance(record, Mapping) or (missing := [name for name in columns if name not in record]):
            what = f"no {', '.join(missing)}" if isinstance(record, Mapping) else "not a JSON object"
            raise ValueError(f"line {number}: {what}, expected {', '.join(columns)}")
        cells = ["" if record[name] is None else str(record[name]) for name in columns]
        yield number, [cell.translate({9: " ", 10: " ", 13: " "}) for cell in cells]


def _records(source: Path) -> Iterator[tuple[int, Any]]:
    """Yield the records of a jsonl or tsv file with their line numbers."""
    with _open(source) as stream, TextIOWrapper(stream, encoding="utf-8", newline="\n") as lines:
        if ".tsv" in source.suffixes:
            reader = csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
            for record in reader:
                yield reader.line_num, record
        else:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield number, json.loads(line)
