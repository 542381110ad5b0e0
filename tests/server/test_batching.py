"""The queue in front of the encoder: which texts share a batch, in which order, and that failures stay separate."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event
from typing import Any

import numpy as np
import pytest

from semsearch import WordHashEncoder
from semsearch.errors import ClientGoneError, NotReadyError, OverloadedError
from semsearch.server.batching import BULK, TICKET, URGENT, EncodingQueue, Ticket
from semsearch.server.queued_encoder import QueuedEncoder


class Held:
    """A word-hash encoder that blocks until `go` is set, records its batches, and fails on the text `poison`."""

    def __init__(self, poison: str = "poison") -> None:
        self.inner, self.poison = WordHashEncoder(64), poison
        self.begun, self.go, self.batches = Event(), Event(), []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def _encode(self, texts: Sequence[str]) -> Any:
        self.begun.set()
        assert self.go.wait(30)
        self.batches.append(list(texts))
        if self.poison in texts:
            raise ValueError(self.poison)
        return self.inner.encode_queries(texts)

    encode_queries = encode_documents = _encode


@contextmanager
def held(**wishes: Any) -> Iterator[tuple[EncodingQueue, Held]]:
    """Yield a queue and its encoder, which is blocked in its first batch until `go` is set."""
    encoder = Held()
    queue = EncodingQueue(encoder, **{"batch_tokens": 100, "max_waiting": 1_000, **wishes})
    first = ask(queue, ["first"])
    assert encoder.begun.wait(30)
    yield queue, encoder
    encoder.go.set()
    assert len(first.result(30)) == 1
    queue.close()


def ask(queue: EncodingQueue, texts: list[str], lane: int = URGENT, role: str = "query", **wishes: Any) -> Any:
    return queue.submit(texts, role, queue.lengths(texts, role), lane=lane, **wishes)


def test_what_waits_is_encoded_together_and_each_gets_its_own():
    with held() as (queue, encoder):
        asked = [[f"w{n}"] if n % 3 else [f"w{n}", f"v{n} and more"] for n in range(20)]
        futures = [ask(queue, texts) for texts in asked]
        encoder.go.set()
        for texts, future in zip(asked, futures, strict=True):
            np.testing.assert_array_equal(future.result(30), encoder.inner.encode_queries(texts))
        assert len(encoder.batches) == 2


def test_a_batch_stays_within_its_tokens_and_holds_texts_of_like_length():
    with held(batch_tokens=40) as (queue, encoder):
        lengths = [1, 20, 2, 19, 1, 2, 18, 3, 30]
        futures = [ask(queue, [" ".join(["w"] * n)]) for n in lengths]
        encoder.go.set()
        for future in futures:  # closing the queue drops what is still waiting
            future.result(30)
    batches = [[len(text.split()) for text in batch] for batch in encoder.batches[1:]]
    assert sorted(n for batch in batches for n in batch) == sorted(lengths)
    assert all(len(batch) * max(batch) <= 40 for batch in batches)
    assert len(batches) == 4  # 1 1 2 2 3; 20 19; 18; 30: each as full as 40 tokens allow, oldest first


def test_a_text_longer_than_a_batch_is_encoded_alone():
    with held(batch_tokens=5) as (queue, encoder):
        futures = [ask(queue, [" ".join(["w"] * n)]) for n in (2, 50, 2)]
        encoder.go.set()
        assert [len(future.result(30)) for future in futures] == [1, 1, 1]


def test_a_large_request_is_split_and_queries_go_ahead_of_it():
    with held(batch_tokens=10) as (queue, encoder):
        bulk = ask(queue, [f"b{n}" for n in range(100)], BULK, "document")
        query = ask(queue, ["q"])
        encoder.go.set()
        assert bulk.result(30).shape == (100, 64)
        assert query.result(30).shape == (1, 64)
    assert encoder.batches[1] == ["q"]
    assert max(map(len, encoder.batches)) <= 10


def test_bulk_is_not_kept_waiting_for_ever():
    with held(batch_tokens=1) as (queue, encoder):
        bulk = ask(queue, ["bulk"], BULK)
        for n in range(50):
            ask(queue, [f"q{n}"])
        encoder.go.set()
        bulk.result(30)
    assert encoder.batches.index(["bulk"]) <= 9


def test_requests_of_different_roles_are_not_mixed():
    with held() as (queue, encoder):
        for n in range(4):
            ask(queue, [f"w{n}"], role=("query", "document")[n % 2])
        encoder.go.set()
    assert sorted(encoder.batches[1:]) == [["w0", "w2"], ["w1", "w3"]]


def test_without_batching_each_request_is_encoded_by_itself():
    with held(together=False) as (queue, encoder):
        for n in range(3):
            ask(queue, [f"w{n}", f"v{n}"])
        encoder.go.set()
    assert sorted(map(sorted, encoder.batches[1:])) == [["v0", "w0"], ["v1", "w1"], ["v2", "w2"]]


def test_a_bad_text_fails_its_own_request_alone():
    with held() as (queue, encoder):
        good = [ask(queue, [f"w{n}"]) for n in range(5)]
        bad = ask(queue, ["fine", "poison"])
        encoder.go.set()
        with pytest.raises(ValueError, match="poison"):
            bad.result(30)
        for n, future in enumerate(good):
            np.testing.assert_array_equal(future.result(30), encoder.inner.encode_queries([f"w{n}"]))


def test_what_nobody_waits_for_is_not_encoded():
    with held() as (queue, encoder):
        ticket = Ticket()
        token = TICKET.set(ticket)
        gone = ask(queue, ["gone"])
        TICKET.reset(token)
        cancelled, stays = ask(queue, ["cancelled"]), ask(queue, ["stays"])
        ticket.gone = True
        cancelled.cancel()
        encoder.go.set()
        with pytest.raises(ClientGoneError):
            gone.result(30)
        assert len(stays.result(30)) == 1
    assert encoder.batches[1:] == [["stays"]]


def test_a_full_queue_refuses_and_a_patient_request_waits_for_room():
    with held(max_waiting=3) as (queue, encoder):
        ask(queue, ["a", "b", "c"])
        with pytest.raises(OverloadedError, match="3 texts are waiting"):
            ask(queue, ["d"])
        with ThreadPoolExecutor(1) as pool:
            patient = pool.submit(lambda: ask(queue, ["e"], BULK, wait=True).result(30))
            encoder.go.set()
            assert len(patient.result(30)) == 1


def test_a_closed_queue_leaves_nobody_waiting():
    encoder = Held()
    queue = EncodingQueue(encoder, batch_tokens=1, max_waiting=10)
    first = ask(queue, ["a"])
    assert encoder.begun.wait(30)
    left = ask(queue, ["b"])
    with ThreadPoolExecutor(1) as pool:
        closing = pool.submit(queue.close)
        encoder.go.set()
        closing.result(30)
    assert len(first.result(30)) == 1
    with pytest.raises(NotReadyError):
        left.result(30)
    with pytest.raises(NotReadyError):
        ask(queue, ["c"])


def test_no_text_needs_no_encoder():
    queue = EncodingQueue(Held(), batch_tokens=1, max_waiting=1)
    assert ask(queue, []).result(0).shape == (0, 64)
    queue.close()


def test_the_model_gives_the_same_vectors_in_company_as_alone(minilm):
    queue = EncodingQueue(minilm, batch_tokens=512, max_waiting=1_000)
    encoder, told = QueuedEncoder(queue), []
    texts = [" ".join(["heron", "water", str(n)] * (1 + n % 7)) for n in range(24)]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda text: encoder.encode_queries([text], told.append)[0], texts))
    queue.close()
    alone = np.stack([minilm.encode_query(text) for text in texts])
    np.testing.assert_allclose(np.stack(together), alone, atol=1e-5)
    assert sum(told) == len(texts)


def test_lengths_are_those_that_the_model_sees(minilm):
    queue = EncodingQueue(minilm, batch_tokens=512, max_waiting=10)
    assert queue.lengths(["heron", "", "word " * 1_000], "query") == [3, 2, 256]  # with [CLS] and [SEP]; at most 256
    queue.close()
