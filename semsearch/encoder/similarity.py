"""The similarity function that an encoder's vectors are ranked by: requested, declared, or meant by a model's name."""

from __future__ import annotations

import re

from semsearch.encoder.checkpoints.record import Checkpoint
from semsearch.errors import ModelError, UsageError
from semsearch.types import AUTO, COSINE, DOT, SIMILARITIES

DOT_NAME = re.compile(r"-dot(-|$)|-tas-b$")
"""Names of checkpoints that were trained for the dot product before checkpoints declared a similarity function."""


def choose_similarity(checkpoint: Checkpoint, name: str = AUTO, transform: str = "") -> tuple[str, str]:
    """Return the similarity function to rank by, and a warning, or an empty string.

    Args:
        checkpoint: Checkpoint of the encoder.
        name: Requested function, or `auto` for the checkpoint's own.
        transform: Fitted transform of the index, whose vectors are unit rows, so that they are ranked by cosine.

    Raises:
        UsageError: If the requested function does not fit the transform.
        ModelError: If the checkpoint declares a function that semsearch does not have.
    """
    declared = checkpoint.similarity
    if name != AUTO:
        if transform and name != COSINE:
            raise UsageError(
                f"`similarity` is {name!r}, but `transform` {transform!r} rescales vectors to unit length, which are "
                "ranked by cosine; omit one of them"
            )
        alike = checkpoint.normalizes and declared in SIMILARITIES  # all of them rank unit vectors in the same order
        if transform or alike or declared in (None, name):
            return name, ""
        return name, f"{checkpoint.name} declares the similarity function {declared!r}, but {name!r} is used"
    if transform:
        return COSINE, ""
    if declared is None:
        if checkpoint.normalizes or not DOT_NAME.search(re.split(r"[/\\]", checkpoint.name)[-1]):
            return COSINE, ""
        return DOT, (
            f"{checkpoint.name} declares no similarity function; using 'dot', as its name says. To rank by another "
            "one, pass `similarity`"
        )
    if declared not in SIMILARITIES:
        raise ModelError(
            f"model {checkpoint.name!r} declares the similarity function {declared!r:.40}, which semsearch does not "
            f"have; to rank by another one, pass `similarity`: {', '.join(SIMILARITIES)}"
        )
    # The dot product of unit vectors is their cosine; as such it has an upper bound.
    return (COSINE if declared == DOT and checkpoint.normalizes else declared), ""
