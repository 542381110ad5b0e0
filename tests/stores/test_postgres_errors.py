"""Tests for what goes wrong between semsearch and PostgreSQL: one clear line each, and never a password."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from command import HASH, call
from fakes import entry, index_spec
from postgres_server import Server, serving

from semsearch import Index, WordHashEncoder
from semsearch.corpus.chunking import Chunking
from semsearch.errors import NoIndexError, SchemaError, StoreError, UsageError
from semsearch.stores.open import open_store
from semsearch.stores.postgres.address import parse_address

CHUNKING = Chunking().to_json()

UNIT = np.eye(4, dtype=np.float32)

SECRET = "s3cr%40et%2Fword"  # as in a URL


@pytest.fixture(scope="module")
def private() -> Iterator[Server]:
    """Start a server of its own, which may be killed, and asks the role `guarded` for a password."""
    with serving(lasting=True) as server:
        with server.connect() as connection:
            connection.execute("CREATE ROLE guarded LOGIN PASSWORD 's3cr@et/word'")
            rules = server.folder / "data" / "pg_hba.conf"
            rules.write_text("local all guarded scram-sha-256\n" + rules.read_text())
            connection.execute("SELECT pg_reload_conf()")
            connection.execute("GRANT CREATE ON DATABASE postgres TO guarded")
        yield server


def filled(place: str) -> str:
    with closing(open_store(place)) as store, store.write(index_spec(), CHUNKING, "here") as writer:
        writer.commit([entry("a", UNIT[:1], "kax"), entry("b", UNIT[1:2], "rex")])
    return place


def complaint(place: str) -> str:
    """Return what a query says of an index that cannot be used."""
    outcome = call("query", "heron", "--index", place)
    assert outcome.code != 0
    assert "Traceback" not in outcome.err
    return outcome.err


def test_an_address_shows_no_password():
    address = parse_address(
        f"postgres://me:{SECRET}@host:5433/db?sslmode=require&password=other&schema=notes&timeout=7"
    )
    assert str(address) == "postgresql://me@host:5433/db?sslmode=require&schema=notes"
    assert (address.schema, address.seconds, address.name) == ("notes", 7, "notes")
    for shown in (str(address), repr(address), address.redacted(f"{SECRET} s3cr@et/word other")):
        assert not [one for one in ("s3cr", "word", "other") if one in shown]
    assert "s3cr%40et%2Fword" in address.conninfo
    assert "timeout" not in address.conninfo


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("postgresql://me:hidden@h/db?schema=Notes", "the schema 'Notes'"),
        ("postgresql://me:hidden@h/db?schema=pg_x", "the schema 'pg_x'"),
        ("postgresql://me:hidden@h/db?schema=a;drop", "the schema 'a;drop'"),
        ("postgresql://me:hidden@h/db?timeout=0", "the timeout '0'"),
        ("postgresql://me:hidden@h/db?timeout=soon", "the timeout 'soon'"),
        ("postgresql://me:hidden@h/db?schema", "are not valid; expected postgresql://user@host/database"),
        ("postgresql://me:hid/den@h/db", "every character of a password"),
        ("postgresql://me:hid@den@h/db", "every character of a password"),
        ("postgresql://me:hid?den@h/db", "every character of a password"),
        ("postgresql://me:hid#den@h/db", "every character of a password"),
        ("postgresql://me:hidden/db", "every character of a password"),
    ],
)
def test_a_malformed_address_is_refused(url: str, message: str):
    with pytest.raises(UsageError, match=message) as refused:
        parse_address(url)
    assert "hid" not in str(refused.value)


def test_a_parameter_that_libpq_does_not_know_is_named_without_the_password():
    assert "invalid URI query parameter" in complaint(f"postgresql://me:{SECRET}@127.0.0.1/db?colour=red")


def test_a_server_that_is_down_is_named():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    said = complaint(f"postgresql://me:{SECRET}@127.0.0.1:{port}/db")
    assert f"cannot connect to 'postgresql://me@127.0.0.1:{port}/db?schema=semsearch'" in said
    assert "s3cr" not in said


def test_a_server_that_does_not_answer_is_given_up():
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        started = time.monotonic()
        said = complaint(f"postgresql://me@127.0.0.1:{silent.getsockname()[1]}/db?connect_timeout=2")
    assert "timeout" in said
    assert time.monotonic() - started < 10


def test_a_slow_query_is_ended(postgres: Server):
    place = filled(postgres.url() + "&timeout=1")
    with closing(open_store(place)) as store, postgres.connect() as other, other.transaction():
        assert store.counts()["documents"] == 2
        other.execute(f"LOCK TABLE {parse_address(place).schema}.documents IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(StoreError, match=r"took longer than 1 s and was ended.*timeout=SECONDS"):
            store.select(None)
    with closing(open_store(place)) as store:
        assert store.select(None) == ["a", "b"]


def test_wrong_credentials_are_not_printed(private: Server):
    right = private.url(user=f"guarded:{SECRET}")
    filled(right)
    wrong = right.replace("s3cr", "wr0ng")
    said = complaint(wrong)
    assert "password authentication failed" in said
    assert "wr0ng" not in said
    assert "word" not in said.replace("password", "")
    for command in ("status", "query kax --mode keyword", "list"):
        outcome = call(*command.split(), *([] if command == "list" else ["--index", right]))
        assert (outcome.code, "s3cr" in outcome.out + outcome.err) == (0, False), outcome.err


def test_reading_needs_no_permission_to_write(private: Server):
    place = filled(private.url())
    schema = parse_address(place).schema
    with private.connect() as connection:
        connection.execute(f"GRANT USAGE ON SCHEMA {schema} TO guarded")
        connection.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO guarded")
    reader = private.url(schema, user=f"guarded:{SECRET}") + "&options=-c%20default_transaction_read_only%3Don"
    with closing(open_store(reader)) as store:
        assert store.search_vectors(UNIT[:1], 1, None)[0].tolist() == [[1]]
        assert len(store.search_keywords("kax", 1, None)[1]) == 1
        assert store.status()["documents"] == 2
        with pytest.raises(StoreError, match="read-only, as a replica is"), store.write(store.spec, CHUNKING) as writer:
            writer.delete(["a"])
    with closing(open_store(private.url(schema, user=f"guarded:{SECRET}"))) as store:
        with pytest.raises(StoreError, match="lacks a permission"), store.write(store.spec, CHUNKING) as writer:
            writer.delete(["a"])


def test_a_missing_extension_and_an_old_one_are_named(private: Server):
    with private.connect() as connection:
        connection.execute("CREATE DATABASE bare")
        connection.execute("GRANT CREATE ON DATABASE bare TO guarded")
    with pytest.raises(StoreError, match=r"no extension `vector`.*CREATE EXTENSION vector"):
        filled(private.url(user=f"guarded:{SECRET}", database="bare"))
    place = private.url(database="bare")
    filled(place)
    with closing(open_store(place)) as store, store.write(store.spec, store.chunking) as writer:
        writer._writing.connection.execute("UPDATE pg_extension SET extversion = '0.7.4' WHERE extname = 'vector'")
    with pytest.raises(StoreError, match=r"is 0\.7\.4; at least 0\.8\.0 is needed"):
        filled(place)


def test_tables_of_others_and_a_schema_from_the_future_are_refused(postgres: Server):
    place = postgres.url()
    schema = parse_address(place).schema
    with postgres.connect() as connection:
        connection.execute(f"CREATE SCHEMA {schema}")
        connection.execute(f"CREATE TABLE {schema}.invoices (n int)")
    with closing(open_store(place)) as store:
        assert not store.exists()
        with pytest.raises(NoIndexError, match=r"contains other tables \(invoices"):
            _ = store.spec
    with pytest.raises(NoIndexError, match="contains other tables"):
        filled(place)
    place = filled(postgres.url())
    with postgres.connect() as connection:
        connection.execute(f"UPDATE {parse_address(place).schema}.semsearch_schema SET version = 99")
    with closing(open_store(place)) as store, pytest.raises(SchemaError, match="newer version of semsearch"):
        _ = store.spec
    with pytest.raises(SchemaError, match="upgrade semsearch"):
        filled(place)
    assert Index.migrate(filled(postgres.url())) == (1, 1)


def test_an_index_whose_schema_is_dropped_is_missed(postgres: Server):
    with closing(open_store(filled(postgres.url()))) as store:
        assert store.counts()["documents"] == 2
        with postgres.connect() as connection:
            connection.execute(f"DROP SCHEMA {store.address.schema} CASCADE")
        with pytest.raises(NoIndexError, match="no index in"):
            store.counts()


def test_the_driver_is_named_where_it_is_missing():
    code = "import sys; sys.modules['psycopg'] = None; from semsearch import Index; Index.exists('postgresql://h/d')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert "pip install 'semsearch[pgvector]'" in done.stderr


def test_operations_on_folders_say_so(postgres: Server, tmp_path: Path):
    place = filled(postgres.url())
    with Index.open(place) as index, pytest.raises(UsageError, match="is not a folder on this machine"):
        index.backup(tmp_path / "backup")


def test_the_command_line_takes_a_database_wherever_it_takes_a_folder(postgres: Server, tmp_path: Path):
    place = postgres.url()
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "bird.md").write_text("# Heron\n\nThe heron waits in the reeds.\n")
    for words in (
        ("index", str(tmp_path / "notes"), "--index", place, *HASH),
        ("query", "patient", "heron", "--index", place),
        ("open", "1", "--index", place),
        ("status", "--index", place),
        ("copy", place, str(tmp_path / "copy")),
        ("query", "heron", "--index", str(tmp_path / "copy")),
        ("reencode", "--index", place, "--model", "hash:512"),
        ("compact", "--index", place),
        ("migrate", "--index", place),
        ("delete", "bird.md", "--index", place),
    ):
        outcome = call(*words)
        assert outcome.code == 0, (words, outcome.err)
    assert call("query", "heron", "--index", place).code == 3


INGEST = """
import sys
from semsearch import Index, WordHashEncoder
with Index.open(sys.argv[1], create=True, encoder=WordHashEncoder(64)) as index:
    index.add(({"_id": f"d{n}", "text": f"heron number {n} waits " + "reed " * 60} for n in range(20_000)))
"""


@pytest.mark.slow
def test_a_server_killed_in_the_middle_loses_nothing_committed_and_the_command_resumes(private: Server):
    place = private.url()
    with subprocess.Popen([sys.executable, "-c", INGEST, place], stderr=subprocess.PIPE, text=True) as ingest:
        try:
            committed, until = 0, time.monotonic() + 60
            while committed < 500 and time.monotonic() < until:
                time.sleep(0.1)
                with closing(open_store(place)) as store:
                    committed = store.counts()["documents"] if store.exists() else 0
            private.kill()
            _, said = ingest.communicate(timeout=60)
        finally:
            ingest.kill()
    private.start()
    assert committed >= 500
    assert "StoreError" in said
    assert "run the same command again" in said
    with closing(open_store(place)) as store:
        kept = store.counts()
        assert committed <= kept["documents"] < 20_000
        assert len(store.passages_from(0, 10**6)) == kept["passages"]
        assert len(store.search_keywords("heron", 10**6, None)[1]) == kept["passages"]
    with Index.open(place, encoder=WordHashEncoder(64)) as index:
        documents = [
            {"_id": f"d{n}", "text": f"heron number {n} waits " + "reed " * 60} for n in range(kept["documents"] + 50)
        ]
        result = index.add(documents)
        assert result.unchanged == kept["documents"]
        assert len(index) == kept["documents"] + 50


def test_readers_reconnect_after_the_server_was_restarted(private: Server):
    with closing(open_store(filled(private.url()))) as store:
        assert store.counts()["documents"] == 2
        private.kill()
        with pytest.raises(StoreError, match="cannot connect to"):
            store.counts()
        private.start()
        assert store.counts()["documents"] == 2


def test_a_forked_process_connects_anew(postgres: Server):
    with closing(open_store(filled(postgres.url()))) as store:
        assert store.counts()["documents"] == 2
        child = os.fork()
        if child == 0:
            os._exit(0 if store.counts()["documents"] == 2 else 1)
        _, status = os.waitpid(child, 0)
        assert status == 0
        assert store.select(None) == ["a", "b"]
