"""The verbs of callbacks in memory."""

from collections.abc import Sequence
from typing import TYPE_CHECKING
from uuid import UUID

from acked_common.model.callbacks import JobEnd, ends_document
from acked_common.model.lifecycle import State
from acked_common.store.callbacks import SettledEnds
from acked_common.store.mongo.documents import Document
from acked_common.store.records import Job

if TYPE_CHECKING:
    from support.memory_store import MemoryStore

_WITHOUT = frozenset({"payload", "result", "error", "progress", "history", "attempts", "tracebacks"})


class MemoryCallbacks:
    """`CallbackStore`, less turns, and `CallbackRequests`."""

    async def next_tenant_with_ends(self: "MemoryStore", after: str) -> str | None:
        names = {one["tenant"] for one in self._jobs.values() if _is_open(one) or one.get("callback_ends")}
        return min((name for name in names if name > after), default=None)

    async def jobs_with_ends(self: "MemoryStore", tenant: str, *, limit: int) -> list[Job]:
        from support.memory_store import _job

        own = [one for one in self._jobs.values() if one["tenant"] == tenant]
        opened = [one for one in own if _is_open(one)][:limit]
        earlier = [one for one in own if one.get("callback_ends")][:limit]
        return [_job(one, without=_WITHOUT) for one in (*opened, *earlier)]

    async def settle_ends(self: "MemoryStore", settled: Sequence[SettledEnds]) -> None:
        for one in settled:
            document = self._jobs.get(one.id)
            if document is None:
                continue
            if one.was_open and document["rev"] == one.rev:
                document.pop("callback_open", None)
            if one.keys:
                ends = document.get("callback_ends", {})
                document["callback_ends"] = {key: end for key, end in ends.items() if key not in one.keys}

    async def ask_again(self: "MemoryStore", job_id: UUID, end: JobEnd, *, tenant: str) -> bool:
        document = self._jobs.get(job_id)
        if document is None or document["tenant"] != tenant:
            return False
        if end.endpoint not in document.get("callback_endpoints", ()) if end.endpoint else "callback" not in document:
            return False
        document["callback_ends"] = {**document.get("callback_ends", {}), end.key: ends_document(end)}
        return True


def _is_open(document: Document) -> bool:
    return bool(document.get("callback_open")) and State(document["state"]).is_terminal
