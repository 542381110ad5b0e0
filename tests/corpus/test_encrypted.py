"""Test that an encrypted file of each format says that it is encrypted, and what to do."""

from __future__ import annotations

import base64
import io
import struct
import zipfile
from pathlib import Path

import pytest

from semsearch.corpus.readers import read_corpus
from semsearch.corpus.records import ReadingWarning
from semsearch.errors import RecordError
from semsearch.types import Document

msoffcrypto = pytest.importorskip("msoffcrypto")
openpyxl = pytest.importorskip("openpyxl")
docx = pytest.importorskip("docx")
pptx = pytest.importorskip("pptx")
xlwt = pytest.importorskip("xlwt")
opendocument = pytest.importorskip("odf.opendocument")
pypdf = pytest.importorskip("pypdf")
pytest.importorskip("pyarrow")

CIPHER = bytes(range(256)) * 4
"""Bytes that stand for an encrypted part, which nothing reads."""


def with_password(made: object) -> bytes:
    """Encrypt what a library for Office files has made, as Office does."""
    from msoffcrypto.format.ooxml import OOXMLFile

    made.save(plain := io.BytesIO())
    plain.seek(0)
    OOXMLFile(plain).encrypt("heron", encrypted := io.BytesIO())
    return encrypted.getvalue()


def zipped(**members: bytes) -> bytes:
    with zipfile.ZipFile(file := io.BytesIO(), "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def open_document(kind: str, part: str) -> bytes:
    """Encrypt a part of an OpenDocument file, as its manifest says by the standard."""
    manifest = (
        '<manifest:manifest xmlns:manifest="urn:oasis:names:tc:opendocument:xmlns:manifest:1.0">'
        f'<manifest:file-entry manifest:full-path="{part}" manifest:size="900"><manifest:encryption-data>'
        "<manifest:algorithm/></manifest:encryption-data></manifest:file-entry></manifest:manifest>"
    ).encode()
    mime = f"application/vnd.oasis.opendocument.{kind}".encode()
    return zipped(**{"mimetype": mime, part: CIPHER, "META-INF/manifest.xml": manifest})


def xls() -> bytes:
    """Turn the record after the beginning of a workbook, which xlwt writes, into FILEPASS (0x2F, by [MS-XLS])."""
    book = xlwt.Workbook()
    book.add_sheet("a").write(0, 0, "x")
    book.save(file := io.BytesIO())
    data = bytearray(file.getvalue())
    begin = data.index(struct.pack("<HH", 0x809, 16))
    data[begin + 20 : begin + 22] = struct.pack("<H", 0x2F)
    return bytes(data)


def epub(encrypted: str) -> bytes:
    book = {
        "mimetype": b"application/epub+zip",
        "META-INF/container.xml": b'<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container" version="1.0">'
        b'<rootfiles><rootfile full-path="a.opf" media-type="application/oebps-package+xml"/></rootfiles></container>',
        "a.opf": b'<package xmlns="http://www.idpf.org/2007/opf" version="3.0"><metadata/><manifest>'
        b'<item id="c" href="c.xhtml" media-type="application/xhtml+xml"/></manifest>'
        b'<spine><itemref idref="c"/></spine></package>',
        "c.xhtml": b'<html xmlns="http://www.w3.org/1999/xhtml"><body><h1>Herons</h1><p>wait</p></body></html>',
        "META-INF/encryption.xml": b'<encryption xmlns="urn:oasis:names:tc:opendocument:xmlns:container">'
        b'<EncryptedData><CipherData><CipherReference URI="%s"/></CipherData></EncryptedData></encryption>'
        % encrypted.encode(),
    }
    return zipped(**book)


def pdf() -> bytes:
    writer = pypdf.PdfWriter()
    writer.add_blank_page(200, 200)
    writer.encrypt("heron", "owner", algorithm="AES-256")
    writer.write(file := io.BytesIO())
    return file.getvalue()


def parquet(*, plain_footer: bool) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq
    from pyarrow.parquet import encryption

    class Keys(encryption.KmsClient):
        def __init__(self, _: object) -> None:
            super().__init__()

        def wrap_key(self, key: bytes, _: str) -> bytes:
            return base64.b64encode(key)

        def unwrap_key(self, wrapped: bytes, _: str) -> bytes:
            return base64.b64decode(wrapped)

    factory = encryption.CryptoFactory(Keys)
    kind = encryption.EncryptionConfiguration("f", column_keys={"c": ["text"]}, plaintext_footer=plain_footer)
    keys = factory.file_encryption_properties(encryption.KmsConnectionConfig(), kind)
    table = pa.table({"id": ["1"], "text": ["x"]})
    with pq.ParquetWriter(file := io.BytesIO(), table.schema, encryption_properties=keys) as writer:
        writer.write_table(table)
    return file.getvalue()


def zip_member() -> bytes:
    data = bytearray(zipped(**{"a.txt": b"x"}))
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(signature) + offset] |= 1
    return bytes(data)


ENCRYPTED = {
    "xlsx": (lambda: with_password(openpyxl.Workbook()), "save it without a password"),
    "xlsb": (lambda: with_password(openpyxl.Workbook()), "save it without a password"),
    "docx": (lambda: with_password(docx.Document()), "save it as a Word document (.docx) without a password"),
    "pptx": (lambda: with_password(pptx.Presentation()), "without a password"),
    "ods": (lambda: open_document("spreadsheet", "content.xml"), "save it without a password"),
    "odt": (lambda: open_document("text", "content.xml"), "without a password"),
    "whole.ods": (lambda: open_document("spreadsheet", "encrypted-package"), "save it without a password"),
    "whole.odt": (lambda: open_document("text", "encrypted-package"), "without a password"),
    "xls": (xls, "save it without a password"),
    "epub": (lambda: epub("c.xhtml"), "get the book without copy protection"),
    "pdf": (pdf, "decrypt it first"),
    "parquet": (lambda: parquet(plain_footer=False), "write it without encryption"),
    "plain.parquet": (lambda: parquet(plain_footer=True), "write it without encryption"),
    "zip": (zip_member, "extract it with its password first"),
}


@pytest.mark.parametrize("kind", ENCRYPTED)
def test_an_encrypted_file_says_so_and_what_to_do(tmp_path, kind):
    made, advice = ENCRYPTED[kind]
    (tmp_path / f"a.{kind}").write_bytes(made())
    (error,) = read_corpus(tmp_path / f"a.{kind}")
    assert isinstance(error, RecordError)
    assert "encrypted" in error.reason
    assert advice in error.reason
    assert "\n" not in str(error)


def test_a_book_of_which_only_fonts_are_encrypted_is_read(tmp_path):
    (tmp_path / "a.epub").write_bytes(epub("fonts/serif.otf"))
    (book,) = read_corpus(tmp_path / "a.epub")
    assert book.text == "Herons\n\nwait"


@pytest.mark.parametrize(
    "header",
    [
        b'multipart/encrypted; protocol="application/pgp-encrypted"; boundary=b',
        b"application/pkcs7-mime; smime-type=enveloped-data; name=smime.p7m",
    ],
)
def test_an_encrypted_message_has_its_headers_and_a_warning(tmp_path: Path, header: bytes):
    body = b"--b\nContent-Type: application/octet-stream\n\nAAAA\n--b--\n"
    (tmp_path / "a.eml").write_bytes(b"From: a@example.com\nSubject: Reeds\nContent-Type: " + header + b"\n\n" + body)
    with pytest.warns(ReadingWarning, match="the message is encrypted; decrypt it in your mail program first"):
        (message,) = read_corpus(tmp_path / "a.eml")
    assert isinstance(message, Document)
    assert (message.title, message.text) == ("Reeds", "")
