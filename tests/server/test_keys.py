"""API keys: their syntax, how clients send them, and what each key allows."""

from __future__ import annotations

import base64

import pytest

from semsearch.errors import ForbiddenError, UnauthorizedError, UnknownIndexError, UsageError
from semsearch.server.keys import SCOPES, Access, Key, Keys


@pytest.mark.parametrize(
    ("text", "secret", "scopes", "indexes"),
    [
        ("sk-1", "sk-1", SCOPES, None),
        ("sk:with:colons", "sk:with:colons", SCOPES, None),
        ("read:sk-1", "sk-1", {"read"}, None),
        ("write:sk:1", "sk:1", {"write"}, None),
        ("read+write:k", "k", SCOPES, None),
        ("@notes,birds:k", "k", SCOPES, {"notes", "birds"}),
        ("read@notes:k", "k", {"read"}, {"notes"}),
        ("reader", "reader", SCOPES, None),
    ],
)
def test_a_key_is_read_with_its_scopes_and_indexes(text, secret, scopes, indexes):
    key = Key.parse(text)
    assert (key.secret, key.scopes, key.indexes) == (secret, scopes, indexes)


@pytest.mark.parametrize("text", ["", "read:", "@:k", " k", "k\n", "schlüssel", "k\0"])
def test_a_key_that_no_client_could_send_is_refused_without_being_shown(text):
    with pytest.raises(UsageError, match="token") as caught:
        Key.parse(text)
    assert "schl" not in str(caught.value)


def test_a_key_does_not_show_itself():
    assert "sk-1" not in repr(Key.parse("read:sk-1"))


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": "Bearer sk-1"},
        {"authorization": "bearer  sk-1"},
        {"authorization": "sk-1"},
        {"authorization": "Bearer Bearer sk-1"},
        {"api-key": "sk-1"},
        {"x-api-key": "sk-1"},
        {"x-api-key": "Bearer sk-1"},
        {"authorization": "Bearer wrong", "api-key": "sk-1"},
        {"authorization": "Basic " + base64.b64encode(b"anyone:sk-1").decode()},
    ],
)
def test_a_key_is_found_in_every_header_that_clients_use(headers):
    assert Keys([Key("other", frozenset({"write"})), Key("sk-1", frozenset({"read"}))]).access(headers) == Access(
        frozenset({"read"})
    )


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": ""},
        {"authorization": "Bearer"},
        {"authorization": "Bearer sk-"},
        {"authorization": "Bearer sk-11"},
        {"authorization": "Basic c2st"},
        {"authorization": "Basic \xff"},
        {"authorization": "Digest sk-1"},
        {"x-api-key": "sk-\xe9"},
        {"cookie": "sk-1"},
    ],
)
def test_anything_else_is_refused(headers):
    with pytest.raises(UnauthorizedError, match="Authorization: Bearer KEY"):
        Keys([Key("sk-1")]).access(headers)


def test_without_keys_everybody_may_do_everything():
    Keys([]).access({}).require("write", "notes", ["notes"])


def test_a_hidden_index_and_one_that_is_not_there_are_told_apart_by_nobody():
    access = Access(indexes=frozenset({"notes"}))
    messages = []
    for name in ("secret", "nothing"):
        with pytest.raises(UnknownIndexError) as caught:
            access.require("read", name, ["notes", "secret"])
        messages.append(str(caught.value).replace(name, "X"))
    assert messages[0] == messages[1]
    assert access.names(["secret", "notes"]) == ["notes"]


def test_a_key_to_read_does_not_write():
    with pytest.raises(ForbiddenError, match="no write access"):
        Access(frozenset({"read"})).require("write", "notes", ["notes"])
