"""The torch runtime: the reference on the CPU, and the path to a GPU.

It takes token ids and gives pooled vectors. It knows nothing of text: prefixes, truncation and the order of the
texts are `encode.py`'s business.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any, TypeAlias

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from semsearch.encoder.pooling import Pool, Pooler, TokenStates
from semsearch.encoder.pretrained import Checkpoint, Dense
from semsearch.encoder.tokens import TokenIds
from semsearch.errors import ModelError, UsageError
from semsearch.records import Vectors

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

OWN_HEAD = "pooler."
"""Prefix of the parameters of BERT's own head."""


def choose_device(device: str) -> str:
    """Resolve `auto` to the accelerator at hand, or the CPU.

    Raises:
        UsageError: No such device on this machine.
    """
    if device == "auto":
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(
            f"device {device!r} is not usable here ({str(error).splitlines()[0]}); try --device cpu"
        ) from None
    return device


def choose_precision(precision: str, device: str) -> str:
    """Resolve `auto`: float32 on the CPU, bfloat16 (or float16 on older GPUs) elsewhere."""
    if precision == "auto":
        if device == "cpu":
            return "float32"
        return "bfloat16" if not device.startswith("cuda") or torch.cuda.is_bf16_supported() else "float16"
    if precision not in PRECISIONS:
        raise UsageError(f"unknown precision {precision!r}; known: auto, {', '.join(PRECISIONS)}")
    return precision


Head: TypeAlias = tuple[Pooler, tuple[Dense, ...]]
"""A pooler and the linear layers behind it."""


class TorchRuntime:
    """A backbone and one head or more over the same forward pass, as one function of token ids."""

    def __init__(self, checkpoint: Checkpoint, heads: Sequence[Head], *, device: str, precision: str) -> None:
        """Load the weights.

        Raises:
            ModelError: Weights that the checkpoint lacks would have to be invented.
        """
        self.device = choose_device(device)
        self.precision = choose_precision(precision, self.device)
        self._checkpoint = checkpoint
        self._model, self._own_head = _load_backbone(checkpoint, PRECISIONS[self.precision])
        self._model.to(self.device)
        self._heads: list[tuple[Pool, torch.nn.Sequential]] = []
        self._all_layers = False
        for head in heads:
            self.add(*head)

    @torch.inference_mode()
    def __call__(self, batch: Sequence[TokenIds], skip: int = 0) -> list[Vectors]:
        """Encode token ids to vectors.

        Args:
            batch: Ids with special tokens, already cut to length.
            skip: Number of leading tokens that take no part in pooling (a prefix that is not pooled).

        Returns:
            float32 `[n, dim]` for each head, not rescaled.
        """
        ids, mask = _pad_right(batch)
        ids, mask = ids.to(self.device), mask.to(self.device)
        states = self._states(
            self._model(input_ids=ids, attention_mask=mask, output_hidden_states=self._all_layers), mask, skip
        )
        pooled = [dense(pool(states)) for pool, dense in self._heads]
        return [np.asarray(vectors.float().cpu().numpy(), dtype=np.float32) for vectors in pooled]

    def add(self, pooler: Pooler, dense: tuple[Dense, ...]) -> None:
        """Add a head; its vectors come last.

        Raises:
            ModelError: The checkpoint lacks what it needs, or its linear layers were made for another pooler.
        """
        if pooler.needs_head and not self._own_head:
            raise ModelError(
                f"pooler {pooler.name!r} needs the checkpoint's own head, and {self._checkpoint.name!r} has no weights "
                "for it (they would be random numbers); choose another pooler, such as mean or cls"
            )
        width = self._checkpoint.hidden_size * pooler.width
        layers = [_load_dense(layer, self.device) for layer in dense]
        for layer, linear in zip(dense, layers, strict=True):
            if linear[0].in_features != width:
                raise ModelError(
                    f"the Dense module in {layer.weights.parent} takes vectors of {linear[0].in_features}, and gets "
                    f"{width} from pooler {pooler.name!r}; choose the pooler that it was made for"
                )
            width = layer.out_features
        self._heads.append((pooler.pool, torch.nn.Sequential(*layers)))
        self._all_layers = self._all_layers or pooler.layers != (-1,)

    def _states(self, output: Any, mask: torch.Tensor, skip: int) -> TokenStates:
        """The forward pass's output in float32, so that half precision does not blur the pooling."""
        pooled_mask = mask.clone()
        pooled_mask[:, :skip] = 0
        head = getattr(output, "pooler_output", None)
        return TokenStates(
            last=output.last_hidden_state.float(),
            mask=pooled_mask,
            layers=tuple(layer.float() for layer in output.hidden_states) if self._all_layers else (),
            pooler_output=None if head is None else head.float(),
            skipped=skip,
        )


def _pad_right(batch: Sequence[TokenIds]) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids and mask, int64 `[batch, longest]`; padding on the right, where it moves no position embedding."""
    longest = max(map(len, batch))
    ids = np.zeros((len(batch), longest), dtype=np.int64)
    mask = np.zeros_like(ids)
    for row, tokens in enumerate(batch):
        ids[row, : len(tokens)] = tokens
        mask[row, : len(tokens)] = 1
    return torch.from_numpy(ids), torch.from_numpy(mask)


def _load_backbone(checkpoint: Checkpoint, dtype: torch.dtype) -> tuple[Any, bool]:
    """The transformer in evaluation mode, and whether its own head is among the weights of the file."""
    transformers: Any = import_module("transformers")  # slow to import, and untyped in parts
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    try:
        model, report = transformers.AutoModel.from_pretrained(
            checkpoint.backbone,
            dtype=dtype,
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ModelError(f"model {checkpoint.name!r} cannot be loaded: {reason}") from None
    missing = sorted(report["missing_keys"])
    invented = [key for key in missing if not key.startswith(OWN_HEAD)]
    if invented:
        raise ModelError(
            f"model {checkpoint.name!r} lacks weights that would have to be invented: {', '.join(invented[:3])}"
            f"{f' and {len(invented) - 3} more' if len(invented) > 3 else ''}; the checkpoint is not complete"
        )
    own_head = getattr(model, "pooler", None) is not None and not any(key.startswith(OWN_HEAD) for key in missing)
    return model.eval(), own_head


def _load_dense(layer: Dense, device: str) -> torch.nn.Sequential:
    """A declared linear layer with its activation, float32."""
    try:
        activation = getattr(torch.nn, layer.activation)()
    except (AttributeError, TypeError):
        raise ModelError(f"Dense module in {layer.weights.parent}: unknown activation {layer.activation!r}") from None
    try:
        weights = {name.removeprefix("linear."): tensor.float() for name, tensor in load_file(layer.weights).items()}
        n_out, n_in = weights["weight"].shape
        linear = torch.nn.Linear(n_in, n_out, bias="bias" in weights)
        linear.load_state_dict(weights)
    except (KeyError, RuntimeError, SafetensorError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ModelError(f"Dense module in {layer.weights.parent} cannot be loaded: {reason}") from None
    return torch.nn.Sequential(linear, activation).to(device).eval()
