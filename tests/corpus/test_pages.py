"""Test HTML, and HTML in Markdown: encodings as defined by the WHATWG, word boundaries, and the main part of a page."""

from __future__ import annotations

import codecs
import subprocess
import sys
import time

import pytest

from semsearch.corpus.formats.html import from_html
from semsearch.corpus.formats.markdown import from_markdown
from semsearch.corpus.readers import read_corpus
from semsearch.errors import RecordError

# --- encodings: byte E4 is ä in windows-1252 and д in windows-1251; the expected values follow the HTML standard

DECLARED = {
    "meta": (b"<meta charset=windows-1251>", "д"),
    "case and white space": (b"<META\tCHARSET = ' WINDOWS-1251\n'>", "д"),
    "a slash": (b"<meta/charset='cp1251'/>", "д"),
    "pragma": (b'<meta http-equiv="Content-Type" content="text/html; charset=windows-1251">', "д"),
    "pragma, other order": (b"<meta content='a charset charset = \"cp1251\"' http-equiv=content-type>", "д"),
    "a comment": (b"<!-- <meta charset=windows-1251> --><meta charset=latin1>", "ä"),
    "an empty comment": (b"<!--><meta charset=windows-1251>", "д"),
    "a description": (b'<meta name="description" content="set charset=cp1251"><meta charset=latin1>', "ä"),
    "another pragma": (b"<meta http-equiv=refresh content='charset=cp1251'><meta charset=latin1>", "ä"),
    "an attribute of another element": (b"<p title='<meta charset=cp1251>'><meta charset=latin1>", "ä"),
    "another attribute": (b"<meta data-charset=cp1251 title=charset=cp1251><meta charset=latin1>", "ä"),
    "the first counts": (b"<meta charset=cp1251><meta charset=latin1>", "д"),
    "unknown labels do not": (b"<meta charset=x-unknown><meta charset=hex><meta charset=cp1251>", "д"),
    "XML": (b"<?xml version='1.0' encoding='windows-1251'?><html>", "д"),
    "XML without meta": (b'<?xml version="1.0" encoding="ISO-8859-1" ?>\n<!DOCTYPE html><html><head></head>', "ä"),
    "meta before XML": (b'<?xml version="1.0" encoding="windows-1251"?><meta charset=latin1>', "ä"),
    "at byte 1,000": (b" " * 970 + b"<meta charset=cp1251>", "д"),
    "x-user-defined": (b"<meta charset=x-user-defined>", "ä"),
}


@pytest.mark.parametrize(("start", "letter"), DECLARED.values(), ids=DECLARED)
def test_only_a_declaration_declares_an_encoding(start, letter):
    assert from_html(start + b"<body>\xe4").text == letter


@pytest.mark.parametrize("start", [b"", b" " * 1024 + b"<meta charset=cp1251>", b"<meta charset=utf-16>"])
def test_what_declares_nothing_or_too_late_is_utf8(start):
    assert from_html(start + "<p>ä".encode()).text == "ä"
    with pytest.raises(UnicodeDecodeError):
        from_html(start + b"<p>\xe4")


# Labels from the Encoding Standard, each with the Python codec that agrees with its index.
LABELS = {
    **{"gb2312": "gb18030", "gbk": "gb18030", "GB_2312-80": "gb18030", "chinese": "gb18030"},
    **{"shift_jis": "cp932", "x-sjis": "cp932", "windows-31j": "cp932", "euc-jp": "euc_jp"},
    **{"euc-kr": "cp949", "ks_c_5601-1987": "cp949", "big5": "big5hkscs", "iso-2022-jp": "iso2022_jp"},
    **{"iso-8859-1": "cp1252", "ascii": "cp1252", "latin1": "cp1252", "iso-8859-9": "cp1254", "latin5": "cp1254"},
    **{"iso-8859-15": "iso8859-15", "tis-620": "cp874", "iso-8859-11": "cp874", "koi8-r": "koi8-r", "koi": "koi8-r"},
    **{"macintosh": "mac-roman", "x-mac-cyrillic": "mac-cyrillic", "iso-8859-8-i": "iso8859-8", "utf8": "utf-8"},
}  # fmt: skip
LETTERS = {
    **{"cp932": "①髙～", "cp949": "똠햏", "gb18030": "镕喆€", "big5hkscs": "裏", "euc_jp": "漢字", "iso2022_jp": "漢"},
    **{"cp1252": "€“", "cp1254": "ğ€", "cp874": "ไทย€", "koi8-r": "ждё", "mac-cyrillic": "Жд", "iso8859-8": "שלום"},
    **{"iso8859-15": "€é", "mac-roman": "é√", "utf-8": "é"},
}  # fmt: skip


@pytest.mark.parametrize("label", LABELS)
def test_labels_are_those_of_the_encoding_standard(label):
    codec = LABELS[label]
    text = LETTERS[codec]
    page = f"<meta charset='{label}'><p>".encode() + text.encode(codec)
    assert from_html(page).text == text


def test_gb2312_is_what_browsers_take_it_for():
    page = b"<html><head><meta charset=gb2312><title>\xc8\xcb\xce\xef</title></head><body><p>\xd6\xec\xe9F\xbb\xf9"
    plain = from_html(page)
    assert (plain.title, plain.text) == ("人物", "朱镕基")


def test_bytes_that_windows_leaves_open_are_controls_as_in_browsers():
    assert from_html(b"<meta charset=latin1><p>a\x81b\x9d\x80").text == "a\x81b\x9d€"
    with pytest.raises(UnicodeDecodeError):
        from_html(b"<meta charset=windows-1253><p>\xaa")


@pytest.mark.parametrize(
    ("page", "reason"),
    [
        (b"<meta charset=x-unknown><p>\xe4", 'unknown character set "x-unknown", and not UTF-8; convert it to UTF-8'),
        (b"<meta charset=iso-2022-kr>", 'browsers reject the character set "iso-2022-kr" as unsafe'),
        (b"<meta charset=hz-gb-2312>", "convert the file to UTF-8"),
        (b"a\0b", "a NUL character in the text"),
    ],
)
def test_what_cannot_be_decoded(page, reason):
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        from_html(page)
    assert reason in str(caught.value)


UTF16 = {
    "a.txt": ("ä€\nb", ["ä€\nb"]),
    "a.md": ("# ä\n\nb", ["ä\n\nb"]),
    "a.html": ("<meta charset=latin1><p>ä€", ["ä€"]),
    "a.csv": ('id,text\r\n1,"ä\r\nb"\r\n2,\u0a0aa\n', ["ä\r\nb", "\u0a0aa"]),
    "a.tsv": ("id\ttext\n1\tä\n2\tb\n", ["ä", "b"]),
    "a.jsonl": ('{"id": 1, "text": "ä\u010a\U0001f600"}\n\n{"id": 2, "text": "b"}', ["ä\u010a\U0001f600", "b"]),
}


@pytest.mark.parametrize("mark", [codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE])
@pytest.mark.parametrize("name", UTF16)
def test_utf16_with_a_byte_order_mark_is_read_in_every_format(tmp_path, name, mark):
    content, texts = UTF16[name]
    path = tmp_path / name
    path.write_bytes(mark + content.encode("utf-16-le" if mark == codecs.BOM_UTF16_LE else "utf-16-be"))
    assert [record.text for record in read_corpus(path)] == texts


def test_utf16_line_by_line_through_many_blocks_and_where_it_breaks_off(tmp_path):
    path = tmp_path / "c.jsonl"
    lines = "".join(f'{{"id": {n}, "text": "{"ä" * 300}"}}\n' for n in range(500))
    path.write_bytes(lines.encode("utf-16") + b"\x00\xd8")
    *documents, error = read_corpus(path)
    assert [(document.doc_id, document.text) for document in documents] == [(str(n), "ä" * 300) for n in range(500)]
    assert isinstance(error, RecordError)
    assert (error.line, error.reason[:16]) == (501, "not valid utf-16")


def test_utf16_of_xml_needs_no_mark():
    for encoding in ("utf-16-le", "utf-16-be"):
        assert from_html("<?xml version='1.0'?><p>ä".encode(encoding)).text == "ä"


# --- word boundaries

APART = {
    "br": ("a<br>b<br/>c</br>d", "a\nb\nc\nd"),
    "keys": ("Press <kbd>Ctrl</kbd><kbd>C</kbd>.", "Press Ctrl C."),
    "keys with a sign": ("<kbd>Ctrl</kbd>+<kbd>C</kbd>", "Ctrl+C"),
    "buttons": ("<button>Save</button><button>Quit</button>", "Save Quit"),
    "images": ("a<img src=x alt='red heron'>b<img>c", "a red heron b c"),
    "inline elements do not part words": ("<b>bo</b>ld <i>it</i>alic", "bold italic"),
}


@pytest.mark.parametrize(("source", "text"), APART.values(), ids=APART)
def test_words_stay_apart_in_html_and_in_markdown(source, text):
    assert from_html(f"<p>{source}</p>".encode()).text == text
    assert from_markdown(source.encode()).text == text


def test_line_breaks_in_a_table_of_markdown():
    source = b"| Setting | Meaning |\n|---|---|\n| quota | storage<br>bandwidth<br/>throughput |\n\nFirst<br>second."
    assert from_markdown(source).text == "Setting Meaning\nquota storage\nbandwidth\nthroughput\n\nFirst\nsecond."


def test_legends_and_options_of_forms():
    page = b"<fieldset><legend>Name</legend>first</fieldset><select><optgroup><option>a<option>b</select>c"
    assert from_html(page).text == "Name\n\nfirst\n\na\nb\n\nc"


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("![one](a.png)![two](b.png)end", "one two end"),
        ("<table>\n\n<tr><td>a</td><td>b</td></tr>\n\n</table>", "a b"),
        ("<td>a</td><td>b</td>", "a b"),
        ("text <div>block</div> text", "text\n\nblock\n\ntext"),
        ("a<!-- hidden -->b", "ab"),
    ],
)
def test_html_in_markdown(source, text):
    assert from_markdown(source.encode()).text == text


# --- the main part of a page

SITE = "<nav>Home</nav><header>Logo</header>{}<aside>Advertisement</aside><footer>Imprint</footer>"


@pytest.mark.parametrize(
    "main",
    [
        "<main>{}</main>",
        "<div class=body role=main>{}</div>",
        "<article>{}</article>",
        "<main><article>{}</article></main>",
        "<div><main><main>{}</main></main></div>",
    ],
)
def test_the_main_part_of_a_page_is_its_text(main):
    inner = "<h1>T<a class=headerlink href='#t'>¶</a></h1><p>Text<aside>A note.</aside><nav>On this page</nav>"
    inner += "<footer>Edit</footer><blockquote>Q<footer>Ann</footer></blockquote>"
    page = SITE.format(main.format(inner))
    assert from_html(page.encode()).text == "T\n\nText\n\nA note.\n\nQ\n\nAnn"


@pytest.mark.parametrize(
    ("page", "text"),
    [
        (SITE.format("<p>Text"), "Logo\n\nText\n\nAdvertisement\n\nImprint"),
        (SITE.format("<article>a</article><article>b</article>"), "Logo\n\na\n\nb\n\nAdvertisement\n\nImprint"),
        ("<main id=app> </main><p>made by a script", "made by a script"),
        ("<h1>T</h1><article>a teaser</article><p>and all the rest", "T\n\na teaser\n\nand all the rest"),
        ("<nav>only links</nav>", "only links"),
        ("<p>a<div role=navigation>menu</div>", "a"),
    ],
)
def test_without_a_main_part_only_navigation_is_left_out(page, text):
    assert from_html(page.encode()).text == text


@pytest.mark.parametrize(
    ("link", "text"),
    [
        ("<a href='#x'>¶</a>", "Head"),
        ("<a class=anchor href='page.html#x'><span>🔗\ufe0f</span></a>", "Head"),
        ("<a href='#x'>\u200b#</a>", "Head"),
        ("<a href='#fn1'>[1]</a>", "Head[1]"),
        ("<a href='/hash'>#</a>", "Head#"),
    ],
)
def test_permalinks_are_no_text(link, text):
    assert from_html(f"<h2>Head{link}</h2>".encode()).text == text


@pytest.mark.parametrize(
    ("title", "page", "expected"),
    [
        ("json — JSON — Python 3.11 documentation", "<i role=main><h1>json — JSON<a href='#j'>¶</a>", "json — JSON"),
        ("Heron - Wikipedia", "<main><h1>Heron</h1></main>", "Heron"),
        ("Heron | Birds", "<h1>Heron</h1>", "Heron"),
        ("Birds :: Heron", "<main><h1>Heron</h1></main>", "Heron"),
        ("Heron", "<h1>Heron</h1>", "Heron"),
        ("Heron-like birds", "<h1>Heron</h1>", "Heron-like birds"),
        ("Herons – Birds", "<h1>Heron</h1>", "Herons – Birds"),
        ("Birds – Heron", "<h1><a href='/'>Birds</a></h1><h2>Heron</h2>", "Heron"),
        ("Birds – Heron", "<h1><a href='/'>Birds</a></h1><p>Heron", "Birds – Heron"),
        ("Async hooks | Node.js", "<h2>Async hooks<a class=mark href='#a'>#</a></h2><h2>Node.js</h2>", "Async hooks"),
        ("Async hooks | Node.js", "<h2>Introduction</h2><h2>Node.js</h2>", "Async hooks | Node.js"),
        ("Heron — Birds", "<main>text</main>", "Heron — Birds"),
        ("Heron", "<h1></h1>", "Heron"),
    ],
)  # fmt: skip
def test_a_title_loses_the_name_of_the_site_where_a_heading_is_the_rest(title, page, expected):
    assert from_html(f"<title>{title}</title>{page}".encode()).title == expected


# --- size limits


def crossed(n: int) -> str:
    """Return about 20 n bytes of HTML: n unclosed elements that each of n paragraphs would repeat."""
    return "<p>" + "".join(f"<b c={i}>" for i in range(n)) + "<p>word</b>" * n


@pytest.mark.parametrize("page", [crossed(2_200), "<p><font a=1><i>" * 4_000 + "<p>word" * 4_000], ids=["one", "two"])
def test_crossed_tags_are_not_multiplied(page):
    assert len(page) < 100_000
    program = (
        "import resource, sys\n"
        "from semsearch.corpus.formats.html import from_html\n"
        "resource.setrlimit(resource.RLIMIT_AS, (10**9, 10**9))\n"
        "print(from_html(sys.stdin.buffer.read()).text.count('word'))"
    )
    done = subprocess.run([sys.executable, "-c", program], input=page.encode(), capture_output=True, check=True)
    assert int(done.stdout) == page.count("word")


def test_a_small_page_and_a_large_one_read_the_same():
    page = "<title>t</title><h1>A <b>bo</b>ld <i>h<b>ea</i>d</b></h1>"
    page += "<p><code>x</code> <font color=red>r<p>ed</font> x<a href=b>y</a>"
    small, large = from_html(page.encode()), from_html((page + "<!-- x -->" * 2_000).encode())
    assert (small.text, small.title) == (large.text, large.title)
    assert small.text == "A bold head\n\nx r\n\ned xy"


def test_many_main_parts_within_one_another_take_linear_time():
    started = time.perf_counter()
    assert from_html(b"<main>" * 3_000 + b"x").text == "x"
    assert time.perf_counter() - started < 5


@pytest.mark.parametrize("page", ["<ul><li>" * 30_000, "<div>" * 100_000, "<x-y>" * 20_000 + "<p>a</x>" * 20_000])
def test_pages_that_would_take_minutes_are_bad_records(tmp_path, page):
    (tmp_path / "a.html").write_text(page)
    (error,) = read_corpus(tmp_path)
    assert isinstance(error, RecordError)
    assert error.reason == "the HTML is nested too deeply or has unclosed elements; repair it, for example with tidy"


def test_a_long_page_whose_elements_end_by_themselves_is_read():
    page = "<ul>" + "<li>word<br><img src=x><path d='M0'/>" * 30_000
    assert from_html(page.encode()).text.count("word") == 30_000


def test_what_the_parser_refuses_is_a_bad_record(tmp_path, monkeypatch):
    from selectolax import lexbor

    def refuse(*_: object) -> None:
        raise lexbor.SelectolaxError("Can't parse HTML.")

    monkeypatch.setattr(lexbor, "LexborHTMLParser", refuse)
    (tmp_path / "a.html").write_text("<p>x")
    (error,) = read_corpus(tmp_path)
    assert isinstance(error, RecordError)
    assert error.reason == "the HTML cannot be parsed (Can't parse HTML.); repair it, for example with tidy"


def test_references_to_characters_that_are_none_are_replaced():
    assert from_html(b"<p>a&#0;b&#xD800;c").text == "a\ufffdb\ufffdc"
    assert from_markdown(b"a&#0;b&#xD800;c").text == "a\ufffdb\ufffdc"
