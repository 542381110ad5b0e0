"""The training loop: the same run again, resumed runs, the best checkpoint, early stopping, and a loss that breaks."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command import call
from making import pairs, recipe
from safetensors.torch import load_file

from semsearch.errors import DamagedError, LockedError, TrainingError, UsageError
from semsearch.training import Moment, Recipe, train
from semsearch.training import loop as module
from semsearch.training.dev import Score
from semsearch.training.loop import schedule
from semsearch.training.randomness import seeded
from semsearch.training.state import latest_state
from semsearch.training.tasks import VectorTask

pytestmark = pytest.mark.usefixtures("one_thread")


def weights(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()


def metrics(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text("utf-8").splitlines()]


def without_times(folder: Path) -> list[dict[str, Any]]:
    return [{name: value for name, value in line.items() if name != "seconds"} for line in metrics(folder)]


# --- the schedule


def test_the_learning_rate_rises_and_falls():
    values = {"objective": "mnr", "data": "x", "warmup": 0.25}
    linear = [schedule(step, 8, Recipe(**values)) for step in range(8)]
    assert linear == pytest.approx([1 / 3, 2 / 3, 1, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6])
    cosine = [schedule(step, 8, Recipe(**values, decay="cosine")) for step in (2, 5)]
    assert cosine == pytest.approx([1, 0.5])
    assert schedule(7, 8, Recipe(**values, decay="none")) == 1


# --- the same run again


def test_the_same_seed_gives_the_same_checkpoint(tmp_path):
    torch.manual_seed(1)
    one = train(recipe(tmp_path), tmp_path / "one").folder
    state = torch.get_rng_state()
    torch.manual_seed(2)
    two = train(recipe(tmp_path), tmp_path / "two").folder
    other = train(recipe(tmp_path, seed=1), tmp_path / "other").folder
    assert weights(one) == weights(two) != weights(other)
    assert without_times(one) == without_times(two)
    torch.manual_seed(2)
    assert torch.equal(torch.get_rng_state(), state) is False
    expected = torch.rand(1)
    torch.manual_seed(2)
    train(recipe(tmp_path), tmp_path / "three")
    assert torch.equal(torch.rand(1), expected), "the caller's random numbers are not consumed"


def test_new_adapters_consume_no_random_numbers_of_the_caller(tmp_path):
    one = recipe(tmp_path, lora=2, dev=pairs(tmp_path))
    torch.manual_seed(2)
    expected = torch.rand(1)
    torch.manual_seed(2)
    train(one, tmp_path / "out")
    assert torch.equal(torch.rand(1), expected)


def test_the_state_of_every_device_is_restored_without_a_warning(monkeypatch):
    forked: list[list[int]] = []
    fork = torch.random.fork_rng

    def noted(devices: Any = None) -> Any:
        forked.append([*devices])
        return fork([])

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.random, "fork_rng", noted)
    torch.manual_seed(2)
    expected = torch.rand(1)
    torch.manual_seed(2)
    with seeded(7):
        assert torch.initial_seed() == 7
        torch.rand(3)
    assert torch.equal(torch.rand(1), expected)
    assert forked == [[0, 1]]


class Stop(Exception):
    pass


@pytest.mark.parametrize("objective", ["simcse-unsup", "softmax", "mlm"])
@pytest.mark.parametrize("stopped_at", [1, 2, 5])
def test_a_run_that_fails_is_resumed_to_the_same_checkpoint(tmp_path, objective, stopped_at):
    settings = {"steps": 6, "accumulate": 2, "batch_size": 5}
    calm = train(recipe(tmp_path, objective, **settings), tmp_path / "calm").folder

    def stop(moment: Moment) -> None:
        if moment.step == stopped_at:
            raise Stop

    with pytest.raises(Stop):
        train(recipe(tmp_path, objective, **settings), tmp_path / "again", watch=stop)
    unfinished = tmp_path / "again.unfinished"
    assert unfinished.exists() == (stopped_at > 2), "without a state there is nothing to resume"
    again = train(recipe(tmp_path, objective, **settings), tmp_path / "again", resume=unfinished.exists()).folder
    assert weights(again) == weights(calm)
    assert without_times(again) == without_times(calm)
    assert not unfinished.exists()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
@pytest.mark.skipif(sys.platform == "win32", reason="signals as POSIX has them")
def test_a_killed_or_interrupted_command_is_resumed_to_the_same_checkpoint(tmp_path, number):
    one = recipe(tmp_path, steps=40, dev=pairs(tmp_path))
    calm = train(one, tmp_path / "calm").folder
    command = [sys.executable, "-m", "semsearch", "train", "--out", str(tmp_path / "out"), "--objective", "regression"]
    command += ["--data", str(one.data), "--model", str(one.model), "--pooler", "mean", "--steps", "40"]
    command += ["--batch-size", "8", "--eval-every", "2", "--device", "cpu", "--dev", str(one.dev)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, env={**os.environ, "OMP_NUM_THREADS": "1"}, text=True)
    deadline = time.monotonic() + 60
    while latest_state(tmp_path / "out.unfinished") is None:
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.005)
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert not (tmp_path / "out").exists()
    assert (process.returncode, "Traceback" in said) == (-number, False)
    if number != signal.SIGKILL:
        assert "error: stopped; its state is kept" in said
    done = int(latest_state(tmp_path / "out.unfinished").name[-9:])
    if number != signal.SIGKILL:
        assert done == metrics(tmp_path / "out.unfinished")[-1]["step"], "the state is that of the last step"
    found = train(one, tmp_path / "out", resume=True).folder
    assert weights(found) == weights(calm)
    assert without_times(found) == without_times(calm)


# --- the best checkpoint


class ScriptedDev:
    """A dev set whose scores are given."""

    def __init__(self, *scores: float) -> None:
        self.scores = list(scores)
        self.name, self.note = "scripted", ""

    def evaluate(self) -> Score:
        return Score(value := self.scores.pop(0), {"x": np.array([value])}, {"half": value / 2})

    def compare(self, scores: Any) -> Any:
        return None


def scripted(monkeypatch: pytest.MonkeyPatch, *scores: float) -> None:
    monkeypatch.setattr("semsearch.training.encoders.encoder_dev", lambda *_: ScriptedDev(*scores))


def test_the_best_checkpoint_is_kept(tmp_path, monkeypatch):
    scripted(monkeypatch, 0.1, 0.5, 0.9, 0.7, 0.8)
    found = train(recipe(tmp_path, steps=8, dev="scripted"), tmp_path / "out")
    assert (found.steps, found.best_step) == (8, 4)
    half = train(recipe(tmp_path, steps=8), tmp_path / "half", watch=None)
    assert weights(half.folder) != weights(found.folder)
    scores = [(line["step"], line["score"], line["more"]) for line in metrics(found.folder) if "score" in line]
    assert scores == [
        (2, 0.5, {"half": 0.25}),
        (4, 0.9, {"half": 0.45}),
        (6, 0.7, {"half": 0.35}),
        (8, 0.8, {"half": 0.4}),
    ]
    scripted(monkeypatch, 0.1, 0.5, 0.9)
    monkeypatch.setattr(module, "schedule", lambda step, total, recipe: schedule(step, 8, recipe))
    four = train(recipe(tmp_path, steps=4, dev="scripted"), tmp_path / "four")
    assert weights(four.folder) == weights(found.folder), "that of step 4"


def test_a_run_without_improvement_stops_early(tmp_path, monkeypatch):
    scripted(monkeypatch, 0.1, 0.5, 0.4, 0.3, 0.9)
    found = train(recipe(tmp_path, steps=8, dev="scripted", patience=2), tmp_path / "out")
    assert (found.steps, found.best_step) == (6, 2)


def test_patience_counts_on_after_an_interruption(tmp_path, monkeypatch):
    scripted(monkeypatch, 0.1, 0.5, 0.4, 0.3, 0.9)
    one = recipe(tmp_path, steps=8, dev="scripted", patience=2)

    def stop(moment: Moment) -> None:
        if moment.step == 5:
            raise Stop

    with pytest.raises(Stop):
        train(one, tmp_path / "out", watch=stop)
    scripted(monkeypatch, 0.3, 0.9)
    assert train(one, tmp_path / "out", resume=True).steps == 6


def test_a_run_that_stopped_early_is_only_finished_when_it_is_resumed(tmp_path, monkeypatch):
    scripted(monkeypatch, 0.1, 0.5, 0.4, 0.3)
    one = recipe(tmp_path, steps=8, dev="scripted", patience=2)
    with monkeypatch.context() as patch:
        patch.setattr("semsearch.training.run._finish", lambda *_: (_ for _ in ()).throw(Stop))
        with pytest.raises(Stop):
            train(one, tmp_path / "out")
    found = train(one, tmp_path / "out", resume=True)
    assert (found.steps, found.best_step) == (6, 2)


# --- what goes wrong


def test_a_loss_that_is_not_a_number_stops_the_run_and_keeps_the_best(tmp_path, monkeypatch):
    accumulate, calls = VectorTask.accumulate, []

    def broken(self: VectorTask, rows: Any, share: float) -> float:
        calls.append(rows)
        return float("nan") if len(calls) == 6 else accumulate(self, rows, share)

    monkeypatch.setattr(VectorTask, "accumulate", broken)
    with pytest.raises(TrainingError) as caught:
        train(recipe(tmp_path, steps=8, dev=pairs(tmp_path)), tmp_path / "out")
    said = str(caught.value)
    assert "the loss became nan at step 6" in said
    assert "the state after step 4 is kept" in said
    best = tmp_path / "out.unfinished" / "best"
    assert f"the best checkpoint so far is {str(best)!r}" in said
    assert all(torch.isfinite(tensor).all() for tensor in load_file(best / "model.safetensors").values())


def test_a_learning_rate_that_explodes_is_reported_with_its_step(tmp_path):
    one = recipe(tmp_path, "triplet", steps=50, learning_rate=10.0, warmup=0.0, decay="none", clip=0.0)
    out = call(
        "train",
        "--objective",
        "triplet",
        "--data",
        str(one.data),
        "--model",
        str(one.model),
        "--pooler",
        "mean",
        "--out",
        str(tmp_path / "out"),
        "--steps",
        "200",
        "--learning-rate",
        "10",
        "--warmup",
        "0",
        "--clip",
        "0",
    )
    if out.code:  # a tiny model may survive even that
        out.fails(1, "at step", "lower the --learning-rate")


def test_a_full_disk_is_one_line_and_the_run_can_be_resumed(tmp_path, monkeypatch):
    calm = train(recipe(tmp_path), tmp_path / "calm").folder
    save = module.save_state

    def full(folder: Path, step: int, *rest: Any) -> None:
        if step > 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        save(folder, step, *rest)

    monkeypatch.setattr(module, "save_state", full)
    with pytest.raises(TrainingError, match=r"No space left on device.*`resume`; the state after step 2 is kept"):
        train(recipe(tmp_path), tmp_path / "out")
    monkeypatch.undo()
    assert weights(train(recipe(tmp_path), tmp_path / "out", resume=True).folder) == weights(calm)


def test_an_interrupt_at_any_moment_of_a_step_keeps_its_state(tmp_path):
    calm = train(recipe(tmp_path), tmp_path / "calm").folder

    def interrupt(moment: Moment) -> None:
        if moment.step == 3:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train(recipe(tmp_path, eval_every=100), tmp_path / "out", watch=interrupt)
    assert latest_state(tmp_path / "out.unfinished").name == "state-000000003"
    assert weights(train(recipe(tmp_path, eval_every=100), tmp_path / "out", resume=True).folder) == weights(calm)


def test_metrics_that_a_full_disk_cut_off_are_forgotten(tmp_path, unfinished):
    calm = train(recipe(tmp_path), tmp_path / "calm").folder
    with (unfinished / "metrics.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"step": 3, "lo')
    again = train(recipe(tmp_path), tmp_path / "out", resume=True).folder
    assert without_times(again) == without_times(calm)


def test_too_little_memory_is_one_line(tmp_path, monkeypatch):
    def full(self: VectorTask, rows: Any, share: float) -> float:
        raise torch.OutOfMemoryError("tried to allocate 20 GiB")

    monkeypatch.setattr(VectorTask, "accumulate", full)
    with pytest.raises(TrainingError, match="has too little memory for step 1; lower `batch_size`"):
        train(recipe(tmp_path), tmp_path / "out")


def test_a_precision_that_resolves_to_float16_scales_the_gradient(tmp_path, monkeypatch):
    shares: list[float] = []
    accumulate = VectorTask.accumulate

    def noted(self: VectorTask, rows: Any, share: float) -> float:
        shares.append(share)
        return accumulate(self, rows, share)

    monkeypatch.setattr(VectorTask, "accumulate", noted)
    for name in ("encoders", "loop"):
        monkeypatch.setattr(f"semsearch.training.{name}.choose_precision", lambda *_: "float16")
    train(recipe(tmp_path, steps=1), tmp_path / "out")
    assert shares == [65536.0], "the scale that GradScaler starts with"


def test_a_step_without_a_masked_token_changes_nothing(tmp_path):
    found = train(recipe(tmp_path, "mlm", steps=1, mask=1e-9, precision="float16"), tmp_path / "out")
    assert metrics(found.folder)[0]["loss"] == 0


@pytest.fixture
def unfinished(tmp_path: Path) -> Path:
    def stop(moment: Moment) -> None:
        if moment.step == 3:
            raise Stop

    with pytest.raises(Stop):
        train(recipe(tmp_path), tmp_path / "out", watch=stop)
    return tmp_path / "out.unfinished"


def test_an_unfinished_run_is_neither_overwritten_nor_mixed_with_another(tmp_path, unfinished):
    with pytest.raises(UsageError, match=r"out\.unfinished' holds an unfinished run; continue it with `resume`"):
        train(recipe(tmp_path), tmp_path / "out")
    with pytest.raises(UsageError, match=r"has other settings \(`epochs`, `seed`\)"):
        train(recipe(tmp_path, seed=3, epochs=2.0), tmp_path / "out", resume=True)
    data = Path(recipe(tmp_path).data)
    data.write_text(data.read_text("utf-8").replace("heron", "stork"), encoding="utf-8")
    one = Recipe.from_json(json.loads((unfinished / "recipe.json").read_text("utf-8"))["recipe"])
    with pytest.raises(UsageError, match="the examples, the model or the dev set have changed"):
        train(one, tmp_path / "out", resume=True)


def test_a_damaged_state_is_refused(tmp_path, unfinished):
    state = latest_state(unfinished)
    file = state / "optimizer.safetensors"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(DamagedError, match="the training state"):
        train(recipe(tmp_path), tmp_path / "out", resume=True)
    (unfinished / "recipe.json").write_text("{", encoding="utf-8")
    with pytest.raises(DamagedError, match=r"recipe\.json' is damaged"):
        train(recipe(tmp_path), tmp_path / "out", resume=True)


def test_a_dev_set_that_has_changed_is_refused(tmp_path):
    def stop(moment: Moment) -> None:
        if moment.step == 3:
            raise Stop

    one = recipe(tmp_path, dev=pairs(tmp_path))
    with pytest.raises(Stop):
        train(one, tmp_path / "out", watch=stop)
    before = tmp_path / "out.unfinished" / "before.json"
    score, scored = before.read_bytes(), Path(one.dev).read_bytes()
    before.write_text("{", encoding="utf-8")
    with pytest.raises(DamagedError, match=r"before\.json' is damaged"):
        train(one, tmp_path / "out", resume=True)
    before.write_bytes(score)
    Path(one.dev).write_bytes(scored[: scored.rstrip().rindex(b"\n") + 1])
    with pytest.raises(UsageError, match="the examples, the model or the dev set have changed"):
        train(one, tmp_path / "out", resume=True)
    Path(one.dev).write_bytes(scored)
    assert train(one, tmp_path / "out", resume=True).comparison is not None


@pytest.mark.parametrize("rest", ["[]", '[{"nonsense": 1}, {}]', "{}", "[{}]"])
def test_a_state_of_another_form_is_refused(tmp_path, unfinished, rest):
    (latest_state(unfinished) / "state.json").write_text(rest, encoding="utf-8")
    with pytest.raises(DamagedError, match="the training state"):
        train(recipe(tmp_path), tmp_path / "out", resume=True)


def test_nothing_to_resume_and_a_folder_that_exists_are_refused(tmp_path):
    with pytest.raises(UsageError, match=r"there is no run to continue in .*; to begin one, omit `resume`"):
        train(recipe(tmp_path), tmp_path / "out", resume=True)
    (tmp_path / "out.unfinished").mkdir()
    with pytest.raises(UsageError, match=r"there is no run to continue in .*; delete it, and omit `resume`"):
        train(recipe(tmp_path), tmp_path / "out", resume=True)
    (tmp_path / "out.unfinished").rmdir()
    for out in (".", "/", ""):
        with pytest.raises(UsageError, match="exists; choose another folder"):
            train(recipe(tmp_path), out)
    (tmp_path / "out").mkdir()
    with pytest.raises(UsageError, match="out' exists; choose another folder"):
        train(recipe(tmp_path), tmp_path / "out")


def test_two_runs_into_the_same_folder_are_refused(tmp_path, unfinished):
    from filelock import FileLock

    with FileLock(unfinished / "lock"), pytest.raises(LockedError, match="another process is training"):
        train(recipe(tmp_path), tmp_path / "out", resume=True)


def test_a_run_that_begins_at_the_same_time_as_another_leaves_its_folder_alone(tmp_path, monkeypatch):
    from filelock import FileLock

    folder = tmp_path / "out.unfinished"
    lock = FileLock(folder / "lock")

    def made_by_another(place: Path) -> None:
        place.mkdir()
        lock.acquire()

    monkeypatch.setattr("semsearch.training.run.make_folder", made_by_another)
    with pytest.raises(LockedError, match="another process is training"):
        train(recipe(tmp_path), tmp_path / "out")
    assert folder.is_dir()
    lock.release()
