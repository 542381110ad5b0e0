"""A folder with two files of every format: all are found by their words, with their title, section and page."""

from __future__ import annotations

import io
import json
import mailbox
import zipfile
from collections.abc import Callable
from email.message import EmailMessage
from pathlib import Path

import pytest

from semsearch import Chunking, Index, WordHashEncoder
from semsearch.corpus.formats.table import FORMATS
from semsearch.types import Hit

pytest.importorskip("pypandoc")
pytest.importorskip("pypdfium2")
pytest.importorskip("pyarrow")
pytest.importorskip("tree_sitter_python")

FILLER = "The old bird sat on the wall and sang for an hour. " * 4
NUMBERS = ("one", "two")

AS_TITLE = "--shift-heading-level-by=-1"
"""The option of pandoc that makes the first heading the title."""


def first_word(name: str, number: str) -> str:
    """Return the word of the first part of a file, which stands nowhere else."""
    return f"{name}first{number}"


def second_word(name: str, number: str) -> str:
    return f"{name}second{number}"


def markdown(name: str, number: str) -> str:
    """Return a text with a title and two sections, each with a word of its own."""
    return (
        f"# The {name} of {number}\n\n{FILLER}\n\n## Early birds\n\nSee {first_word(name, number)}. {FILLER}\n\n"
        f"## Late birds\n\nSee {second_word(name, number)}. {FILLER}\n"
    )


def converted(target: str, *options: str) -> Callable[[str, str], bytes]:
    """Return a function that has pandoc write the text in a format."""

    def make(name: str, number: str, folder: Path) -> bytes:
        import pypandoc

        path = folder / "made"
        text, wishes = markdown(name, number), ["--standalone", "--metadata=lang:en", *options]
        pypandoc.convert_text(text, target, "markdown", extra_args=wishes, outputfile=str(path))
        return path.read_bytes()

    return make


def pdf(name: str, number: str, _: Path) -> bytes:
    """Return a PDF whose second section is on page 2."""
    from reportlab.lib.styles import getSampleStyleSheet
    from reportlab.platypus import PageBreak, Paragraph, SimpleDocTemplate

    styles, out = getSampleStyleSheet(), io.BytesIO()
    story = [
        Paragraph(f"The {name} of {number}", styles["Title"]),
        *(Paragraph(FILLER, styles["BodyText"]), Paragraph("Early birds", styles["Heading2"])),
        Paragraph(f"See {first_word(name, number)}. {FILLER}", styles["BodyText"]),
        *(PageBreak(), Paragraph("Late birds", styles["Heading2"])),
        Paragraph(f"See {second_word(name, number)}. {FILLER}", styles["BodyText"]),
    ]
    SimpleDocTemplate(out, title=f"The {name} of {number}").build(story)
    return out.getvalue()


def records(name: str, number: str) -> list[dict[str, str]]:
    texts = (first_word(name, number), second_word(name, number))
    return [{"id": f"{name}-{word}", "title": f"The {name} of {number}", "text": f"See {word}."} for word in texts]


def delimited(delimiter: str) -> Callable[[str, str, Path], bytes]:
    def make(name: str, number: str, _: Path) -> bytes:
        rows = [("id", "title", "text"), *(tuple(record.values()) for record in records(name, number))]
        return "".join(delimiter.join(row) + "\n" for row in rows).encode()

    return make


def parquet(name: str, number: str, folder: Path) -> bytes:
    import pyarrow as pa
    from pyarrow import parquet as pq

    pq.write_table(pa.Table.from_pylist(records(name, number)), folder / "made")
    return (folder / "made").read_bytes()


def workbook(name: str, number: str, _: Path) -> bytes:
    from openpyxl import Workbook

    book, out = Workbook(), io.BytesIO()
    book.properties.title = f"The {name} of {number}"
    book.active.title = "Early birds"
    late = book.create_sheet("Late birds")
    for sheet, word in ((book.active, first_word(name, number)), (late, second_word(name, number))):
        for row in ("bird", "song"), (word, "See"), *((f"bird {n}", "sang for an hour") for n in range(12)):
            sheet.append(row)
    book.save(out)
    return out.getvalue()


def letter(name: str, number: str) -> EmailMessage:
    message = EmailMessage()
    message["Subject"], message["From"] = f"The {name} of {number}", "ada@example.org"
    message.set_content(f"See {first_word(name, number)}.\n\n{FILLER}\n\nSee {second_word(name, number)}.\n")
    return message


def mbox(name: str, number: str, folder: Path) -> bytes:
    box = mailbox.mbox(folder / "made")
    box.add(letter(name, number))
    box.close()
    return (folder / "made").read_bytes()


def code(name: str, number: str, _: Path) -> bytes:
    functions = (("early", first_word(name, number)), ("late", second_word(name, number)))
    body = "\n\n\n".join(f'def {one}():\n    """See {word}."""\n' + "    wall()\n" * 60 for one, word in functions)
    return f'"""{FILLER * 2}"""\n\n\n{body}'.encode()


MAKERS: dict[str, Callable[[str, str, Path], bytes]] = {
    "jsonl": lambda name, number, _: "".join(json.dumps(one) + "\n" for one in records(name, number)).encode(),
    "csv": delimited(","),
    "tsv": delimited("\t"),
    "text": lambda name, number, _: (
        f"The {name} of {number}\n\nSee {first_word(name, number)}. {FILLER}\n\n{second_word(name, number)}"
    ).encode(),
    "markdown": lambda name, number, _: markdown(name, number).encode(),
    "html": converted("html", AS_TITLE),
    "pdf": pdf,
    **{
        name: converted(name, AS_TITLE)
        for name in ("rst", "org", "asciidoc", "latex", "docx", "odt", "pptx", "epub", "rtf")
    },
    "notebook": converted("ipynb"),
    "json": lambda name, number, _: json.dumps(records(name, number)).encode(),
    "parquet": parquet,
    "spreadsheet": workbook,
    "mail": lambda name, number, _: letter(name, number).as_bytes(),
    "mbox": mbox,
    "code": code,
}

SECTIONS = {
    **dict.fromkeys(("jsonl", "csv", "tsv", "text", "json", "parquet", "mail", "mbox"), ("", "")),
    "code": ("early", "late"),
}
"""The sections of the two words, where they are not the headings."""

TITLES = {"code": "{name}{number}.py", "spreadsheet": "The spreadsheet of {number}"}
"""The titles, where they are not those of the text."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make two files of every format."""
    made, folder = tmp_path_factory.mktemp("made"), tmp_path_factory.mktemp("corpus") / "birds"
    folder.mkdir()
    for name, make in MAKERS.items():
        for number in NUMBERS:
            path = folder / f"{name}{number}{FORMATS[name].endings[0]}"
            path.write_bytes(make(name, number, made))
            (made / "made").unlink(missing_ok=True)
    return folder


def indexed(corpus: Path, folder: Path) -> Index:
    index = Index.open(folder, create=True, encoder=WordHashEncoder(4096), chunking=Chunking(tokens=96))
    index.add(corpus)
    return index


@pytest.fixture(scope="module")
def index(folder: Path) -> Index:
    with indexed(folder, folder.parent / "index") as index:
        yield index


def found(index: Index, word: str) -> Hit:
    (hit,) = index.search(word, 10, mode="keyword")
    return hit


def test_every_format_has_a_maker():
    assert tuple(MAKERS) == tuple(FORMATS)


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("name", MAKERS)
def test_its_words_find_it_with_its_title_section_and_page(index: Index, name: str, number: str):
    title = TITLES.get(name, "The {name} of {number}").format(name=name, number=number)
    early, late = SECTIONS.get(name, ("Early birds", "Late birds"))
    for word, section, page in ((first_word(name, number), early, 1), (second_word(name, number), late, 2)):
        hit = found(index, word)
        assert (hit.title, hit.section) == (title, section)
        assert hit.page == (page if name == "pdf" else None)
        assert word in hit.text
        assert hit.metadata.get("path", f"{name}{number}").startswith(f"{name}{number}")


def test_the_same_folder_zipped_gives_the_same_documents(folder: Path, index: Index, tmp_path: Path):
    with zipfile.ZipFile(tmp_path / "birds.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in folder.iterdir():
            archive.write(path, path.name)
    with indexed(tmp_path / "birds.zip", tmp_path / "index") as zipped:
        for name in MAKERS:
            for number in NUMBERS:
                for word in (first_word(name, number), second_word(name, number)):
                    here, there = found(index, word), found(zipped, word)
                    assert (there.title, there.section, there.page) == (here.title, here.section, here.page)
                    assert there.text == here.text
                    assert there.doc_id.removeprefix("birds.zip/") == here.doc_id
        assert len(zipped) == len(index)
