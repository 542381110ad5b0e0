"""What the suites of the frameworks have in common. Nothing leaves this machine."""

from __future__ import annotations

import os

os.environ |= {
    "HAYSTACK_TELEMETRY_ENABLED": "False",
    "LANGSMITH_TRACING": "false",
    "HF_HUB_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
}
