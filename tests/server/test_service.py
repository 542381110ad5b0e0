"""The service over real indexes: while a model loads, when an index is replaced or deleted, and its limits."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any

import anyio
import numpy as np
import pytest
from fakes import write_to
from serving import NOTES, build, served, wait_for

from semsearch import Index, WordHashEncoder
from semsearch.encoder import load
from semsearch.errors import (
    LockedError,
    ModelError,
    NoIndexError,
    NotReadyError,
    OverloadedError,
    TimeLimitError,
    TooLargeError,
    UnknownIndexError,
    UsageError,
)
from semsearch.server import desk
from semsearch.server.batching import EncodingQueue
from semsearch.server.desk import Desk
from semsearch.server.keys import Access
from semsearch.server.service import Service
from semsearch.server.settings import Settings
from semsearch.server.shelf import Shelf


@pytest.fixture
def open_service() -> Iterator[Callable[..., Service]]:
    opened: list[Shelf] = []

    def make(places: dict[str, Path], **wishes: Any) -> Service:
        settings = Settings(**wishes)
        opened.append(Shelf(places, settings))
        return Service(opened[-1], settings, Desk(settings))

    yield make
    for shelf in opened:
        shelf.close()


@pytest.fixture
def gate(monkeypatch) -> Iterator[Event]:
    """Return an event that blocks the loading of encoders until it is set."""
    go, original = Event(), load.load_encoder

    def slow(*given: Any) -> Any:
        assert go.wait(30)
        return original(*given)

    monkeypatch.setattr(load, "load_encoder", slow)
    yield go
    go.set()


def run(call: Callable[..., Any], *given: Any, **wishes: Any) -> Any:
    async def main() -> Any:
        return await call(*given, **wishes)

    return anyio.run(main)


def test_words_are_searched_until_the_model_is_loaded(tmp_path, open_service, gate):
    service = open_service({"notes": build(tmp_path / "notes")})
    for mode in (None, "dense", "hybrid"):
        answer = run(service.search, "notes", "water", 2, mode=mode)
        assert (answer.mode, answer.warming) == ("keyword", True)
        assert {hit.doc_id for hit in answer.hits} == {"heron", "bread"}
    assert run(service.search, "notes", "water", mode="keyword").warming is False
    assert service.state("notes")[0] == "warming"
    with pytest.raises(UsageError, match="unknown mode"):
        run(service.search, "notes", "water", mode="psychic")
    gate.set()
    wait_for(lambda: service.state("notes")[0] == "warm")
    answer = run(service.search, "notes", "water")
    assert (answer.mode, answer.warming) == ("hybrid", False)


def test_texts_to_encode_and_documents_wait_for_the_model(tmp_path, open_service, gate):
    service = open_service({"notes": build(tmp_path / "notes")})
    with ThreadPoolExecutor(2) as pool:
        encoding = pool.submit(run, service.encode, "notes", ["a heron", "bread"], "document")
        adding = pool.submit(run, service.add, "notes", [{"_id": "new", "text": "New."}])
        time.sleep(0.1)
        assert not encoding.done()
        assert not adding.done()
        gate.set()
        encoded = encoding.result(30)
        assert adding.result(30).encoded == 1
    np.testing.assert_array_equal(encoded.vectors, WordHashEncoder(4_096).encode_documents(["a heron", "bread"]))
    assert encoded.tokens == [2, 1]


def test_who_waits_too_long_is_told(tmp_path, open_service, gate):
    service = open_service({"notes": build(tmp_path / "notes")}, max_seconds=0.2)
    with pytest.raises((NotReadyError, TimeLimitError)):
        run(service.encode, "notes", ["a"])
    with pytest.raises(NotReadyError, match="still loading"):
        run(service.add, "notes", [{"_id": "new", "text": "New."}])


def test_a_model_that_cannot_be_loaded_leaves_the_words(tmp_path, open_service, monkeypatch):
    def fail(*_: Any) -> Any:
        raise ModelError("the checkpoint is gone")

    monkeypatch.setattr(load, "load_encoder", fail)
    service = open_service({"notes": build(tmp_path / "notes")})
    run(service.search, "notes", "water")
    wait_for(lambda: service.state("notes")[0] == "failed")
    answer = run(service.search, "notes", "water")
    assert (answer.mode, answer.warming) == ("keyword", False)
    for call in (
        lambda: run(service.search, "notes", "water", mode="dense"),
        lambda: run(service.encode, "notes", ["a"]),
        lambda: run(service.add, "notes", [{"_id": "new", "text": "New."}]),
    ):
        with pytest.raises(ModelError, match="the checkpoint is gone"):
            call()


def test_indexes_with_one_encoder_share_it(tmp_path, open_service):
    places = {name: build(tmp_path / name) for name in ("a", "b")} | {"c": build(tmp_path / "c", dim=64)}
    service = open_service(places)
    service.shelf.start()
    wait_for(lambda: all(service.state(name)[0] == "warm" for name in places))
    assert service.shelf.queue("a") is service.shelf.queue("b") is not service.shelf.queue("c")


def test_an_index_that_is_rebuilt_with_another_encoder_is_followed(tmp_path, open_service, gate):
    gate.set()
    folder = build(tmp_path / "notes")
    service = open_service({"notes": folder})
    service.shelf.wait_for("notes", 30)
    assert run(service.search, "notes", "heron", 1).mode == "hybrid"
    gate.clear()
    shutil.rmtree(folder)
    build(folder, [{"_id": "other", "text": "Another heron."}], dim=64)
    answer = run(service.search, "notes", "heron", 3)
    assert ([hit.doc_id for hit in answer.hits], answer.mode, answer.warming) == (["other"], "keyword", True)
    gate.set()
    wait_for(lambda: service.state("notes")[0] == "warm")
    answer = run(service.search, "notes", "heron", 3)
    assert ([hit.doc_id for hit in answer.hits], answer.mode) == (["other"], "hybrid")
    assert run(service.encode, "notes", ["a"]).vectors.shape == (1, 64)


def test_an_index_that_is_moved_to_another_encoder_is_followed_without_an_error(tmp_path, open_service):
    folder = build(tmp_path / "notes")
    service = open_service({"notes": folder})
    service.shelf.start()
    service.shelf.wait_for("notes", 30)
    with Index.open(folder) as index, ThreadPoolExecutor(1) as pool:
        moving = pool.submit(index.reencode, model="hash:64")
        while not moving.done():
            assert run(service.search, "notes", "heron", 1).hits[0].doc_id == "heron"
        assert moving.result().after.dim == 64
    assert run(service.search, "notes", "heron", 1).hits[0].doc_id == "heron"
    wait_for(lambda: run(service.encode, "notes", ["a"]).vectors.shape == (1, 64), 10)
    assert run(service.search, "notes", "heron", 1, mode="dense").mode == "dense"
    assert run(service.add, "notes", [{"_id": "new", "text": "New."}]).encoded == 1


def test_texts_are_never_encoded_for_long_by_the_encoder_of_an_index_that_is_gone(tmp_path, open_service):
    folder = build(tmp_path / "notes")
    service = open_service({"notes": folder})
    service.shelf.start()
    service.shelf.wait_for("notes", 30)
    assert run(service.encode, "notes", ["a"]).vectors.shape == (1, 4_096)
    shutil.rmtree(folder)
    build(folder, dim=64)
    wait_for(lambda: run(service.encode, "notes", ["a"]).vectors.shape == (1, 64), 10)


def test_texts_that_meet_the_queue_of_an_index_that_was_replaced_are_encoded_by_the_next(tmp_path, open_service):
    service = open_service({"notes": build(tmp_path / "notes")})
    service.shelf.wait_for("notes", 30)
    of_shelf, left = service.shelf.queue, EncodingQueue(WordHashEncoder(64), batch_tokens=64, max_waiting=8)
    left.close()
    queues = [left]
    service.shelf.queue = lambda name: queues.pop() if queues else of_shelf(name)
    assert run(service.encode, "notes", ["a"]).vectors.shape == (1, 4_096)
    assert not queues


def test_an_index_that_is_rebuilt_with_the_same_encoder_goes_on(tmp_path, open_service):
    folder = build(tmp_path / "notes")
    service = open_service({"notes": folder})
    service.shelf.wait_for("notes", 30)
    shutil.rmtree(folder)
    build(folder, [{"_id": "other", "text": "Another heron."}])
    answer = run(service.search, "notes", "heron", 3)
    assert ([hit.doc_id for hit in answer.hits], answer.mode) == (["other"], "hybrid")


def test_a_deleted_index_is_gone_until_there_is_one_again(tmp_path, open_service):
    folder = build(tmp_path / "notes")
    service = open_service({"notes": folder})
    service.shelf.wait_for("notes", 30)
    service.shelf.start()
    shutil.rmtree(folder)
    wait_for(lambda: service.state("notes")[0] != "warm")  # even without a request
    for _ in range(2):
        for call, given in (
            (service.search, "heron"),
            (service.documents, ["heron"]),
            (service.delete, ["heron"]),
            (service.add, [{"_id": "new", "text": "New."}]),
        ):
            with pytest.raises(NoIndexError):
                run(call, "notes", given)
        assert not folder.exists()
    build(folder)
    assert [hit.doc_id for hit in run(service.search, "notes", "heron", 1).hits] == ["heron"]
    service.shelf.wait_for("notes", 30)
    assert run(service.search, "notes", "heron", 1).mode == "hybrid"


def test_an_index_that_was_never_there_says_so(tmp_path, open_service):
    service = open_service({"notes": tmp_path / "nothing"})
    service.shelf.start()
    with pytest.raises(NoIndexError):
        run(service.search, "notes", "heron")
    assert not (tmp_path / "nothing").exists()


def test_a_writer_waits_for_another_process_and_not_for_ever(tmp_path, open_service, monkeypatch):
    folder = build(tmp_path / "notes")
    service = open_service({"notes": folder})
    service.shelf.wait_for("notes", 30)
    with Index.open(folder) as index:
        held = write_to(folder, index.spec, index.chunking.to_json())
    monkeypatch.setattr(desk, "LOCK_SECONDS", 0.2)
    try:
        with pytest.raises(LockedError):
            run(service.delete, "notes", ["heron"])
        monkeypatch.setattr(desk, "LOCK_SECONDS", 30)
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(run, service.delete, "notes", ["heron"])
            time.sleep(0.2)
            assert not waiting.done()
            held.close()
            assert waiting.result(30) == ["heron"]
    finally:
        held.close()


def test_limits_are_kept(tmp_path, open_service):
    service = open_service(
        {"notes": build(tmp_path / "notes")}, max_k=5, max_query_chars=10, max_batch=2, max_waiting=0
    )
    service.shelf.wait_for("notes", 30)
    with pytest.raises(TooLargeError, match="11 characters"):
        run(service.search, "notes", "x" * 11)
    with pytest.raises(TooLargeError, match="`k` is 6"):
        run(service.search, "notes", "x", 6)
    with pytest.raises(TooLargeError, match="3 texts"):
        run(service.encode, "notes", ["a", "b", "c"])
    with pytest.raises(UsageError, match="unknown role"):
        run(service.encode, "notes", ["a"], "author")
    with pytest.raises(OverloadedError):
        run(service.search, "notes", "x", 1)


def test_each_sees_what_the_key_allows(tmp_path, open_service):
    service = open_service({name: build(tmp_path / name) for name in ("a", "b")})
    bound = service.for_(Access(indexes=frozenset({"b"})))
    assert (service.names, bound.names, bound.one_of(None)) == (["a", "b"], ["b"], "b")
    for call in (
        lambda: run(bound.search, "a", "x"),
        lambda: run(bound.documents, "a", ["x"]),
        lambda: run(bound.add, "a", []),
        lambda: run(bound.delete, "a", ["x"]),
        lambda: run(bound.encode, "a", ["x"]),
        lambda: run(bound.spec, "a"),
        lambda: run(bound.described, "a"),
        lambda: bound.state("a"),
    ):
        with pytest.raises(UnknownIndexError):
            call()


def test_a_checkpoint_that_changed_under_the_index_is_refused_and_words_are_searched(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(load, "load_encoder", lambda *_: WordHashEncoder(64))
    with served({"notes": build(tmp_path / "notes")}) as client:
        assert client.get("/ready").json()["status"] == "failed"
        found = client.post("/search", json={"query": "heron"}).json()
        assert (found["mode"], found["warming"], len(found["hits"])) == ("keyword", False, 1)
        refused = client.post("/search", json={"query": "heron", "mode": "dense"})
        assert (refused.status_code, refused.json()["error"]["code"]) == (409, "mismatch")
        described = client.get("/indexes")
        assert str(tmp_path) not in refused.text + described.text
        assert described.json()["indexes"][0]["reason"].startswith("the index was rebuilt, or its model")
        assert any(str(tmp_path) in record.getMessage() for record in caplog.records)
        assert client.get("/indexes").json()["indexes"][0]["documents"] == len(NOTES)


def test_an_answer_tells_no_place_of_this_machine(tmp_path, caplog):
    with served({"notes": build(tmp_path / "notes")}) as client:
        shutil.rmtree(tmp_path / "notes")
        answers = [client.post("/search", json={"query": "heron"}), client.get("/documents/heron")]
    for answer in answers:
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "index_gone")
        assert "/" not in answer.json()["error"]["message"]
    assert str(tmp_path) in caplog.text
