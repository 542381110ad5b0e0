"""Reading a JSON document that holds records: an array of objects, or a single object.

An array is read record by record, so it need not fit into memory.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Callable, Iterator
from functools import partial
from io import BufferedIOBase
from typing import Any, BinaryIO

from semsearch.corpus.fields import JSON, DerivedIds, from_fields, text_fields
from semsearch.corpus.gzipped import CORRUPT
from semsearch.corpus.plain import UTF16_MARKS, as_utf8
from semsearch.corpus.records import MAX_FILE_BYTES, MAX_LINE_BYTES, Record, guarded, unreadable
from semsearch.corpus.sources import ReadOptions, Source
from semsearch.corpus.values import shown
from semsearch.errors import RecordError
from semsearch.types import Document

BLOCK = 2**16

EXPECTED = "expected an array of objects, an object that is a record, or an object with one array of records"

_SKIPPED = "; the rest of the file is skipped"

_SPACE = re.compile(r"[ \t\n\r]*")

_LENIENT = json.JSONDecoder(parse_constant=str, parse_float=str, parse_int=str)
"""Decoder that finds the end of a record whose numbers `JSON` refuses."""

_LONGEST_TOKEN = 16
"""Characters before the end of a block in which an error may mean that a name or a number is cut off."""


def read_json_records(source: Source, options: ReadOptions) -> Iterator[Record]:
    """Read each object of an array as one document, or a single object as one document or as a list of records."""
    text: _Text | None = None
    make = partial(_document, options=options, ids=DerivedIds(source.doc_id))
    try:
        with source.open() as stream:
            text = _Text(stream)
            opening = text.peek()
            if opening == "[":
                yield from _read_array(source, make, text)
            elif opening == "{":
                yield from _read_object(source, options, make, text.rest())
            else:
                found = f"starts with {opening!r}" if opening else "is empty"
                yield RecordError(source.name, text.line if opening else None, f"the file {found}; {EXPECTED}")
    except UnicodeDecodeError as error:
        reason = f"not valid {error.encoding} ({error.reason}){_SKIPPED}, convert it to UTF-8"
        yield RecordError(source.name, text.line if text else None, reason)
    except (OSError, *CORRUPT) as error:
        yield RecordError(source.name, text.line if text else None, unreadable(error))
    except ValueError as error:
        yield RecordError(source.name, text.line if text else None, str(error))


class _Text:
    """The text of a stream from a position on, of which only what is needed is in memory; `line` is that position's."""

    def __init__(self, stream: BinaryIO | BufferedIOBase) -> None:
        self.line = 1
        head = stream.read(2)
        self._stream = as_utf8(head, stream) if head in UTF16_MARKS else stream
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")()
        self._buffer = "" if head in UTF16_MARKS else self._decoder.decode(head)
        self._at = 0
        self._ended = False

    def peek(self) -> str:
        """Skip white space, and return the next character; an empty string at the end."""
        while True:
            self._move(_SPACE.match(self._buffer, self._at).end())  # type: ignore[union-attr]  # it matches nothing, too
            if self._at < len(self._buffer) or not self._more(BLOCK):
                return self._buffer[self._at : self._at + 1]

    def skip(self) -> None:
        """Skip one character."""
        self._move(self._at + 1)

    def value(self) -> Any:
        """Return the next value, or the error that its numbers cause.

        Raises:
            ValueError: If it is not valid JSON or too long, so that what follows cannot be read either.
        """
        while True:
            try:
                value, end = JSON.raw_decode(self._buffer, self._at)
            except json.JSONDecodeError as error:
                self._continue(error)
                continue
            except RecursionError:
                raise ValueError(f"nested too deeply{_SKIPPED}, flatten it") from None
            except ValueError as error:
                try:
                    end = _LENIENT.raw_decode(self._buffer, self._at)[1]
                except json.JSONDecodeError as malformed:
                    self._continue(malformed)
                    continue
                value = error
            self._move(end)
            return value

    def rest(self) -> str:
        """Return what remains; raises ValueError if that is longer than MAX_FILE_BYTES characters."""
        while self._more(BLOCK):
            if len(self._buffer) > MAX_FILE_BYTES:
                raise ValueError(f"an object longer than {MAX_FILE_BYTES} bytes; expected an array of records")
        return self._buffer[self._at :]

    def _continue(self, error: json.JSONDecodeError) -> None:
        """Read as much again if the value is cut off by the end of the buffer, otherwise raise ValueError."""
        cut = error.msg.startswith("Unterminated string") or error.pos > len(self._buffer) - _LONGEST_TOKEN
        length = len(self._buffer) - self._at
        if cut and length > MAX_LINE_BYTES:
            raise ValueError(f"a record longer than {MAX_LINE_BYTES} characters{_SKIPPED}, split the document")
        if not cut or not self._more(max(BLOCK, length)):
            self.line += self._buffer.count("\n", self._at, error.pos)
            raise ValueError(f"not valid JSON: {error.msg.removesuffix(' at')}{_SKIPPED}, repair it")

    def _more(self, length: int) -> bool:
        """Read more text, and forget what lies behind; return whether there was any."""
        if self._ended:
            return False
        block = self._stream.read(length)
        self._ended = not block
        self._buffer = self._buffer[self._at :] + self._decoder.decode(block, final=not block)
        self._at = 0
        return True

    def _move(self, end: int) -> None:
        self.line += self._buffer.count("\n", self._at, end)
        self._at = end


def _read_array(source: Source, make: Callable[[Any], Document], text: _Text) -> Iterator[Record]:
    text.skip()
    following = "]"
    while text.peek() != "]" or following == ",":
        following = text.peek()
        line = text.line
        yield guarded(source, line, partial(make, text.value()))
        following = text.peek()
        if following == ",":
            text.skip()
        elif following != "]":
            raise ValueError(f'not valid JSON: expected "," or "]"{_SKIPPED}, repair it')
    text.skip()
    if text.peek():
        raise ValueError(f"more text after the end of the array; {EXPECTED}")


def _read_object(source: Source, options: ReadOptions, make: Callable[[Any], Document], text: str) -> Iterator[Record]:
    """Read an object as one record, or as records if it has no text but exactly one array of objects."""
    try:
        value = JSON.decode(text)
    except json.JSONDecodeError as error:
        lines = error.msg == "Extra data"
        advice = "if each line is an object, read it with the format jsonl" if lines else "repair it"
        yield RecordError(source.name, error.lineno, f"not valid JSON: {error.msg.removesuffix(' at')}; {advice}")
        return
    except RecursionError:
        yield RecordError(source.name, None, "nested too deeply; flatten it")
        return
    arrays = [one for one in value.values() if isinstance(one, list) and one and all(isinstance(o, dict) for o in one)]
    has_text = any(name in value for name in text_fields(value, options))
    if has_text or len(arrays) != 1:
        record = guarded(source, None, partial(make, value))
        if isinstance(record, RecordError) and not has_text:
            record = RecordError(record.source, record.line, f"{record.reason}; {EXPECTED}")
        yield record
        return
    for number, record in enumerate(arrays[0], 1):
        place = f"{source.name}, record {number}"
        yield guarded(Source(place, source.path, source.format, source.origin), None, partial(make, record))


def _document(value: Any, options: ReadOptions, ids: DerivedIds) -> Document:
    if isinstance(value, ValueError):
        raise value
    if not isinstance(value, dict):
        raise ValueError(f"{shown(value)} is not a JSON object; expected an array of objects")
    return from_fields(value, options, ids.needed(value, options))
