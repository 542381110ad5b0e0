"""Location of the on-disk cache: the user's cache folder, or the one in SEMSEARCH_CACHE."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

FOLDER_VARIABLE = "SEMSEARCH_CACHE"
"""Environment variable that names a folder to use instead of the user's cache folder."""


class CacheWarning(UserWarning):
    """Warning that the on-disk cache could not be used, so its content has to be computed again."""


def warn_of_cache(message: str) -> None:
    """Warn about a cache problem instead of raising an error: the work continues without the cache."""
    warnings.warn(message, CacheWarning, stacklevel=6)


def cache_folder() -> Path:
    """Return the folder in $SEMSEARCH_CACHE, or else the user's cache folder; it need not exist."""
    given = os.environ.get(FOLDER_VARIABLE)
    if given:
        return Path(given).expanduser()
    from platformdirs import user_cache_path  # imported here, as `warn_of_cache` does not need it

    return user_cache_path("semsearch")
