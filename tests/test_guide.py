"""Test the guide for chatbots: it shows what doctor prints and has a section for every client."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from semsearch.cli.addresses import Address
from semsearch.cli.clients import CLIENTS, Setup

GUIDE = (Path(__file__).parents[1] / "docs" / "guides" / "chatbots.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("client", CLIENTS)
def test_what_is_shown_for_a_client_is_what_doctor_prints(client: str):
    setup = Setup(
        Address("127.0.0.1", "http://127.0.0.1:8000"), ("semsearch",), {"notes": Path("/home/me/indexes/notes")}
    )
    for paste in CLIENTS[client](setup):
        assert re.sub(r"\s+", " ", paste.text) in re.sub(r"\s+", " ", GUIDE)


def test_every_client_has_a_section():
    sections = " ".join(re.findall(r"^## (.+)$", GUIDE, re.MULTILINE)).lower().replace(" ", "-")
    assert [client for client in CLIENTS if client not in sections.replace("vs-code", "vscode")] == []
