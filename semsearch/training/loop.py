"""The training loop: steps, evaluation, the best checkpoint, and states to resume from."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch

from semsearch import interrupts
from semsearch.encoder.runtimes.torch import choose_precision
from semsearch.errors import DamagedError, TrainingError
from semsearch.files import write_bytes
from semsearch.training.batches import Batches
from semsearch.training.dev import Dev, Score
from semsearch.training.randomness import seeded
from semsearch.training.recipe import Recipe
from semsearch.training.state import latest_state, load_state, save_state
from semsearch.training.tasks import Task

METRICS = "metrics.jsonl"

EVALUATIONS = 10
"""Number of evaluations if the recipe does not say how often to evaluate."""


@dataclass(frozen=True, slots=True)
class Moment:
    """Where a run stands after a step or an evaluation.

    Attributes:
        step: Number of optimizer steps taken.
        of: Number of steps in all.
        epoch: Number of passes over the examples so far.
        seconds: Time since the beginning of the run, without interruptions.
        loss: Mean loss of the step; None at an evaluation.
        learning_rate: Learning rate of the step.
        gradient_norm: Norm of the gradient before it was clipped; None if float16 overflowed, so that the step was
            skipped.
        score: Score on the dev set; None after a step.
        more: Other numbers of an evaluation, by name.
    """

    step: int
    of: int
    epoch: float
    seconds: float
    loss: float | None = None
    learning_rate: float | None = None
    gradient_norm: float | None = None
    score: float | None = None
    more: dict[str, float] | None = None


Watch: TypeAlias = Callable[[Moment], None]


@dataclass(slots=True)
class Course:
    """What a run has achieved so far; it is stored with each state.

    Attributes:
        step: Number of optimizer steps taken.
        best: Highest score so far; None before the first evaluation.
        best_step: Step of that score.
        worse: Number of evaluations since then.
        seconds: Time taken so far.
    """

    step: int = 0
    best: float | None = None
    best_step: int = 0
    worse: int = 0
    seconds: float = 0.0


@dataclass(slots=True)
class Loop:
    """Trains a task.

    Attributes:
        task: What to train.
        batches: The order of its examples.
        recipe: Settings.
        device: Device of the task.
        folder: Folder for states and metrics.
        dev: Dev set to evaluate on; None to keep the last step.
        keep: Keeps the present weights as the best ones so far, which have this score on the dev set.
        watch: Called after each step and evaluation.
    """

    task: Task
    batches: Batches
    recipe: Recipe
    device: str
    folder: Path
    dev: Dev | None
    keep: Callable[[Score | None], None]
    watch: Watch | None = None

    def run(self) -> Course:
        """Train from the latest state in the folder, or else from the beginning, to the end.

        Raises:
            TrainingError: If the loss is not a finite number.
            OSError: If a file cannot be written.
            KeyboardInterrupt: If the run was interrupted; its state is saved first.
        """
        recipe, per_epoch = self.recipe, self.batches.per_epoch() / self.recipe.accumulate
        total = recipe.steps or max(1, round(per_epoch * recipe.epochs))
        eval_every = recipe.eval_every or math.ceil(total / EVALUATIONS)
        optimizer = _optimizer(self.task, recipe)
        precision = choose_precision(recipe.precision, self.device)
        scaler = torch.amp.GradScaler(self.device.partition(":")[0], enabled=precision == "float16")
        course = self._resume(optimizer, scaler)
        started = time.perf_counter() - course.seconds
        batches = islice(iter(self.batches), course.step * recipe.accumulate, None)
        with interrupts.postponed() as asked, seeded(recipe.seed):
            done = course.step == total or self._stops_early(course)
            while not done:
                rate = recipe.learning_rate * schedule(course.step, total, recipe)
                rows = [batch for _, batch in islice(batches, recipe.accumulate)]
                loss, norm = self._step(rows, optimizer, scaler, rate, course.step)
                course.step += 1
                course.seconds = time.perf_counter() - started
                where = course.step, total, course.step / per_epoch
                self._tell(Moment(*where, course.seconds, loss, rate, norm if math.isfinite(norm) else None))
                due = course.step == total or course.step % eval_every == 0
                if due:
                    self._evaluate(course, where)
                    course.seconds = time.perf_counter() - started
                stopped = bool(asked)  # once, so that a run which stops here has always saved its state
                if due or stopped:
                    save_state(
                        self.folder, course.step, self.task.module, optimizer, [asdict(course), scaler.state_dict()]
                    )
                done = stopped or course.step == total or self._stops_early(course)
        return course

    def _resume(self, optimizer: torch.optim.Optimizer, scaler: torch.amp.GradScaler) -> Course:
        """Restore the latest state, and forget the metrics of later steps."""
        course, file = Course(), self.folder / METRICS
        if state := latest_state(self.folder):
            rest = load_state(state, self.task.module, optimizer)
            try:
                course = Course(**rest[0])
                scaler.load_state_dict(rest[1])
            except (TypeError, LookupError, RuntimeError) as error:
                raise DamagedError(f"the training state {str(state)!r} is damaged ({error}); delete it") from None
        lines = file.read_bytes().splitlines(keepends=True) if file.exists() else []
        write_bytes(file, *(line for line in lines if _is_of(line, course.step)))
        return course

    def _step(
        self,
        batches: Sequence[Sequence[int]],
        optimizer: torch.optim.Optimizer,
        scaler: torch.amp.GradScaler,
        rate: float,
        step: int,
    ) -> tuple[float, float]:
        """Take one step over some batches; return the mean loss, and the norm of its gradient."""
        module = self.task.module.train()
        torch.manual_seed(int(np.random.SeedSequence((self.recipe.seed, step)).generate_state(1)[0]))
        scaler.scale(torch.zeros((), device=self.device))  # creates the scale
        share = scaler.get_scale() / len(batches)
        try:
            loss = sum(self.task.accumulate(rows, share) for rows in batches) / scaler.get_scale()
        except torch.OutOfMemoryError:
            raise TrainingError(
                f"device {self.device!r} has too little memory for step {step + 1}; lower `batch_size` (and raise "
                "`accumulate`) or `max_tokens`, or use `cache_gradients`"
            ) from None
        scaler.unscale_(optimizer)
        trained = [parameter for parameter in module.parameters() if parameter.grad is not None]
        norm = torch.nn.utils.clip_grad_norm_(trained, self.recipe.clip or math.inf).item()
        if not math.isfinite(loss) or not (math.isfinite(norm) or scaler.is_enabled()):
            what = f"loss became {loss}" if not math.isfinite(loss) else f"gradient's norm became {norm}"
            raise TrainingError(
                f"the {what} at step {step + 1}; lower the `learning_rate`, raise the `warmup`, or use `precision` "
                "'float32'"
            )
        for group in optimizer.param_groups:
            group["lr"] = rate
        if trained:  # no text may have had a masked token
            scaler.step(optimizer)
            scaler.update()
        optimizer.zero_grad()
        return loss, norm

    def _stops_early(self, course: Course) -> bool:
        """Return whether there were as many evaluations without improvement as the recipe permits."""
        return self.recipe.patience is not None and course.worse >= self.recipe.patience

    def _evaluate(self, course: Course, where: tuple[int, int, float]) -> None:
        """Evaluate, and keep the weights if they are the best so far."""
        if self.dev is None:
            return
        self.task.module.eval()
        score = self.dev.evaluate()
        self._tell(Moment(*where, course.seconds, score=score.value, more={**score.more} or None))
        if course.best is None or score.value > course.best:
            course.best, course.best_step, course.worse = score.value, course.step, 0
            self.keep(score)
        else:
            course.worse += 1

    def _tell(self, moment: Moment) -> None:
        known = {name: value for name, value in asdict(moment).items() if value is not None}
        with (self.folder / METRICS).open("a", encoding="utf-8") as file:
            file.write(json.dumps(known) + "\n")
        if self.watch:
            self.watch(moment)


def _is_of(line: bytes, step: int) -> bool:
    """Return whether a line of metrics is of a step up to this one; if the disk was full, the last may be cut off."""
    try:
        return bool(json.loads(line)["step"] <= step)
    except (ValueError, LookupError, TypeError):
        return False


def schedule(step: int, total: int, recipe: Recipe) -> float:
    """Return the learning rate of a step, from 0, as a share of the highest one: a linear rise, then the decay."""
    rise = recipe.warmup * total
    if step < rise:
        return (step + 1) / (rise + 1)
    progress = (step - rise) / max(1.0, total - rise)
    if recipe.decay == "linear":
        return 1 - progress
    return (1 + math.cos(math.pi * progress)) / 2 if recipe.decay == "cosine" else 1.0


def _optimizer(task: Task, recipe: Recipe) -> torch.optim.Optimizer:
    """Create AdamW (Loshchilov and Hutter 2019); biases and layer normalization have no weight decay, as in BERT."""
    trained = [parameter for parameter in task.module.parameters() if parameter.requires_grad]
    groups = [
        {"params": [one for one in trained if one.dim() >= 2], "weight_decay": recipe.weight_decay},
        {"params": [one for one in trained if one.dim() < 2], "weight_decay": 0.0},
    ]
    fused = all(one.device.type in ("cpu", "cuda") for one in trained)
    return torch.optim.AdamW([group for group in groups if group["params"]], lr=recipe.learning_rate, fused=fused)
