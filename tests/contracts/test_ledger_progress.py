"""The progress of ledgers on both stores, from which the failures of a run count."""

from acked_common.model.ids import new_id
from acked_common.store.ledgers import LedgerProgress
from support.factories import now
from support.ledgers import entry, opened, opening, push, write
from support.whole_store import JobStore


async def test_progress_is_the_failures_at_the_newest_outcome(store: JobStore) -> None:
    ledgers, quiet, going, begun = store.ledgers(), opening(), opening(run=3), opening()
    for one in (quiet, going, begun):
        await opened(ledgers, one)
    await ledgers.write_entries(
        [write(going.id, 1, failures=4), write(begun.id, 1, entry(1, is_open=True), failures=4)]
    )
    await ledgers.write_entries([write(going.id, 2, failures=5)])
    wanted = [quiet.id, going.id, begun.id, new_id(), going.id]
    assert await ledgers.read_progress(wanted) == {
        quiet.id: LedgerProgress(1, 0),
        going.id: LedgerProgress(3, 5),
        begun.id: LedgerProgress(1, 0),
    }
    assert await ledgers.read_progress([]) == {}


async def test_progress_is_the_crashes_at_the_newest_outcome(store: JobStore) -> None:
    ledgers, job_id = store.ledgers(), new_id()
    await opened(ledgers, opening(job_id))
    await ledgers.write_entries([write(job_id, 1, failures=1)])
    await ledgers.write_entries([write(job_id, 2, failures=1, crashes=2)])
    assert await ledgers.read_progress([job_id]) == {job_id: LedgerProgress(1, 1, 2)}
    ledger = await opened(ledgers, opening(job_id, 2))
    assert (ledger.progressed_at_failures, ledger.progressed_at_crashes) == (1, 2)
    begun = write(job_id, 3, entry(3, "n2", is_open=True), failures=1, crashes=3)
    await ledgers.write_entries([begun])
    assert await ledgers.read_progress([job_id]) == {job_id: LedgerProgress(1, 1, 2)}


async def test_a_new_run_has_made_no_progress(store: JobStore) -> None:
    ledgers, job_id = store.ledgers(), new_id()
    await opened(ledgers, opening(job_id))
    await ledgers.write_entries([write(job_id, 1, failures=4, crashes=2)])
    ledger = await opened(ledgers, opening(job_id, 2, run=2))
    assert (ledger.progressed_at_failures, ledger.progressed_at_crashes) == (0, 0)
    assert await ledgers.read_progress([job_id]) == {job_id: LedgerProgress(2, 0, 0)}


async def test_signal_ahead_of_the_first_attempt_is_no_progress(store: JobStore) -> None:
    sent = push(new_id())
    await store.ledgers().push_signal(sent, at=now())
    assert await store.ledgers().read_progress([sent.id]) == {sent.id: LedgerProgress(0, 0)}
