"""Ledgers on both stores: opens, entries, signals, and their ends."""

import asyncio
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from msgspec.structs import replace

from acked_common.model.ids import new_id
from acked_common.model.ledger import (
    MAX_SIGNAL_BYTES,
    MAX_UNREAD,
    MAX_VALUE_BYTES,
    AlreadyKept,
    EntryError,
    Fenced,
    InboxFull,
    JobLedger,
    LedgerEntry,
    PendingSignals,
    Repeated,
    SignalGone,
)
from acked_common.model.ledger_rules import entry_bytes
from acked_common.model.lifecycle import Owner
from acked_common.store.ledgers import Inbox, Ledgers
from support.factories import LEASE_S, insert, new_job, now
from support.ledgers import digest, entry, ledger_of, opened, opening, push, write
from support.whole_store import JobStore

LARGE = b'"' + b"x" * 5000 + b'"'


@pytest.fixture
def ledgers(store: JobStore) -> Ledgers:
    return store.ledgers()


def seq_of(found: PendingSignals | Repeated | InboxFull) -> int:
    """The number of a signal that is in the inbox."""
    assert isinstance(found, PendingSignals), found
    return found.in_seq


async def kept(ledgers: Ledgers, job_id: UUID, number: int, **fields: Any) -> LedgerEntry:
    """Keep the outcome of the n-th call."""
    made = entry(number, **fields)
    (found,) = await ledgers.write_entries([write(job_id, number, made)])
    assert found == made
    return made


# Opening.


async def test_the_first_open_makes_a_ledger(ledgers: Ledgers) -> None:
    wanted = opening()
    made = await opened(ledgers, wanted)
    assert (made.id, made.tenant, made.attempt, made.by, made.run) == (wanted.id, wanted.tenant, 1, "n1", 1)
    assert (made.began_with, made.edition, made.entries, made.inbox, made.in_seq) == ("7", 1, {}, (), 0)
    assert await ledger_of(ledgers, wanted.id) == made


async def test_a_ledger_of_another_tenant_is_not_read(ledgers: Ledgers) -> None:
    made = await opened(ledgers, opening(tenant="acme"))
    assert await ledgers.read_ledger(made.id, tenant="acme") == made
    assert await ledgers.read_ledger(made.id, tenant="other") is None
    assert await ledgers.read_ledger(new_id(), tenant="acme") is None


async def test_many_ledgers_are_opened_at_once_in_order(ledgers: Ledgers) -> None:
    known, fresh, stale = opening(attempt=2), opening(), opening()
    await opened(ledgers, replace(known, attempt=1, nonce="n1"))
    await kept(ledgers, known.id, 1, value=LARGE)
    await opened(ledgers, replace(stale, attempt=3, nonce="n3"))
    first, second, third = await ledgers.open_ledgers([known, fresh, stale], at=now())
    assert isinstance(first, JobLedger) and isinstance(second, JobLedger)
    assert (first.id, first.by, list(first.entries)) == (known.id, "n2", [digest(1)])
    assert (second.id, second.entries) == (fresh.id, {})
    assert third == Fenced(3)


async def test_nothing_to_do_costs_nothing(ledgers: Ledgers) -> None:
    assert await ledgers.open_ledgers([], at=now()) == []
    assert await ledgers.write_entries([]) == []
    assert await ledgers.read_inboxes([]) == {}
    await ledgers.keep_ledgers([], at=now())


async def test_a_repeated_open_returns_what_was_kept_since(ledgers: Ledgers) -> None:
    wanted = opening()
    await opened(ledgers, wanted)
    made = await kept(ledgers, wanted.id, 1)
    assert (await opened(ledgers, wanted)).entries == {digest(1): made}


async def test_a_later_attempt_has_all_entries_and_fences_the_earlier_one(ledgers: Ledgers) -> None:
    wanted = opening()
    await opened(ledgers, wanted)
    made = [await kept(ledgers, wanted.id, number, value=value) for number, value in enumerate((b"1", LARGE, None), 1)]
    later = await opened(ledgers, replace(wanted, attempt=2, nonce="n2", version="8"))
    assert list(later.entries.values()) == made
    assert (later.began_with, later.attempt) == ("7", 2)
    assert await ledgers.write_entries([write(wanted.id, 4), write(wanted.id, 1, made[0])]) == [Fenced(2), Fenced(2)]


async def test_an_attempt_behind_its_ledger_is_fenced(ledgers: Ledgers) -> None:
    wanted = opening(attempt=5)
    await opened(ledgers, wanted)
    for attempt in (4, 5):
        assert await ledgers.open_ledgers([replace(wanted, attempt=attempt, nonce="x")], at=now()) == [Fenced(5)]
    assert (await ledger_of(ledgers, wanted.id)).by == "n5"


async def test_the_owner_takes_over_a_ledger_that_is_ahead(store: JobStore, ledgers: Ledgers) -> None:
    (job,) = await insert(store, new_job())
    await opened(ledgers, opening(job.id, 9))
    (claimed,) = await store.claim([job.id], kinds=[job.kind], owner=Owner("w", "b", "mine"), lease_s=LEASE_S, at=now())
    stale = opening(job.id, claimed.attempt, nonce="another")
    assert await ledgers.open_ledgers([stale], at=now()) == [Fenced(9)]

    taken = await opened(ledgers, opening(job.id, claimed.attempt, nonce="mine"))

    assert (taken.attempt, taken.by) == (1, "mine")
    assert await ledgers.write_entries([write(job.id, 1, entry(1, "n9"))]) == [Fenced(1)]
    later = await opened(ledgers, opening(job.id, 2))
    assert later.attempt == 2


async def test_a_new_run_begins_an_edition_without_failures(ledgers: Ledgers) -> None:
    wanted = opening()
    await opened(ledgers, wanted)
    good = await kept(ledgers, wanted.id, 1, value=LARGE)
    await kept(ledgers, wanted.id, 2, value=None, error=EntryError("Boom", "it broke"))
    await kept(ledgers, wanted.id, 3, value=None, timed_out=True)
    await kept(ledgers, wanted.id, 4, value=None, call="try", due_at=now())
    again = await opened(ledgers, replace(wanted, run=2, attempt=2, nonce="n2"))
    assert (again.edition, again.run, again.entries) == (2, 2, {digest(1): good})
    assert again.size_bytes == entry_bytes(good)
    assert await ledger_of(ledgers, wanted.id) == again
    made = entry(2, "n2")
    assert await ledgers.write_entries([write(wanted.id, 2, made)]) == [made]
    assert (await opened(ledgers, replace(wanted, run=2, attempt=3, nonce="n3"))).edition == 2


async def test_of_two_attempts_that_open_at_once_the_later_one_wins(ledgers: Ledgers) -> None:
    job_id = new_id()
    wanted = [opening(job_id, attempt) for attempt in (1, 2, 3)]
    found = await asyncio.gather(*(ledgers.open_ledgers([one], at=now()) for one in wanted))
    assert isinstance(found[2][0], JobLedger)
    assert (await ledger_of(ledgers, job_id)).by == "n3"


# Entries.


async def test_each_field_of_an_entry_is_kept(ledgers: Ledgers) -> None:
    wanted = opening()
    await opened(ledgers, wanted)
    full = LedgerEntry(
        call="wait",
        name="paid",
        key='"k"',
        at=now(),
        took_s=1.5,
        attempt=3,
        tries=4,
        arguments="ab",
        value=b'{"$a": 1}',
        error=EntryError("Boom", "\udc80 it broke"),
        due_at=now() + timedelta(days=1),
        is_open=True,
        timed_out=True,
        cancelled=True,
        version=2,
        seq=1,
        by="n1",
    )
    large = replace(full, value=LARGE, seq=2)
    assert await ledgers.write_entries([write(wanted.id, 1, full), write(wanted.id, 2, large)]) == [full, large]
    assert (await ledger_of(ledgers, wanted.id)).entries == {digest(1): full, digest(2): large}


@pytest.mark.parametrize("size", [0, 1000, 1300, 200_000, MAX_VALUE_BYTES])
async def test_a_value_of_any_size_is_kept(ledgers: Ledgers, size: int) -> None:
    wanted = opening()
    await opened(ledgers, wanted)
    made = await kept(ledgers, wanted.id, 1, value=b"x" * size)
    assert (await ledger_of(ledgers, wanted.id)).entries[digest(1)] == made


@pytest.mark.parametrize("value", [b"1", LARGE])
async def test_a_repeated_write_changes_nothing(ledgers: Ledgers, value: bytes) -> None:
    wanted = opening()
    await opened(ledgers, wanted)
    made = await kept(ledgers, wanted.id, 1, value=value)
    before = await ledger_of(ledgers, wanted.id)
    assert await ledgers.write_entries([write(wanted.id, 1, made)] * 2) == [made, made]
    assert await ledger_of(ledgers, wanted.id) == before


@pytest.mark.parametrize("value", [b"1", LARGE])
async def test_another_outcome_never_replaces_a_kept_one(ledgers: Ledgers, value: bytes) -> None:
    wanted = opening()
    await opened(ledgers, wanted)
    made = await kept(ledgers, wanted.id, 1, value=value)
    await opened(ledgers, replace(wanted, attempt=2, nonce="n2"))
    other = write(wanted.id, 1, entry(1, "n2", value=b"2"))
    assert await ledgers.write_entries([other, replace(other, completes=True)]) == [AlreadyKept(made)] * 2
    assert (await ledger_of(ledgers, wanted.id)).entries == {digest(1): made}


@pytest.mark.parametrize("value", [b"1", LARGE])
@pytest.mark.parametrize("name", ["begun", "x" * 2000])
async def test_an_open_entry_is_completed_once(ledgers: Ledgers, value: bytes, name: str) -> None:
    wanted = opening()
    await opened(ledgers, wanted)
    begun = await kept(ledgers, wanted.id, 1, name=name, value=None, is_open=True, due_at=now())
    await opened(ledgers, replace(wanted, attempt=2, nonce="n2"))
    done = entry(1, "n2", value=value)
    completion = write(wanted.id, 1, done, completes=True, failures=3)
    assert await ledgers.write_entries([write(wanted.id, 1, done)]) == [AlreadyKept(begun)]
    assert (await ledger_of(ledgers, wanted.id)).progressed_at_failures == 0
    assert await ledgers.write_entries([completion]) == [done]
    assert await ledgers.write_entries([completion]) == [done]
    found = await ledger_of(ledgers, wanted.id)
    assert (found.entries, found.progressed_at_failures) == ({digest(1): done}, 3)


async def test_a_completion_without_its_open_entry_is_fenced(ledgers: Ledgers) -> None:
    wanted = opening()
    await opened(ledgers, wanted)
    assert await ledgers.write_entries([write(wanted.id, 1, completes=True)]) == [Fenced(1)]


async def test_a_write_without_a_ledger_is_fenced(ledgers: Ledgers) -> None:
    assert await ledgers.write_entries([write(new_id())]) == [Fenced(0)]


async def test_writes_of_many_jobs_are_independent(ledgers: Ledgers) -> None:
    fine, fenced, repeated = opening(), opening(), opening()
    for one in (fine, fenced, repeated):
        await opened(ledgers, one)
    await opened(ledgers, replace(fenced, attempt=2, nonce="n2"))
    made = await kept(ledgers, repeated.id, 1, value=LARGE)
    first, second = entry(1), entry(2, value=LARGE)
    outcome = await ledgers.write_entries(
        [
            write(fine.id, 1, first),
            write(fenced.id, 1),
            write(repeated.id, 1, made),
            write(fine.id, 2, second),
            write(repeated.id, 1, entry(2)),
        ]
    )
    assert outcome == [first, Fenced(2), made, second, AlreadyKept(made)]
    assert (await ledger_of(ledgers, fine.id)).entries == {digest(1): first, digest(2): second}


async def test_of_concurrent_writes_of_one_call_one_is_kept(ledgers: Ledgers) -> None:
    wanted = opening()
    await opened(ledgers, wanted)
    made = [entry(number, value=b"%d" % number) for number in range(1, 9)]
    found = await asyncio.gather(*(ledgers.write_entries([write(wanted.id, 1, one)]) for one in made))
    winners = [one for (one,) in found if isinstance(one, LedgerEntry)]
    assert len(winners) == 1
    assert [one for (one,) in found if not isinstance(one, LedgerEntry)] == [AlreadyKept(winners[0])] * 7
    assert (await ledger_of(ledgers, wanted.id)).entries == {digest(1): winners[0]}


async def test_a_stale_attempt_and_its_successor_keep_one_entry(ledgers: Ledgers) -> None:
    wanted = opening()
    await opened(ledgers, wanted)
    stale, fresh = entry(1, "n1", value=b"1"), entry(1, "n2", value=b"2")

    async def succeed() -> object:
        ledger = await opened(ledgers, replace(wanted, attempt=2, nonce="n2"))
        if digest(1) in ledger.entries:
            return ledger.entries[digest(1)]
        (found,) = await ledgers.write_entries([write(wanted.id, 1, fresh)])
        return found

    (of_stale,), of_fresh = await asyncio.gather(ledgers.write_entries([write(wanted.id, 1, stale)]), succeed())

    assert (of_stale, of_fresh) in [(stale, stale), (Fenced(2), fresh)]
    assert (await ledger_of(ledgers, wanted.id)).entries[digest(1)] == of_fresh


# Signals.


@pytest.mark.parametrize("value", [b"1", b"x" * 2000, b"x" * MAX_SIGNAL_BYTES])
async def test_a_signal_ahead_of_the_first_attempt_is_in_its_inbox(ledgers: Ledgers, value: bytes) -> None:
    wanted = opening()
    sent = push(wanted.id, value=value)
    assert await ledgers.push_signal(sent, at=now()) == PendingSignals(wanted.id, 1, ("paid",))
    before = await ledger_of(ledgers, wanted.id)
    assert (before.attempt, before.by, before.began_with, before.pending) == (0, None, None, 1)
    ledger = await opened(ledgers, wanted)
    assert ledger.inbox == (replace(sent.signal, seq=1),)
    assert (ledger.in_seq, ledger.edition, ledger.began_with) == (1, 1, "7")


async def test_signals_are_read_in_order_and_with_their_number(ledgers: Ledgers) -> None:
    wanted, without = opening(), new_id()
    await opened(ledgers, wanted)
    sent = [push(wanted.id, f"s{number}", value=b"x" * number * 100) for number in range(5)]
    for one in sent:
        await ledgers.push_signal(one, at=now())
    inbox = Inbox([replace(one.signal, seq=number) for number, one in enumerate(sent, 1)], 5)
    found = await ledgers.read_inboxes([wanted.id, without])
    assert {job_id: Inbox(list(one.signals), one.in_seq) for job_id, one in found.items()} == {wanted.id: inbox}


@pytest.mark.parametrize("value", [b"1", LARGE])
async def test_a_signal_is_taken_with_its_entry(ledgers: Ledgers, value: bytes) -> None:
    wanted = opening()
    await opened(ledgers, wanted)
    for signal_id in ("s1", "s2"):
        await ledgers.push_signal(push(wanted.id, signal_id, value=value), at=now())
    taking = write(wanted.id, 1, takes="s1")
    assert await ledgers.write_entries([taking]) == [taking.entry]
    assert await ledgers.write_entries([taking]) == [taking.entry]
    assert await ledgers.write_entries([write(wanted.id, 2, takes="s1")]) == [SignalGone("s1")]
    ledger = await ledger_of(ledgers, wanted.id)
    assert ([signal.id for signal in ledger.inbox], list(ledger.entries)) == (["s2"], [digest(1)])
    assert await ledgers.push_signal(push(wanted.id, "s1", value=value), at=now()) == Repeated(None)
    assert (await ledger_of(ledgers, wanted.id)).in_seq == 2


@pytest.mark.parametrize("value", [b"1", LARGE])
async def test_a_repeated_signal_changes_nothing(ledgers: Ledgers, value: bytes) -> None:
    wanted = opening()
    sent = push(wanted.id, value=value)
    assert seq_of(await ledgers.push_signal(sent, at=now())) == 1
    again = await ledgers.push_signal(push(wanted.id, value=b"other"), at=now())
    assert again == Repeated(replace(sent.signal, seq=1))
    assert (await ledger_of(ledgers, wanted.id)).in_seq == 1


async def test_concurrent_signals_each_have_a_number(ledgers: Ledgers) -> None:
    job_id = new_id()
    found = await asyncio.gather(*(ledgers.push_signal(push(job_id, f"s{n}"), at=now()) for n in range(10)))
    assert sorted(map(seq_of, found)) == list(range(1, 11))
    ledger = await ledger_of(ledgers, job_id)
    assert ([signal.seq for signal in ledger.inbox], ledger.pending) == (list(range(1, 11)), 10)


async def test_a_signal_above_the_limit_is_refused(ledgers: Ledgers) -> None:
    refused = await ledgers.push_signal(push(new_id(), value=b"x" * (MAX_SIGNAL_BYTES + 1)), at=now())
    assert isinstance(refused, InboxFull)


async def test_an_inbox_of_many_bytes_is_full(ledgers: Ledgers) -> None:
    job_id, pushed = new_id(), 0
    while True:
        found = await ledgers.push_signal(push(job_id, f"s{pushed}", value=LARGE * 12), at=now())
        if not isinstance(found, PendingSignals):
            break
        pushed += 1
    assert isinstance(found, InboxFull) and "bytes" in found.limit
    assert pushed == 17
    assert seq_of(await ledgers.push_signal(push(job_id, "small"), at=now())) == pushed + 1


async def test_an_inbox_of_many_signals_is_full(ledgers: Ledgers) -> None:
    job_id = new_id()
    for number in range(MAX_UNREAD):
        assert seq_of(await ledgers.push_signal(push(job_id, f"s{number}"), at=now())) == number + 1
    refused = await ledgers.push_signal(push(job_id, "other"), at=now())
    assert isinstance(refused, InboxFull) and "1,000" in refused.limit
    assert isinstance(await ledgers.push_signal(push(job_id, "s5"), at=now()), Repeated)


async def test_only_the_newest_signal_unsets_the_mark(ledgers: Ledgers) -> None:
    job_id = new_id()
    await ledgers.push_signal(push(job_id, "s1"), at=now())
    await ledgers.push_signal(push(job_id, "s2"), at=now())
    await ledgers.unset_pending(job_id, in_seq=1)
    assert (await ledger_of(ledgers, job_id)).pending == 2
    await ledgers.unset_pending(job_id, in_seq=2)
    assert (await ledger_of(ledgers, job_id)).pending is None
