"""Tests for every kind of checkpoint: the vectors of sentence-transformers, on each runtime, whatever is batched."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from checkpoint_kinds import HIDDEN, KINDS, MAX_TOKENS, TEXTS, Kind, Made, by_hand, llama, page, transformer, wordpiece
from sentence_transformers import SentenceTransformer

from semsearch import Encoder
from semsearch.encoder.runtimes.openvino import OpenVinoRuntime
from semsearch.encoder.tokenization import Batching
from semsearch.errors import ModelError, UnsupportedError
from semsearch.transforms import unit_rows

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings("ignore::semsearch.PoolingWarning"),
]


def expected(kind: Kind, folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return the right vectors of queries and of documents: those of each text alone, as nothing is padded then."""
    if kind.expect:
        vectors = kind.expect(folder, TEXTS)
        return vectors, vectors
    theirs = SentenceTransformer(str(folder), device="cpu")
    finish = np.asarray if theirs.similarity_fn_name == "dot" else unit_rows
    queries, documents = (
        finish(np.stack([encode(text) for text in TEXTS])) for encode in (theirs.encode_query, theirs.encode_document)
    )
    return queries, documents


def odd(name: str, longest: int = MAX_TOKENS, **files: Any) -> Kind:
    """Return a BERT with overridden JSON files that sentence-transformers gets wrong or cannot run."""
    names = {"tokenizer": "tokenizer_config.json", "settings": "sentence_bert_config.json"}
    made = Made("Bert", wordpiece, old=True, files={names[key]: content for key, content in files.items()})
    return Kind(name, "", made, expect=partial(by_hand, longest=longest))


ODD = [
    odd("absolute positions, but padding on the left", tokenizer={"padding_side": "left"}),
    odd("no padding token", tokenizer={"pad_token": None}),
    odd("a length above the position table", 514, settings={"max_seq_length": 600}),
]


@pytest.mark.slow
@pytest.mark.parametrize("kind", [*KINDS, *ODD], ids=lambda kind: kind.name)
def test_vectors_are_those_of_sentence_transformers(kind, tmp_path, monkeypatch):
    folder = tmp_path / "model"
    folder.mkdir()
    kind.build(folder)
    monkeypatch.setattr(OpenVinoRuntime, "batching", Batching(100_000))  # all in one batch, regardless of padding
    queries, documents = expected(kind, folder)
    assert np.ptp(documents, axis=0).max() > 0.01  # the weights tell the texts apart
    for runtime in kind.runtimes:
        ours = Encoder.load(folder, kind.pooler, runtime=runtime, precision="float32", device="cpu")
        np.testing.assert_allclose(ours.encode_documents(TEXTS), documents, rtol=0, atol=1e-4)
        np.testing.assert_allclose(ours.encode_queries(TEXTS), queries, rtol=0, atol=1e-4)
        np.testing.assert_allclose(ours.encode_document(TEXTS[1]), documents[1], rtol=0, atol=1e-4)
    if "openvino" not in kind.runtimes:
        with pytest.raises(UnsupportedError):
            Encoder.load(folder, kind.pooler, runtime="openvino", precision="float32")


def test_the_documents_list_every_kind_and_where_it_runs():
    before, after = page()
    assert before == after, "python tests/checkpoint_kinds.py makes the table anew"


@pytest.mark.parametrize("runtime", ["torch", "openvino"])
@pytest.mark.parametrize(
    ("family", "config"), [("FNet", {}), ("Nystromformer", {}), ("ConvBert", {"embedding_size": HIDDEN})]
)
def test_a_backbone_that_reads_padding_is_refused(family, config, runtime, tmp_path):
    transformer(tmp_path, family, wordpiece(), **config)
    with pytest.raises(ModelError, match=f"of type '{family.lower()}', reads padding, so a vector would depend on"):
        Encoder.load(tmp_path, "mean", runtime=runtime)


def test_a_decoder_that_declares_a_cache_of_keys_is_compiled(tmp_path):
    transformer(tmp_path, "Llama", llama(), num_key_value_heads=2)
    assert json.loads((tmp_path / "config.json").read_text())["use_cache"]
    backbone = transformers.AutoModel.from_pretrained(tmp_path).eval()
    with torch.inference_mode():
        states = [backbone(torch.tensor([llama().encode(text).ids[:512]])).last_hidden_state[0] for text in TEXTS[1:]]
    encoder = Encoder.load(tmp_path, "last", runtime="openvino", precision="float32")
    expected = unit_rows(np.stack([each[-1].numpy() for each in states]))
    np.testing.assert_allclose(encoder.encode_documents(TEXTS[1:]), expected, rtol=0, atol=1e-4)
