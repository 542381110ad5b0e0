"""Test mail against messages and mailboxes that the standard library writes, and its own reading of them."""

from __future__ import annotations

import email
import mailbox
import re
from contextlib import closing
from email.header import Header
from email.message import EmailMessage
from email.policy import SMTP
from pathlib import Path

import pytest
from memory import peak_within

from semsearch.corpus import records
from semsearch.corpus.formats import mail
from semsearch.corpus.formats.mail import from_message
from semsearch.corpus.readers import Coverage, read_corpus
from semsearch.corpus.records import ReadingWarning
from semsearch.errors import RecordError
from semsearch.types import Document

FROM = b"From heron@example.com Mon Jan  1 10:00:00 2024\n"


def message(**parts: str) -> EmailMessage:
    made = EmailMessage()
    for name, value in {"Subject": "Herons", "From": "Ann Gray <ann@example.com>", **parts}.items():
        made[name.replace("_", "-")] = value
    made.set_content("They wait\nin the reeds.\n")
    return made


def box(path: Path, *messages: EmailMessage | bytes) -> str:
    made = mailbox.mbox(path)
    for one in messages:
        made.add(one)
    made.close()
    return str(path)


def test_a_message_by_hand(tmp_path):
    made = message(
        To='"Doe, Jöhn" <john@example.com>, sea@example.org',
        Cc="Zoë <zoe@example.org>",
        Date="Mon, 01 Jan 2024 10:00:00 +0100",
        Message_ID="<1@example.com>",
    )
    made.replace_header("Subject", "Grüße vom See")
    made.add_alternative("<p>Not this</p>", subtype="html")
    made.add_attachment(b"%PDF", maintype="application", subtype="pdf", filename="Fotos – März.pdf")
    path = tmp_path / "a.eml"
    path.write_bytes(made.as_bytes(policy=SMTP))
    (document,) = read_corpus(path)
    metadata = {
        "path": "a.eml",
        "from": "Ann Gray <ann@example.com>",
        "to": ["Doe, Jöhn <john@example.com>", "sea@example.org"],
        "cc": ["Zoë <zoe@example.org>"],
        "date": "2024-01-01T10:00:00+01:00",
        "message_id": "1@example.com",
        "attachments": 1,
        "attachment_names": ["Fotos – März.pdf"],
    }
    assert (document.doc_id, document.text, document.title) == ("a.eml", "They wait\nin the reeds.", "Grüße vom See")
    assert document.metadata.items() >= metadata.items()


CHARSETS = {
    "utf-8": "Grüße 🐦",
    "iso-8859-1": "Grüße",
    "windows-1252": "„Grüße“ 5 €",
    "iso-8859-2": "žluťoučký kůň",
    "windows-1251": "Цапля ждёт",
    "koi8-r": "Цапля ждёт",
    "gb18030": "苍鹭在芦苇丛中等待",
    "gb2312": "苍鹭在等待",
    "big5": "蒼鷺在蘆葦叢中等待",
    "iso-2022-jp": "サギは葦の中で待つ",
    "shift_jis": "サギは葦の中で待つ",
    "euc-kr": "왜가리가 갈대밭에서 기다린다",
    "utf-7": "Grüße + Küsse",
    "utf-16": "Grüße",
}


@pytest.mark.parametrize("charset", CHARSETS)
def test_a_character_set_in_the_body_and_in_headers(charset):
    text = CHARSETS[charset]
    made = EmailMessage()
    made.set_content(text.encode(charset), maintype="text", subtype="plain", cte="base64")
    made.set_param("charset", charset)
    del made["Content-Disposition"]
    title = "utf-8" if charset in ("utf-16", "utf-7") else charset
    raw = b"Subject: " + Header(text, title).encode().encode("ascii") + b"\n" + made.as_bytes()
    plain = from_message(raw)
    assert (plain.text, plain.title, plain.warning) == (text, text, "")


def test_what_the_character_set_does_not_explain_is_replaced_with_a_warning(tmp_path):
    raw = b"Subject: s\nContent-Type: text/plain; charset=%s\nContent-Transfer-Encoding: 8bit\n\na \xff b \xc3\xa4"
    for charset, warning in (
        (b"x-martian", 'unknown character set "x-martian"; read as UTF-8'),
        (b"hex", 'unknown character set "hex"; read as UTF-8'),
        (b"utf-8", "some characters are not valid utf-8 and were replaced"),
    ):
        plain = from_message(raw % charset)
        assert (plain.text, plain.warning) == ("a \ufffd b ä", warning)
    (tmp_path / "a.eml").write_bytes(raw % b"x-martian")
    with pytest.warns(ReadingWarning, match=r"a.eml: unknown character set"):
        assert len(list(read_corpus(tmp_path / "a.eml"))) == 1


def test_the_text_is_the_plain_alternative_if_it_has_any_and_html_otherwise():
    made = message()
    made.set_content(" \n")
    made.add_alternative("<style>b{}</style><p>They <b>wait</b></p><p>in the reeds.</p>", subtype="html")
    assert from_message(made.as_bytes()).text == "They wait\n\nin the reeds."
    footed = EmailMessage()
    footed["Subject"] = "s"
    footed.make_mixed()
    inner, foot = EmailMessage(), EmailMessage()
    inner.set_content("<p>The body</p>", subtype="html")
    foot.set_content("-- a list")
    footed.attach(inner)
    footed.attach(foot)
    assert from_message(footed.as_bytes()).text == "The body\n\n-- a list"


def test_an_attached_message_is_counted_and_not_read():
    made = message()
    made.add_attachment(message(Message_ID="<inner@example.com>"))
    made.add_attachment("a,b\n", subtype="csv", filename="a.csv")
    made.add_attachment(b"GIF", maintype="image", subtype="gif")
    plain = from_message(made.as_bytes())
    assert plain.text == "They wait\nin the reeds."
    assert plain.metadata == {
        "from": "Ann Gray <ann@example.com>",
        "attachments": 3,
        "attachment_names": ["Herons", "a.csv", "image/gif"],
    }


MALFORMED = {
    b"Subject: s\nDate: yesterday\n\nx": {},
    b"Subject: s\nDate: Mon, 99 Foo 2024 99:99:99\n\nx": {},
    b"Subject: s\nTo: <<<>>,,;:\"\nMessage-ID: <\n\nx": {"to": ['<<<>>,,;:"']},
    b"Subject: s\nFrom: undisclosed\n\nx": {"from": "undisclosed"},
    b"Subject: s\nContent-Type: multipart/mixed\n\nx": {"attachments": 1, "attachment_names": ["multipart/mixed"]},
    b"Subject: s\nContent-Type: ;;;=\nContent-Transfer-Encoding: base64\n\n!!!": {},
    b"Subject: s\nContent-Type: text/plain; charset=;\nContent-Transfer-Encoding: x\n\nx": {},
    b"Subject: =?utf-8?b?!!!?= =?nope?q?a?=\n\nx": {},
    b"Subject: s\nTo: " + b"(" * 5000 + b"\n\nx": {"to": ["(" * 5000]},
}  # fmt: skip


@pytest.mark.parametrize("raw", MALFORMED, ids=range(len(MALFORMED)))
def test_a_malformed_message_is_read_as_far_as_possible(tmp_path, raw):
    path = tmp_path / "a.eml"
    path.write_bytes(raw)
    (document,) = read_corpus(path)
    assert isinstance(document, Document)
    assert document.metadata.items() >= {"path": "a.eml", **MALFORMED[raw]}.items()


@pytest.mark.parametrize("raw", [b"", b"%PDF-1.4\n1 0 obj", b"\0\1\2", b"just text\n\nand more"])
def test_what_is_no_message_is_an_error(tmp_path, raw):
    path = tmp_path / "a.eml"
    path.write_bytes(raw)
    (error,) = read_corpus(path)
    expected = (
        "the file is a PDF" if raw.startswith(b"%PDF") else "not a message; expected headers such as From and Subject"
    )
    assert str(error).startswith(f"{path}: {expected}")


@pytest.mark.parametrize("header", [b"(", b"a,", b"a:", b'"\\', b"<a", b"a@", b"=?utf-8?q?a?= "])
def test_a_header_of_a_megabyte_takes_little_time(header):
    raw = b"Subject: s\nTo: " + header * 100_000 + b"\nContent-Type: text/plain; " + b"a=b; " * 20_000 + b"\n\nx"
    assert from_message(raw).text == "x"  # the default policy takes 25 s for the second one


# --- mailboxes


def test_a_mailbox_gives_the_messages_of_the_standard_library(tmp_path):
    bodies = ["one\n", "From here\n\nFrom there at 10:00\n>From quoted\n", "\n\nthree\n\n", "x" * 70_000 + "\n"]
    made = []
    for number, body in enumerate(bodies):
        made.append(message(Message_ID=f"<{number}@example.com>"))
        made[-1].set_content(body)
    path = box(tmp_path / "mbox", *made)
    with closing(mailbox.mbox(path)) as peer:
        theirs = [re.sub(rb"(?m)^>(>*From )", rb"\1", one.as_bytes()) for one in peer]
    texts = [email.message_from_bytes(one).get_payload(decode=True).decode() for one in theirs]
    documents = list(read_corpus(path))
    assert [document.text for document in documents] == [text.strip("\n") for text in texts]
    assert [document.doc_id for document in documents] == [f"mbox/{number}@example.com" for number in range(4)]
    assert documents[1].text == "From here\n\nFrom there at 10:00\nFrom quoted"
    assert documents[1].metadata["path"] == "mbox"


def test_separators_need_a_blank_line_before_them_and_a_time(tmp_path):
    path = tmp_path / "a.mbox"
    text = b"From afar\n\nFrom the start\nFrom here at 10:00 on\n"
    path.write_bytes(
        FROM + b"Subject: a\n\n" + text + b"\n" + FROM.replace(b"\n", b"\r\n") + b"Subject: b\r\n\r\nx\r\n"
    )
    assert [(one.title, one.text, one.source) for one in read_corpus(path)] == [
        ("a", text.decode().strip(), f"{path}:1"),
        ("b", "x", f"{path}:9"),
    ]


def test_ids_are_stable_and_unique(tmp_path):
    plain, other = message(Message_ID="<1@a>"), message(Message_ID="<1@a>", To="x@y")
    without = b"Subject: none\n\nx\n"
    long = message(Message_ID=f"<{'x' * 300}@a>")
    ids = [one.doc_id for one in read_corpus(box(tmp_path / "a.mbox", plain, plain, plain, other, without, long))]
    assert len(set(ids)) == 6
    assert ids[0] == "a.mbox/1@a"
    assert all(re.fullmatch(r"a\.mbox/1@a-[0-9a-f]{16}(-2)?", one) for one in ids[1:4])
    assert all(re.fullmatch(r"a\.mbox/[0-9a-f]{16}", one) for one in ids[4:])
    again = [one.doc_id for one in read_corpus(box(tmp_path / "a.mbox", message(Message_ID="<2@a>")))]
    assert again == [*ids, "a.mbox/2@a"]


def test_a_bad_message_never_ends_a_mailbox(tmp_path, monkeypatch):
    deep = b"".join(b'Content-Type: multipart/mixed; boundary="%d"\n\n--%d\n' % (n, n) for n in range(500))
    path = tmp_path / "a.mbox"
    parts = [
        b"Subject: a\n\nx\n\n",
        b"no headers\n\n",
        b"Subject: d\n" + deep + b"\n",
        b"Subject: long\n\n" + b"x\n" * 100_000,
    ]
    path.write_bytes(b"".join(FROM + part + b"\n" for part in [*parts, b"Subject: z\n\ny\n"]))
    monkeypatch.setattr(mail, "MAX_FILE_BYTES", 100_000)
    found = list(read_corpus(path))
    assert [one.title if isinstance(one, Document) else one.reason.split(";")[0] for one in found] == [
        "a",
        "not a message",
        "nested too deeply",
        "the message is longer than 100000 bytes",
        "z",
    ]
    assert all(one.line for one in found if isinstance(one, RecordError))


def test_what_is_no_mailbox_is_an_error_and_an_empty_one_has_no_documents(tmp_path):
    path = tmp_path / "a.mbox"
    for content in (b"Subject: a\n\nx", b"\n\0\1", b"From me to you\n"):
        path.write_bytes(content)
        (error,) = read_corpus(path)
        assert "not a mailbox; expected a line such as 'From heron@example.com" in error.reason
    path.write_bytes(b"\n")
    assert list(read_corpus(path)) == []
    coverage = Coverage()
    list(read_corpus(path, coverage=coverage))
    assert coverage.lacks(coverage.given[0])  # so that deleted messages can be deleted from the index


def test_a_mailbox_of_17_mb_takes_little_memory(tmp_path):
    path = tmp_path / "a.mbox"
    line = b"words of a message " * 30 + b"\n"
    one = b"Message-ID: <%d@a>\nSubject: s\n\n" + 20 * line + b"\n"
    with path.open("wb") as file:
        for number in range(1500):
            file.write(FROM + one % number)
    assert path.stat().st_size > 16_000_000
    assert peak_within(3_000_000, lambda: sum(isinstance(record, Document) for record in read_corpus(path))) == 1500
    assert records.MAX_FILE_BYTES == 67_108_864
