"""Clients that never complete their requests: `python -m support.slow_clients PORT COUNT PATH`.

They run in a separate process. A third sends nothing, a third a head and a third a body, both a few bytes each second.
Prints `ready` once all have begun, and one line of JSON once the server has ended all of them: for each sort the count
of
each response, and the longest lifetime.
"""

import asyncio
import json
import sys
from collections import Counter

from acked_common.runtime.lifetime import raise_file_limit

REQUEST_WITHIN_S = 5.0
"""Deadline of a request, in the stacks of tests with such clients only."""
TRICKLE_S = 1.0
PATIENCE_S = 60.0
BEGINNINGS = {
    "silent": b"",
    "head": b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n",
    "body": b"POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n",
}
TRICKLES = {"silent": b"", "head": b"a: b\r\n", "body": b" "}


class SlowClients:
    """All clients of one run."""

    def __init__(self, port: int, path: str) -> None:
        self._port = port
        self._beginnings = {**BEGINNINGS, "body": BEGINNINGS["body"] % path.encode()}
        self.answers: dict[str, Counter[str]] = {sort: Counter() for sort in BEGINNINGS}
        self.longest_s = 0.0
        self._begun = 0
        self._all_begun = asyncio.Event()

    async def run(self, count: int) -> None:
        """Run until the server has ended all of them."""
        sorts = list(BEGINNINGS)
        # One that can't connect ends the wait: the others alone never reach the count.
        async with asyncio.TaskGroup() as clients:
            for n in range(count):
                clients.create_task(self._client(sorts[n % len(sorts)], count))
            await self._all_begun.wait()
            tell("ready")

    async def _client(self, sort: str, count: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        began = asyncio.get_running_loop().time()
        writer.write(self._beginnings[sort])
        self._begun += 1
        if self._begun == count:
            self._all_begun.set()
        reading = asyncio.create_task(reader.read(65536))
        try:
            async with asyncio.timeout(PATIENCE_S):
                while not (await asyncio.wait({reading}, timeout=TRICKLE_S))[0]:
                    writer.write(TRICKLES[sort])
            answer = reading.result()
        except (TimeoutError, ConnectionError) as error:
            answer = f"{type(error).__name__} without an answer".encode()
        self.answers[sort][answer.partition(b"\r\n")[0].decode("latin-1")] += 1
        self.longest_s = max(self.longest_s, asyncio.get_running_loop().time() - began)
        writer.close()


def tell(line: str) -> None:
    """Print a line for the test that has started this process."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


async def main(port: int, count: int, path: str) -> None:
    """Run the clients, with bodies sent to `path`, and print their results."""
    clients = SlowClients(port, path)
    await clients.run(count)
    tell(json.dumps({"answers": clients.answers, "longest_s": clients.longest_s}))


if __name__ == "__main__":
    raise_file_limit()
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]))
