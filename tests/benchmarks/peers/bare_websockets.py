"""A bare `websockets` server: clients connect, and all are told the same frames at a steady rate; no scopes, no tokens.

`python -m benchmarks.peers.bare_websockets <port> <events a frame> <frames a second>`. SIGUSR1 begins and SIGUSR2
pauses, so that who connects is not held up by what those before are told.
"""

import asyncio
import json
import resource
import signal
import sys

import uvloop
from websockets.asyncio.server import ServerConnection, broadcast, serve

EVENT = {
    "id": "01a20d05-adff-75dc-870e-4517b8566f53",
    "rev": 1,
    "state": "scheduled",
    "reason": "accepted",
    "attempt": 0,
    "at": "2026-11-24T10:06:45.759Z",
}


async def run(port: int, events: int, frames_a_second: float) -> None:
    """Until it is ended."""
    connections: set[ServerConnection] = set()

    async def follow(connection: ServerConnection) -> None:
        # The first frame of a client says what it follows; here that is everything.
        await connection.recv()
        await connection.send('{"type":"snapshot","sub":"s","jobs":[]}')
        connections.add(connection)
        try:
            await connection.wait_closed()
        finally:
            connections.discard(connection)

    events_text = ",".join(json.dumps(EVENT, separators=(",", ":")) for _ in range(events))
    loop = asyncio.get_running_loop()
    sends = asyncio.Event()
    loop.add_signal_handler(signal.SIGUSR1, sends.set)
    loop.add_signal_handler(signal.SIGUSR2, sends.clear)
    async with serve(follow, "127.0.0.1", port, compression=None, ping_interval=20, backlog=2048, max_size=2**18):
        due, number = loop.time(), 0
        while True:
            await sends.wait()
            due += 1 / frames_a_second
            # One that falls behind does not try to catch up.
            due = max(due, loop.time())
            await asyncio.sleep(due - loop.time())
            number += 1
            broadcast(connections, f'{{"type":"events","sub":"s","seq":{number},"events":[{events_text}]}}')


if __name__ == "__main__":
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    uvloop.run(run(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])))
