"""`semsearch doctor`: it detects problems, and it prints configuration in the form that each client expects."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import yaml
from command import DOCUMENTS as DOCS
from command import HASH, call, indexed, jsonl

from semsearch.cli import health
from semsearch.cli.addresses import SERVED, address_of, checked_url, is_loopback
from semsearch.cli.clients import CLIENTS, KEY
from semsearch.errors import UsageError

NOBODY = ("--port", "9")
"""The port of the discard service, on which nothing listens here."""


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def checks(*words: object, code: int = 0) -> dict[str, tuple[str, str]]:
    """Run all checks and return the state and the finding of each, by name."""
    done = call("doctor", *NOBODY, *words, "--json")
    assert done.code == code
    return {one["what"]: (one["state"], one["said"]) for one in done.json["checks"]}


# --- checks


def test_a_sound_installation_and_index_pass():
    folder = indexed()
    found = checks("--index", folder)
    assert {state for state, _ in found.values()} <= {"ok", "note"}
    assert found["python"][1].startswith(sys.version.split()[0])
    assert f"torch {metadata.version('torch')}" in found["packages"][1]
    assert found["extra pdf"] == ("ok", "installed")
    assert found["default model"][0] == "ok"
    assert found["index notes"][1].startswith("4 documents, ")
    assert found["index notes: model"][1].startswith("hash:4096, loaded in")
    assert found["server"][0] == "note", "none has to run"


def test_without_an_index_that_is_said():
    assert checks()["index"] == (
        "note",
        "none in indexes/; create one with: semsearch index CORPUS, or choose one with --index",
    )


def test_without_a_name_all_indexes_are_checked_as_a_server_takes_all():
    for name in ("one", "two"):
        indexed(name)
    found = checks()
    assert {what for what in found if what in ("index one", "index two")} == {"index one", "index two"}


def test_an_index_that_is_not_there_or_damaged_fails_and_the_others_are_checked():
    folder = indexed()
    Path("damaged").mkdir()
    Path("damaged", "passages.sqlite").write_bytes(b"no database at all" * 100)
    found = checks("--index", "gone", "--index", "damaged", "--index", folder, code=1)
    assert (found["index gone"][0], found["index damaged"][0], found["index notes"][0]) == ("failed", "failed", "ok")
    assert "/gone' (no passages.sqlite); create one with" in found["index gone"][1]


def test_an_index_whose_checkpoint_is_gone_or_another_fails(checkpoint: Callable[..., Path]):
    model = checkpoint()
    Path("notes.jsonl").write_bytes(jsonl(DOCS))
    assert call("index", "notes.jsonl", "--model", model, "--pooler", "mean", "--runtime", "torch").code == 0
    other = checkpoint(seed=1)
    shutil.rmtree(model)
    assert "no such directory" in checks("--index", "indexes/notes", code=1)["index notes"][1]
    other.rename(model)
    assert "is not the one that the index was built" in checks("--index", "indexes/notes", code=1)["index notes"][1]


def test_an_older_index_that_was_not_measured_is_noted():
    from older_index import make_older_index

    make_older_index(Path("older"), [{"_id": "1", "text": "herons"}])
    state, said = checks("--index", "older")["index older: confidence"]
    assert state == "note"
    assert "have not been measured for this index; index the same corpus again" in said


def test_a_missing_package_is_named_with_how_to_get_it(monkeypatch):
    def wanted(name: str) -> list[str]:
        return [
            "numpy>=1",
            'semsearch[serve]; extra == "all"',
            'no-such-thing>=2; extra == "wings"',
            "numpy; extra == 'wings'",
        ]

    monkeypatch.setattr(metadata, "requires", wanted)
    said = "missing no-such-thing; install with: pip install 'semsearch[wings]'"
    assert list(health.check_extras()) == [("extra wings", "note", said)]


# --- the server


@contextmanager
def answering(replies: dict[str, tuple[int, str]]) -> Iterator[str]:
    """Start a server on loopback that sends these replies, and yield its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = replies.get(self.path, (404, "not here"))
            self.send_response(status)
            if status == 302:
                self.send_header("Location", body)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: Any) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


FINE = (200, '{"status": "ok"}')


@pytest.mark.parametrize(
    ("replies", "state", "said"),
    [
        ({"/health": FINE, "/ready": FINE}, "ok", '{"status": "ok"}'),
        ({"/health": FINE, "/ready": (503, '{"warming": ["notes"]}')}, "note", 'not ready yet: {"warming": ["notes"]}'),
        ({"/health": FINE, "/ready": (401, "no")}, "ok", "requires a key"),
        ({"/health": FINE, "/ready": (200, '"' + "x" * 9_000 + '"')}, "failed", "something else is listening there"),
        ({}, "failed", "answers 404: something else is listening there"),
        ({"/health": (200, "<html>")}, "failed", "answers 200: something else is listening there"),
        ({"/health": (302, "http://127.0.0.1:9/")}, "failed", "answers 302"),
        ({"/health": (200, '{"a": "\x1b[31m"}'), "/ready": (200, '"\\u001b[31m"')}, "failed", "something else"),
    ],
)
def test_a_server_is_asked_whether_it_is_well_and_ready(replies, state, said):
    with answering(replies) as url:
        last = list(health.check_server(url, (), expected=True))[-1]
    assert last.state == state
    assert said in last.said


@pytest.mark.parametrize(
    ("served", "wanted", "said"),
    [
        ('{"notes": "warm", "mail": "warm"}', ("mail",), []),
        ('{"notes": "warm"}', ("mail", "notes"), ["it does not serve mail; it serves notes"]),
        ("{}", ("mail",), ["it does not serve mail; it serves none"]),
        ("7", ("mail",), []),
    ],
)
def test_a_server_of_other_indexes_is_noted(served, wanted, said):
    with answering({"/health": FINE, "/ready": (200, f'{{"status": "ready", "indexes": {served}}}')}) as url:
        found = [check for check in health.check_server(url, wanted, expected=True) if check.what == "server indexes"]
    assert found == [("server indexes", "note", each) for each in said]


def test_a_server_that_is_named_must_answer():
    found = checks("--url", "http://127.0.0.1:9", code=1)
    assert found["server"][0] == "failed"
    assert found["server"][1].startswith("no answer from http://127.0.0.1:9 (")


def test_what_a_server_says_never_reaches_the_terminal_as_commands():
    with answering({"/health": FINE, "/ready": (200, '"\x7f\x9b31m"')}) as url:
        done = call("doctor", "--url", url)
    assert "\x7f" not in done.out
    assert "\x9b" not in done.out


# --- addresses


@pytest.mark.parametrize(
    ("host", "port", "url", "here", "inside"),
    [
        ("127.0.0.1", 8000, "", "http://127.0.0.1:8000", "http://host.docker.internal:8000"),
        ("localhost", 81, "", "http://localhost:81", "http://host.docker.internal:81"),
        ("::1", 8000, "", "http://[::1]:8000", "http://host.docker.internal:8000"),
        ("0.0.0.0", 8000, "", "http://127.0.0.1:8000", "http://host.docker.internal:8000"),
        ("192.168.1.7", 8000, "", "http://192.168.1.7:8000", "http://192.168.1.7:8000"),
        ("0.0.0.0", 8000, "https://a.example/x/", "https://a.example/x", "https://a.example/x"),
        ("0.0.0.0", 8000, "http://127.0.0.1/x", "http://127.0.0.1/x", "http://host.docker.internal/x"),
    ],
)
def test_addresses_from_here_and_from_inside_a_container(host, port, url, here, inside):
    address = address_of(host, port, url)
    assert (address.url, address.docker_url) == (here, inside)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "localhost", "[::1]", "::1"])
def test_only_loopback_is_loopback(host):
    assert is_loopback(host)
    others = ("0.0.0.0", "10.0.0.1", "a.localhost", "localhost.example.org", "127.0.0.1.example.org", "")
    assert not any(map(is_loopback, others))


@pytest.mark.parametrize(
    "url", ["ftp://h", "h:1", "http://", "http://h:99999", "http://a b", "http://[::1", "x\n", "/"]
)
def test_what_is_no_address_is_refused(url):
    with pytest.raises(UsageError, match="is not a web address"):
        checked_url(url)


def test_a_key_in_an_address_is_refused_and_not_repeated():
    for url in ("http://me:hunter2@h", "http://hunter2@h", "http://h?key=hunter2", "http://h#hunter2"):
        done = call("doctor", "--url", url)
        done.fails(2, "--url contains a user name, password")
        assert "hunter2" not in done.err


@pytest.mark.parametrize("port", [0, -1, 65_536])
def test_a_port_that_is_none_is_refused(port):
    call("doctor", "--port", port).fails(2, "--port must be from 1 to 65535")


def test_everything_that_is_served_is_listed_with_both_addresses():
    done = call("doctor", *NOBODY)
    assert done.code == 0
    rows = [line.split("\t") for line in done.out.splitlines()]
    for one in SERVED:
        assert [one.what, f"http://127.0.0.1:9{one.path}", f"http://host.docker.internal:9{one.path}"] in rows
    assert {one.path for one in SERVED} >= {"/", "/mcp", "/v1", "/v1/rerank", "/tools", ""}
    assert ", ".join(CLIENTS) in done.out


# --- configuration to paste


def pastes(client: str, *words: object) -> list[dict[str, str]]:
    done = call("doctor", "--client", client, *words, "--json").ok()
    assert done.json["client"] == client
    return done.json["paste"]


MCP_FILES = {
    "claude-code": ("mcpServers", {"type": "http"}, "127.0.0.1"),
    "cursor": ("mcpServers", {}, "127.0.0.1"),
    "vscode": ("servers", {"type": "http"}, "127.0.0.1"),
    "anythingllm": ("mcpServers", {"type": "streamable"}, "host.docker.internal"),
}
"""For each client: the top-level key of its file, the fields that its entry needs besides the URL, and the host."""


@pytest.mark.parametrize("client", MCP_FILES)
def test_files_of_clients_name_the_endpoint_as_each_wants_it(client):
    key, kind, host = MCP_FILES[client]
    (text,) = [one["text"] for one in pastes(client) if one["text"].startswith("{")]
    headers = {"Authorization": f"Bearer {KEY}"}
    assert json.loads(text) == {key: {"semsearch": {**kind, "url": f"http://{host}:8000/mcp", "headers": headers}}}


def test_claude_code_is_told_in_one_command():
    commands = [
        one["text"] for one in pastes("claude-code", "--index", indexed()) if one["where"].startswith("terminal")
    ]
    add, stdio = map(shlex.split, commands)
    http = ["--transport", "http", "semsearch", "http://127.0.0.1:8000/mcp", "--header", f"Authorization: Bearer {KEY}"]
    assert add == ["claude", "mcp", "add", *http]
    assert stdio[:5] == ["claude", "mcp", "add", "semsearch", "--"]


def test_claude_desktop_starts_what_really_runs():
    folder = indexed("my notes & more")
    (paste,) = pastes("claude-desktop", "--index", folder)
    server = json.loads(paste["text"])["mcpServers"]["semsearch"]
    assert Path(server["command"]).is_absolute()
    assert server["args"][-2:] == ["--index", f"my-notes-more={folder.resolve()}"]
    done = subprocess.run([server["command"], *server["args"]], cwd="/", capture_output=True, stdin=subprocess.DEVNULL)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


@pytest.mark.parametrize("url", ["https://docs.example.org/search", "http://docs.example.org:81"])
def test_librechat_allows_the_host_alone_without_port_and_path(url):
    (paste,) = pastes("librechat", "--url", url)
    assert yaml.safe_load(paste["text"])["mcpSettings"] == {"allowedDomains": ["docs.example.org"]}


def test_the_server_to_start_listens_where_its_address_says():
    (paste,) = pastes("claude-desktop", "--url", "http://127.0.0.1:8811")
    assert paste["text"]
    serve = call("doctor", "--url", "http://127.0.0.1:8811", "--json").json["serve"]
    assert serve[serve.index("--port") + 1] == "8811"


def test_librechat_gets_yaml_that_allows_the_private_host():
    (paste,) = pastes("librechat", "--port", 81)
    assert yaml.safe_load(paste["text"]) == {
        "mcpSettings": {"allowedDomains": ["host.docker.internal"]},
        "mcpServers": {
            "semsearch": {
                "type": "streamable-http",
                "url": "http://host.docker.internal:81/mcp",
                "headers": {"Authorization": f"Bearer {KEY}"},
            }
        },
    }


def test_open_webui_dify_and_n8n_get_the_addresses_of_their_forms():
    docker = "http://host.docker.internal:8000"
    assert [one["text"] for one in pastes("open-webui")] == [
        f"{docker}/mcp",
        f"{docker}/tools",
        f"{docker}/v1",
        f"{docker}/v1/rerank",
        docker,
        f"{docker}/web_search",
    ]
    two = [word for name in ("one", "two") for word in ("--index", f"{name}={indexed(name)}")]
    assert pastes("open-webui", *two)[-1]["text"] == f"{docker}/web_search?index=one"
    assert [one["text"] for one in pastes("dify", "--index", f"birds={indexed()}")] == [docker, "birds"]
    assert [one["text"] for one in pastes("n8n")] == [f"{docker}/mcp"]


@pytest.mark.parametrize("client", CLIENTS)
def test_every_client_is_told_something_and_no_key(client):
    shown = call("doctor", "--client", client, "--url", "https://search.example.org").ok().out
    assert all(one["where"] and one["text"] for one in pastes(client))
    assert not re.search(r"host\.docker\.internal:\d", shown), "which is not where that server is"
    assert "search.example.org" in shown or client == "claude-desktop"
    assert set(re.findall(r"Bearer (\w+)", shown)) <= {KEY, "Auth"}


def test_a_client_is_told_nothing_of_an_index_that_is_not_there():
    call("doctor", "--client", "claude-code", "--index", "nowhere").fails(1, "no index in", "create one with")


def test_an_unknown_client_is_refused_with_those_there_are():
    call("doctor", "--client", "emacs").fails(2, "unknown client 'emacs'; expected one of claude-code, claude-desktop")


def test_the_json_has_everything_at_once():
    done = call("doctor", "--index", indexed(), "--port", 9, "--json")
    assert set(done.json) == {"url", "docker_url", "indexes", "checks", "served", "serve", "clients"}
    assert set(done.json["clients"]) == set(CLIENTS)
    port = ["--host", "0.0.0.0", "--port", "9", "--token", KEY]
    assert done.json["serve"][-6:] == port
    assert HASH[1] in str(done.json["checks"])
