"""Training a checkpoint from a recipe, from the data to the finished folder.

<out>.unfinished/   recipe.json, metrics.jsonl, before.json, best.json, best/, state-*/: a run that has not ended
<out>/              the checkpoint, with README.md, recipe.json and metrics.jsonl, once the run has ended

The folder of an unfinished run stays if the run is interrupted or fails, and `resume` continues it.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from safetensors import SafetensorError

from semsearch.encoder.encoder import Encoder
from semsearch.errors import DamagedError, LockedError, TrainingError, UsageError
from semsearch.evaluation.significance import Comparison
from semsearch.files import hash_file, make_folder, replacing, sync_all, write_bytes
from semsearch.messages import first_line
from semsearch.paths import as_path
from semsearch.training.card import command_of, write_card
from semsearch.training.dev import AFTER, BEFORE, Score
from semsearch.training.encoders import prepare_encoder
from semsearch.training.loop import METRICS, Course, Loop, Watch
from semsearch.training.masked import plain_texts, prepare_masked
from semsearch.training.prepared import Prepared
from semsearch.training.recipe import MASKED, STATIC, Recipe
from semsearch.training.state import latest_state
from semsearch.training.static import distill_static
from semsearch.types import COSINE

BEST, RECIPE, LOCK, CARD = "best", "recipe.json", "lock", "README.md"
UNFINISHED = ".unfinished"


@dataclass(frozen=True, slots=True)
class Trained:
    """The outcome of a training run.

    Attributes:
        folder: The checkpoint.
        steps: Number of optimizer steps taken.
        best_step: Step whose weights were kept.
        seconds: Time taken for the steps and evaluations.
        dev: What was measured on which data; empty without a dev set.
        comparison: Scores before training and of the checkpoint, with intervals and a test; None without a dev set.
        notes: What the user should know about the data or the checkpoint.
        facts: Facts about the run, as on the model card.
    """

    folder: Path
    steps: int
    best_step: int
    seconds: float
    dev: str
    comparison: Comparison | None
    notes: tuple[str, ...]
    facts: Mapping[str, str]


def train(
    recipe: Recipe,
    out: str | Path,
    *,
    resume: bool = False,
    notify: Callable[[str], None] | None = None,
    watch: Watch | None = None,
) -> Trained:
    """Train a checkpoint.

    With a dev set, the checkpoint with the highest score is kept; otherwise the last one. The same recipe gives the
    same checkpoint on the same machine, also if the run was interrupted and resumed.

    Args:
        recipe: What to train, on what, and how.
        out: Folder for the checkpoint, which must not exist.
        resume: Continue an unfinished run of the same recipe.
        notify: Called with each note about the data or the checkpoint, before the first step.
        watch: Called after each step and evaluation.

    Returns:
        The outcome, with the folder of the checkpoint.

    Raises:
        UsageError: If the recipe is invalid, or does not fit the data or the checkpoint; if `out` exists, or holds an
            unfinished run and `resume` is False, or the other way around.
        SourceError, RecordError: If the data cannot be read.
        ModelError: If the checkpoint cannot be loaded.
        TrainingError: If the loss becomes NaN, or a file cannot be written; what was achieved is kept.
        LockedError: If another process is training into the same folder.
        KeyboardInterrupt: If the run was interrupted; its state is saved first.
    """
    target = as_path(out, "out")
    if target.exists():
        raise UsageError(f"{str(target)!r} exists; choose another folder as `out`")
    folder = target.with_name(target.name + UNFINISHED)
    if recipe.objective == STATIC:
        if resume:
            raise UsageError(f"`resume` does not apply to objective {STATIC!r}, which has no steps; omit it")
        return _distill_table(recipe, target)
    _check_folder(folder, recipe, resume)
    fresh = not folder.exists()
    make_folder(folder)
    try:
        with _only_one(folder):
            prepared = prepare_masked(recipe, folder) if recipe.objective == MASKED else prepare_encoder(recipe)
            _check_same(folder, recipe, prepared)
            for note in prepared.notes if notify else ():
                notify(note)  # type: ignore[misc]
            course = _run(recipe, prepared, folder, watch)
            return _finish(recipe, prepared, course, folder, target)
    except LockedError:
        raise  # the folder is that of another process
    except BaseException:
        if fresh and latest_state(folder) is None and not (folder / BEST).exists():
            shutil.rmtree(folder, ignore_errors=True)  # nothing was achieved
        raise


def _distill_table(recipe: Recipe, target: Path) -> Trained:
    """Turn an encoder into a table, which takes no steps."""
    started = time.perf_counter()
    texts = None if recipe.data is None else plain_texts(recipe.data)
    teacher = Encoder.load(recipe.teacher, similarity=COSINE, max_tokens=recipe.max_tokens, device=recipe.device)
    made = distill_static(teacher, target, dim=recipe.dim, texts=texts)
    facts = {"teacher": teacher.spec.model, "tokens": f"{made.n_tokens:,}", "dimensions": str(made.dim)}
    command = {"command": command_of(recipe, str(target))}
    return Trained(target, 0, 0, time.perf_counter() - started, "", None, (), {**facts, **command})


def _check_folder(folder: Path, recipe: Recipe, resume: bool) -> None:
    """Reject a run that would mix with another one."""
    if not resume:
        if folder.exists():
            raise UsageError(
                f"{str(folder)!r} holds an unfinished run; continue it with `resume`, or delete it to begin again"
            )
        return
    if not (folder / RECIPE).is_file():
        what = "delete it, and" if folder.exists() else "to begin one,"
        raise UsageError(f"there is no run to continue in {str(folder)!r}; {what} omit `resume`")
    try:
        stored = json.loads((folder / RECIPE).read_text(encoding="utf-8"))
        earlier, _ = Recipe.from_json(stored["recipe"]), stored["digest"]
    except (ValueError, KeyError, TypeError, UsageError) as error:
        raise DamagedError(f"{str(folder / RECIPE)!r} is damaged ({error!s:.100}); delete the folder") from None
    if different := recipe.differences(earlier):
        raise UsageError(
            f"the unfinished run in {str(folder)!r} has other settings ({', '.join(f'`{d}`' for d in different)}); "
            "repeat the same command to continue it"
        )


def _check_same(folder: Path, recipe: Recipe, prepared: Prepared) -> None:
    """Store the recipe with the hash of what it names, or compare them with those of the unfinished run."""
    file = folder / RECIPE
    digest = sha256((prepared.digest + _content_hash(recipe.dev)).encode()).hexdigest()
    if not file.exists():
        stored = {"recipe": recipe.to_json(), "digest": digest}
        write_bytes(file, json.dumps(stored, indent=2).encode())
    elif json.loads(file.read_text(encoding="utf-8"))["digest"] != digest:
        raise UsageError(
            f"the examples, the model or the dev set have changed since the unfinished run in {str(folder)!r}; restore "
            "them, or delete that folder and train again"
        )


def _content_hash(path: str | None) -> str:
    """Return a hash of a file, or of all files in a folder."""
    place = Path(path or "")
    files = [] if path is None else [place] if place.is_file() else sorted(place.rglob("*"))
    return "".join(hash_file(file) for file in files if file.is_file())


@contextmanager
def _only_one(folder: Path) -> Iterator[None]:
    """Hold the lock of a run."""
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise LockedError(f"another process is training in {str(folder)!r}; wait for it to end") from None
    try:
        yield
    finally:
        lock.release()


def _run(recipe: Recipe, prepared: Prepared, folder: Path, watch: Watch | None) -> Course:
    """Evaluate the untrained model, then train; keep what is achieved in the folder."""

    def keep(score: Score | None) -> None:
        with replacing(folder / BEST) as new:
            prepared.write(new)
        if score:
            _write_score(folder / f"{BEST}.json", score)

    try:
        if prepared.dev and not (folder / f"{BEFORE}.json").exists():
            prepared.task.module.eval()  # new adapters have dropout
            _write_score(folder / f"{BEFORE}.json", prepared.dev.evaluate())
        loop = Loop(prepared.task, prepared.batches, recipe, prepared.device, folder, prepared.dev, keep, watch)
        course = loop.run()
        if not prepared.dev:
            keep(None)
            course.best_step = course.step
        return course
    except TrainingError as error:
        raise TrainingError(f"{error}; {_achieved(folder)}") from None
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or first_line(error)
        again = "repeat the command with `resume`" if latest_state(folder) else "repeat the command"
        raise TrainingError(
            f"cannot write to {str(folder)!r} ({reason:.200}); make room, then {again}; {_achieved(folder)}"
        ) from None


def _achieved(folder: Path) -> str:
    """Say what an unfinished run has kept."""
    state = latest_state(folder)
    at = f"the state after step {int(state.name.rpartition('-')[2])} is kept" if state else "no state was kept yet"
    return at + (f", and the best checkpoint so far is {str(folder / BEST)!r}" if (folder / BEST).exists() else "")


def _write_score(file: Path, score: Score) -> None:
    values = {"value": score.value, "more": dict(score.more), "each": {k: v.tolist() for k, v in score.each.items()}}
    write_bytes(file, json.dumps(values).encode())


def _read_score(file: Path) -> Score:
    try:
        values: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        return Score(values["value"], {k: np.array(v, np.float64) for k, v in values["each"].items()}, values["more"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamagedError(f"{str(file)!r} is damaged ({error!s:.100}); delete its folder and train again") from None


def _finish(recipe: Recipe, prepared: Prepared, course: Course, folder: Path, target: Path) -> Trained:
    """Complete the checkpoint with its card and metrics, and move it to its place."""
    best, comparison, dev = folder / BEST, None, prepared.dev
    if dev:
        scores = {BEFORE: _read_score(folder / f"{BEFORE}.json"), AFTER: _read_score(folder / f"{BEST}.json")}
        comparison = dev.compare(scores)
    epochs = course.step * recipe.accumulate / prepared.batches.per_epoch()
    facts = {
        **prepared.facts,
        "steps": f"{course.step:,} ({epochs:.1f} epochs), {recipe.batch_size * recipe.accumulate} examples each",
        "kept": f"step {course.best_step:,}" + (f", the best on {dev.name}" if dev else ", the last one"),
        "learning rate": f"{recipe.learning_rate:g}, warm-up {recipe.warmup:.0%}, decay {recipe.decay}",
        "seed": str(recipe.seed),
        "time": f"{course.seconds:,.0f} s",
    }
    card = write_card(
        recipe,
        name=target.name,
        out=str(target),
        facts=facts,
        dev=dev.name if dev else "",
        comparison=comparison,
        encoder=recipe.objective != MASKED,
    )
    write_bytes(best / CARD, card.encode())
    for name in (RECIPE, METRICS):
        shutil.copyfile(folder / name, best / name)
    sync_all(best)
    best.rename(target)
    shutil.rmtree(folder, ignore_errors=True)
    return Trained(
        target,
        course.step,
        course.best_step,
        course.seconds,
        dev.name if dev else "",
        comparison,
        prepared.notes,
        {**facts, "command": command_of(recipe, str(target))},
    )
