"""Environment of the framework tests: telemetry, tracing and downloads are turned off."""

from __future__ import annotations

import os

os.environ |= {
    "HAYSTACK_TELEMETRY_ENABLED": "False",
    "LANGSMITH_TRACING": "false",
    "HF_HUB_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
}
