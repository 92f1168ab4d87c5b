"""Requests with an idempotency key: of those that wait here with the same one, the first leads and the others follow.

Only the leader is sent to the store, so a key stands once in a group commit. What becomes of it answers the followers;
where it is certainly not stored, one that asks for something else leads next. The commit belongs to a task of this
module, not to the request that leads: a client that leaves strands nobody.
"""

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import TypeAlias

from acked_common.lifetime import Tasks
from acked_common.store import IdempotencyKey, Insertion, JobStore, KeyHolder, NewJob, StoreError
from acked_intake.group_commit import TICK_S, Busy, GroupCommit

Kept: TypeAlias = Insertion | KeyHolder
"""What became of a job; the holder of its key where that is another job."""

MAX_TRIES = 3
"""How often a job is sent whose key was taken by a job that is gone when it is looked for."""


def answer_of_follower(leader: NewJob, kept: Kept, follower: NewJob) -> Kept | None:
    """What a follower is answered when it is known what became of its leader; None where it is to be sent itself."""
    if kept is Insertion.STORED:
        return _holder(leader)
    if kept is Insertion.NOT_STORED and _key(follower).fingerprint != _key(leader).fingerprint:
        return None
    return kept


@dataclass(slots=True, eq=False)
class _Request:
    job: NewJob
    size: int
    overdue_at: float
    answered: "asyncio.Future[Kept]"


class KeyedCommit:
    """Keeps jobs that have a key, each key once; `answer_within_s` is that of the group commit."""

    def __init__(self, commit: GroupCommit, store: JobStore, *, answer_within_s: float) -> None:
        self._commit = commit
        self._store = store
        self._answer_within_s = answer_within_s
        self._lines: dict[tuple[str, str], deque[_Request]] = {}
        self._line_ended = asyncio.Event()
        self._tasks = Tasks()

    async def keep(self, job: NewJob) -> Kept:
        """Keeps a job, or tells what holds its key; never `KEY_TAKEN`. Raises `Busy` when too many wait."""
        loop = asyncio.get_running_loop()
        request = _Request(job, self._commit.take_room(job), loop.time() + self._answer_within_s, loop.create_future())
        name = (job.tenant, _key(job).text)
        line = self._lines.get(name)
        if line is None:
            line = self._lines[name] = deque()
            self._tasks.spawn(self._serve(name, line), "requests with one key")
        line.append(request)
        try:
            # Behind the group commit, which tells what was never sent from what may be stored.
            async with asyncio.timeout_at(request.overdue_at + 1.5 * TICK_S):
                return await request.answered
        except TimeoutError:
            return Insertion.UNKNOWN

    async def stop(self) -> None:
        """Waits for the requests under way."""
        while self._lines:
            self._line_ended.clear()
            await self._line_ended.wait()

    async def _serve(self, name: tuple[str, str], line: deque[_Request]) -> None:
        try:
            while line:
                leader = line.popleft()
                if leader.answered.done():
                    # Its deadline has passed or its client has left before it was sent.
                    self._commit.give_room_back(leader.size)
                    continue
                kept: Kept = Insertion.UNKNOWN
                try:
                    kept = await self._kept(leader)
                finally:
                    _answer(leader, kept)
                for _ in range(len(line)):
                    follower = line.popleft()
                    answer = answer_of_follower(leader.job, kept, follower.job)
                    if answer is None:
                        line.append(follower)
                    else:
                        self._commit.give_room_back(follower.size)
                        _answer(follower, answer)
        finally:
            del self._lines[name]
            for left in line:
                self._commit.give_room_back(left.size)
                _answer(left, Insertion.UNKNOWN)
            self._line_ended.set()

    async def _kept(self, leader: _Request) -> Kept:
        job = leader.job
        # The group commit takes it anew; nobody else can take it in between.
        self._commit.give_room_back(leader.size)
        if leader.overdue_at <= asyncio.get_running_loop().time():
            return Insertion.NOT_STORED
        for _ in range(MAX_TRIES):
            try:
                found = await self._commit.keep(job, overdue_at=leader.overdue_at)
                if found is not Insertion.KEY_TAKEN:
                    return found
                holder = await self._store.key_holder(job.tenant, _key(job).text)
            except (Busy, StoreError):
                # Somebody holds the key; it may be what an earlier call of this client has stored.
                return Insertion.UNKNOWN
            if holder is not None:
                return holder
            # Its retention has just ended.
        return Insertion.UNKNOWN


def _answer(request: _Request, kept: Kept) -> None:
    if not request.answered.done():
        request.answered.set_result(kept)


def _key(job: NewJob) -> IdempotencyKey:
    if job.key is None:
        raise ValueError("the job has no idempotency key")
    return job.key


def _holder(job: NewJob) -> KeyHolder:
    return KeyHolder(job.id, job.kind, job.lifecycle["state"], job.accepted_at, _key(job).fingerprint)
