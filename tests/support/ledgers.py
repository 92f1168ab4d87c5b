"""Openings, entries and signals for tests of ledgers."""

from typing import Any
from uuid import UUID

from msgspec.structs import replace

from acked_common.model.ids import new_id
from acked_common.model.ledger import (
    Fenced,
    JobLedger,
    LedgerEntry,
    LedgerWrite,
    Opening,
    PendingSignals,
    Signal,
    SignalPush,
)
from acked_common.model.principal import DEFAULT_TENANT
from acked_common.store.ledgers import LOOKED_AT_AFTER, Ledgers, LedgerStore
from support.factories import now

VERSION = "7"


def digest(number: int) -> str:
    """The digest of the n-th call."""
    return f"{number:032x}"


def opening(job_id: UUID | None = None, attempt: int = 1, **fields: Any) -> Opening:
    """The open of an attempt whose nonce is `n` and its number."""
    made = Opening(job_id or new_id(), DEFAULT_TENANT, 1, attempt, f"n{attempt}", VERSION)
    return replace(made, **fields)


def entry(seq: int = 1, by: str = "n1", **fields: Any) -> LedgerEntry:
    """The outcome of a step."""
    return LedgerEntry(
        **{"call": "step", "name": f"step-{seq}", "at": now(), "value": b"1", "seq": seq, "by": by} | fields
    )


def write(job_id: UUID, number: int = 1, made: LedgerEntry | None = None, **fields: Any) -> LedgerWrite:
    """The write of the n-th call."""
    return replace(LedgerWrite(job_id, digest(number), made or entry(number)), **fields)


def push(job_id: UUID, signal_id: str = "s1", name: str = "paid", value: bytes = b"100") -> SignalPush:
    """A signal to a job."""
    return SignalPush(job_id, DEFAULT_TENANT, Signal(signal_id, name, value, now(), "shop"))


async def opened(ledgers: LedgerStore, wanted: Opening) -> JobLedger:
    """Open a ledger that is not fenced."""
    (found,) = await ledgers.open_ledgers([wanted], at=now())
    assert isinstance(found, JobLedger), found
    return found


async def ledger_of(ledgers: Ledgers, job_id: UUID) -> JobLedger:
    """Read the ledger of a job."""
    found = await ledgers.read_ledger(job_id, tenant=DEFAULT_TENANT)
    assert found is not None
    return found


async def keep_and_end(of_worker: Ledgers, of_gateway: Ledgers, of_intake: Ledgers) -> None:
    """Do with ledgers all that each service does."""
    wanted = opening()
    long_ago = now() - 2 * LOOKED_AT_AFTER
    assert isinstance((await of_worker.open_ledgers([wanted], at=long_ago))[0], JobLedger)
    # Of another run, and of a stale attempt, so that the ledger and the job are read.
    first = opening()
    begun = entry()
    assert await of_worker.write_entries([write(first.id, 1, begun, opens=first)]) == [begun]
    again = opening(wanted.id, 2, run=2)
    assert isinstance((await of_worker.open_ledgers([again], at=long_ago))[0], JobLedger)
    assert await of_worker.open_ledgers([opening(wanted.id, nonce="stale")], at=long_ago) == [Fenced(2)]
    made = entry(1, "n2", value=b"x" * 5000)
    assert await of_worker.write_entries([write(wanted.id, 1, made)]) == [made]
    assert (await of_worker.read_inboxes([wanted.id])).keys() == {wanted.id}
    assert list((await ledger_of(of_gateway, wanted.id)).entries.values()) == [made]
    assert isinstance(await of_gateway.push_signal(push(wanted.id, value=b"x" * 5000), at=now()), PendingSignals)
    assert isinstance(await of_gateway.push_signal(push(new_id()), at=now()), PendingSignals)
    await of_gateway.unset_pending(wanted.id, in_seq=1)
    assert (await of_intake.collect_ledgers(limit=9, at=now())).ended == 1
    await of_gateway.keep_ledgers([wanted.id], at=now())
