"""Reading mail: one message per file (.eml), or mailboxes of many messages (mbox, RFC 4155)."""

from __future__ import annotations

import codecs
import hashlib
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from email.errors import MessageError
from email.header import decode_header, make_header
from email.message import EmailMessage, MIMEPart
from email.parser import BytesParser
from email.policy import EmailPolicy
from email.utils import getaddresses, parsedate_to_datetime
from typing import Any, cast

from semsearch.corpus.formats.html import from_html
from semsearch.corpus.gzipped import CORRUPT
from semsearch.corpus.plain import UTF16_MARKS, Plain, cleaned
from semsearch.corpus.records import MAX_FILE_BYTES, Reading, ReadingWarning, guarded, unreadable
from semsearch.corpus.sources import ReadOptions, Source
from semsearch.errors import RecordError
from semsearch.types import Document

MAX_HEADER = 100_000
"""Number of characters of a header that are read, since the time for its addresses grows faster than its length."""

MAX_ID = 250
"""Maximum number of characters of a message id that is used as the id of a document."""

_SEPARATOR = re.compile(rb"From .*\d:\d\d.*")
"""A line between messages: an address and a time. Text may begin with `From`, too, if it was not quoted."""

_EXAMPLE = "From heron@example.com Mon Jan  1 10:00:00 2024"

_SMIME = ("application/pkcs7-mime", "application/x-pkcs7-mime")
"""Types of signed and of encrypted messages (RFC 8551)."""

_QUOTED = re.compile(rb"^>(>*From )", re.MULTILINE)


class _Policy(EmailPolicy):
    """The default policy with headers as they are written.

    Its parser of headers took 9 of 10 ms for a short message, and 25 s for an invalid header of 100 kB.
    """

    def header_fetch_parse(self, name: str, value: str) -> Any:
        return " ".join(value[:MAX_HEADER].split())


_PARSER = BytesParser(EmailMessage, policy=_Policy())


def from_message(data: bytes) -> Plain:
    """Convert a message: the subject as title, the plain text or else the HTML, and its headers as metadata."""
    message = cast(MIMEPart, _PARSER.parsebytes(data))
    if not message.keys():
        raise ValueError("not a message; expected headers such as From and Subject")
    read = _Body()
    text = read.text_of(message)
    metadata: dict[str, Any] = {}
    senders = _addresses(message, "from")
    for name, value in (
        ("from", ", ".join(senders)),
        ("to", _addresses(message, "to")),
        ("cc", _addresses(message, "cc")),
    ):
        if value:
            metadata[name] = value
    if date := _date(message.get("date")):
        metadata["date"] = date
    if message_id := _words(message.get("message-id")).strip("<>"):
        metadata["message_id"] = message_id
    if read.attachments:
        metadata |= {"attachments": len(read.attachments), "attachment_names": read.attachments}
    warning = "; ".join(dict.fromkeys(read.warnings))
    return Plain(text, _words(message.get("subject")), metadata, warning)


def read_mbox(source: Source, options: ReadOptions) -> Iterator[Reading]:
    """Read each message of a mailbox as one document."""
    seen: set[int] = set()  # hashes of ids, since the ids of a large mailbox would take much memory
    copies: Counter[str] = Counter()
    for line, data in _messages(source):
        if isinstance(data, str):
            yield RecordError(source.name, line, data)
            continue
        digest = hashlib.sha256(data).hexdigest()[:16]
        noted: list[str] = []

        def document(data: bytes = data, digest: str = digest, noted: list[str] = noted) -> Document:
            plain = from_message(data)
            noted.append(plain.warning)
            own = plain.metadata.get("message_id", "")
            own = own if 0 < len(own) <= MAX_ID else digest
            if hash(own) in seen:
                own = f"{own}-{digest}"
                copies[own] += 1
                own += f"-{copies[own]}" if copies[own] > 1 else ""
            seen.add(hash(own))
            metadata = {**plain.metadata, "path": source.doc_id}
            return Document(f"{source.doc_id}/{own}", plain.text, plain.title, metadata)

        record = guarded(source, line, document)
        if any(noted):
            yield ReadingWarning(f"{source.name}:{line}: {noted[0]}")
        yield record


def _messages(source: Source) -> Iterator[tuple[int | None, bytes | str]]:
    """Yield each message with the number of its first line, or what is wrong with it."""
    begun: int | None = None
    kept: list[bytes] = []
    size = number = 0
    line, after_blank, problem = b"\n", True, ""
    try:
        with source.open() as stream:
            while piece := stream.readline(2**16):
                starts, line = line.endswith(b"\n"), piece  # a long line comes in several pieces
                number += starts
                if starts and after_blank and _SEPARATOR.match(line):
                    if begun is not None:
                        yield begun, _message(kept, size)
                    begun, kept, size = number, [], 0
                elif begun is not None:
                    size += len(line)
                    kept += [line] if size <= MAX_FILE_BYTES else []
                elif line.strip():
                    yield number, f"not a mailbox; expected a line such as {_EXAMPLE!r}"
                    return
                after_blank = starts and not line.strip(b"\r\n")
    except (OSError, *CORRUPT) as error:
        problem = unreadable(error)
    if begun is not None:
        yield begun, _message(kept, size)
    if problem:
        yield number or None, problem


def _message(lines: list[bytes], size: int) -> bytes | str:
    """Return a message without the quoting of mailboxes, or the reason if it is too long."""
    if size > MAX_FILE_BYTES:
        return f"the message is longer than {MAX_FILE_BYTES} bytes; split it"
    return _QUOTED.sub(rb"\1", b"".join(lines))


@dataclass(slots=True)
class _Body:
    """What is met while the text of a message is read: the names of its attachments, and warnings."""

    attachments: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def text_of(self, part: MIMEPart) -> str:
        """Return the text of a part: of the plain alternative if it has any, otherwise of the first that has."""
        kind = part.get_content_type()
        if kind == "multipart/encrypted" or (kind in _SMIME and part.get_param("smime-type") == "enveloped-data"):
            self.warnings.append("the message is encrypted; decrypt it in your mail program first")
        if kind.startswith("multipart/") and part.is_multipart():
            parts = list(part.iter_parts())
            if kind != "multipart/alternative":
                return "\n\n".join(text for text in map(self.text_of, parts) if text.strip())
            parts.sort(key=lambda one: one.get_content_type() != "text/plain")
            return next((text for text in [self.text_of(one) for one in parts] if text.strip()), "")
        name = part.get_filename()
        if name or part.get_content_disposition() == "attachment" or kind not in ("text/plain", "text/html"):
            self.attachments.append(_words(name) or self._title(part) or kind)
            return ""
        text = self._decoded(part)
        return from_html(codecs.BOM_UTF8 + text.encode()).text if kind == "text/html" else text.strip("\n")

    def _title(self, part: MIMEPart) -> str:
        """Return the subject of an attached message."""
        inner = part.get_payload() if part.get_content_type() == "message/rfc822" else []
        attached = inner[0] if isinstance(inner, list) and inner else None
        return _words(attached.get("subject")) if isinstance(attached, MIMEPart) else ""

    def _decoded(self, part: MIMEPart) -> str:
        """Decode the text of a part in its character set; what does not fit is replaced, with a warning."""
        data = part.get_payload(decode=True)
        if not isinstance(data, bytes):
            data = str(part.get_payload()).encode(errors="replace")
        label = part.get_content_charset()
        name = _codec(label) if label else "utf-8"
        if name is None:
            self.warnings.append(f'unknown character set "{label:.40}"; read as UTF-8')
        elif name.startswith("utf-16") and data.startswith(UTF16_MARKS):
            name = "utf-16"
        try:
            text = data.decode(name or "utf-8")
        except UnicodeDecodeError:
            if name:
                self.warnings.append(f"some characters are not valid {name} and were replaced")
            text = data.decode(name or "utf-8", "replace")
        return cleaned(text).replace("\r\n", "\n")


def _codec(label: str) -> str | None:
    """Return the codec for the name of a character set, as browsers understand it, or else as Python does."""
    import webencodings

    known = webencodings.lookup(label)
    if known and known.name not in ("replacement", "x-user-defined"):
        return "gb18030" if known.name == "gbk" else str(known.codec_info.name)
    try:
        b"text".decode(label, "replace")
        return codecs.lookup(label).name
    except (LookupError, ValueError):  # not known, or not an encoding of text
        return None


def _words(value: str | None) -> str:
    """Decode a header, and return it as one line of text that can be stored."""
    text = value or ""
    if "=?" in text:
        try:
            text = str(make_header(decode_header(text)))
        except (ValueError, LookupError, MessageError):
            pass  # as it is written
    return " ".join(cleaned(text).split())


def _addresses(message: MIMEPart, name: str) -> list[str]:
    """Return the addresses in a header with the names before them, or the header itself if it has none."""
    given = message.get_all(name, ())
    try:
        found = [(_words(who), _words(address)) for who, address in getaddresses(given) if address]
    except RecursionError:  # of nested comments
        found = []
    return [f"{who} <{address}>" if who else address for who, address in found] or list(
        filter(None, map(_words, given))
    )


def _date(value: str | None) -> str:
    """Return a date in ISO 8601 format; empty if there is none or it is not valid."""
    try:
        return parsedate_to_datetime(value or "").isoformat()
    except (TypeError, ValueError, IndexError, OverflowError):
        return ""
