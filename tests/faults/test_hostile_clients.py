"""Clients that send rubbish, half of something or nothing, and followers that never answer: nobody else notices."""

import asyncio
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from faults.experiment import experiment
from faults.rig import Rig
from support.feed import connected
from support.stacks import eventually

SLOW_CLIENTS = 100
ROUNDS = 3
LISTENS_S = 12.0
CUT_OFF_WITHIN_S = 20.0

RUBBISH = {
    "no JSON": b"{",
    "half": b'{"kind": "fault.work", "payload": {"sec',
    "deep": b'{"kind": "fault.work", "payload": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "huge number": b'{"kind": "fault.work", "payload": {"seconds": 1' + b"0" * 400 + b"}}",
    "beyond 64 bits": b'{"kind": "fault.work", "max_attempts": 1180591620717411303424}',
    "not a number": b'{"kind": "fault.work", "payload": {"seconds": NaN}}',
    "infinite": b'{"kind": "fault.work", "payload": {"seconds": -Infinity}}',
    "lone surrogate": b'{"kind": "fault.work", "payload": {"a": "\\ud800"}}',
    "no UTF-8": b'{"kind": "fault.work", "payload": {"a": "\xff\xfe"}}',
    "doubled key": b'{"kind": "fault.work", "kind": "noop"}',
    "wrong types": b'{"kind": 7, "payload": {}, "batch": [], "tags": "x"}',
    "a list": b"[1, 2, 3]",
    "unknown member": b'{"kind": "fault.work", "state": "succeeded"}',
    "long key": b'{"kind": "fault.work", "payload": {"' + b"k" * 1_000_000 + b'": 1}}',
}


def test_23_i1_rubbish_is_refused_and_its_neighbours_are_kept(rig: Rig) -> None:
    with experiment(rig, f"23 {len(RUBBISH)} kinds of rubbish, {SLOW_CLIENTS} slow clients, under load") as run:
        run.burst(700, seconds=2.0)
        with half_open(rig, SLOW_CLIENTS), run.client.load(60, seconds=0.2):
            for _ in range(ROUNDS):
                for name, body in RUBBISH.items():
                    answer = rig.stack.call("POST", "/process", body, to="intake")
                    assert 400 <= answer.status < 500, (name, answer.status, answer.raw[:300])
                    assert answer.headers["content-type"] == "application/problem+json", name
            for start in (b"POST /process HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 8_000_000, b"\x16\x03\x01" * 50):
                _refused_or_cut(rig, start)
    assert (run.figures.refused, run.figures.unknown) == (0, 0), run.client.not_accepted


@contextmanager
def half_open(rig: Rig, number: int) -> Iterator[None]:
    """Clients that begin a request and never go on."""
    sockets = [socket.create_connection(("127.0.0.1", rig.stack.intake_port), timeout=5) for _ in range(number)]
    for position, sock in enumerate(sockets):
        sock.sendall(b"POST /process HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n"[: 10 + position])
    try:
        yield
    finally:
        for sock in sockets:
            sock.close()


def _refused_or_cut(rig: Rig, start: bytes) -> None:
    with socket.create_connection(("127.0.0.1", rig.stack.intake_port), timeout=10) as sock:
        try:
            sock.sendall(start + b"\r\n\r\n")
            answer = sock.recv(4096)
        except OSError:
            return
        assert answer == b"" or answer.startswith(b"HTTP/1.1 4"), answer[:100]


def test_28_i9_who_only_listens_stays_and_who_never_answers_is_cut_off(rig: Rig) -> None:
    with experiment(rig, "28 followers that only listen, and followers that never pong") as run:
        files = open_files(rig)
        mute = [_mute_follower(rig) for _ in range(20)]
        with run.client.load(60, seconds=0.2):
            rig.outside.run(_listens(run.batch, rig))
        eventually(lambda: open_files(rig) <= files + 10, within_s=CUT_OFF_WITHIN_S, what="the mute ones are cut off")
        for sock in mute:
            sock.close()


def open_files(rig: Rig) -> int:
    """Of the gateway."""
    return len(os.listdir(f"/proc/{rig.pid('gateway-1')}/fd"))  # noqa: PTH208 - names only


async def _listens(batch: str, rig: Rig) -> None:
    """A follower that sends nothing behind its subscription gets all that happens, for as long as it wants."""
    seen = 0
    async with connected(rig.stack) as websocket:
        await websocket.send(json.dumps({"type": "subscribe", "sub": "s", "scope": {"batch": batch}}))
        try:
            async with asyncio.timeout(LISTENS_S):
                while True:
                    seen += len(await websocket.recv())
        except TimeoutError:
            pass
    assert seen > 1000


def _mute_follower(rig: Rig) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", rig.stack.gateway_port), timeout=5)
    sock.sendall(
        b"GET /ws/feed HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    assert sock.recv(1024).startswith(b"HTTP/1.1 101")
    return sock
