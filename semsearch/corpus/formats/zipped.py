"""Documents that are ZIP archives: checked before any library opens them."""

from __future__ import annotations

from io import BytesIO
from xml.etree import ElementTree
from zipfile import BadZipFile, ZipFile

from semsearch.corpus.plain import cleaned
from semsearch.types import Metadata

MAX_UNPACKED_BYTES = 256 * 2**20
"""Maximum size of all members together, four times that of a file; a bomb claims more."""

MAX_MANIFEST = 2**20
"""Maximum number of bytes that are read of the manifest of an OpenDocument file."""

OLE = bytes.fromhex("d0cf11e0a1b11ae1")
"""Beginning of a Compound File: an old binary Office document, or the container of an encrypted new one."""

_PACKAGE = "EncryptedPackage".encode("utf-16-le")
"""Name of the stream of such a container that holds the document, by [MS-OFFCRYPTO]."""

_PROPERTIES = {
    "creator": "author",
    "initial-creator": "author",
    "keyword": "keywords",
    "keywords": "keywords",
    "created": "date",
    "creation-date": "date",
}
"""Names of the properties in Office Open XML and OpenDocument, as fields of the metadata."""


def open_zip(data: bytes, kind: str, member: str) -> ZipFile:
    """Open a document that is a ZIP archive.

    Args:
        data: The file.
        kind: Kind of the document with an article, for messages.
        member: A member that every such document has.

    Raises:
        ValueError: If it is no such document, is encrypted, or would unpack to more than MAX_UNPACKED_BYTES.
    """
    if is_encrypted_office(data):
        raise ValueError(f"encrypted; save it as {kind} without a password")
    if data.startswith(OLE):
        raise ValueError(f"in an old binary format; save it as {kind}")
    try:
        archive = ZipFile(BytesIO(data))
    except (BadZipFile, ValueError, NotImplementedError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"not {kind} ({reason}); check its extension, or download it again") from None
    if _is_encrypted(archive):
        raise ValueError(f"encrypted; save it as {kind} without a password")
    if member not in archive.namelist():
        raise ValueError(f"not {kind} (it has no {member}); check its extension")
    if sum(one.file_size for one in archive.infolist()) > MAX_UNPACKED_BYTES:
        raise ValueError(f"unpacks to more than {MAX_UNPACKED_BYTES} bytes; leave out its images, or split it")
    return archive


def is_encrypted_office(data: bytes) -> bool:
    """Return whether a file is an encrypted document in Office Open XML."""
    return data.startswith(OLE) and _PACKAGE in data


def is_encrypted_zip(data: bytes) -> bool:
    """Return whether a file is a ZIP archive with encrypted members, or an encrypted OpenDocument file."""
    try:
        with ZipFile(BytesIO(data)) as archive:
            return _is_encrypted(archive)
    except (BadZipFile, ValueError, NotImplementedError):
        return False


def _is_encrypted(archive: ZipFile) -> bool:
    if any(one.flag_bits & 1 for one in archive.infolist()):
        return True
    try:
        with archive.open("META-INF/manifest.xml") as manifest:
            return b"encryption-data" in manifest.read(MAX_MANIFEST)
    except Exception:  # it has none, or is damaged, for which zipfile and zlib raise nearly any exception
        return False


def contents(archive: ZipFile, member: str) -> bytes:
    """Return a member that is not needed for the text; nothing if it is missing or damaged."""
    try:
        return archive.read(member)
    except Exception:  # zipfile and zlib raise nearly any exception for a damaged archive
        return b""


def properties(archive: ZipFile, member: str) -> Metadata:
    """Return author, keywords and date of creation from the properties of a document, as far as they are known."""
    fields: dict[str, list[str]] = {}
    try:
        elements = list(ElementTree.fromstring(contents(archive, member)).iter())
    except (ElementTree.ParseError, ValueError, LookupError):  # the latter for an unknown encoding
        return {}
    for element in elements:
        name = _PROPERTIES.get(element.tag.rpartition("}")[2])
        text = " ".join(cleaned(element.text or "").split())
        if name and text and text not in fields.get(name, []):
            fields.setdefault(name, []).append(text)
    return {name: texts[0] if len(texts) == 1 else texts for name, texts in fields.items()}
