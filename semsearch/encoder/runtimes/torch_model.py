"""Networks as torch modules, which the torch runtime executes and other runtimes convert."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from inspect import signature
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file

from semsearch import interrupts
from semsearch.encoder.checkpoints.record import OWN_HEAD, Checkpoint, Dense, Head
from semsearch.encoder.pooling import Pooler
from semsearch.encoder.quiet import quiet_transformers
from semsearch.encoder.runtimes.probes import probe_length
from semsearch.encoder.runtimes.torch_checks import check_loaded, reason_of
from semsearch.encoder.token_states import TokenStates
from semsearch.errors import ModelError, UnsupportedError
from semsearch.forks import refuse_fork
from semsearch.messages import first_line, listed

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

PADDING_MOVES = {torch.float32: 1e-3, torch.bfloat16: 0.05, torch.float16: 0.05}
"""Difference, in units of the largest component, that reveals that a network reads padding; rounding is less."""

OUTPUTS = {"use_cache": False, "return_dict": True, "output_hidden_states": False, "output_attentions": False}
"""Settings of what a transformer returns; a cache of keys and values serves only generation."""

PADDED = 140
"""Tokens of the longer text of a probe for padding: enough for networks that divide it into 64 segments."""


class PooledModel(torch.nn.Module):
    """Maps token ids to pooled vectors: one forward pass, one output per head."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        heads: Sequence[Head],
        dtype: torch.dtype = torch.float32,
        backbone: torch.nn.Module | None = None,
    ) -> None:
        """Load the weights; pooling and the layers after it run in float32 whatever the backbone's type.

        Args:
            checkpoint: Checkpoint that holds the weights.
            heads: Poolers and their linear layers.
            dtype: Type of the backbone's weights.
            backbone: What computes the hidden states; None to load the checkpoint's transformer.

        Raises:
            ModelError: If weights are missing or damaged.
            UsageError: If the process was forked from one in which torch runs.
        """
        refuse_fork_of_torch("cpu")
        super().__init__()
        self.backbone: Any = load_backbone(checkpoint, dtype) if backbone is None else backbone
        self.dense = torch.nn.ModuleList(_load_dense(dense) for _, dense in heads)
        self.poolers: list[Pooler] = [pooler for pooler, _ in heads]
        self.all_layers = any(pooler.layers != (-1,) for pooler in self.poolers)
        self.eval()

    def forward(self, ids: torch.Tensor, mask: torch.Tensor, skip: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Encode a batch.

        Args:
            ids: int64 `[n, tokens]`, padded on the right.
            mask: int64 `[n, tokens]`, 1 at real tokens.
            skip: int64 `[]`, the number of leading tokens that take no part in pooling (a prefix that is not pooled).

        Returns:
            float32 `[n, dim]` for each head, not rescaled.
        """
        output = self.backbone(input_ids=ids, attention_mask=mask, output_hidden_states=self.all_layers)
        return self.pool(output, mask, skip)

    def pool(self, output: Any, mask: torch.Tensor, skip: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return each head's vectors for the backbone's output."""
        states = self.states(output, mask, skip)
        return tuple(dense(pooler.pool(states)) for pooler, dense in zip(self.poolers, self.dense, strict=True))

    @torch.inference_mode()
    def refuse_reading_padding(self, name: str) -> None:
        """Reject a backbone under which the vector of a text depends on the padding that its neighbors cause.

        Args:
            name: Name of the model, for the message.

        Raises:
            ModelError: If the hidden states of a short text change next to a long one.
        """
        device, config = self.backbone.device, self.backbone.config
        longest = probe_length(config, PADDED)
        mask = (torch.arange(longest, device=device) < torch.tensor([[longest], [5]], device=device)).long()
        ids = mask * (4 + torch.arange(2 * longest, device=device).reshape(2, -1) % (config.vocab_size - 4))
        try:
            together, alone = (
                self.backbone(input_ids=some, attention_mask=there).last_hidden_state[-1, :5]
                for some, there in ((ids, mask), (ids[1:, :5], mask[1:, :5]))
            )
        except Exception as error:  # whatever the code of a network raises for a setting that it does not expect
            interrupts.reraise(error)
            raise ModelError(
                f"model {name!r} cannot encode texts ({first_line(error):.200}); check its config.json"
            ) from None
        if _differ(together, alone):
            raise ModelError(
                f"the backbone of model {name!r}, of type {config.model_type!r}, reads padding, so a vector would "
                "depend on the other texts in the batch; choose a BERT-like model"
            )

    def states(self, output: Any, mask: torch.Tensor, skip: torch.Tensor) -> TokenStates:
        """Return the input of the poolers, in float32."""
        head = getattr(output, "pooler_output", None)
        return TokenStates(
            last=output.last_hidden_state.float(),
            mask=mask * (torch.arange(mask.shape[1], device=mask.device) >= skip),
            layers=tuple(layer.float() for layer in output.hidden_states) if self.all_layers else (),
            pooler_output=None if head is None else head.float(),
            skipped=skip,
        )

    def third(self, mask: NDArray[np.int64], leading: int) -> NDArray[np.int64]:
        """Return the third input of a probe: `skip`."""
        return np.asarray(leading)


class PairModel(torch.nn.Module):
    """Maps token ids of pairs to the logits of the checkpoint's own classification head."""

    def __init__(self, checkpoint: Checkpoint, types: bool, dtype: torch.dtype = torch.float32) -> None:
        """Load the weights.

        Args:
            checkpoint: Checkpoint with a classification head.
            types: Whether to pass segment ids to the model, provided that it has embeddings for them.
            dtype: Type of the weights.

        Raises:
            ModelError: If weights are missing or damaged.
            UsageError: If the process was forked from one in which torch runs.
        """
        refuse_fork_of_torch("cpu")
        super().__init__()
        self.backbone = load_backbone(checkpoint, dtype, "AutoModelForSequenceClassification")
        takes = signature(self.backbone.forward).parameters
        types_known = getattr(self.backbone.config, "type_vocab_size", 0) or 0
        self.reads_types = types and types_known > 1 and "token_type_ids" in takes
        self.eval()

    def forward(self, ids: torch.Tensor, mask: torch.Tensor, types: torch.Tensor) -> tuple[torch.Tensor]:
        """Score a batch of pairs.

        Args:
            ids: int64 `[n, tokens]`, padded on the right.
            mask: int64 `[n, tokens]`, 1 at real tokens.
            types: int64 `[n, tokens]`, the segment of each token.

        Returns:
            Logits, float32 `[n, labels]`.
        """
        told = {"token_type_ids": types} if self.reads_types else {}
        return (self.backbone(input_ids=ids, attention_mask=mask, **told).logits.float(),)

    def third(self, mask: NDArray[np.int64], leading: int) -> NDArray[np.int64]:
        """Return the third input of a probe: types, with a first segment of `leading + 2` tokens."""
        return np.where(np.arange(mask.shape[1]) < leading + 2, 0, mask)

    @torch.inference_mode()
    def refuse_reading_padding(self, name: str) -> None:
        """Reject a head whose logits change with padding, such as one over the last position; see `PooledModel`."""
        mask = torch.tensor([[1] * 5 + [0] * 4, [1] * 9], device=self.backbone.device)
        ids = (mask * torch.arange(10, 28, device=mask.device).reshape(2, 9)) % self.backbone.config.vocab_size
        try:
            (padded,), (alone,) = self(ids, mask, 0 * mask), self(ids[:1, :5], mask[:1, :5], 0 * mask[:1, :5])
        except (RuntimeError, TypeError, ValueError) as error:
            raise ModelError(f"model {name!r} cannot score pairs in batches ({first_line(error):.200})") from None
        if _differ(padded[0], alone[0]):
            raise ModelError(
                f"the classification head of model {name!r} reads padding, so a score would depend on the other texts "
                "in the batch; choose a BERT-like cross-encoder"
            )


def load_backbone(checkpoint: Checkpoint, dtype: torch.dtype, auto: str = "") -> Any:
    """Load the transformer, with its own head if the file has weights for it.

    Args:
        checkpoint: Checkpoint that holds the weights.
        dtype: Type of the weights.
        auto: Name of the transformers class that loads it with a head, for which the file must have every weight; by
            default, the class that loads the backbone.

    Raises:
        ModelError: If weights are missing or damaged.
    """
    model, missing = read_transformer(checkpoint, dtype, auto or checkpoint.loader)
    refuse_invented(checkpoint, [key for key in missing if auto or not key.startswith(OWN_HEAD)])
    for name, value in OUTPUTS.items():
        if getattr(model.config, name, value) != value:
            setattr(model.config, name, value)
    return model


def count_parameters(model: torch.nn.Module) -> int:
    """Return the number of parameters of a model."""
    return sum(parameters.numel() for parameters in model.parameters())


def read_transformer(checkpoint: Checkpoint, dtype: torch.dtype, auto: str, kind: str = "") -> tuple[Any, list[str]]:
    """Load a model with transformers, from safetensors only and without running code of the checkpoint.

    Args:
        checkpoint: Checkpoint that holds the weights.
        dtype: Type of the weights.
        auto: Name of the transformers class that loads it.
        kind: What the checkpoint is loaded as, such as ` as a masked language model`, for the message.

    Returns:
        The model, and the names of weights that the checkpoint lacks, which are random.

    Raises:
        ModelError: If the weights are damaged, or the class does not load such a checkpoint.
    """
    if checkpoint.onnx:
        raise UnsupportedError(
            f"model {checkpoint.name!r} has only an ONNX export, {checkpoint.onnx.name}, which runs on openvino alone; "
            "torch needs model.safetensors"
        )
    transformers: Any = import_module("transformers")  # slow to import, and untyped in parts
    try:
        with quiet_transformers():
            model, report = getattr(transformers, auto).from_pretrained(
                checkpoint.backbone,
                dtype=dtype,
                local_files_only=True,
                use_safetensors=True,
                trust_remote_code=False,
                output_loading_info=True,
            )
    except Exception as error:  # what a config.json of someone else says may raise anything
        interrupts.reraise(error)
        reason = reason_of(error, checkpoint, getattr(transformers, auto), transformers.AutoConfig)
        raise ModelError(f"model {checkpoint.name!r} cannot be loaded{kind}: {reason}") from None
    check_loaded(checkpoint, model, report["unexpected_keys"])
    return model, sorted(report["missing_keys"])


def refuse_invented(checkpoint: Checkpoint, names: Sequence[str]) -> None:
    """Raise ModelError if weights that the checkpoint should have are missing."""
    if names:
        raise ModelError(
            f"model {checkpoint.name!r} is missing weights (they would be random): {listed([*names])}; the checkpoint "
            "is incomplete"
        )


def _differ(padded: torch.Tensor, alone: torch.Tensor) -> bool:
    """Return whether padding changes what a network computes."""
    return bool((padded - alone).abs().max() > PADDING_MOVES[alone.dtype] * padded.abs().max())


def refuse_fork_of_torch(device: str) -> None:
    """Record that torch's threads run in this process; on the CPU with one thread, torch starts none.

    Raises:
        UsageError: If torch's threads run in the process that this one was forked from.
    """
    if device != "cpu" or torch.get_num_threads() > 1:
        refuse_fork("torch")


def _load_dense(layers: Sequence[Dense]) -> torch.nn.Sequential:
    """Load declared linear layers with their activations, in float32."""
    modules: list[torch.nn.Module] = []
    for layer in layers:
        where = layer.weights.parent
        try:
            activation = getattr(torch.nn, layer.activation)()
            fits = not activation.state_dict() and activation(torch.zeros(1, layer.out_features)).shape[1:] == (
                layer.out_features,
            )
        except Exception as error:  # torch.nn has classes of every kind
            interrupts.reraise(error)
            fits = False
        if not fits:
            raise ModelError(
                f"Dense module in {where}: the activation {layer.activation!r} is not a class of torch.nn that has no "
                "weights and keeps the length of a vector, such as Tanh"
            )
        try:
            tensors = load_file(layer.weights).items()
            weights = {name.removeprefix("linear."): tensor.float() for name, tensor in tensors}
            n_out, n_in = weights["weight"].shape
            linear = torch.nn.Linear(n_in, n_out, bias="bias" in weights)
            linear.load_state_dict(weights)
        except (KeyError, RuntimeError, SafetensorError) as error:
            raise ModelError(f"Dense module in {where} cannot be loaded: {first_line(error)}") from None
        modules += [linear, activation]
    return torch.nn.Sequential(*modules)
