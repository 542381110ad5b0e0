"""An object store for tests: the part of S3's protocol that reading needs, over the files of a folder, on loopback.

The client is pyarrow's own. The server follows the API reference of S3: HeadBucket, HeadObject, GetObject with ranges,
and ListObjectsV2 with a prefix and a delimiter.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import formatdate
from hashlib import md5
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

KEY, SECRET = "AKIDTESTS", "s3cretOfTheTests"


@dataclass
class ObjectStore:
    """A bucket whose objects are the files of a folder.

    Attributes:
        folder: The folder.
        port: Port of the server.
        bytes_sent: Number of bytes of objects that were sent so far.
        requests: Method and path of each request.
        broken: Keys that cannot be read.
    """

    folder: Path
    port: int = 0
    bytes_sent: int = 0
    requests: list[str] = field(default_factory=list)
    broken: set[str] = field(default_factory=set)

    def url(self, path: str = "") -> str:
        """Return the URL of something in the bucket, with all that a client needs."""
        options = f"endpoint_override=127.0.0.1:{self.port}&scheme=http&region=us-east-1"
        return f"s3://{KEY}:{SECRET}@bucket/{path}?{options}"


class Server(ThreadingHTTPServer):
    """A server with a bucket."""

    store: ObjectStore
    daemon_threads = True


class Handler(BaseHTTPRequestHandler):
    """Answers requests about the bucket of the server."""

    server: Server
    protocol_version = "HTTP/1.1"
    timeout = 30

    def do_HEAD(self) -> None:
        self.respond()

    def do_GET(self) -> None:
        self.respond()

    def respond(self) -> None:
        parts = urlsplit(self.path)
        bucket, _, key = unquote(parts.path).lstrip("/").partition("/")
        self.server.store.requests.append(f"{self.command} {unquote(parts.path)}")
        file = self.server.store.folder / key
        if bucket != "bucket" or key in self.server.store.broken:
            self.send(403 if key in self.server.store.broken else 404, b"")
        elif not key and "list-type" in parts.query:
            self.send(200, listing(self.server.store.folder, parse_qs(parts.query)), "application/xml")
        elif key and file.is_file() and not key.endswith("/"):
            self.send_object(file)
        else:
            self.send(404 if key else 200, b"")

    def send_object(self, file: Path) -> None:
        data = file.read_bytes()
        wanted = self.headers.get("Range", "")
        first, last = 0, len(data) - 1
        if wanted:
            start, _, end = wanted.removeprefix("bytes=").partition("-")
            first, last = int(start), min(int(end or last), last)
        headers = {
            "Last-Modified": formatdate(int(file.stat().st_mtime), usegmt=True),
            "ETag": f'"{md5(data).hexdigest()}"',
            **({"Content-Range": f"bytes {first}-{last}/{len(data)}"} if wanted else {}),
        }
        part = data[first : last + 1]
        if self.command == "GET":
            self.server.store.bytes_sent += len(part)
        self.send(206 if wanted else 200, part, "application/octet-stream", headers)

    def send(self, status: int, body: bytes, kind: str = "application/xml", headers: dict[str, str] | None = None):
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving(folder: Path) -> Iterator[ObjectStore]:
    """Serve a folder as a bucket."""
    store = ObjectStore(folder)

    with Server(("127.0.0.1", 0), Handler) as server:
        server.store = store
        store.port = server.server_address[1]
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield store
        finally:
            server.shutdown()
            thread.join()


def listing(folder: Path, query: dict[str, list[str]]) -> bytes:
    """Answer ListObjectsV2: the keys with a prefix, and those up to a delimiter once."""
    prefix, delimiter = query.get("prefix", [""])[0], query.get("delimiter", [""])[0]
    keys = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    found, common = [], dict.fromkeys(())
    for key in (one for one in keys if one.startswith(prefix)):
        rest = key[len(prefix) :]
        if delimiter and delimiter in rest:
            common[prefix + rest[: rest.index(delimiter) + 1]] = None
            continue
        status = (folder / key).stat()
        moment = datetime.fromtimestamp(int(status.st_mtime), UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
        found.append(
            f"<Contents><Key>{escape(key)}</Key><LastModified>{moment}</LastModified><ETag>&quot;0&quot;</ETag>"
            f"<Size>{status.st_size}</Size><StorageClass>STANDARD</StorageClass></Contents>"
        )
    prefixes = "".join(f"<CommonPrefixes><Prefix>{escape(one)}</Prefix></CommonPrefixes>" for one in common)
    return (
        '<?xml version="1.0" encoding="UTF-8"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        f"<Name>bucket</Name><Prefix>{escape(prefix)}</Prefix><KeyCount>{len(found) + len(common)}</KeyCount>"
        f"<MaxKeys>1000</MaxKeys><IsTruncated>false</IsTruncated>{''.join(found)}{prefixes}</ListBucketResult>"
    ).encode()
