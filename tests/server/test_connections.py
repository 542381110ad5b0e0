"""Kept-alive connections: a response is sent at once, however many pieces it is written in."""

from __future__ import annotations

import http.client
import socket
import time
from contextlib import closing
from pathlib import Path

from contract_serving import make_index, served

from semsearch.server.run import bind


def test_an_answer_does_not_wait_for_the_acknowledgement_of_its_headers(tmp_path: Path):
    # Nagle's algorithm would hold the body back until Linux acknowledges the headers, about 40 ms later.
    with served({"birds": make_index(tmp_path / "birds")}) as client:
        kept = http.client.HTTPConnection("127.0.0.1", client.base_url.port)
        took = []
        for _ in range(60):
            started = time.perf_counter()
            kept.request("POST", "/v1/embeddings", b'{"input": "a heron"}', {"Content-Type": "application/json"})
            assert kept.getresponse().read()
            took.append(time.perf_counter() - started)
        kept.close()
        assert min(took[30:]) < 0.03  # Linux acknowledges the first packets at once anyway


def test_a_client_that_comes_before_the_server_runs_waits():
    with closing(bind("127.0.0.1", 0)) as listening, socket.create_connection(listening.getsockname(), 5) as early:
        early.sendall(b"GET / HTTP/1.1\r\n")
        accepted, _ = listening.accept()
        with accepted:
            assert accepted.recv(100) == b"GET / HTTP/1.1\r\n"


def test_accepted_connections_send_small_pieces_at_once():
    with closing(bind("127.0.0.1", 0)) as listening:
        assert listening.proto == socket.IPPROTO_TCP  # asyncio sets TCP_NODELAY only on such sockets
