"""The commands that look after an index: `verify`, `rebuild`, `compact`, `backup`, `restore`, `export`, `migrate`."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from semsearch.cli import options as opt
from semsearch.cli import terminal
from semsearch.cli.locations import find_index, new_index
from semsearch.cli.registry import remember
from semsearch.cli.vector_kinds import describe

if TYPE_CHECKING:
    from semsearch.cli.locations import IndexPlace
    from semsearch.verify import VerifyResult

REPAIRED = "semsearch rebuild makes it anew"

Backup = Annotated[Path, typer.Argument(metavar="BACKUP", help="Folder of the backup.")]
Restored = Annotated[Path, typer.Argument(metavar="DIR", help="Folder of the index.")]
Target = Annotated[Path, typer.Argument(metavar="DIR", help="New folder for the backup.")]


def verify(
    index: opt.OnlyIndex = None,
    sample: Annotated[int, typer.Option(help="Number of passages to encode again and compare; 0 for none.")] = 100,
    model: opt.MovedModel = None,
    device: opt.Device = "auto",
    runtime: opt.RuntimeName = "auto",
    as_json: opt.AsJson = False,
) -> None:
    """Check that an index is intact; exits with 1 if it is not.

    Reads everything, without changing anything: every row's checksum, segments, words, and some passages encoded again.
    """
    from semsearch.index import Index

    folder, started = find_index(index), time.perf_counter()
    with terminal.stages("verifying") as watch:
        result = Index.verify(folder, sample=sample, model=model, device=device, runtime=runtime, watch=watch)
    _print_verified(result, folder, time.perf_counter() - started, as_json)
    if not result:
        raise typer.Exit(1)


def _print_verified(result: VerifyResult, folder: IndexPlace, seconds: float, as_json: bool) -> None:
    if as_json:
        problems = [asdict(problem) for problem in result.problems]
        found = {"index": str(folder), "intact": bool(result), "problems": problems, "notes": list(result.notes)}
        terminal.print_json({**found, "encoded": result.encoded, "seconds": round(seconds, 3)})
        return
    for problem in result.problems:
        terminal.line(f"{problem}; {REPAIRED}" if problem.derived else str(problem))
    for note in result.notes:
        terminal.say(f"note: {note}")
    if result:
        again = f", {terminal.count(result.encoded, 'passage')} encoded again" if result.encoded else ""
        terminal.line(f"{folder} is intact: read in {seconds:.1f} s{again}")
    else:
        terminal.say(f"{folder} is damaged: {terminal.count(len(result.problems), 'problem')}")


def rebuild(index: opt.OnlyIndex = None, as_json: opt.AsJson = False) -> None:
    """Make everything anew that follows from the stored documents and vectors.

    Repairs segments, words and other derived data without encoding. Exits with 1 if documents have to be indexed again.
    """
    from semsearch.index import Index

    folder, started = find_index(index), time.perf_counter()
    with terminal.stages("rebuilding"), Index.open(folder) as opened:
        result = opened.rebuild()
    seconds = time.perf_counter() - started
    if as_json:
        terminal.print_json({"index": str(folder), "seconds": round(seconds, 3), **asdict(result)})
    else:
        terminal.line(f"{folder}: rebuilt {', '.join(result.rebuilt)} in {seconds:.1f} s")
        if result.recovered:
            vectors = terminal.count(result.recovered, "damaged vector")
            terminal.line(f"{vectors} recovered from segments")
        for key in result.reset:
            terminal.say(f"warning: the setting {key!r} was damaged, and has its default value again")
        for note in [*result.failed, *result.notes]:
            terminal.say(f"warning: {note}")
    if not result:
        raise typer.Exit(1)


def compact(
    index: opt.OnlyIndex = None,
    secure: Annotated[
        bool, typer.Option("--secure", help="Remove deleted texts and vectors from every file of the index.")
    ] = False,
    vector_index: opt.VectorIndex = None,
    memory: opt.Memory = None,
    target_recall: opt.TargetRecall = None,
    as_json: opt.AsJson = False,
) -> None:
    """Merge all parts of an index into the fastest form, and free unused space.

    `semsearch index` merges only in proportion to what it adds. Searches go on meanwhile.
    """
    from semsearch.index import Index

    folder, started = find_index(index), time.perf_counter()
    with Index.open(folder) as opened:
        before = opened.status()["bytes"]
        with terminal.stages("compacting"):
            merged = opened.compact(
                vector_index=vector_index, memory=memory, target_recall=target_recall, secure=secure
            )
        status = opened.status()
    seconds, vectors = time.perf_counter() - started, status["vectors"]
    if as_json:
        fields = {"index": str(folder), "merged": merged, "secure": secure, "seconds": round(seconds, 3)}
        terminal.print_json({**fields, "bytes_before": before, "bytes": status["bytes"], "vectors": vectors})
        return
    sizes = "" if before is None else f"{before / 1e6:,.1f} MB before, {status['bytes'] / 1e6:,.1f} MB now, "
    terminal.line(f"{folder}: {sizes}{seconds:.1f} s")
    for segment in vectors["segments"]:
        terminal.line(describe(segment))


def backup(target: Target, index: opt.OnlyIndex = None, as_json: opt.AsJson = False) -> None:
    """Copy an index to a new folder while others may use it.

    The copy appears once it is complete and verified. It can be searched like any index.
    """
    from semsearch.index import Index

    folder, started = find_index(index), time.perf_counter()
    with Index.open(folder) as opened, terminal.stages("backing up") as watch:
        opened.backup(target, watch=watch)
    _print_copied(folder, target, time.perf_counter() - started, as_json)


def restore(
    backup: Backup,
    folder: Restored,
    replace: Annotated[bool, typer.Option("--replace", help="Replace the index that is there.")] = False,
    as_json: opt.AsJson = False,
) -> None:
    """Copy a backup to the folder of an index.

    The backup is verified first. With --replace, the former index stays until the restored one is complete.
    """
    from semsearch.index import Index

    started = time.perf_counter()
    with terminal.stages("restoring") as watch:
        Index.restore(backup, folder, replace=replace, watch=watch)
    remember(folder)
    _print_copied(backup, folder, time.perf_counter() - started, as_json)


def _print_copied(source: IndexPlace, target: Path, seconds: float, as_json: bool) -> None:
    from semsearch.index import Index

    with Index.open(target) as copy:
        status = copy.status()
    documents, n_bytes = status["documents"], status["bytes"]
    if as_json:
        counts = {"documents": documents, "bytes": n_bytes, "seconds": round(seconds, 3)}
        terminal.print_json({"from": str(source), "to": str(target), **counts})
    else:
        size = f"{terminal.count(documents, 'document')}, {n_bytes / 1e6:,.1f} MB"
        terminal.line(f"copied {source} to {target} and verified it in {seconds:.1f} s ({size})")


def export(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="JSONL file to write.")],
    index: opt.OnlyIndex = None,
    vectors: Annotated[
        str | None,
        typer.Option(help="Export the vectors, too: base64 in the lines, or the name of a .npy file to write."),
    ] = None,
    as_json: opt.AsJson = False,
) -> None:
    """Write the documents of an index to a file, with their vectors if wanted.

    To index them again without encoding: semsearch index FILE, with --vectors FILE.npy if they are in such a file.
    """
    from semsearch.index import Index

    folder = find_index(index)
    with Index.open(folder) as opened, terminal.progress(len(opened), "exporting") as watch:
        result = opened.export(path, vectors=vectors, watch=watch)
    if as_json:
        terminal.print_json({"index": str(folder), "file": str(path), "vectors": vectors, **asdict(result)})
    else:
        passages = f" with the vectors of {terminal.count(result.passages, 'passage')}" if vectors else ""
        terminal.line(f"wrote {terminal.count(result.documents, 'document')}{passages} to {path}")


def copy(
    source: Annotated[str, typer.Argument(metavar="FROM", help="Index folder, or a database URL")],
    target: Annotated[str, typer.Argument(metavar="TO", help="New index folder, or a database URL")],
    store_precision: opt.StorePrecision = None,
    as_json: opt.AsJson = False,
) -> None:
    """Copy an index between a folder and a PostgreSQL database, or between folders.

    Nothing is encoded again. An interrupted copy resumes when the same command is run again.
    """
    from semsearch.index import Index

    here, there, started = find_index(source), new_index(target, source), time.perf_counter()
    with Index.open(here) as opened:
        total = len(opened)
    precision = store_precision and store_precision.value
    with terminal.counting("copying", "docs", total) as watch:
        result = Index.copy(here, there, store_precision=precision, watch=watch)
    seconds = time.perf_counter() - started
    if as_json:
        terminal.print_json({"index": str(here), "target": str(there), **asdict(result), "seconds": round(seconds, 3)})
        return
    documents, passages = terminal.count(result.documents, "document"), terminal.count(result.passages, "passage")
    kept = f"; {result.unchanged:,} were there already" if result.unchanged else ""
    terminal.line(f"copied {documents} with the vectors of {passages} to {there} in {seconds:.1f} s{kept}")


def migrate(index: opt.OnlyIndex = None, as_json: opt.AsJson = False) -> None:
    """Bring an index of an older version up to date.

    Every command that opens an index does so, too; this one also writes the segments anew, and says what it did.
    """
    from semsearch.index import Index

    folder = find_index(index)
    before, after = Index.migrate(folder)
    if as_json:
        terminal.print_json({"index": str(folder), "before": before, "after": after})
    elif before == after:
        terminal.line(f"{folder} is up to date: schema {after}")
    else:
        terminal.line(f"{folder}: migrated from schema {before} to {after}")
