"""Location of the on-disk cache: the user's cache folder, or the one in SEMSEARCH_CACHE."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

FOLDER_VARIABLE = "SEMSEARCH_CACHE"
"""Environment variable with the folder, in place of the user's own cache folder."""


class CacheWarning(UserWarning):
    """A cache could not be used; what it would have held is made anew."""


def warn_of_cache(message: str) -> None:
    """Warn, and never raise an error: the work is done without the cache."""
    warnings.warn(message, CacheWarning, stacklevel=6)


def cache_folder() -> Path:
    """Return the environment's folder, or the user's own; it need not exist."""
    given = os.environ.get(FOLDER_VARIABLE)
    if given:
        return Path(given).expanduser()
    from platformdirs import user_cache_path  # not needed for the warning's sake

    return user_cache_path("semsearch")
