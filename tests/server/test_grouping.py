"""Groups of queries: which ones are answered together, and that failures stay separate."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Event

import pytest
from serving import wait_for

from semsearch.errors import ClientGoneError, OverloadedError
from semsearch.server.batching import TICKET, Ticket
from semsearch.server.grouping import THREADS, Groups


class Held:
    """A function that blocks until `go` is set, records each group, and answers in capitals."""

    def __init__(self) -> None:
        self.go, self.groups = Event(), []

    def __call__(self, texts: Sequence[str]) -> list[str]:
        assert self.go.wait(30)
        self.groups.append(list(texts))
        if "bad" in texts:
            raise ValueError("bad")
        return [text.upper() for text in texts]


@pytest.fixture
def held() -> Held:
    return Held()


def busy(groups: Groups[str], held: Held) -> None:
    """Occupy every thread, so that later queries have to queue."""
    for number in range(THREADS):
        groups.submit("first", number, held)
        wait_for(lambda: not groups.waiting)


def test_questions_that_differ_in_their_text_alone_are_answered_together(held):
    groups = Groups[str](1_000)
    busy(groups, held)
    asked = [(f"q{n}", f"key{n % 2}") for n in range(20)]
    futures = [groups.submit(text, key, held) for text, key in asked]
    held.go.set()
    assert [future.result(30) for future in futures] == [text.upper() for text, _ in asked]
    groups_of_two = [group for group in held.groups if "first" not in group]
    assert len(groups_of_two) < 20
    assert all(len({int(text[1:]) % 2 for text in group}) == 1 for group in groups_of_two)


def test_a_question_without_a_key_is_answered_alone(held):
    groups = Groups[str](1_000)
    busy(groups, held)
    futures = [groups.submit(f"q{n}", None, held) for n in range(5)]
    held.go.set()
    assert [future.result(30) for future in futures] == [f"Q{n}" for n in range(5)]
    assert {len(group) for group in held.groups} == {1}


def test_alone_means_alone(held):
    groups = Groups[str](1_000, together=False)
    busy(groups, held)
    futures = [groups.submit(f"q{n}", "key", held) for n in range(5)]
    held.go.set()
    assert [future.result(30) for future in futures] == [f"Q{n}" for n in range(5)]
    assert {len(group) for group in held.groups} == {1}


def test_a_bad_question_fails_alone(held):
    groups = Groups[str](1_000)
    busy(groups, held)
    good, bad = groups.submit("good", "key", held), groups.submit("bad", "key", held)
    held.go.set()
    assert good.result(30) == "GOOD"
    with pytest.raises(ValueError, match="bad"):
        bad.result(30)


def test_what_nobody_waits_for_is_not_answered(held):
    groups = Groups[str](1_000)
    busy(groups, held)
    ticket = Ticket()
    token = TICKET.set(ticket)
    gone = groups.submit("gone", "key", held)
    TICKET.reset(token)
    cancelled, stays = groups.submit("cancelled", "key", held), groups.submit("stays", "key", held)
    ticket.gone = True
    cancelled.cancel()
    held.go.set()
    assert stays.result(30) == "STAYS"
    with pytest.raises(ClientGoneError):
        gone.result(30)
    assert ["stays"] in held.groups


def test_too_many_are_refused(held):
    groups = Groups[str](2)
    busy(groups, held)
    for _ in range(2):
        groups.submit("q", "key", held)
    with pytest.raises(OverloadedError, match="2 searches are waiting"):
        groups.submit("q", "key", held)
    held.go.set()
