"""What a job that succeeds costs in MongoDB, counted exactly: commands, their bytes, and the bytes of its document.

Records of failed attempts, actors and error groups must cost nothing without failures. The figures are
those of the version before any of that was kept; a change that raises one needs a reason, and the new figure here.
"""

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import bson
import pytest
from bson.binary import UuidRepresentation
from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument
from pymongo.database import Database
from pymongo.monitoring import CommandStartedEvent

from acked_common.model.lifecycle import Move, Owner, Transition
from acked_common.outcomes.outcome import Succeeded
from acked_common.outcomes.outcome_rules import Defaults, transition_after
from acked_common.store.mongo import schema
from acked_common.store.mongo.store import MongoStore
from acked_common.store.records import Applied, ClaimedJob, KindRecord
from support.factories import insert, new_job
from support.listened_store import StartedListener, listened_store

AT = datetime(2100, 1, 2, 3, 4, 5, 678000, UTC)
KIND = KindRecord("demo", "demo", "1", 900.0, 5, 1.0, 300.0, 32)
DEFAULTS = Defaults(10.0, 3600.0, 86400.0)
OPTIONS: CodecOptions[dict[str, Any]] = CodecOptions(uuid_representation=UuidRepresentation.STANDARD, tz_aware=True)
OF_EACH_COMMAND = ("lsid", "$clusterTime", "$db", "$readPreference")
"""What the driver adds by itself; the length of some differs from run to run."""
OF_CONNECTIONS = ("hello", "saslStart", "saslContinue")
"""Commands of the driver's own: on a slow machine it opens a connection at any time."""


class Sent(StartedListener):
    """Counts the commands of a store and their bytes."""

    def __init__(self) -> None:
        self.commands: list[tuple[str, int]] = []

    def started(self, event: CommandStartedEvent) -> None:
        if event.command_name in OF_CONNECTIONS:
            return
        own = {name: value for name, value in event.command.items() if name not in OF_EACH_COMMAND}
        self.commands.append((event.command_name, len(bson.encode(own, codec_options=OPTIONS))))

    def take(self) -> list[tuple[str, int]]:
        """The commands since the last call."""
        taken, self.commands = self.commands, []
        return taken


@pytest.fixture
def sent() -> Sent:
    return Sent()


@pytest.fixture
async def store(
    mongo_url: str, mongo_database: str, sent: Sent, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[MongoStore]:
    async with listened_store(mongo_url, mongo_database, sent, monkeypatch) as opened:
        yield opened


Cost = dict[str, Any]
PINNED: dict[tuple[int, bool], Cost] = {
    (1, True): {
        "insert": [("insert", 405)],
        "claim": [("findAndModify", 1212)],
        "record": [("update", 606)],
        "stored": 477,
    },
    # Results that are alike are recorded with one update, others with one each in the same command.
    (32, True): {
        "insert": [("insert", 9820)],
        "claim": [("update", 1803), ("find", 1179)],
        "record": [("update", 1362)],
        "stored": 15264,
    },
    (32, False): {
        "insert": [("insert", 9820)],
        "claim": [("update", 1803), ("find", 1179)],
        "record": [("update", 15885)],
        "stored": 15424,
    },
}
"""By how many jobs are inserted, claimed and recorded at once, and whether their results are alike: the commands of
each step with their bytes, and the bytes of the ended jobs."""


@pytest.mark.parametrize(("jobs", "alike"), PINNED)
async def test_success_costs_what_it_did_before_attempts_were_kept(
    store: MongoStore, sent: Sent, database: Database[dict[str, Any]], jobs: int, alike: bool
) -> None:
    results = [b"null" if alike else b'{"n":%d}' % (100 + n) for n in range(jobs)]
    assert await cost(store, sent, database, results) == PINNED[jobs, alike]


async def cost(store: MongoStore, sent: Sent, database: Database[dict[str, Any]], results: Sequence[bytes]) -> Cost:
    """Insert, claim and record jobs as the services do; return what was sent and what is stored."""
    given = [new_job(id=UUID(int=n + 1), payload=b'{"n":1}', at=AT) for n in range(len(results))]
    sent.take()
    await insert(store, *given)
    # The second one reads the jobs for this test.
    found: Cost = {"insert": sent.take()[:1]}
    by = Owner("worker-1", "boot-1", "nonce-1")
    ids = [job.id for job in given]
    claimed = await store.claim(ids, kinds=["demo"], owner=by, lease_s=30.0, at=AT + timedelta(seconds=1))
    found["claim"] = sent.take()
    # Jobs of equal results share a transition, as in the recorder.
    ends = {result: succeeded(claimed[0], result) for result in results}
    moves = [Move(job.seen, ends[result]) for job, result in zip(claimed, results, strict=True)]
    assert await store.apply(moves) == [Applied.APPLIED] * len(results)
    found["record"] = sent.take()
    raw = database[schema.JOBS].with_options(codec_options=CodecOptions(document_class=RawBSONDocument))
    found["stored"] = sum(len(document.raw) for document in raw.find())
    return found


def succeeded(job: ClaimedJob, result: bytes) -> Transition:
    """What a worker records for a handler that returned."""
    found = transition_after(
        Succeeded(result), job, KIND, DEFAULTS, worker="worker-1", cancelling=False, at=AT + timedelta(seconds=2)
    )
    assert found is not None
    return found
