"""Requests with an idempotency key: of those that wait here with the same one, the first leads and the others follow.

Only the leader is sent to the store, so a key stands once in a group commit. What becomes of it answers the followers;
where it is certainly not stored, one that asks for something else leads next. The commit does not belong to the request
that leads: a client that leaves strands nobody. Most requests are alone with their key, and take no task and no timer.
"""

import asyncio
from dataclasses import dataclass, field
from typing import TypeAlias

from acked_common.runtime.lifetime import Tasks
from acked_common.store.errors import StoreError
from acked_common.store.ports import KeyStore
from acked_common.store.records import IdempotencyKey, Insertion, KeyHolder, NewJob
from acked_intake.accept.group_commit import TICK_S, Busy, GroupCommit

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
class _KeyedRequest:
    job: NewJob
    overdue_at: float
    answered: "asyncio.Future[Kept]"
    size: int = 0
    """Of the room that a follower takes up; a leader's is the group commit's affair."""


@dataclass(slots=True, eq=False)
class _RequestsOfKey:
    """Who leads with a key, and who follows."""

    name: tuple[str, str]
    leader: _KeyedRequest
    followers: list[_KeyedRequest] = field(default_factory=list)


class KeyedCommit:
    """Keeps jobs that have a key, each key once; `answer_within_s` is that of the group commit."""

    def __init__(self, commit: GroupCommit, store: KeyStore, *, answer_within_s: float) -> None:
        self._commit = commit
        self._store = store
        self._answer_within_s = answer_within_s
        self._lines: dict[tuple[str, str], _RequestsOfKey] = {}
        self._line_ended = asyncio.Event()
        self._tasks = Tasks()

    async def keep(self, job: NewJob) -> Kept:
        """Keeps a job, or tells what holds its key; never `KEY_TAKEN`. Raises `Busy` when too many wait."""
        loop = asyncio.get_running_loop()
        request = _KeyedRequest(job, loop.time() + self._answer_within_s, loop.create_future())
        name = (job.tenant, _key(job).text)
        line = self._lines.get(name)
        if line is None:
            line = _RequestsOfKey(name, request)
            self._send(line)
            self._lines[name] = line
            # In time: the group commit sees to it, and `_find_holder`.
            return await request.answered
        request.size = self._commit.take_room(job)
        line.followers.append(request)
        try:
            async with asyncio.timeout_at(_last_moment(request)):
                return await request.answered
        except TimeoutError:
            return Insertion.UNKNOWN

    async def stop(self) -> None:
        """Waits for the requests under way."""
        while self._lines:
            self._line_ended.clear()
            await self._line_ended.wait()

    def _send(self, line: _RequestsOfKey) -> None:
        """Sends the leader. Raises `Busy`."""
        leader = line.leader
        sent = self._commit.send(leader.job, overdue_at=leader.overdue_at)
        sent.add_done_callback(lambda done: self._on_sent(line, done.result()))

    def _on_sent(self, line: _RequestsOfKey, found: Insertion) -> None:
        if found is Insertion.KEY_TAKEN:
            self._tasks.spawn(self._find_holder(line), "holder of a key")
        else:
            self._settle(line, found)

    async def _find_holder(self, line: _RequestsOfKey) -> None:
        kept: Kept = Insertion.UNKNOWN
        try:
            async with asyncio.timeout_at(_last_moment(line.leader)):
                kept = await self._held(line.leader)
        except (TimeoutError, Busy, StoreError):
            # Somebody holds the key; it may be what an earlier call of this client has stored.
            pass
        finally:
            self._settle(line, kept)

    async def _held(self, leader: _KeyedRequest) -> Kept:
        """Who holds the key of a job that was sent once; or what became of the job when it was sent again."""
        for tries in range(1, MAX_TRIES + 1):
            holder = await self._store.key_holder(leader.job.tenant, _key(leader.job).text)
            if holder is not None:
                return holder
            # Its retention has just ended.
            if tries < MAX_TRIES:
                found = await self._commit.keep(leader.job, overdue_at=leader.overdue_at)
                if found is not Insertion.KEY_TAKEN:
                    return found
        return Insertion.UNKNOWN

    def _settle(self, line: _RequestsOfKey, kept: Kept) -> None:
        """It is known what became of the leader: answers the line, and lets the next one lead."""
        while True:
            _answer(line.leader, kept)
            self._answer_followers(line, kept)
            if not self._next_leads(line):
                del self._lines[line.name]
                self._line_ended.set()
                return
            if line.leader.overdue_at <= asyncio.get_running_loop().time():
                kept = Insertion.NOT_STORED
                continue
            try:
                self._send(line)
                return
            except Busy:
                kept = Insertion.UNKNOWN

    def _answer_followers(self, line: _RequestsOfKey, kept: Kept) -> None:
        """Keeps those who are to be sent themselves."""
        if not line.followers:
            return
        left: list[_KeyedRequest] = []
        for follower in line.followers:
            answer = answer_of_follower(line.leader.job, kept, follower.job)
            if answer is None:
                left.append(follower)
            else:
                self._commit.give_room_back(follower.size)
                _answer(follower, answer)
        line.followers = left

    def _next_leads(self, line: _RequestsOfKey) -> bool:
        """Whether anybody is left; the room of who leads is given back, as the group commit takes it anew."""
        while line.followers:
            request = line.followers.pop(0)
            self._commit.give_room_back(request.size)
            if not request.answered.done():
                line.leader = request
                return True
            # Its deadline has passed or its client has left before it was sent.
        return False


def _last_moment(request: _KeyedRequest) -> float:
    """Behind the group commit's answer, which tells what was never sent from what may be stored."""
    return request.overdue_at + 1.5 * TICK_S


def _answer(request: _KeyedRequest, kept: Kept) -> None:
    if not request.answered.done():
        request.answered.set_result(kept)


def _key(job: NewJob) -> IdempotencyKey:
    if job.key is None:
        raise ValueError("the job has no idempotency key")
    return job.key


def _holder(job: NewJob) -> KeyHolder:
    return KeyHolder(job.id, job.kind, job.lifecycle["state"], job.accepted_at, _key(job).fingerprint)
