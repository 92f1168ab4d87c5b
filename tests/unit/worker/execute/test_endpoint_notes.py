"""What attempts of deliveries tell of their endpoints, in batches."""

from collections.abc import Sequence
from typing import Any

import pytest

from acked_common.model.callback_endpoints import EndpointOutcomes
from acked_common.model.callbacks import CALLBACK_KIND
from acked_common.outcomes.outcome import (
    NULL,
    Crashed,
    Ending,
    ErrorInfo,
    Failed,
    Interrupted,
    InterruptReason,
    timed_out,
)
from acked_common.store.errors import StoreUnavailable
from acked_worker.execute import endpoint_notes
from acked_worker.execute.attempt import Assignment
from acked_worker.execute.endpoint_notes import EndpointNotes
from support.callback_endpoints import endpoint
from support.factories import ManualClock
from support.memory_callback_endpoints import MemoryCallbackEndpoints

PAYLOAD = {"tenant": "acme", "endpoint": "billing", "endpoint_rev": 1}


class ShakyEndpoints(MemoryCallbackEndpoints):
    def __init__(self) -> None:
        super().__init__()
        self.is_away = False
        self.writes: list[Sequence[EndpointOutcomes]] = []

    async def note(self, outcomes: Sequence[EndpointOutcomes]) -> None:
        self.writes.append(outcomes)
        if self.is_away:
            raise StoreUnavailable("no server responds")
        await super().note(outcomes)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def store() -> ShakyEndpoints:
    made = ShakyEndpoints()
    await made.add(endpoint())
    return made


@pytest.fixture
def notes(store: ShakyEndpoints, clock: ManualClock) -> EndpointNotes:
    return EndpointNotes(store, clock)


def delivery(payload: Any = None, kind: str = CALLBACK_KIND) -> Assignment:
    return Assignment("job", kind, 1, 1, 0, payload or PAYLOAD, 60.0)


def failed(type_: str = "DeliveryFailed", *, was_sent: bool = True) -> Failed:
    details = {"sent_at": 1} | ({"duration_s": 0.1} if was_sent else {})
    return Failed(ErrorInfo(type_, "the receiver returned 500", retryable=True, details=details), True)


async def test_first_failure_is_kept_until_a_success(
    notes: EndpointNotes, store: ShakyEndpoints, clock: ManualClock
) -> None:
    first = clock.now()
    notes.ended([(delivery(), failed())])
    await notes.write()
    clock.advance(5.0)
    notes.ended([(delivery(), failed()), (delivery(), timed_out(60.0))])
    await notes.write()
    found = await store.get("billing", tenant="acme")
    assert found is not None and found.failing_since == first and "60" in str(found.last_error)
    notes.ended([(delivery(), failed()), (delivery(), NULL)])
    await notes.write()
    assert await store.get("billing", tenant="acme") == endpoint()


async def test_gone_receiver_stops_its_endpoint(
    notes: EndpointNotes, store: ShakyEndpoints, clock: ManualClock
) -> None:
    notes.ended([(delivery(), failed("callback-gone"))])
    await notes.write()
    found = await store.get("billing", tenant="acme")
    assert found is not None and found.gone_at == clock.now() and found.stopped


@pytest.mark.parametrize(
    ("assignment", "ending"),
    [
        (delivery(), failed(was_sent=False)),
        (delivery(), Interrupted(InterruptReason.DRAINED)),
        (delivery(), Crashed("killed")),
        (delivery({"tenant": "acme", "endpoint": ""}), NULL),
        (delivery([1]), NULL),
        (delivery(kind="mail"), failed()),
    ],
    ids=["nothing-sent", "drained", "crashed", "request-callback", "no-object", "other-kind"],
)
async def test_what_tells_nothing_of_a_receiver_is_left_out(
    notes: EndpointNotes, store: ShakyEndpoints, assignment: Assignment, ending: Ending
) -> None:
    notes.ended([(assignment, ending)])
    await notes.write()
    assert store.writes == []


async def test_notes_wait_for_mongodb_in_their_order(
    notes: EndpointNotes, store: ShakyEndpoints, clock: ManualClock
) -> None:
    store.is_away = True
    notes.ended([(delivery(), NULL)])
    with pytest.raises(StoreUnavailable):
        await notes.write()
    notes.ended([(delivery(), failed())])
    with pytest.raises(StoreUnavailable):
        await notes.write()
    store.is_away = False
    await notes.write()
    (written,) = store.writes[-1]
    assert (written.succeeded, written.failed_at) == (True, clock.now())
    before = len(store.writes)
    await notes.write()
    assert len(store.writes) == before


async def test_number_of_waiting_notes_is_bounded(
    notes: EndpointNotes, store: ShakyEndpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoint_notes, "MOST_NOTED", 2)
    notes.ended((delivery(PAYLOAD | {"endpoint": name}), failed()) for name in ("a", "b", "c", "a"))
    await notes.write()
    assert [one.name for one in store.writes[0]] == ["a", "b"]
