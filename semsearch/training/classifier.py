"""A trained classifier: the encoder and the head that `semsearch train --objective classify` writes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from semsearch.arrays import Vectors
from semsearch.encoder.checkpoints.json_files import read_json
from semsearch.encoder.encoder import Encoder, Progress
from semsearch.encoder.tensor_files import read_tensors
from semsearch.errors import ModelError
from semsearch.paths import as_path

HEAD = "classifier"
"""Folder of the head, inside that of the checkpoint."""


@dataclass(frozen=True)
class Classifier:
    """Assigns texts to classes; create one with `Classifier.load`.

    Attributes:
        classes: Names of the classes.
        encoder: The encoder, whose vectors are not rescaled.
        weight: Weights of the head, float32 `[classes, dim]`.
        bias: Biases of the head, float32 `[classes]`.
    """

    classes: tuple[str, ...]
    encoder: Encoder
    weight: Vectors
    bias: Vectors

    @classmethod
    def load(cls, folder: str | Path, *, device: str = "auto", runtime: str = "auto") -> Self:
        """Load a classifier.

        Args:
            folder: Folder that `train` wrote for the objective `classify`.
            device: As for `Encoder.load`.
            runtime: As for `Encoder.load`.

        Raises:
            ModelError: If the folder holds no classifier, or is damaged.
        """
        place = as_path(folder, "folder")
        config = read_json(place / HEAD / "config.json")
        if config is None:
            raise ModelError(f"{str(place)!r} holds no classifier; train one with objective 'classify'")
        encoder = Encoder.load(place, normalize=False, device=device, runtime=runtime)
        tensors = read_tensors(place / HEAD / "model.safetensors", str(place))
        classes = config.get("classes")
        n = len(classes) if isinstance(classes, list) else 0
        shapes = {name: tensor.shape for name, tensor in tensors.items()}
        if not n or shapes != {"weight": (n, encoder.spec.dim), "bias": (n,)}:
            raise ModelError(f"the classifier in {str(place)!r} is damaged; train it again")
        return cls(tuple(map(str, config["classes"])), encoder, tensors["weight"], tensors["bias"])

    def probabilities(self, texts: Sequence[str], progress: Progress | None = None) -> Vectors:
        """Return the probability of each class, float32 `[n, classes]`, in the order given."""
        logits = self.encoder.encode_documents(texts, progress) @ self.weight.T + self.bias
        powers = np.exp(logits - logits.max(1, keepdims=True, initial=-np.inf))
        shares: Vectors = powers / powers.sum(1, keepdims=True)
        return shares

    def predict(self, texts: Sequence[str], progress: Progress | None = None) -> list[str]:
        """Return the most probable class of each text."""
        return [self.classes[place] for place in self.probabilities(texts, progress).argmax(1)]
