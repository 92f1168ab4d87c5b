"""The state of a job's callback, for its status."""

from typing import Annotated, Literal, TypedDict

from msgspec import Meta

from acked_common.model.callbacks import EVENT_OF, JobEnd, delivery_id, is_wanted
from acked_common.model.lifecycle import State
from acked_common.store.ports import JobReader
from acked_common.store.records import Job

CallbackState = Literal["pending", "not-requested", "due", "sending", "delivered", "undelivered", "unknown"]


class CallbackOf(TypedDict):
    """The callback of a request."""

    url: str
    events: list[str]
    state: Annotated[
        CallbackState,
        Meta(
            description="Of the job's last end. `pending` before it; `not-requested` for an event that the request "
            "left out; `due` until there is a delivery, `sending` while it has attempts left, then `delivered` or "
            "`undelivered`; `unknown` if the delivery is past its retention."
        ),
    ]


async def callback_of(store: JobReader, job: Job) -> CallbackOf | None:
    """Return the callback of a job for its readers, with the state of the delivery of its last end; None without one.

    That costs one further read, only for ended jobs with a callback. Raise `StoreError`.
    """
    if job.callback is None:
        return None
    return {"url": job.callback.url, "events": list(job.callback.events), "state": await _state(store, job)}


async def _state(store: JobReader, job: Job) -> CallbackState:
    if not job.state.is_terminal or job.finished_at is None:
        return "pending"
    end = JobEnd(job.run, EVENT_OF[job.state], job.finished_at, resend=0, endpoint="")
    if job.callback is None or not is_wanted(job.callback, end):
        return "not-requested"
    delivery = await store.get(delivery_id(job.id, end), tenant=job.tenant)
    if delivery is None:
        return "due" if job.callback_open else "unknown"
    if not delivery.state.is_terminal:
        return "sending"
    return "delivered" if delivery.state is State.SUCCEEDED else "undelivered"
