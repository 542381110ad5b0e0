"""Test PDF files: made by hand, where the place of each letter matters, and by ReportLab."""

from __future__ import annotations

import io
import re
import subprocess
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
from small_pdfs import pdf, shown

from semsearch.context import page_of
from semsearch.corpus.formats.pdf import from_pdf
from semsearch.corpus.plain import Plain
from semsearch.corpus.readers import ReadOptions, read_corpus
from semsearch.errors import RecordError
from semsearch.types import Document

reportlab = pytest.importorskip("reportlab")


def lines(*rows: tuple[float, float, str], size: float = 12) -> bytes:
    """Return a page with lines of Helvetica, each at a place in points from the lower left corner."""
    return b"".join(
        b"BT /F %g Tf %g %g Td (%s) Tj ET\n" % (size, x, y, re.sub(rb"([()\\])", rb"\\\1", text.encode("cp1252")))
        for x, y, text in rows
    )


def set_in(x: float, y: float, *texts: str, size: float = 12) -> bytes:
    """Return lines below one another, with the usual distance of 1.2 times the size of the type."""
    return lines(*((x, y - 1.2 * size * at, text) for at, text in enumerate(texts)), size=size)


def text_of(*pages: bytes, **options: bytes) -> str:
    return from_pdf(pdf(*pages, **options)).text


def read(path: Path | str, **options: str) -> Document | RecordError:
    (record,) = read_corpus([path], ReadOptions(**options))
    return record


def made(build, **options) -> bytes:
    """Return what a function draws on a canvas of ReportLab."""
    from reportlab.pdfgen.canvas import Canvas

    file = io.BytesIO()
    canvas = Canvas(file, **options)
    build(canvas)
    canvas.save()
    return file.getvalue()


# --- text, title and pages


def test_pages_and_title_by_hand(tmp_path):
    path = tmp_path / "a.pdf"
    path.write_bytes(pdf(shown(b"Page one"), b"", shown(b"Page two"), b"", info=b"/Title(The title)"))
    document = read(path)
    assert (document.doc_id, document.text, document.title) == ("a.pdf", "Page one\n\nPage two", "The title")
    assert (document.metadata["pages"], document.metadata["page_starts"]) == (4, [0, 10, 10, 18])


TITLES = {
    "The Grey Heron": "The Grey Heron",
    "": "On Herons",
    "untitled": "On Herons",
    "Microsoft Word - draft3.doc": "On Herons",
    "LaTeX with hyperref package": "On Herons",
    "heron-final_2.tex": "On Herons",
    "Document1": "On Herons",
    "Node.js in practice": "Node.js in practice",
}


def test_the_mark_of_a_footnote_is_no_part_of_a_title():
    texts = lines((20, 200, "The heron waits."), (20, 180, "It is grey."))
    assert from_pdf(pdf(lines((20, 250, "On Herons†"), size=20) + texts.replace(b"\\", b""))).title == "On Herons"


@pytest.mark.parametrize("given", TITLES)
def test_a_title_that_a_program_filled_in_is_not_one(given):
    page = lines((20, 250, "On Herons"), size=20) + lines((20, 200, "The heron waits."), (20, 180, "It is grey."))
    assert from_pdf(pdf(page, info=b"/Title(%s)" % given.encode())).title == TITLES[given]


def test_a_page_in_type_of_one_size_has_no_title():
    assert from_pdf(pdf(lines((20, 200, "one"), (20, 180, "two")))).title == ""


# --- paragraphs and words

PROSE = (
    "A heron stands in shallow water",
    "and waits for fish, sometimes for",
    "an hour, before it strikes.",
)


def test_lines_of_a_paragraph_are_joined_and_paragraphs_are_not():
    page = set_in(20, 250, *PROSE) + set_in(20, 190, "Then it flies to its nest in the", "trees.")
    assert text_of(page) == f"{' '.join(PROSE)}\n\nThen it flies to its nest in the trees."


def test_an_indented_line_begins_a_paragraph():
    texts = (
        "In winter, the water freezes over.",
        "Herons leave for the coast, where",
        "it does not. Many stay there all.",
    )
    page = set_in(20, 250, *PROSE[:2], "an hour before it strikes its prey.")
    page += lines((32, 250 - 3 * 14.4, texts[0])) + set_in(20, 250 - 4 * 14.4, *texts[1:])
    assert text_of(page) == f"{PROSE[0]} {PROSE[1]} an hour before it strikes its prey.\n\n{' '.join(texts)}"


def test_lists_keep_their_lines():
    page = set_in(20, 250, "A heron eats whatever it can swallow:", "• fish", "• frogs and newts", "• mice")
    assert text_of(page) == "A heron eats whatever it can swallow:\n• fish\n• frogs and newts\n• mice"


def test_code_keeps_its_lines_and_indentation_and_stays_together():
    code = ("def wait(heron):", "    while heron.is_hungry:", "        heron.stand(still=True)")
    drawn = partial(draw_code, code)
    plain = from_pdf(made(drawn))
    assert plain.text == "Call it as follows\n\n" + "\n".join(code) + "\n\nand wait."
    ((start, end),) = plain.layout.blocks
    assert plain.text[start:end] == "\n".join(code)


def draw_code(code, canvas):
    canvas.setFont("Helvetica", 11)
    canvas.drawString(72, 700, "Call it as follows")
    canvas.setFont("Courier", 11)
    for at, line in enumerate(code):
        canvas.drawString(72, 670 - 13 * at, line)
    canvas.setFont("Helvetica", 11)
    canvas.drawString(72, 610, "and wait.")


def draw_listing(canvas):
    for at, line in enumerate(["def wait(heron):", "_", "heron.stand()"], 8):
        canvas.setFont("Helvetica", 6)
        canvas.drawString(72, 670 - 13 * at, str(at))
        canvas.setFont("Courier", 11)
        canvas.drawString(84, 670 - 13 * at, line)


def test_lines_of_code_with_small_numbers_stay_together():
    plain = from_pdf(made(draw_listing))
    assert [line.split() for line in plain.text.split("\n")] == [
        ["8", "def", "wait(heron):"],
        ["9", "_"],
        ["10", "heron.stand()"],
    ]
    assert plain.layout.blocks == ((0, len(plain.text)),)


HYPHENS = {
    "divided": (("The text is put through an encod-", "ing before it is stored in a file."), "an encoding before"),
    "a compound elsewhere": (
        ("A well-known bird is the most well-", "known one among all the birds."),
        "most well-known one",
    ),
    "a word elsewhere": (("An encoding of text is another encod-", "ing of letters in a file."), "another encoding of"),
    "a name": (("The bird lives at the lake near Baden-", "Baden, in the south of it."), "near Baden-Baden, in"),
    "three parts": (("This system is a state-of-the-", "art one, which has no peers."), "state-of-the-art one"),
    "a soft hyphen": (
        ("The text is put through an encod\xad", "ing before it is stored in a file."),
        "an encoding bef",
    ),
    "a number": (("The years of the most rain were 1990-", "1995 in all parts of the north."), "were 1990-1995 in"),
}


@pytest.mark.parametrize(("texts", "expected"), HYPHENS.values(), ids=HYPHENS)
def test_hyphens_at_the_ends_of_lines(texts, expected):
    assert expected in text_of(set_in(20, 250, *texts))


def test_a_sentence_goes_on_through_columns_and_pages():
    one = set_in(20, 60, "A heron stands in shallow water and is encod-")
    two = set_in(20, 250, "ing its wish for fish in silence, and in the end")
    three = set_in(20, 250, "it eats one.")
    plain = from_pdf(pdf(one, two, three))
    text = "A heron stands in shallow water and is encoding its wish for fish in silence, and in the end it eats one."
    assert plain.text == text
    starts = plain.metadata["page_starts"]
    assert [text[start:][:3] for start in starts] == ["A h", "ing", "it "]
    assert [page_of(plain.metadata, text.index(word)) for word in ("heron", "wish", "eats")] == [1, 2, 3]


def test_ligatures_are_taken_apart():
    assert text_of(shown(b"of\\256ce"), encoding=b"<</Differences[174/fi]>>") == "office"


def test_accents_that_stand_above_their_letters_are_put_onto_them():
    # Each accent is shown first and its letter is moved back under it, as TeX does; those apart stay as they are.
    parts = [
        (20, "caf"),
        (38.7, "´"),
        (37.3, "e"),
        (50, "and na"),
        (87.3, "¨"),
        (87.5, "\x90"),
        (91, "ve, not 5´ or x ^ y."),
    ]
    encoding = b"<</BaseEncoding/WinAnsiEncoding/Differences[144/dotlessi]>>"
    page = b"".join(b"BT /F 12 Tf %g 200 Td (%s) Tj ET\n" % (x, text.encode("latin-1")) for x, text in parts)
    assert text_of(page, encoding=encoding) == "café and naïve, not 5´ or x ^ y."


@pytest.mark.parametrize("name", ["ABCDEF+CMSY10", "ABCDEF+LMMathSymbols10-Regular", "ABCDEF+CMMI10"])
def test_angle_brackets_of_tex_are_not_letters(name):
    # In TeX's fonts of symbols, codes 104 and 105 are angle brackets; elsewhere they are h and i.
    parts = [(20, "F", "hi: a {"), (50, "S", "h"), (56.7, "F", "width"), (84.7, "S", "i"), (87.4, "F", "}, ski")]
    page = b"".join(b"BT /%s 12 Tf %g 200 Td (%s) Tj ET\n" % (f.encode(), x, text.encode()) for x, f, text in parts)
    font = b"<</Type/Font/Subtype/Type1/BaseFont/%s>>" % name.encode()
    data = pdf(page, more=[font]).replace(b"/F 3 0 R", b"/F 3 0 R/S 6 0 R")
    expected = "hi: a {hwidthi}, ski" if "CMMI" in name else "hi: a {⟨width⟩}, ski"
    assert from_pdf(data).text == expected


def cmap(**letters: str) -> bytes:
    chars = "\n".join(f"<{ord(code):02X}> <{letter.encode('utf-16-be').hex()}>" for code, letter in letters.items())
    text = (
        f"begincmap 1 begincodespacerange <00> <FF> endcodespacerange\n{len(letters)} beginbfchar\n{chars}\nendbfchar"
    )
    return b"<</Length %d>>stream\n%s\nendstream" % (len(text), text.encode())


def test_arabic_is_in_base_letters_and_in_the_order_of_reading():
    # "salam": meem, final alef, medial lam and initial seen, from left to right as they are printed
    forms = cmap(a="\ufee1", b="\ufe8e", c="\ufee0", d="\ufeb3")
    assert text_of(shown(b"abcd"), encoding=b"/WinAnsiEncoding/ToUnicode 6 0 R", more=[forms]) == "سلام"


def test_letters_beyond_the_first_65536():
    text = text_of(shown(b"a + b"), encoding=b"/WinAnsiEncoding/ToUnicode 6 0 R", more=[cmap(a="𝛼", b="🐟")])
    assert text == "α + 🐟"  # NFKC makes a letter of a mathematical one


def test_what_has_no_character_is_replaced():
    mapping = cmap(**{"-": "\0", ".": "\ufffd"}).replace(b"fffd", b"d800")
    data = pdf(
        shown(b"Fin-13 about. herons"),
        encoding=b"/WinAnsiEncoding/ToUnicode 6 0 R",
        more=[mapping],
        info=b"/Title(a\\000b)",
    )
    plain = from_pdf(data)
    assert plain.text.replace(" \ufffd", "\ufffd") == "Fin-13 about\ufffd herons"  # for NUL, PDFium takes the code
    assert plain.title == "a\ufffdb"


# --- columns, tables, headers

LEFT = [f"left column line number {n} of it" for n in "one two three four five".split()]
RIGHT = [f"right column line number {n} of it" for n in "one two three four five".split()]


@pytest.mark.parametrize("woven", [False, True])
def test_columns_are_read_one_after_the_other(woven):
    left = [(40, 700 - 14 * at, text) for at, text in enumerate(LEFT)]
    right = [(320, 700 - 14 * at, text) for at, text in enumerate(RIGHT)]
    rows = [row for pair in zip(left, right, strict=True) for row in pair] if woven else left + right

    def draw(canvas):
        for x, y, text in rows:
            canvas.drawString(x, y, text)

    words = from_pdf(made(draw)).text.split()
    assert words == " ".join(LEFT + RIGHT).split()


def test_columns_as_reportlab_sets_them():
    from reportlab.lib.styles import getSampleStyleSheet
    from reportlab.platypus import BaseDocTemplate, Frame, PageTemplate, Paragraph

    styles = getSampleStyleSheet()
    words = [f"word{n}" + "." * (n % 100 == 99) for n in range(900)]
    story = [Paragraph(" ".join(words[at : at + 100]), styles["BodyText"]) for at in range(0, 900, 100)]
    file = io.BytesIO()
    frames = [Frame(60, 60, 230, 300), Frame(310, 60, 230, 300)]
    BaseDocTemplate(file, pageTemplates=[PageTemplate("two", frames)]).build(story)
    plain = from_pdf(file.getvalue())
    assert plain.text.split() == words
    assert plain.metadata["pages"] > 1
    assert [paragraph.split()[0] for paragraph in plain.text.split("\n\n")] == words[::100]


def test_rows_of_a_table_stay_together():
    from reportlab.platypus import SimpleDocTemplate, Table

    rows = [
        ["Bird", "Length", "Food"],
        ["Heron", "98 cm", "fish"],
        ["Stork", "110 cm", "frogs"],
        ["Bittern", "75 cm", "eels"],
    ]
    file = io.BytesIO()
    SimpleDocTemplate(file).build([Table(rows, colWidths=120)])
    plain = from_pdf(file.getvalue())
    assert plain.text == "\n".join(map(" ".join, rows))
    assert plain.layout.blocks == ((0, len(plain.text)),)


def test_running_headers_and_page_numbers_are_left_out_and_other_numbers_are_not():
    chapters = ["Herons", "Herons", "Storks", "Storks", "Storks"]

    def draw(canvas):
        for at, chapter in enumerate(chapters):
            canvas.drawString(72, 800, "The Book of Birds")
            canvas.drawString(450, 800, f"{chapter} {at + 7}")
            canvas.drawString(72, 600, f"This page counts {at * at} birds.")
            canvas.drawString(290, 30, f"– {at + 7} –")
            canvas.showPage()

    assert from_pdf(made(draw)).text == "\n\n".join(f"This page counts {at * at} birds." for at in range(5))


# --- headings


def draw_chapters(outlined, canvas):
    for number, title in enumerate(("Herons", "Storks"), 1):
        canvas.setFont("Helvetica-Bold", 16)
        canvas.drawString(72, 700, f"{number} {title}")
        if outlined:
            canvas.bookmarkPage(title)
            canvas.addOutlineEntry(title, title, 0)
        canvas.setFont("Helvetica-Bold", 13)
        canvas.drawString(72, 660, f"{number}.1 Food")
        if outlined:
            canvas.bookmarkHorizontalAbsolute(f"{title} food", 670)
            canvas.addOutlineEntry("Food", f"{title} food", 1)
        canvas.setFont("Helvetica", 10)
        for at in range(5):
            canvas.drawString(72, 630 - 12 * at, f"{title} eat fish, and so on, in sentence {at} of this chapter.")
        canvas.showPage()


@pytest.mark.parametrize("outlined", [True, False])
def test_headings_by_the_outline_or_by_their_type(outlined):
    plain = from_pdf(made(partial(draw_chapters, outlined)))
    text = plain.text
    sections = [(one.level, one.title, text[one.start :].split("\n")[0]) for one in plain.layout.sections]
    titles = ["1 Herons", "1.1 Food", "2 Storks", "2.1 Food"]
    if not outlined:
        assert plain.title == "1 Herons"
        titles, sections = titles[1:], sections[-3:]
    assert [(title, line) for _, title, line in sections] == [(title, title) for title in titles]
    assert [level for level, *_ in sections] == [1, 2, 1, 2][-len(titles) :]
    place = text.index("Storks eat")
    assert plain.layout.path(place, place + 10) == ("2 Storks", "2.1 Food")


def draw_notes(canvas):
    canvas.setFont("Helvetica", 10)
    for at, (title, note) in enumerate({"Herons": "3", "Type1": "", "Storks": "since 1.2"}.items()):
        canvas.bookmarkHorizontalAbsolute(title, 720 - 90 * at)
        canvas.addOutlineEntry(title, title, 0)
        width = canvas.stringWidth(title)
        beside = 400 if " " in note else 72 + width
        canvas.drawString(72, 700 - 90 * at, title)
        canvas.drawString(beside, 700 - 90 * at, note)
        canvas.drawString(72, 680 - 90 * at, f"Sentence {at} is about what this bird eats in the spring.")


def test_notes_and_marks_of_footnotes_are_no_parts_of_headings():
    plain = from_pdf(made(draw_notes))
    assert [(one.title, plain.text[one.start :].split("\n")[0]) for one in plain.layout.sections] == [
        (title, title) for title in ("Herons", "Type1", "Storks")
    ]
    assert "since 1.2" in plain.text


def draw_authors(canvas):
    canvas.setFont("Helvetica", 18)
    canvas.drawString(200, 740, "All About")
    canvas.drawString(180, 700, "Birds")
    canvas.setFont("Helvetica", 13)
    canvas.drawString(190, 660, "Ada Jay and Tom Wren")
    for number, title in enumerate(("Herons", "Storks"), 1):
        canvas.setFont("Helvetica-Bold", 15)
        canvas.drawString(72, 600, title)
        canvas.setFont("Helvetica", 10)
        for at in range(5):
            canvas.drawString(72, 580 - 12 * at, f"{title} eat fish, and so on, in sentence {at} of chapter {number}.")
        canvas.showPage()


def test_title_and_authors_are_no_headings():
    plain = from_pdf(made(draw_authors))
    assert [(one.level, one.title) for one in plain.layout.sections] == [(1, "Herons"), (1, "Storks")]
    assert plain.text.startswith("All About\n\nBirds\n\nAda Jay and Tom Wren\n\nHerons\n\n")


# --- what cannot be read

SCAN = b"q 200 0 0 200 10 10 cm BI /W 2 /H 2 /CS /G /BPC 8 ID \x00\xff\xff\x00 EI Q"
LOGO = b"0 0 m 100 0 l 50 80 l f"
BAD = {
    "empty": (b"", "the file is empty; expected a PDF"),
    "text": (
        b"not a pdf",
        "the file is not a PDF, since it begins with 'not a pdf'; give it the extension of its format",
    ),
    "HTML": (b"<!DOCTYPE html><p>Herons", "the file is not a PDF, since it begins with '<!DOCTYPE html><p>He'; give"),
    "cut off": (pdf(shown(b"x"))[:200], "the PDF is broken"),
    "garbage": (b"%PDF-1.7\n" + bytes(range(256)) * 20, "the PDF is broken"),
    "no pages": (pdf(), "the PDF is broken"),
    "encrypted": (
        pdf(shown(b"x"), extra=b"/Encrypt<</Filter/Standard/V 1/R 2/O<00>/U<00>/P -4>>/ID[<00><00>]"),
        "the PDF is encrypted; decrypt it first",
    ),
    "unknown encryption": (
        pdf(shown(b"x"), extra=b"/Encrypt<</Filter/Mine/V 9/R 9/O<00>/U<00>/P -4>>/ID[<00><00>]"),
        "the PDF is encrypted; decrypt it first",
    ),
    "logo": (pdf(LOGO), "the PDF has no text, only a drawing"),
    "blank": (pdf(b"", b""), "the PDF has no text, only a drawing or nothing"),
    "scan": (
        pdf(SCAN).replace(b"300 300", b"595 842"),
        "the PDF has no text layer (scanned?); run OCR first, for example",
    ),
}


@pytest.mark.parametrize(("data", "reason"), BAD.values(), ids=BAD)
def test_a_pdf_that_cannot_be_used(tmp_path, data, reason):
    path = tmp_path / "a.pdf"
    path.write_bytes(data)
    error = read(path)
    assert isinstance(error, RecordError)
    assert error.reason.startswith(reason)
    assert "\n" not in str(error)
    assert error.textless == ("has no text" in reason)


@pytest.mark.parametrize("name", ["a.txt", "a.md", "a.html"])
def test_a_pdf_under_the_name_of_another_format(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(pdf(shown(b"about herons")))
    error = read(path)
    assert isinstance(error, RecordError)
    assert re.fullmatch(r"the file is a PDF, not \w+; give it the extension .pdf", error.reason)
    document = read(path, format="pdf")
    assert isinstance(document, Document)
    assert document.text == "about herons"


@pytest.mark.parametrize("algorithm", ["RC4-40", "RC4-128", "AES-128", "AES-256"])
def test_a_pdf_that_opens_without_a_password_is_read_and_another_is_not(tmp_path, algorithm):
    pypdf = pytest.importorskip("pypdf")
    if algorithm.startswith("AES"):
        pytest.importorskip("cryptography")
    for user_password in ("", "secret"):
        writer = pypdf.PdfWriter(clone_from=io.BytesIO(pdf(shown(b"about herons"), info=b"/Title(Birds)")))
        writer.encrypt(user_password, "owner", algorithm=algorithm)
        writer.write(tmp_path / f"{user_password}x.pdf")
    document, error = (read(tmp_path / name) for name in ("x.pdf", "secretx.pdf"))
    assert isinstance(document, Document)
    assert (document.text, document.title) == ("about herons", "Birds")
    assert isinstance(error, RecordError)
    assert error.reason.startswith("the PDF is encrypted; decrypt it first")


def test_pages_without_text_are_counted_if_they_have_pictures(tmp_path):
    path = tmp_path / "a.pdf"
    path.write_bytes(pdf(shown(b"Herons"), SCAN, b"", SCAN, shown(b"Storks")))
    with pytest.warns(UserWarning, match=r"a.pdf: 2 of 5 pages have pictures but no text \(scanned\?\)"):
        document = read(path)
    assert isinstance(document, Document)
    assert document.metadata["page_starts"] == [0, 8, 8, 8, 8]


def test_without_the_library_the_error_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pypdfium2", None)
    (tmp_path / "a.pdf").write_bytes(pdf(shown(b"x")))
    error = read(tmp_path / "a.pdf")
    assert isinstance(error, RecordError)
    assert error.reason == "PDF files need pypdfium2, which is not installed; pip install 'semsearch[pdf]'"


def test_damaged_files_are_read_or_refused_and_nothing_is_printed(tmp_path):
    whole = made(partial(draw_chapters, True))
    for at in range(0, len(whole), len(whole) // 40):
        (tmp_path / f"cut{at:06}.pdf").write_bytes(whole[:at])
        (tmp_path / f"hole{at:06}.pdf").write_bytes(whole[:at] + b"\0<< 9 0 R" + whole[at + 9 :])
    program = (
        "import sys, logging; from semsearch.corpus.readers import read_corpus\n"
        "names = [type(one).__name__ for one in read_corpus(sys.argv[1])]\n"
        "assert set(names) == {'Document', 'RecordError'}, names\n"
        "logging.getLogger('pypdfium2.internal').warning('chatter')"
    )
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_text_beyond_the_bound_is_refused(monkeypatch):
    monkeypatch.setattr("semsearch.corpus.formats.pdf_lines.MAX_CHARS", 10)
    with pytest.raises(ValueError, match="the PDF has more than 10 characters; split it"):
        text_of(shown(b"about"), shown(b"herons"))


def test_a_page_that_unpacks_to_far_more_than_a_page_is_refused():
    content = zlib.compress(b"BT /F 12 Tf 20 200 Td" + b" (abc def) Tj 1 -12 Td" * 40_000 + b" ET")
    data = pdf(b"XX").replace(
        b"<</Length 2>>stream\nXX", b"<</Length %d/Filter/FlateDecode>>stream\n%s" % (len(content), content)
    )
    assert len(data) < 10_000
    with pytest.raises(ValueError, match="page 1 has more than 131072 characters; split it"):
        from_pdf(data)


# --- many pages, many threads

PEAK = """
import resource, sys
from semsearch.corpus.formats.pdf import from_pdf
plain = from_pdf(sys.stdin.buffer.read())
print(len(plain.metadata["page_starts"]), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


def draw_pages(n, canvas):
    for number in range(n):
        canvas.setFont("Helvetica", 10)
        for at in range(30):
            canvas.drawString(
                72, 740 - 13 * at, f"Line {at} of page {number} has about as many words as lines of books."
            )
        canvas.showPage()


def test_five_hundred_pages_take_little_more_memory_than_ten():
    peaks = []
    for n in (10, 500):
        done = subprocess.run(
            [sys.executable, "-c", PEAK], input=made(partial(draw_pages, n)), capture_output=True, check=True
        )
        pages, peak = map(int, done.stdout.split())
        assert pages == n
        peaks.append(peak)
    assert peaks[1] - peaks[0] < 60  # MB


def test_threads_read_at_the_same_time():
    data = [made(partial(draw_chapters, True)), pdf(shown(b"Herons")), pdf(shown(b"Storks"))]
    alone = [from_pdf(one) for one in data]
    with ThreadPoolExecutor(4) as pool:
        together: list[Plain] = list(pool.map(from_pdf, data * 10))
    assert together == alone * 10


def test_the_lock_is_free_after_a_broken_file():
    with pytest.raises(ValueError, match="broken"):
        from_pdf(b"%PDF-1.4 no")
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(from_pdf, pdf(shown(b"Herons"))).result(5).text == "Herons"


@pytest.mark.parametrize("turn", [0, 90, 180, 270])
def test_pages_that_are_turned_are_read_as_they_are_shown(turn):
    def draw(canvas):
        canvas.setPageRotation(turn)
        canvas.translate(*{0: (0, 0), 90: (595, 0), 180: (595, 842), 270: (0, 842)}[turn])
        canvas.rotate(turn)
        for at, text in enumerate(PROSE):
            canvas.drawString(60, 500 - 15 * at, text)
        canvas.drawString(60, 430, "A paragraph.")

    assert from_pdf(made(draw, pagesize=(595, 842))).text == f"{' '.join(PROSE)}\n\nA paragraph."


def compressed(content: bytes, times: int = 1) -> bytes:
    """Return a PDF of one page with compressed content."""
    packed = content
    for _ in range(times):
        packed = zlib.compress(packed, 9)
    filters = b"/FlateDecode" * times
    written = pdf(b"CONTENT").replace(b"<</Length 7>>", b"<</Filter[%s]/Length %d>>" % (filters, len(packed)))
    return written.replace(b"CONTENT", packed)


BOMBS = {
    "pieces of text": (b"BT /F 12 Tf 20 200 Td " + b"(x) Tj " * 1_000_000 + b"ET", "more than 131072 pieces of text"),
    "lines": (b"0 0 m 9 9 l S " * 1_000_000, "more than 524288 drawn objects"),
    "bytes": (b" " * (2**26 + 1), "more than 67108864 bytes of content"),
}


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("name", BOMBS)
def test_a_page_that_is_too_much_is_refused_before_it_is_read(tmp_path, monkeypatch, name, times):
    content, reason = BOMBS[name]
    data = compressed(content, times)
    assert len(data) < 100_000
    (tmp_path / "a.pdf").write_bytes(data)
    monkeypatch.setattr("semsearch.corpus.formats.pdf.read_pages", None)  # not called
    error = read(tmp_path / "a.pdf")
    assert isinstance(error, RecordError)
    assert reason in error.reason


@pytest.mark.parametrize("times", [1, 2])
def test_compressed_content_is_read(tmp_path, times):
    (tmp_path / "a.pdf").write_bytes(compressed(shown(b"Herons wait"), times))
    document = read(tmp_path / "a.pdf")
    assert isinstance(document, Document)
    assert document.text == "Herons wait"


@pytest.mark.parametrize("name", ["MAX_OBJECTS", "MAX_PAGE_OBJECTS"])
def test_objects_are_counted_before_their_text_is_put_together(tmp_path, monkeypatch, name):
    monkeypatch.setattr(f"semsearch.corpus.formats.pdf_lines.{name}", 2)
    monkeypatch.setattr("pypdfium2.PdfPage.get_textpage", None)  # not called
    (tmp_path / "a.pdf").write_bytes(pdf(b"0 0 m 9 9 l S " * 3))
    error = read(tmp_path / "a.pdf")
    assert isinstance(error, RecordError)
    assert "page 1: drawn with too many objects (over 2)" in error.reason
