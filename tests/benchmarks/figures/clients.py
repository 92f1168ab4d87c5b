"""How many clients one gateway feeds: the memory of each, and how many events reach them all; beside a bare server."""

import os
import resource
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from benchmarks import transitions
from benchmarks.bench import Bench
from benchmarks.crowd import Crowd
from benchmarks.followers import Order
from benchmarks.peers_run import free_port
from benchmarks.processes import rss_bytes
from benchmarks.report import FigureResult, Row
from benchmarks.rounds import Spread, ratio

NAME = "clients"
COLUMNS = {"memory per client": "KiB", "delivered": "events/s", "frames": "frames/s", "ended": "connections"}
BARE = "bare websockets server"
OFFERED_PER_S = 100
FRAMES_PER_S = 20
"""Of the bare server, with several events in each: it has nothing that would make bundles of them."""
_SPARE_FILES = 500
_CLIENTS_OF_ONE_ADDRESS = 5000
_LISTENS_WITHIN_S = 10.0
_SETTLES_S = 1.0

Sending = Callable[[], AbstractContextManager[None]]
"""While it lasts, events are sent."""


def measure(bench: Bench) -> FigureResult:
    """The figure. Clients connect once for each server; the rounds are windows of their life."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    clients = min(bench.plan.clients, hard - _SPARE_FILES)
    result = FigureResult(NAME, f"Feed clients of one gateway: {clients:,}", COLUMNS)
    found = {bench.ours.name: _ours(bench, clients), BARE: _bare(bench, clients)}
    ours = found[bench.ours.name]["delivered"]
    for name, spreads in found.items():
        of_it = None if name == bench.ours.name else ratio(ours, spreads["delivered"])
        result.rows.append(Row(name, spreads, of_it))
    if clients < bench.plan.clients:
        result.notes.append(f"The number of clients is limited by this machine: {hard:,} open files per process.")
    result.notes.append(
        f"All clients follow the same batch, with {OFFERED_PER_S} transitions a second. Without a limit in the server "
        f"and in the clients, which share the cores, {OFFERED_PER_S * clients:,} events a second would be delivered. "
        "The bare server has no concept of jobs: it broadcasts the same frames, "
        f"{FRAMES_PER_S} a second. Memory is the growth of the server divided by the number of clients."
    )
    return result


def _ours(bench: Bench, clients: int) -> dict[str, Spread]:
    bench.ours.wake()
    try:
        batch = "followed-by-all"

        @contextmanager
        def transitions_are_made() -> Iterator[None]:
            seconds = bench.plan.clients_s + 2 * _SETTLES_S
            making = threading.Thread(
                daemon=True,
                target=transitions.make,
                args=(bench.ours.stack.urls["mongo"],),
                kwargs={"per_s": OFFERED_PER_S, "seconds": seconds, "batch_of": lambda _: batch},
            )
            making.start()
            yield
            making.join()

        order = _order(bench, bench.ours.gateway_port, clients, bench.ours.token, batch)
        return _measured(bench, bench.ours.name, bench.ours.pids()["gateway-1"], order, transitions_are_made)
    finally:
        bench.leave(bench.ours)


def _bare(bench: Bench, clients: int) -> dict[str, Spread]:
    port = free_port()
    command = [
        *(str(bench.place.python), "-m", "benchmarks.peers.bare_websockets", str(port)),
        *(str(OFFERED_PER_S // FRAMES_PER_S), str(FRAMES_PER_S)),
    ]
    server = bench.children.start("bare-websockets", command, environ=bench.place.environ, cwd=bench.place.folder)
    try:
        _wait_listens(port)

        @contextmanager
        def frames_are_sent() -> Iterator[None]:
            os.kill(server.pid, signal.SIGUSR1)
            yield
            os.kill(server.pid, signal.SIGUSR2)

        order = _order(bench, port, clients, "", "everything")
        return _measured(bench, BARE, server.pid, order, frames_are_sent)
    finally:
        bench.children.end(server)


def _measured(bench: Bench, name: str, pid: int, order: Order, sending: Sending) -> dict[str, Spread]:
    values: dict[str, list[float]] = {column: [] for column in COLUMNS}
    before = rss_bytes(pid)
    with Crowd(order) as crowd:
        time.sleep(_SETTLES_S)
        memory_kib = (rss_bytes(pid) - before) / order.clients / 1024
        for number in range(bench.plan.rounds):
            with sending():
                time.sleep(_SETTLES_S)
                crowd.go()
                time.sleep(bench.plan.clients_s)
                counted = crowd.end()
            values["memory per client"].append(memory_kib)
            values["delivered"].append(counted.events / counted.seconds)
            values["frames"].append(counted.frames / counted.seconds)
            values["ended"].append(counted.lost)
            bench.say(f"round {number + 1}: {name} delivers {values['delivered'][-1]:,.0f} events/s")
    spreads = {column: Spread(tuple(found)) for column, found in values.items()}
    # Clients connect once: there is one value.
    return {**spreads, "memory per client": Spread((memory_kib,))}


def _order(bench: Bench, port: int, clients: int, token: str, batch: str) -> Order:
    return Order(
        port=port,
        clients=clients,
        token=token,
        scopes=[{"batch": batch}],
        sampled=0,
        heard=str(bench.folder / "run" / "heard"),
        sources=max(1, -(-clients // _CLIENTS_OF_ONE_ADDRESS)),
    )


def _wait_listens(port: int) -> None:
    end = time.monotonic() + _LISTENS_WITHIN_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)
        else:
            return
