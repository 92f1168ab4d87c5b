"""The first write of a first attempt on both stores: it makes the ledger, or opens the one that is there."""

import pytest
from msgspec.structs import replace

from acked_common.model.ids import new_id
from acked_common.model.ledger import AlreadyKept, Fenced, JobLedger, LedgerWrite, Opening, PendingSignals
from acked_common.model.ledger_rules import entry_bytes
from acked_common.model.lifecycle import Owner
from acked_common.store.ledgers import LOOKED_AT_AFTER, Ledgers
from support.factories import LEASE_S, insert, new_job, now
from support.ledgers import digest, entry, ledger_of, opened, opening, push, write
from support.whole_store import JobStore

LARGE = b'"' + b"x" * 5000 + b'"'


@pytest.fixture
def ledgers(store: JobStore) -> Ledgers:
    return store.ledgers()


def first_write(wanted: Opening, value: bytes = b"1") -> LedgerWrite:
    return write(wanted.id, 1, entry(1, wanted.nonce, value=value), opens=wanted)


@pytest.mark.parametrize("value", [b"1", LARGE], ids=["small", "large"])
async def test_first_write_makes_an_open_ledger(ledgers: Ledgers, value: bytes) -> None:
    wanted = opening()
    one = first_write(wanted, value)
    assert await ledgers.write_entries([replace(one, failures=2, crashes=1)]) == [one.entry]
    made = await ledger_of(ledgers, wanted.id)
    assert (made.tenant, made.run, made.attempt, made.by, made.began_with) == (wanted.tenant, 1, 1, "n1", "7")
    assert (made.edition, made.entries, made.size_bytes) == (1, {digest(1): one.entry}, entry_bytes(one.entry))
    assert (made.progressed_at_failures, made.progressed_at_crashes) == (2, 1)
    second = write(wanted.id, 2)
    assert await ledgers.write_entries([second]) == [second.entry]
    later = await opened(ledgers, replace(wanted, attempt=2, nonce="n2"))
    assert later.entries.keys() == {digest(1), digest(2)}


async def test_ledger_of_a_first_write_ends_as_any_other(ledgers: Ledgers) -> None:
    wanted = opening()
    long_ago = now() - 2 * LOOKED_AT_AFTER
    await ledgers.write_entries([write(wanted.id, 1, entry(1, at=long_ago), opens=wanted)])
    assert (await ledgers.collect_ledgers(limit=9, at=now())).ended == 1


async def test_open_call_is_begun_by_a_first_write(ledgers: Ledgers) -> None:
    wanted = opening()
    begun = write(wanted.id, 1, entry(1, is_open=True, value=None), opens=wanted)
    assert await ledgers.write_entries([begun]) == [begun.entry]
    assert (await ledger_of(ledgers, wanted.id)).progressed_at_failures == 0
    done = write(wanted.id, 1, completes=True)
    assert await ledgers.write_entries([done]) == [done.entry]


async def test_repeated_first_write_is_kept_once(ledgers: Ledgers) -> None:
    wanted = opening()
    one = first_write(wanted)
    assert await ledgers.write_entries([one]) == await ledgers.write_entries([one]) == [one.entry]
    assert (await ledger_of(ledgers, wanted.id)).size_bytes == entry_bytes(one.entry)


async def test_first_write_behind_a_signal_opens_its_ledger(ledgers: Ledgers) -> None:
    wanted = opening()
    assert isinstance(await ledgers.push_signal(push(wanted.id), at=now()), PendingSignals)
    one = first_write(wanted)
    (found,) = await ledgers.write_entries([one])
    assert isinstance(found, JobLedger)
    assert (found.by, found.began_with, found.entries, [signal.id for signal in found.inbox]) == ("n1", "7", {}, ["s1"])
    (again,) = await ledgers.write_entries([one])
    assert isinstance(again, JobLedger) and again.entries == {}, "repeated, it keeps nothing either"
    plain = replace(one, opens=None)
    assert await ledgers.write_entries([plain]) == [one.entry]


async def test_first_write_of_a_stale_attempt_is_fenced(ledgers: Ledgers) -> None:
    wanted = opening()
    await opened(ledgers, replace(wanted, attempt=2, nonce="n2"))
    assert await ledgers.write_entries([first_write(wanted)]) == [Fenced(2)]
    assert (await ledger_of(ledgers, wanted.id)).entries == {}


async def test_first_write_of_the_owner_takes_over_a_ledger_that_is_ahead(store: JobStore, ledgers: Ledgers) -> None:
    job = new_job()
    await insert(store, job)
    wanted = opening(job.id, nonce=str(new_id()))
    ahead = replace(wanted, attempt=5, nonce="n5")
    await opened(ledgers, ahead)
    made = entry(1, "n5", value=b"5")
    await ledgers.write_entries([write(job.id, 1, made)])
    owner = Owner("w", "b", wanted.nonce)
    assert len(await store.claim([job.id], kinds=[job.kind], owner=owner, lease_s=LEASE_S, at=now())) == 1

    (found,) = await ledgers.write_entries([first_write(wanted)])

    assert isinstance(found, JobLedger) and (found.by, found.attempt) == (wanted.nonce, 1)
    assert found.entries == {digest(1): made}
    again = replace(first_write(wanted), opens=None)
    assert await ledgers.write_entries([again]) == [AlreadyKept(made)]


async def test_first_writes_beside_others_have_their_own_outcomes(ledgers: Ledgers) -> None:
    fresh, known, stale = opening(), opening(), opening()
    await opened(ledgers, known)
    await opened(ledgers, replace(stale, attempt=2, nonce="n2"))
    more = write(known.id, 7)
    found = await ledgers.write_entries([first_write(stale), more, first_write(fresh)])
    assert [type(found[0]), found[1]] == [Fenced, more.entry]
    assert found[2] == (await ledger_of(ledgers, fresh.id)).entries[digest(1)]


def test_write_that_opens_takes_no_signal_and_completes_nothing() -> None:
    wanted = opening()
    for fields in ({"takes": "s1"}, {"completes": True}):
        with pytest.raises(ValueError, match="opens a ledger"):
            write(wanted.id, 1, opens=wanted, **fields)
