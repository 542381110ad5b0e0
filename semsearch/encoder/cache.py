"""Location of the on-disk cache: the user's cache folder, or the one in SEMSEARCH_CACHE."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

from platformdirs import user_cache_path

FOLDER_VARIABLE = "SEMSEARCH_CACHE"
"""Environment variable with the folder, in place of the user's own cache folder."""


class CacheWarning(UserWarning):
    """A cache could not be used; what it would have held is made anew."""


def warn_of_cache(message: str) -> None:
    """A warning each time, and never an error: the work is done without the cache."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", CacheWarning)
        warnings.warn(message, CacheWarning, stacklevel=6)


def cache_folder() -> Path:
    """The environment's, or the user's own; it need not exist."""
    given = os.environ.get(FOLDER_VARIABLE)
    return Path(given).expanduser() if given else user_cache_path("semsearch")
