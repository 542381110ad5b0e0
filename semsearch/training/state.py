"""The state of an unfinished training run on disk, from which it can be resumed to the same result.

<folder>/state-000120/   trained.safetensors, optimizer.safetensors, state.json: everything after 120 steps

A state appears in its folder once it is complete, and an older one is deleted after that. Randomness is not part of it:
the random numbers of a step depend only on the seed and the number of the step.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, load_model, save_file, save_model
from torch import nn

from semsearch.errors import DamagedError
from semsearch.files import replacing
from semsearch.messages import first_line

TRAINED, OPTIMIZER, REST = "trained.safetensors", "optimizer.safetensors", "state.json"

STATES = "state-*[0-9]"


def save_state(folder: Path, step: int, module: nn.Module, optimizer: torch.optim.Optimizer, rest: Any) -> None:
    """Write a state, then delete older ones.

    Args:
        folder: Folder of the run.
        step: Number of optimizer steps taken.
        module: Everything that is trained.
        optimizer: Its optimizer.
        rest: Anything else, as JSON values.

    Raises:
        OSError: If it cannot be written; the older states stay.
    """
    target = folder / f"state-{step:09d}"
    with replacing(target) as new:
        save_model(module, str(new / TRAINED))
        save_file(_flat(optimizer), new / OPTIMIZER)
        (new / REST).write_text(json.dumps(rest), encoding="utf-8")
    for older in folder.glob(STATES):
        if older != target:
            shutil.rmtree(older)


def latest_state(folder: Path) -> Path | None:
    """Return the folder of the latest complete state, or None."""
    return max(folder.glob(STATES), default=None)


def load_state(state: Path, module: nn.Module, optimizer: torch.optim.Optimizer) -> Any:
    """Restore a module and its optimizer in place, and return the rest of the state.

    Raises:
        DamagedError: If the state is damaged, or belongs to another module.
    """
    try:
        load_model(module, str(state / TRAINED), strict=True)
        _restore(optimizer, load_file(state / OPTIMIZER))
        return json.loads((state / REST).read_text(encoding="utf-8"))
    except (OSError, RuntimeError, ValueError, KeyError, SafetensorError) as error:
        raise DamagedError(
            f"the training state {str(state)!r} is damaged ({first_line(error):.200}); train again without it"
        ) from None


def _flat(optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """Return the optimizer's tensors, named by parameter and role."""
    states: Mapping[int, Mapping[str, torch.Tensor]] = optimizer.state_dict()["state"]
    return {f"{place}.{name}": tensor.contiguous() for place, each in states.items() for name, tensor in each.items()}


def _restore(optimizer: torch.optim.Optimizer, tensors: Mapping[str, torch.Tensor]) -> None:
    states: dict[int, dict[str, torch.Tensor]] = {}
    for key, tensor in tensors.items():
        place, name = key.split(".", 1)
        states.setdefault(int(place), {})[name] = tensor
    optimizer.load_state_dict({"state": states, "param_groups": optimizer.state_dict()["param_groups"]})
