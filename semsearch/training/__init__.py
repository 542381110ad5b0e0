"""Training of encoders, classifiers and masked language models on your own data.

    from semsearch.training import Recipe, train

    recipe = Recipe(objective="mnr", data="pairs.jsonl", dev="sts-dev.tsv")
    print(train(recipe, "models/mine").comparison)

Each name below is imported from its module on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from semsearch.training.classifier import Classifier
    from semsearch.training.data import Examples, load_examples
    from semsearch.training.loop import Moment
    from semsearch.training.recipe import Recipe, Scratch
    from semsearch.training.run import Trained, train

_HOMES = {
    "classifier": ("Classifier",),
    "data": ("Examples", "load_examples"),
    "loop": ("Moment",),
    "recipe": ("Recipe", "Scratch"),
    "run": ("Trained", "train"),
}
_MODULES = {name: f"semsearch.training.{module}" for module, names in _HOMES.items() for name in names}

__all__ = ["Classifier", "Examples", "Moment", "Recipe", "Scratch", "Trained", "load_examples", "train"]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'semsearch.training' has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return [*__all__]
