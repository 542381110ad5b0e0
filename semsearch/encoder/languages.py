"""Whether a tokenizer's vocabulary covers the language of a text.

A tokenizer never refuses a text. Letters that its vocabulary lacks become the unknown token, or bytes; those of a
script that it hardly knows become one token each, as Arabic and Russian do in an English BERT. The vectors of such
tokens say next to nothing. The share of unknown letters tells, whatever the kind of tokenizer.

This module sees only the vocabulary. A model may know the script of a language, but not the language: German is cut
into pieces of several letters by the vocabulary of an English model, and no letter of it counts as unknown.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokenizers import Tokenizer

READ = 200
"""Number of characters that are read from the middle of a longer text."""

UNKNOWN = 0.3
"""Share of unknown letters from which on the language of a text counts as unknown."""

LETTER, CHARACTER, MARK, OTHER = "aw. "
"""Kinds of characters: a letter of an alphabet, one that stands for a word or syllable, a combining mark, any other."""

SINGLE, LACKING = "1?"
"""Kinds of letters after tokenization: the only letter of its token, and one that is not in the vocabulary."""

ROW = re.compile(rf"{SINGLE}(?:\{MARK}*{SINGLE})+")
"""Letters of a word that follow one another with a token each."""

UNKNOWN_TOKENS = ("<unk>", "[UNK]")
"""Names of the unknown token in tokenizers whose model does not tell it."""


class UnknownLanguageWarning(UserWarning):
    """Warning that the encoder does not know the language of a query or a corpus."""


def unknown_shares(tokenizer: Tokenizer, texts: Sequence[str]) -> list[float]:
    """Return the share of the letters of each text that the tokenizer does not know, from 0 to 1.

    A letter is unknown if

    *   its token is the unknown token, or it has no token;
    *   it takes several tokens, which are bytes or parts of a syllable;
    *   it has a token of its own, and so has the letter beside it in the same word. A Chinese character or a Korean
        syllable may have a token of its own, because it may be a word.

    Of a long text, only READ characters from the middle count. A text without letters has the share 1 if all its tokens
    are unknown, as those of an emoji may be, else 0. A tokenizer without a vocabulary knows everything.
    """
    if not has_vocabulary(tokenizer):
        return [0.0] * len(texts)
    unknown = unknown_id(tokenizer)
    return [_unknown_share(tokenizer, text, unknown) for text in texts]


def has_vocabulary(tokenizer: Tokenizer) -> bool:
    """Return whether a tokenizer has a vocabulary, unlike that of an encoder which hashes words or is foreign."""
    return tokenizer.get_vocab_size() > 1


def knows_any(tokenizer: Tokenizer, texts: Iterable[str]) -> bool:
    """Return whether any token of the texts is in the vocabulary, so that their vectors differ from those of others."""
    unknown = unknown_id(tokenizer)
    return unknown is None or any(
        unknown != token for text in texts for token in tokenizer.encode(text, add_special_tokens=False).ids
    )


def unknown_id(tokenizer: Tokenizer) -> int | None:
    """Return the id of the unknown token; None if the tokenizer has no such token, or no other one."""
    if not has_vocabulary(tokenizer):
        return None
    ids = map(tokenizer.token_to_id, (getattr(tokenizer.model, "unk_token", None) or "", *UNKNOWN_TOKENS))
    return next((token for token in ids if token is not None), None)


def _unknown_share(tokenizer: Tokenizer, text: str, unknown: int | None) -> float:
    start = max(0, len(text) - READ) // 2
    text = text[start : start + READ]
    encoding = tokenizer.encode(text, add_special_tokens=False)
    before = [_kind(character) for character in text]
    letters = [kind in (LETTER, CHARACTER) for kind in before]
    after = [LACKING if is_letter else kind for is_letter, kind in zip(letters, before, strict=True)]
    seen: set[int] = set()
    for token, (first, end) in zip(encoding.ids, encoding.offsets, strict=True):
        places = [place for place in range(first, end) if letters[place]]
        alone = len(places) == 1 and before[places[0]] == LETTER
        for place in places:
            after[place] = LACKING if token == unknown or place in seen else SINGLE if alone else before[place]
        seen.update(places)
    n_letters, line = sum(letters), "".join(after)
    if not n_letters:
        return float(bool(encoding.ids) and set(encoding.ids) == {unknown})
    n_unknown = line.count(LACKING) + sum(row.group().count(SINGLE) for row in ROW.finditer(line))
    return n_unknown / n_letters


WORDLIKE = (
    (0x3005, 0x3007),  # Han iteration mark and zero
    (0x3400, 0x9FFF),  # Han
    (0xA000, 0xA48F),  # Yi
    (0xAC00, 0xD7AF),  # Hangul syllables
    (0xF900, 0xFAFF),  # Han
    (0x20000, 0x3FFFF),  # Han
)
"""Ranges of characters each of which stands for a word or a syllable."""


@lru_cache(maxsize=65_536)
def _kind(character: str) -> str:
    category = unicodedata.category(character)[0]
    if category == "M":
        return MARK
    if category != "L":
        return OTHER
    return CHARACTER if any(first <= ord(character) <= last for first, last in WORDLIKE) else LETTER
