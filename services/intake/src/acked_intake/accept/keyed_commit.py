"""Requests with an idempotency key: of those that wait here with the same key, the first leads and the others follow.

Only the leader is sent to the store, so a group commit contains a key once. Its outcome is the response to the
followers. If the leader is certainly not stored, a follower with a different request leads next. The commit does not
belong to the leading request, so a leader that disconnects does not strand its followers. Most requests are the only
one with their key and need no task and no timer.
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
"""The outcome for a job, or the holder of its key if that is another job."""

MAX_TRIES = 3
"""How often a job is sent if the holder of its key is deleted before it can be read."""


def answer_of_follower(leader: NewJob, kept: Kept, follower: NewJob) -> Kept | None:
    """Return the outcome for a follower, given that of its leader; None if the follower must be sent itself."""
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
    """The room that a follower takes; the group commit counts that of a leader."""


@dataclass(slots=True, eq=False)
class _RequestsOfKey:
    """The leader and the followers with one key."""

    name: tuple[str, str]
    leader: _KeyedRequest
    followers: list[_KeyedRequest] = field(default_factory=list)


class KeyedCommit:
    """Store jobs that have a key, each key once; `answer_within_s` is that of the group commit."""

    def __init__(self, commit: GroupCommit, store: KeyStore, *, answer_within_s: float) -> None:
        self._commit = commit
        self._store = store
        self._answer_within_s = answer_within_s
        self._lines: dict[tuple[str, str], _RequestsOfKey] = {}
        self._line_ended = asyncio.Event()
        self._tasks = Tasks()

    async def keep(self, job: NewJob) -> Kept:
        """Store a job, or return the holder of its key; never `KEY_TAKEN`. Raises `Busy` if too many wait."""
        loop = asyncio.get_running_loop()
        request = _KeyedRequest(job, loop.time() + self._answer_within_s, loop.create_future())
        name = (job.tenant, _key(job).text)
        line = self._lines.get(name)
        if line is None:
            line = _RequestsOfKey(name, request)
            self._send(line)
            self._lines[name] = line
            # The group commit and `_find_holder` complete the future in time.
            return await request.answered
        request.size = self._commit.take_room(job)
        line.followers.append(request)
        try:
            async with asyncio.timeout_at(_last_moment(request)):
                return await request.answered
        except TimeoutError:
            return Insertion.UNKNOWN

    async def stop(self) -> None:
        """Wait for the requests in flight."""
        while self._lines:
            self._line_ended.clear()
            await self._line_ended.wait()

    def _send(self, line: _RequestsOfKey) -> None:
        """Send the leader. Raises `Busy`."""
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
            # A job holds the key; an earlier request of this client may have stored it.
            pass
        finally:
            self._settle(line, kept)

    async def _held(self, leader: _KeyedRequest) -> Kept:
        """Return the holder of the key of a job that was sent once, or the outcome of sending the job again."""
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
        """Complete the leader and its followers with the outcome; let the next one lead if there is one."""
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
        """Complete the followers, except those that must be sent themselves."""
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
        """Make the next follower the leader; False without one. Its room is released, since the group commit reserves
        it."""
        while line.followers:
            request = line.followers.pop(0)
            self._commit.give_room_back(request.size)
            if not request.answered.done():
                line.leader = request
                return True
            # Its deadline has passed, or its client has disconnected, before it was sent.
        return False


def _last_moment(request: _KeyedRequest) -> float:
    """Return a time after the group commit's deadline: only the group commit knows whether a job was ever sent."""
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
