"""`semsearch data` as users run it, against a stand-in for the Hugging Face Hub that serves HTTP on loopback."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import re
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from command import Outcome, jsonl
from filelock import FileLock

from semsearch.corpus.readers import read_corpus
from semsearch.datasets.fetch import default_folder, fetch, read_lock
from semsearch.datasets.registry import SETS, find_set
from semsearch.errors import SourceError, UsageError
from semsearch.evaluation.retrieval_data import load_retrieval
from semsearch.evaluation.sts_data import load_sts
from semsearch.types import Document

TOKEN = "hf_thisIsASecretOfTheTest"

PINNED = SETS["scifact"].revisions["mteb/scifact"]
NEWER, NEWEST = "b" * 40, "c" * 40

CORPUS = jsonl(
    [
        {"_id": "d1", "title": "Herons", "text": "A heron\u2028waits by the water."},
        {"_id": "d2", "title": "", "text": "面包 takes flour."},
    ]
)
QUERIES = jsonl([{"_id": "q1", "text": "who waits by the water"}, {"_id": "q2", "text": "what is in bread"}])
QRELS = "query-id\tcorpus-id\tscore\nq1\td1\t1\nq2\td2\t2\nq2\td1\t0\n"
JUDGED = jsonl(
    [
        {"query-id": query, "corpus-id": doc, "score": score}
        for query, doc, score in (("q1", "d1", 1.0), ("q2", "d2", 2), ("q2", "d1", "0"))
    ]
)
PLAIN = {"corpus.jsonl": CORPUS, "queries.jsonl": QUERIES, "qrels/test.tsv": QRELS.encode(), "README.md": b"# SciFact"}


def pack(content: bytes) -> bytes:
    return gzip.compress(content, mtime=0)


class Hub:
    """A stand-in for the hub: the few responses that a download needs, and the failures that can be provoked.

    Files that do not end in .md or .tsv count as large and are served from a second address, as from the hub's CDN.
    """

    def __init__(self) -> None:
        self.commits: dict[str, dict[str, dict[str, bytes]]] = {}
        self.main: dict[str, str] = {}
        self.seen: list[str] = []
        self.tampered: dict[str, bytes] = {}  # per file: content sent instead of the listed one
        self.cuts: Counter[str] = Counter()  # per file: how many times to disconnect halfway
        self.down: set[str] = set()  # files that are answered with 403
        self.stalled = ""  # the file whose transfer stops halfway until `resumed` is set
        self.stalling, self.resumed = threading.Event(), threading.Event()
        self.page: bytes | None = None  # the answer to every request, as from a captive portal
        self.server, self.cdn = Server(self), Server(self)
        self.address, self.cdn_address = self.server.address, self.cdn.address

    def publish(self, repo: str, files: dict[str, bytes], commit: str | None = None) -> None:
        """Add a commit, by default the one that the registry pins, and make it `main`."""
        commit = commit or next(one.revisions[repo] for one in SETS.values() if repo in one.revisions)
        self.commits.setdefault(repo, {})[commit] = files
        self.main[repo] = commit

    def downloads(self, name: str) -> int:
        """Count the requests for the content of a large file."""
        return sum(line.startswith(f"GET {self.cdn_address}") and line.endswith(f"/{name}") for line in self.seen)

    def close(self) -> None:
        self.resumed.set()
        self.server.close()
        self.cdn.close()


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, hub: Hub) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.hub = hub
        self.address = f"http://127.0.0.1:{self.server_port}"
        self.thread = threading.Thread(target=self.serve_forever, args=(0.005,))
        self.thread.start()

    def close(self) -> None:
        if self.thread.is_alive():
            self.shutdown()
            self.thread.join()
            self.server_close()


class Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        hub, path = self.server.hub, self.path.partition("?")[0]
        hub.seen.append(f"{self.command} {self.server.address}{path}")
        listing = re.fullmatch(r"/api/datasets/(.+)/revision/(.+)", path)
        file = re.fullmatch(r"/datasets/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
        if hub.page is not None:
            self.answer(200, hub.page, {"Content-Type": "text/html"})
        elif listing:
            self.list_files(hub, *listing.groups())
        elif file:
            self.send_file(hub, *file.groups())
        else:
            self.answer(404)

    def list_files(self, hub: Hub, repo: str, revision: str) -> None:
        commit = hub.main.get(repo, "") if revision == "main" else revision
        if commit not in hub.commits.get(repo, {}):
            self.answer(404, b"", {"X-Error-Code": "RevisionNotFound" if repo in hub.commits else "RepoNotFound"})
            return
        siblings = [entry(name, content) for name, content in hub.commits[repo][commit].items()]
        self.answer(200, json.dumps({"id": repo, "sha": commit, "siblings": siblings}).encode())

    def send_file(self, hub: Hub, repo: str, commit: str, name: str) -> None:
        listed = hub.commits[repo][commit][name]
        content = hub.tampered.get(name, listed)
        headers = {"X-Repo-Commit": commit, "ETag": f'"{git_id(listed)}"'}
        if is_large(name) and self.server is hub.server:
            headers |= {"X-Linked-Etag": f'"{sha256(listed)}"', "X-Linked-Size": str(len(content))}
            self.answer(302, b"", headers | {"Location": f"{hub.cdn_address}{self.path}"})
        elif self.command == "GET" and hub.cuts[name]:
            hub.cuts[name] -= 1
            self.answer(200, content, headers, sent=len(content) // 2)
        elif self.command == "GET" and name in hub.down:
            self.answer(403)
        elif self.command == "GET" and name == hub.stalled:
            self.answer(200, content, headers, sent=len(content) // 2)
            hub.stalling.set()
            hub.resumed.wait(30)
        elif start := int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")[0]):
            rest = {"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"}
            self.answer(206, content[start:], headers | rest)
        else:
            self.answer(200, content, headers)

    def answer(
        self, status: int, body: bytes = b"", headers: dict[str, str] | None = None, sent: int | None = None
    ) -> None:
        """Send the whole body, or only its first `sent` bytes and then close the connection."""
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body[:sent])
        self.close_connection = sent is not None


def is_large(name: str) -> bool:
    return not name.endswith((".md", ".tsv"))


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def git_id(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def entry(name: str, content: bytes) -> dict[str, Any]:
    """Describe a file as the hub's API lists it."""
    large = {"lfs": {"sha256": sha256(content), "size": len(content), "pointerSize": 130}} if is_large(name) else {}
    return {"rfilename": name, "size": len(content), "blobId": git_id(content), **large}


@pytest.fixture
def hub() -> Iterator[Hub]:
    with closing(Hub()) as hub:
        yield hub


class Machine:
    """An environment for the command, with its own home and data folders and a given hub address."""

    def __init__(self, folder: Path, endpoint: str) -> None:
        self.data = folder / "data"
        self.environment = {"HF_HOME": str(folder / "home"), "HF_ENDPOINT": endpoint, "HF_TOKEN": TOKEN}

    def __call__(self, *words: object, **environment: str) -> Outcome:
        process = self.start(*words, **environment)
        out, err = (stream.decode() for stream in process.communicate(timeout=60))
        assert TOKEN not in out + err
        return Outcome(process.returncode, out, err)

    def start(self, *words: object, **environment: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "semsearch", "data", *map(str, words)]
        own = {"SEMSEARCH_DATA_CACHE": str(self.data), "HF_HUB_OFFLINE": "0", **self.environment, **environment}
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ | own)

    def files(self, name: str) -> dict[str, bytes]:
        folder = self.data / name
        return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def machine(tmp_path: Path, hub: Hub) -> Machine:
    return Machine(tmp_path, hub.address)


# --- downloaded files


PACKED = {"corpus.jsonl.gz": pack(CORPUS), "queries.jsonl.gz": pack(QUERIES), "qrels/test.jsonl": JUDGED}


def test_a_retrieval_set_is_what_beir_lays_out(hub: Hub, machine: Machine):
    hub.publish("mteb/scifact", {**PLAIN, "qrels/test.jsonl": b"not looked at, because there is a tsv"})
    hub.publish("mteb/nfcorpus", PACKED)
    done = machine("get", "scifact", "nfcorpus").ok()
    folder = machine.data / "scifact"
    assert done.out.splitlines()[:2] == [
        f"scifact: 3 files in {folder}, from mteb/scifact@{PINNED[:7]}",
        f"next: semsearch eval retrieval --data {folder}",
    ]
    made = machine.files("scifact")
    lock = json.loads(made.pop("semsearch.lock.json"))
    assert made == {"corpus.jsonl": CORPUS, "queries.jsonl": QUERIES, "qrels/test.tsv": QRELS.encode()}
    assert lock["revisions"] == {"mteb/scifact": PINNED}
    assert lock["files"] == {name: sha256(content) for name, content in made.items()}
    assert lock["sources"] == {f"mteb/scifact/{name}": sha256(content) for name, content in made.items()}
    packed = machine.files("nfcorpus")
    sources = json.loads(packed.pop("semsearch.lock.json"))["sources"]
    assert sources == {f"mteb/nfcorpus/{name}": sha256(content) for name, content in PACKED.items()}
    assert packed == made

    documents = [one for one in read_corpus([str(folder)]) if isinstance(one, Document)]
    assert [(one.doc_id, one.title) for one in documents] == [("d1", "Herons"), ("d2", "")]
    collection = load_retrieval(folder)
    assert [query.text for query in collection.queries] == ["who waits by the water", "what is in bread"]
    assert collection.qrels == {"q1": {"d1": 1}, "q2": {"d2": 2, "d1": 0}}
    assert [path.name for path in (machine.data / ".fetch").iterdir() if path.is_dir()] == []


def sentences(*rows: tuple[str, str, object], **more: object) -> bytes:
    return jsonl([{"sentence1": one, "sentence2": two, "score": score, **more} for one, two, score in rows])


def test_sts_comes_in_sentevals_layout(hub: Hub, machine: Machine):
    for year in range(12, 17):
        hub.publish(
            f"mteb/sts{year}-sts",
            {"test.jsonl.gz": pack(sentences((f"in {year}\tone\n", "eine „2“", 2.5), ("no", "score", None)))},
        )
    parts = {
        f"{split}.jsonl.gz": pack(sentences((f"of {split}", 'a "quote', 4.25), genre="news", sid=7))
        for split in ("train", "validation", "test")
    }
    hub.publish("mteb/stsbenchmark-sts", parts)
    done = machine("get", "sts").ok()
    folder = machine.data / "sts"
    tasks = "STS12,STS13,STS14,STS15,STS16,STS-B"
    assert done.out.splitlines()[1:] == [
        "note: MTEB does not say which subset each pair belongs to, so each year is a single subset, `all`",
        f"next: semsearch eval sts --data {folder} --tasks {tasks}",
    ]
    made = machine.files("sts")
    assert len(made) == 5 * 2 + 3 + 1
    assert made["STS/STS14-en-test/STS.input.all.txt"].decode() == "in 14 one \teine „2“\nno\tscore\n"
    assert made["STS/STS14-en-test/STS.gs.all.txt"] == b"2.5\n\n"
    assert made["STS/STSBenchmark/sts-train.csv"] == b'\t\t\t\t4.25\tof train\ta "quote\n'
    for mode, split in (("test", "test"), ("dev", "validation")):
        (benchmark,) = load_sts(folder, ["STS-B"], mode)
        assert (benchmark.subsets[0].first, benchmark.subsets[0].second) == ((f"of {split}",), ('a "quote',))
        assert benchmark.subsets[0].similarity.tolist() == [4.25]


def test_sick_is_a_file_of_pairs_that_says_what_it_counts_and_is_listed(hub: Hub, machine: Machine):
    hub.publish("mteb/sickr-sts", {"test.jsonl.gz": pack(sentences(("a", "b", 3.5), ("c", "d", 1)))})
    done = machine("get", "sick", "--json").ok().json
    assert "4,927" in done["note"]
    assert done["next"] == f"semsearch eval sts --data {machine.data / 'sick/sick.tsv'}"
    (task,) = load_sts(machine.data / "sick" / "sick.tsv")
    assert (task.subsets[0].first, task.subsets[0].similarity.tolist()) == (("a", "c"), [3.5, 1.0])

    rows = {row[0]: row for row in machine("list").ok().rows}
    assert list(rows) == ["name", *SETS]
    assert rows["sick"][2:] == ["mteb/sickr-sts@20a6d6f", str(machine.data / "sick")]
    assert rows["scifact"][2:] == ["mteb/scifact@0228b52", "–"]


def test_repositories_with_something_else_are_refused(hub: Hub, machine: Machine):
    wrong = {
        "scifact": (
            {"corpus/00000.parquet": b"PAR1"},
            "none of corpus.jsonl, corpus.jsonl.gz (found: corpus/00000.parquet)",
        ),
        "arguana": ({**PLAIN, "qrels/test.tsv": QRELS.replace("2\n", "2.5\n").encode()}, "line 3: the score is '2.5'"),
        "sick": ({"test.jsonl.gz": pack(b"[1]\n" * 99)[:-9]}, "test.jsonl.gz at 20a6d6f312dd is not"),
    }
    for name, (files, reason) in wrong.items():
        repo = SETS[name].parts[0].repo
        hub.publish(repo, files)
        machine("get", name).fails(1, repo, reason)
        assert machine.files(name) == {}


@pytest.mark.parametrize(
    ("name", "file", "content", "reason"),
    [
        ("scifact", "test.tsv", b"query\tdoc\nq1\td1\n", "line 2: no query-id, corpus-id, score, expected query-id"),
        ("scifact", "test.jsonl", b'{"query-id": 1, "corpus-id": 2, "score": null}\n', "line 1: the score is ''"),
        ("scifact", "test.tsv", b"query-id\tcorpus-id\tscore\n\xff", "can't decode"),
        ("sick", "test.jsonl", b'{"sentence1": "a"}\n', "line 1: no sentence2, score, expected sentence1"),
        ("sick", "test.jsonl", b"[1]\n", "line 1: not a JSON object"),
        ("sick", "test.jsonl", b"{\n", "Expecting property name"),
    ],
)
def test_a_line_that_is_something_else_is_named(tmp_path: Path, name: str, file: str, content: bytes, reason: str):
    (tmp_path / file).write_bytes(content)
    with pytest.raises(ValueError, match=re.escape(reason)):
        SETS[name].parts[-1].write(tmp_path / file, tmp_path / "made")


# --- failed and interrupted downloads


def test_a_broken_connection_is_taken_up_where_it_broke_now_or_by_the_same_command(hub: Hub, machine: Machine):
    hub.publish("mteb/scifact", PLAIN)
    hub.cuts.update(["corpus.jsonl", "queries.jsonl"])
    hub.down.add("queries.jsonl")
    machine("get", "scifact").fails(
        1, "mteb/scifact cannot be fetched", hub.address, "403", "check the network and try again"
    )
    assert not (machine.data / "scifact").exists()
    assert hub.downloads("corpus.jsonl") == 2
    hub.down.clear()
    machine("get", "scifact").ok()
    made = machine.files("scifact")
    assert (made["corpus.jsonl"], made["queries.jsonl"]) == (CORPUS, QUERIES)
    assert hub.downloads("corpus.jsonl") == 2


def test_a_killed_command_leaves_nothing_half_made(hub: Hub, machine: Machine):
    hub.publish("mteb/scifact", PLAIN)
    hub.stalled = "queries.jsonl"
    process = machine.start("get", "scifact")
    assert hub.stalling.wait(30)
    process.kill()
    process.communicate(timeout=30)
    hub.stalled = ""
    hub.resumed.set()
    assert not (machine.data / "scifact").exists()
    machine("get", "scifact").ok()
    assert machine.files("scifact")["queries.jsonl"] == QUERIES
    assert hub.downloads("corpus.jsonl") == 1


def test_a_file_that_is_not_what_the_hub_lists_is_refused(hub: Hub, machine: Machine):
    hub.publish("mteb/scifact", PLAIN)
    for name, checksum in (("corpus.jsonl", sha256), ("qrels/test.tsv", git_id)):
        hub.tampered[name] = PLAIN[name].replace(b"d1", b"d3")
        got, expected = checksum(hub.tampered[name])[:12], checksum(PLAIN[name])[:12]
        done = machine("get", "scifact")
        done.fails(1, f"mteb/scifact/{name} at {PINNED[:12]}", got, f"expected {expected}", "fetch it again")
        assert not (machine.data / "scifact").exists()
        hub.tampered.clear()
    machine("get", "scifact").ok()


def test_a_damaged_copy_is_made_whole_and_only_with_what_the_lock_names(hub: Hub, machine: Machine):
    hub.publish("mteb/scifact", PLAIN)
    machine("get", "scifact").ok()
    whole, folder = machine.files("scifact"), machine.data / "scifact"
    (folder / "queries.jsonl").unlink()
    (folder / "qrels" / "test.tsv").write_bytes(b"damaged")
    (folder / "mine.txt").write_bytes(b"stays")
    damaged = machine.files("scifact")
    changed = CORPUS.replace(b"water", b"shore")
    hub.publish("mteb/scifact", {**PLAIN, "corpus.jsonl": changed})  # listing and file change under the same commit
    got, expected = sha256(changed)[:12], sha256(CORPUS)[:12]
    machine("get", "scifact").fails(
        1, "mteb/scifact/corpus.jsonl", got, f"expected {expected}", "lock.json", "--refresh"
    )
    assert machine.files("scifact") == damaged
    hub.publish("mteb/scifact", PLAIN)
    machine("get", "scifact").ok()
    assert machine.files("scifact") == {**whole, "mine.txt": b"stays"}


def test_without_a_network_a_complete_copy_is_enough(hub: Hub, machine: Machine, tmp_path: Path):
    hub.publish("mteb/scifact", PLAIN)
    machine("get", "scifact").ok()
    before, asked = machine.files("scifact"), len(hub.seen)
    hub.close()  # nothing listens anymore
    done = machine("get", "scifact").ok()
    assert done.out.startswith(f"scifact: already complete, 3 files in {machine.data / 'scifact'}")
    assert len(hub.seen) == asked
    machine("get", "scifact", "--refresh").fails(1, "mteb/scifact cannot be fetched", hub.address, "check the network")
    assert machine.files("scifact") == before
    elsewhere = tmp_path / "elsewhere"
    machine("get", "scifact", "--to", elsewhere).fails(1, "cannot be fetched", hub.address, "check the network")
    assert not (elsewhere / "scifact").exists()


def test_offline_mode_and_a_page_that_is_no_hub_are_one_line_each(hub: Hub, machine: Machine):
    machine("get", "sick", HF_HUB_OFFLINE="1").fails(1, "mteb/sickr-sts cannot be fetched", "`HF_HUB_OFFLINE`")
    hub.page = b"<html>please log in to the hotel"
    machine("get", "sick").fails(1, "mteb/sickr-sts cannot be fetched", hub.address)


# --- revisions


def test_refresh_takes_the_newest_and_the_lock_keeps_it(hub: Hub, machine: Machine, tmp_path: Path):
    hub.publish("mteb/scifact", {**PLAIN, "qrels/dev.tsv": QRELS.encode()})
    machine("get", "scifact").ok()
    assert "qrels/dev.tsv" in machine.files("scifact")
    newer = {**PLAIN, "queries.jsonl": QUERIES.replace(b"bread", b"dough")}
    hub.publish("mteb/scifact", newer, NEWER)
    assert f"mteb/scifact@{NEWER[:7]}" in machine("get", "scifact", "--refresh").ok().out
    made = machine.files("scifact")
    assert made["queries.jsonl"] == newer["queries.jsonl"]
    assert "qrels/dev.tsv" not in made

    hub.publish("mteb/scifact", {**PLAIN, "corpus.jsonl": b"{}\n"}, NEWEST)
    hub.seen.clear()
    other = Machine(tmp_path / "other", hub.address)
    (other.data / "scifact").mkdir(parents=True)
    (other.data / "scifact" / "semsearch.lock.json").write_bytes(made["semsearch.lock.json"])
    other("get", "scifact").ok()
    assert other.files("scifact") == made
    assert f"GET {hub.address}/api/datasets/mteb/scifact/revision/{NEWER}" in hub.seen
    assert not [line for line in hub.seen if NEWEST in line or "main" in line or PINNED in line]


def test_a_commit_that_is_gone_is_one_line(hub: Hub, machine: Machine):
    hub.publish("mteb/scifact", PLAIN, NEWER)
    machine("get", "scifact").fails(1, "mteb/scifact cannot be fetched", "the commit no longer exists", "--refresh")


# --- names and folders


def test_an_unknown_name_lists_the_known_ones_and_fetches_nothing(hub: Hub, machine: Machine):
    machine("get", "scifact", "scifakt").fails(2, "'scifakt'", "expected one of sts, sick, scifact, nfcorpus, arguana")
    assert hub.seen == []
    with pytest.raises(UsageError):
        find_set("../scifact")


def test_folders_that_cannot_be_used_are_one_line(hub: Hub, machine: Machine, tmp_path: Path):
    hub.publish("mteb/scifact", PLAIN)
    (tmp_path / "file").write_text("no folder")
    machine("get", "scifact", "--to", tmp_path / "file").fails(1, str(tmp_path / "file"), "Not a directory", "--to")
    (machine.data / "scifact").mkdir(parents=True)
    (machine.data / "scifact" / "corpus.jsonl").write_text("mine")
    machine("get", "scifact").fails(1, "contains files but no semsearch.lock.json", "--to")
    assert machine.files("scifact") == {"corpus.jsonl": b"mine"}
    assert hub.seen == []


@pytest.mark.skipif(not Path("/sys/kernel").is_dir(), reason="needs a folder that is read-only even to root")
def test_a_read_only_folder_is_one_line(hub: Hub, machine: Machine):
    machine("get", "scifact", "--to", "/sys/semsearch").fails(
        1, "'/sys/semsearch' cannot be used", "choose another folder with --to"
    )
    assert hub.seen == []


def test_two_at_once_do_not_mix(hub: Hub, machine: Machine):
    (machine.data / ".fetch").mkdir(parents=True)
    with FileLock(machine.data / ".fetch" / "scifact.lock"):
        machine("get", "scifact").fails(1, "another process is fetching 'scifact'")


@pytest.mark.parametrize(
    "lock",
    [
        "{",
        "[]",
        '{"revisions": {}, "sources": {}}',
        '{"revisions": {}, "sources": {}, "files": "abc"}',
        '{"revisions": {}, "sources": {}, "files": {"../../x": "y"}}',
        '{"revisions": {}, "sources": {}, "files": {"/x": "y"}}',
        '{"revisions": {"mteb/scifact": 1}, "sources": {}, "files": {}}',
    ],
)
def test_a_damaged_lock_is_not_followed(tmp_path: Path, lock: str):
    (tmp_path / "semsearch.lock.json").write_text(lock)
    with pytest.raises(SourceError, match=r"damaged; remove .+ and fetch it again"):
        read_lock(tmp_path)


def test_sets_are_kept_in_the_users_cache_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("SEMSEARCH_DATA_CACHE", raising=False)
    assert default_folder().parts[-2:] == ("semsearch", "data")
    monkeypatch.setenv("SEMSEARCH_DATA_CACHE", "~/sets")
    assert default_folder() == Path.home() / "sets"


def test_every_revision_of_the_table_is_a_commit_and_every_set_has_a_command():
    for name, one in SETS.items():
        assert all(re.fullmatch("[0-9a-f]{40}", revision) for revision in one.revisions.values())
        assert one.command[0] == "eval"
        assert re.fullmatch("[a-z0-9-]+", name)


@pytest.mark.parametrize("spell", [str, Path])
def test_from_python_the_folder_is_text_or_a_path(hub: Hub, machine: Machine, spell):
    hub.publish("mteb/scifact", PLAIN)
    machine("get", "scifact").ok()
    fetched = fetch("scifact", spell(machine.data))
    assert (fetched.new, fetched.folder) == (False, machine.data / "scifact")
    assert read_lock(spell(machine.data / "scifact")) == fetched.lock


@pytest.mark.parametrize("to", [b"data", 5, None])
def test_from_python_another_folder_is_refused_in_one_line(to):
    with pytest.raises(UsageError, match=f"^`to` is {to!r}; expected a path as text or pathlib.Path$"):
        fetch("scifact", to)
    with pytest.raises(UsageError, match=f"^`folder` is {to!r}; expected a path"):
        read_lock(to)


@pytest.mark.parametrize("name", [None, 5, ["scifact"]])
def test_a_name_that_is_none_is_an_unknown_set(name, tmp_path):
    with pytest.raises(UsageError, match=f"^unknown data set {re.escape(repr(name))}; expected one of sts, sick"):
        fetch(name, tmp_path)


def test_from_python_an_error_names_parameters(tmp_path):
    (tmp_path / "scifact").mkdir()
    (tmp_path / "scifact" / "mine.txt").touch()
    with pytest.raises(SourceError, match=r"contains files but no .*, or choose another folder with `to`$"):
        fetch("scifact", tmp_path)
