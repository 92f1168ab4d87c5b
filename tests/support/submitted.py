"""What a client knows: the accepted ids and their outcomes."""

import http.client
import json
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from acked_common.model.lifecycle import State
from support.stacks import TestStack

CLIENTS = 16
TRIES = 400
PAUSE_S = 0.05


def submit(stack: TestStack, count: int, batch: str, *, seconds: float, pause_s: float = 0.0) -> list[str]:
    """Send `count` requests from several clients, each repeated until accepted; return the ids of all 202s."""

    def client(share: int) -> list[str]:
        ids: list[str] = []
        body = json.dumps({"kind": "demo", "payload": {"seconds": seconds}, "batch": batch}).encode()
        connection = http.client.HTTPConnection("127.0.0.1", stack.intake_port, timeout=10)
        for _ in range(share):
            for _ in range(TRIES):
                try:
                    connection.request("POST", "/process", body, {"Content-Type": "application/json"})
                    answer = connection.getresponse()
                    text = answer.read()
                    if answer.status == 202:
                        ids.append(json.loads(text)["id"])
                        break
                except (OSError, http.client.HTTPException):
                    connection.close()
                time.sleep(PAUSE_S)
            else:
                raise AssertionError("a request was never accepted")
            time.sleep(pause_s)
        connection.close()
        return ids

    with ThreadPoolExecutor(CLIENTS) as pool:
        return [job_id for ids in pool.map(client, [count // CLIENTS] * CLIENTS) for job_id in ids]


def all_ended(stack: TestStack, batch: str, count: int) -> bool:
    """Whether at least `count` jobs of a batch have ended and none is live.

    More may exist: jobs whose 202 was lost.
    """
    states = stack.batch(batch)
    return sum(states.values()) >= count and all(State(state).is_terminal for state in states)


def endings(stack: TestStack, ids: list[str]) -> Counter[tuple[str, int]]:
    """Count `(state, terminal entries in the history)` over the ids, with one request each."""

    def ending(job_id: str) -> tuple[str, int]:
        job: Any = stack.status(job_id)
        revs = [entry["rev"] for entry in job["history"]]
        assert revs == list(range(1, len(revs) + 1)), job
        return job["state"], sum(State(entry["state"]).is_terminal for entry in job["history"])

    with ThreadPoolExecutor(8) as pool:
        return Counter(pool.map(ending, ids))
