"""Sleeps that an operator ends early, on both stores: the replay sees them as ended, and no wait for a signal is."""

from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from acked_common.model import ledger, ledger_rules
from acked_common.model.ids import new_id
from acked_common.model.ledger import LedgerEntry, LedgerFull
from acked_common.model.ledger_rules import replayed
from acked_common.model.lifecycle_waits import Waits
from acked_common.model.principal import DEFAULT_TENANT
from acked_common.store.ledgers import Ledgers
from acked_common.store.mongo import ledger_waits
from support.factories import now
from support.ledgers import digest, entry, ledger_of, opened, opening, push, write
from support.whole_store import JobStore

LATER = now() + timedelta(days=30, microseconds=777)
"""Stores cut it to milliseconds."""
SLEEP = Waits("sleep", "rest", LATER)
LONG = "x" * 3000
"""A key with which an entry is a part of its own."""


@pytest.fixture
def ledgers(store: JobStore) -> Ledgers:
    return store.ledgers()


def sleep(seq: int, **fields: Any) -> LedgerEntry:
    return entry(seq, **{"call": "sleep", "name": "rest", "value": None, "due_at": LATER} | fields)


async def kept(ledgers: Ledgers, *entries: LedgerEntry) -> Any:
    """The id of a job whose ledger has these entries."""
    wanted = opening()
    await opened(ledgers, wanted)
    found = await ledgers.write_entries([write(wanted.id, number, one) for number, one in enumerate(entries, 1)])
    assert [one.seq for one in found if isinstance(one, LedgerEntry)] == [one.seq for one in entries]
    return wanted


def early(found: Any) -> list[str]:
    return sorted(found.ended_early)


@pytest.mark.parametrize("key", [None, f'"{LONG}"'])
async def test_an_ended_sleep_is_over_in_each_replay_and_kept_as_it_was(ledgers: Ledgers, key: str | None) -> None:
    wanted = await kept(ledgers, entry(1), sleep(2, key=key), entry(3))
    before, at = await ledger_of(ledgers, wanted.id), now()

    assert await ledgers.end_wait(wanted.id, tenant=DEFAULT_TENANT, waits=SLEEP, at=at) == 1
    assert await ledgers.end_wait(wanted.id, tenant=DEFAULT_TENANT, waits=SLEEP, at=at + timedelta(days=1)) == 1

    after = await ledger_of(ledgers, wanted.id)
    assert after == replace(before, ended_early={digest(2): at})
    for attempt in (2, 3):
        found = await opened(ledgers, replace(wanted, attempt=attempt, nonce=f"n{attempt}"))
        seen = replayed(found)
        assert seen[digest(2)] == replace(found.entries[digest(2)], due_at=found.entries[digest(2)].at)
        assert [seen[digest(n)] for n in (1, 3)] == [found.entries[digest(n)] for n in (1, 3)]


@pytest.mark.parametrize(
    ("call", "name"), [("wait", "paid"), ("first", "paid-or-late"), ("step", "rest"), ("sleep", "another")]
)
async def test_only_the_sleep_that_the_job_waits_for_ends(ledgers: Ledgers, call: str, name: str) -> None:
    other = entry(1, call=call, name=name, value=None, due_at=LATER, is_open=True)
    wanted = await kept(ledgers, other, sleep(2, due_at=LATER + timedelta(milliseconds=1)))
    for waits in (SLEEP, Waits(call, "rest", LATER), Waits("sleep", "rest", None)):
        assert await ledgers.end_wait(wanted.id, tenant=DEFAULT_TENANT, waits=waits, at=now()) == 0
    if call != "sleep":
        assert await ledgers.end_wait(wanted.id, tenant=DEFAULT_TENANT, waits=Waits(call, name, LATER), at=now()) == 0
    found = await ledger_of(ledgers, wanted.id)
    assert found.ended_early == {} and replayed(found) == found.entries


async def test_sleeps_of_one_name_and_end_end_together(ledgers: Ledgers) -> None:
    wanted = await kept(
        ledgers, sleep(1, key="1"), sleep(2, key=f'"{LONG}"'), sleep(3, key="3", due_at=LATER + timedelta(days=1))
    )
    assert await ledgers.end_wait(wanted.id, tenant=DEFAULT_TENANT, waits=SLEEP, at=now()) == 2
    assert early(await ledger_of(ledgers, wanted.id)) == [digest(1), digest(2)]


async def test_a_ledger_of_another_tenant_and_none_have_no_wait(ledgers: Ledgers) -> None:
    wanted = await kept(ledgers, sleep(1))
    assert await ledgers.end_wait(wanted.id, tenant="other", waits=SLEEP, at=now()) == 0
    assert await ledgers.end_wait(new_id(), tenant=DEFAULT_TENANT, waits=SLEEP, at=now()) == 0
    assert early(await ledger_of(ledgers, wanted.id)) == []


async def test_signals_and_entries_between_do_not_undo_an_early_end(ledgers: Ledgers) -> None:
    wanted = await kept(ledgers, sleep(1))
    await ledgers.push_signal(push(wanted.id), at=now())
    assert await ledgers.end_wait(wanted.id, tenant=DEFAULT_TENANT, waits=SLEEP, at=now()) == 1
    await opened(ledgers, replace(wanted, attempt=2, nonce="n2"))
    await ledgers.write_entries([write(wanted.id, 2, entry(2, "n2"), takes="s1")])
    found = await ledger_of(ledgers, wanted.id)
    assert early(found) == [digest(1)] and found.inbox == () and len(found.entries) == 2


async def test_a_new_run_forgets_the_early_end_of_a_delay_and_not_of_a_sleep(ledgers: Ledgers) -> None:
    delay = entry(2, call="try", name="charge", value=None, due_at=LATER)
    wanted = await kept(ledgers, sleep(1), delay)
    assert await ledgers.end_wait(wanted.id, tenant=DEFAULT_TENANT, waits=SLEEP, at=now()) == 1
    assert await ledgers.end_wait(wanted.id, tenant=DEFAULT_TENANT, waits=Waits("try", "charge", LATER), at=now()) == 1
    assert early(await ledger_of(ledgers, wanted.id)) == [digest(1), digest(2)]

    again = await opened(ledgers, replace(wanted, run=2, attempt=2, nonce="n2"))

    assert early(again) == [digest(1)] and list(again.entries) == [digest(1)]
    assert await ledger_of(ledgers, wanted.id) == again
    made = replace(delay, by="n2")
    await ledgers.write_entries([write(wanted.id, 2, made)])
    due_at = replayed(await ledger_of(ledgers, wanted.id))[digest(2)].due_at
    assert due_at is not None and due_at > now() + timedelta(days=29)


async def test_early_ends_are_bounded(ledgers: Ledgers, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (ledger, ledger_rules, ledger_waits):
        monkeypatch.setattr(module, "MAX_EARLY_ENDS", 2)
    ends = [LATER + timedelta(days=n) for n in range(3)]
    wanted = await kept(ledgers, *(sleep(n, key=str(n), due_at=at) for n, at in enumerate(ends, 1)))
    found = [
        await ledgers.end_wait(wanted.id, tenant=DEFAULT_TENANT, waits=replace(SLEEP, until_at=at), at=now())
        for at in ends
    ]
    assert found == [1, 1, LedgerFull("at most 2 waits of a job are ended early")]
    assert early(await ledger_of(ledgers, wanted.id)) == [digest(1), digest(2)]


async def test_a_list_of_entries_says_which_were_ended_early(ledgers: Ledgers) -> None:
    wanted, at = await kept(ledgers, entry(1), sleep(2), entry(3)), now()
    await ledgers.end_wait(wanted.id, tenant=DEFAULT_TENANT, waits=SLEEP, at=at)
    whole = await ledgers.read_entries(wanted.id, tenant=DEFAULT_TENANT, after=0, limit=9)
    assert whole is not None and whole.ended_early == {2: at}
    last = await ledgers.read_entries(wanted.id, tenant=DEFAULT_TENANT, after=2, limit=9)
    assert last is not None and last.ended_early == {}


async def test_entries_are_read_newest_first(ledgers: Ledgers) -> None:
    made = [entry(seq, name=f"n{seq}", value=b"x" * (3000 if seq % 2 else 1)) for seq in range(1, 6)]
    wanted = await kept(ledgers, *made)

    async def page(after: int) -> tuple[list[str], bool]:
        found = await ledgers.read_entries(wanted.id, tenant=DEFAULT_TENANT, after=after, limit=2, newest_first=True)
        assert found is not None and all(one.value is None for one in found.entries)
        return [one.name for one in found.entries], found.is_last

    assert [await page(after) for after in (0, 4, 2)] == [(["n5", "n4"], False), (["n3", "n2"], False), (["n1"], True)]


@pytest.mark.parametrize("value", [b"1", b"x" * 3000])
async def test_the_figures_of_a_ledger_name_its_newest_call(ledgers: Ledgers, value: bytes) -> None:
    wanted = opening()
    await opened(ledgers, wanted)
    none = await ledgers.read_summary(wanted.id, tenant=DEFAULT_TENANT)
    assert none is not None and none.newest is None
    made = [entry(seq, name=f"n{seq}", value=value) for seq in (1, 2, 3)]
    await ledgers.write_entries([write(wanted.id, one.seq, one) for one in made])
    found = await ledgers.read_summary(wanted.id, tenant=DEFAULT_TENANT)
    assert found is not None and found.newest == replace(made[2], value=None)
