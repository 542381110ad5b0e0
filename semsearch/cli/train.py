"""The `semsearch train` command."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from semsearch.cli import options as opt
from semsearch.cli import terminal
from semsearch.cli.comparison_output import check_report
from semsearch.errors import UsageError

if TYPE_CHECKING:
    from semsearch.training import Moment, Trained
    from semsearch.training.loop import Watch


def train(
    out: Annotated[Path, typer.Option(help="Folder for the checkpoint; it must not exist.")],
    objective: Annotated[
        str,
        typer.Option(
            "--objective",
            "-o",
            help="softmax, regression, triplet, simcse-unsup, simcse-sup, mnr, cosent, distill, distill-margin, "
            "distill-static, classify or mlm.",
        ),
    ],
    model: opt.Model = None,
    pooler: opt.PoolerName = None,
    simcse_names: opt.SimcseNames = False,
    max_tokens: opt.MaxTokens = None,
    query_prefix: Annotated[str | None, typer.Option(help="Text to prepend to anchors and queries.")] = None,
    passage_prefix: Annotated[str | None, typer.Option(help="Text to prepend to all other texts.")] = None,
    data: Annotated[
        str | None, typer.Option(help="Training examples: a jsonl, csv or tsv file; also txt for single sentences.")
    ] = None,
    from_corpus: Annotated[
        str | None, typer.Option(help="Make pairs from the documents of this file, folder or index instead of --data.")
    ] = None,
    kinds: Annotated[
        str, typer.Option(help="With --from-corpus: comma-separated kinds of pairs: title, adjacent, crop.")
    ] = "title,adjacent",
    scale: Annotated[
        str | None, typer.Option(metavar="LOW,HIGH", help="Lowest and highest possible score in the data, such as 0,5.")
    ] = None,
    dev: Annotated[
        str | None,
        typer.Option(
            help="Data to evaluate on while training: STS data, judged queries in BEIR's layout, or more examples "
            "(classify, mlm)."
        ),
    ] = None,
    dev_tasks: Annotated[str, typer.Option(help="Comma-separated tasks of a folder of STS data for --dev.")] = "",
    parts: Annotated[str, typer.Option(help="softmax: comma-separated features: u, v, |u-v|, u*v.")] = "u,v,|u-v|",
    margin: Annotated[float, typer.Option(help="triplet: margin of the Euclidean distances.")] = 1.0,
    temperature: Annotated[float, typer.Option(help="simcse, mnr, cosent: temperature of the cosines.")] = 0.05,
    symmetric: Annotated[
        bool, typer.Option("--symmetric", help="mnr: also contrast each positive with all anchors.")
    ] = False,
    negative_weight: Annotated[float, typer.Option(help="simcse-sup, mnr: weight of hard negatives.")] = 1.0,
    mlp: Annotated[
        str, typer.Option(help="Additional layer after the pooler: none, train (dropped at the end) or keep.")
    ] = "none",
    mlm_weight: Annotated[
        float, typer.Option(help="simcse, mnr: weight of an auxiliary masked-language-model loss.")
    ] = 0.0,
    mask: Annotated[float, typer.Option(help="mlm: share of tokens to mask.")] = 0.15,
    matryoshka: Annotated[
        str, typer.Option(metavar="DIMS", help="Comma-separated numbers of leading components to train too.")
    ] = "",
    teacher: Annotated[str | None, typer.Option(help="distill, distill-static: encoder to imitate.")] = None,
    dim: Annotated[int, typer.Option(help="distill-static: length of the vectors.")] = 256,
    from_scratch: Annotated[
        bool, typer.Option("--from-scratch", help="mlm: train a new BERT with a vocabulary learned from the data.")
    ] = False,
    layers: Annotated[int | None, typer.Option(help="With --from-scratch: number of layers [default: 4]")] = None,
    hidden: Annotated[
        int | None, typer.Option(help="With --from-scratch: length of a hidden state [default: 256]")
    ] = None,
    heads: Annotated[
        int | None, typer.Option(help="With --from-scratch: number of attention heads [default: 4]")
    ] = None,
    vocabulary: Annotated[
        int | None, typer.Option(help="With --from-scratch: number of word pieces [default: 8000]")
    ] = None,
    lora: Annotated[
        int | None, typer.Option(metavar="RANK", help="Train LoRA adapters of this rank, merged at the end.")
    ] = None,
    epochs: Annotated[float, typer.Option(help="Passes over the examples.")] = 1.0,
    steps: Annotated[int | None, typer.Option(help="Number of optimizer steps, instead of --epochs.")] = None,
    batch_size: Annotated[int, typer.Option(help="Examples in a batch.")] = 32,
    accumulate: Annotated[int, typer.Option(help="Batches whose gradients are added up for one step.")] = 1,
    cache_gradients: Annotated[
        int | None,
        typer.Option(metavar="N", help="Encode at most N texts at a time, so that a batch may exceed memory."),
    ] = None,
    learning_rate: Annotated[float, typer.Option(help="Highest learning rate.")] = 2e-5,
    warmup: Annotated[float, typer.Option(help="Share of the steps in which the learning rate rises.")] = 0.1,
    decay: Annotated[str, typer.Option(help="Decay of the learning rate: linear, cosine or none.")] = "linear",
    weight_decay: Annotated[float, typer.Option(help="Weight decay of AdamW.")] = 0.01,
    clip: Annotated[float, typer.Option(help="Maximum norm of the gradient; 0 for no limit.")] = 1.0,
    eval_every: Annotated[
        int | None, typer.Option(help="Steps between evaluations and saved states [default: a tenth of the steps]")
    ] = None,
    patience: Annotated[
        int | None, typer.Option(help="Stop after this many evaluations without improvement [default: never]")
    ] = None,
    precision: Annotated[
        str, typer.Option(help="Precision of matrix products: auto, float32, bfloat16 or float16.")
    ] = "auto",
    device: Annotated[str, typer.Option(help="Device to train on: auto, cpu, cuda, cuda:1 or mps.")] = "auto",
    seed: opt.Seed = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Continue an interrupted run of the same command.")] = False,
    report: opt.ReportFile = None,
    as_json: opt.AsJson = False,
) -> None:
    """Train an encoder, a classifier or a masked language model.

    Writes a checkpoint that semsearch, sentence-transformers and transformers load. With --dev, the best one is kept.
    """
    from semsearch.reports.html import write_report
    from semsearch.training import Recipe, Scratch
    from semsearch.training import train as run
    from semsearch.training.report import report_of

    if report:
        if objective == "distill-static":
            raise UsageError("`report` does not apply to objective 'distill-static', which has no steps")
        check_report(report)
    sizes = {"layers": layers, "hidden": hidden, "heads": heads, "vocabulary": vocabulary}
    asked = {name: size for name, size in sizes.items() if size is not None}
    if asked and not from_scratch:
        raise UsageError(f"`{next(iter(asked))}` requires `from_scratch`")
    length = {} if max_tokens is None else {"max_tokens": max_tokens}
    scratch = Scratch(**asked, **length) if from_scratch else None
    recipe = Recipe(
        objective=objective,
        data=data,
        from_corpus=from_corpus,
        kinds=_words(kinds),
        model=model,
        pooler=pooler or "auto",
        simcse_names=simcse_names,
        max_tokens=None if from_scratch else max_tokens,
        query_prefix=query_prefix,
        passage_prefix=passage_prefix,
        scale=_numbers("scale", scale, 2),
        dev=dev,
        dev_tasks=_words(dev_tasks),
        parts=_words(parts),
        margin=margin,
        temperature=temperature,
        symmetric=symmetric,
        negative_weight=negative_weight,
        mlp=mlp,
        mlm_weight=mlm_weight,
        mask=mask,
        matryoshka=_dims(matryoshka),
        teacher=teacher,
        dim=dim,
        from_scratch=scratch,
        lora=lora,
        epochs=epochs,
        steps=steps,
        batch_size=batch_size,
        accumulate=accumulate,
        cache_gradients=cache_gradients,
        learning_rate=learning_rate,
        warmup=warmup,
        decay=decay,
        weight_decay=weight_decay,
        clip=clip,
        eval_every=eval_every,
        patience=patience,
        precision=precision,
        device=device,
        seed=seed,
    )
    with _progress() as watch:
        trained = run(recipe, out, resume=resume, notify=_note, watch=watch)
    if report:
        write_report(report_of(trained), report)
    if as_json:
        terminal.print_json(_as_object(trained))
    else:
        _show(trained, encoder=objective != "mlm")


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())


def _numbers(name: str, text: str | None, n: int) -> Any:
    """Parse comma-separated numbers; None if there are none."""
    if text is None:
        return None
    try:
        numbers = tuple(float(word) for word in text.split(","))
    except ValueError:
        numbers = ()
    if len(numbers) != n:
        raise UsageError(f"`{name}` is {text!r}; expected {n} numbers, such as 0,5")
    return numbers


def _dims(text: str) -> tuple[int, ...]:
    words = _words(text)
    if not all(word.isdecimal() for word in words):
        raise UsageError(f"`matryoshka` is {text!r}; expected whole numbers, such as 64,128,256")
    return tuple(map(int, words))


def _note(text: str) -> None:
    terminal.say(f"note: {text}")


@contextmanager
def _progress() -> Iterator[Watch]:
    """Show a progress bar with loss and score on a terminal, or a line for each evaluation."""
    if not sys.stderr.isatty():
        yield _line
        return
    with terminal.steps() as move:
        yield lambda moment: move(moment.step, moment.of, moment.loss, moment.score)


def _line(moment: Moment) -> None:
    if moment.score is not None:
        more = "".join(f", {name} {value:.4g}" for name, value in (moment.more or {}).items())
        terminal.say(f"step {moment.step:,} of {moment.of:,}: score {moment.score:.4f}{more}, {moment.seconds:,.0f} s")


def _show(trained: Trained, encoder: bool) -> None:
    """Print what was achieved."""
    steps = f"{trained.steps:,} step{'s' * (trained.steps != 1)}"
    kept = f"trained {steps} in {trained.seconds:,.0f} s; kept step {trained.best_step:,}"
    terminal.line(kept if trained.steps else f"done in {trained.seconds:,.0f} s")
    if trained.comparison:
        from semsearch.training.card import changes

        terminal.table(("", "before", "after", "p"), changes(trained.comparison))
        terminal.line(f"{trained.dev}, x 100, with 95% intervals; {trained.comparison.test}")
    terminal.line(f"checkpoint: {trained.folder}")
    if encoder:
        terminal.line(f"next: semsearch index CORPUS --model {shlex.quote(str(trained.folder))}")


def _as_object(trained: Trained) -> dict[str, Any]:
    """Return what `--json` prints."""
    scores = {}
    if trained.comparison:
        for label, cells in trained.comparison.rows.items():
            named = zip(trained.comparison.columns, cells, strict=True)
            scores[label] = {name: {"value": c.value, "low": c.low, "high": c.high, "p": c.p} for name, c in named}
    return {
        "checkpoint": str(trained.folder),
        "steps": trained.steps,
        "best_step": trained.best_step,
        "seconds": round(trained.seconds, 3),
        "dev": trained.dev,
        "scores": scores,
        "notes": list(trained.notes),
    }
