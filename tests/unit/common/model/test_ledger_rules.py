"""The rules of the ledger: fence, entries, inbox, editions; and what no sequence of writes can break."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from acked_common.model import ledger_rules
from acked_common.model.ids import new_id
from acked_common.model.ledger import (
    MAX_BYTES,
    MAX_ENTRIES,
    MAX_SIGNAL_BYTES,
    MAX_UNREAD,
    MAX_UNREAD_BYTES,
    MAX_VALUE_BYTES,
    READ_IDS_KEPT,
    AlreadyKept,
    EntryError,
    Fenced,
    InboxFull,
    JobLedger,
    LedgerEntry,
    LedgerFull,
    LedgerWrite,
    Opening,
    Repeated,
    Signal,
    SignalGone,
    SignalPush,
)
from acked_common.model.ledger_rules import announced, known_id, nearly_full, opened, pushed, retried, written

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
JOB = new_id()


def d(number: int) -> str:
    """The digest of the n-th call."""
    return f"{number:032x}"


def opening(attempt: int = 1, nonce: str = "n1", **fields: Any) -> Opening:
    return replace(Opening(JOB, "default", 1, attempt, nonce, "7"), **fields)


def entry(seq: int = 1, by: str = "n1", **fields: Any) -> LedgerEntry:
    return LedgerEntry(**{"call": "step", "name": "quote", "at": AT, "value": b"1", "seq": seq, "by": by, **fields})


def write(digest: str = d(1), made: LedgerEntry | None = None, **fields: Any) -> LedgerWrite:
    return replace(LedgerWrite(JOB, digest, made or entry()), **fields)


def push(signal_id: str = "s1", name: str = "paid", value: bytes = b"100") -> SignalPush:
    return SignalPush(JOB, "default", Signal(signal_id, name, value, AT, "shop"))


def ledger_of(found: object) -> JobLedger:
    assert isinstance(found, JobLedger), found
    return found


def opened_once() -> JobLedger:
    return ledger_of(opened(None, opening()))


# Opening.


def test_the_first_open_makes_the_ledger() -> None:
    ledger = opened_once()
    assert (ledger.id, ledger.tenant, ledger.attempt, ledger.by, ledger.run) == (JOB, "default", 1, "n1", 1)
    assert (ledger.began_with, ledger.edition, ledger.entries) == ("7", 1, {})


def test_a_repeated_open_changes_nothing() -> None:
    ledger = ledger_of(written(opened_once(), write()))
    assert opened(ledger, opening()) is ledger


def test_a_later_attempt_keeps_entries_and_the_first_version() -> None:
    ledger = ledger_of(written(opened_once(), write()))
    later = ledger_of(opened(ledger, opening(4, "n4", version="8")))
    assert (later.attempt, later.by, later.began_with) == (4, "n4", "7")
    assert later.entries == ledger.entries


@pytest.mark.parametrize("attempt", [1, 2])
def test_an_attempt_behind_the_ledger_is_fenced(attempt: int) -> None:
    ledger = ledger_of(opened(None, opening(2, "n2")))
    assert opened(ledger, opening(attempt, "other")) == Fenced(2)


@pytest.mark.parametrize("attempt", [1, 2])
def test_the_owner_takes_over_a_ledger_that_is_ahead(attempt: int) -> None:
    ledger = ledger_of(written(ledger_of(opened(None, opening(2, "n2"))), write(made=entry(by="n2"))))
    taken = ledger_of(opened(ledger, opening(attempt, "other"), owns=True))
    assert (taken.attempt, taken.by, taken.entries) == (attempt, "other", ledger.entries)
    assert written(taken, write(d(2), entry(2, "n2"))) == Fenced(attempt)


def test_a_ledger_of_a_signal_is_opened_with_its_signals() -> None:
    signalled = ledger_of(pushed(None, push()))
    assert (signalled.attempt, signalled.by, signalled.began_with) == (0, None, None)
    ledger = ledger_of(opened(signalled, opening()))
    assert (ledger.began_with, ledger.edition, ledger.inbox) == ("7", 1, signalled.inbox)


def test_the_first_attempt_of_a_new_run_begins_an_edition_without_failures() -> None:
    ledger = opened_once()
    for number, fields in enumerate(
        [
            {"value": b"1"},
            {"value": None, "error": EntryError("Boom", "it broke")},
            {"value": None, "timed_out": True},
            {"value": None, "call": "try", "due_at": AT},
            {"value": None, "is_open": True},
            {"value": None, "cancelled": True},
        ],
        1,
    ):
        ledger = ledger_of(written(ledger, write(d(number), entry(number, **fields), failures=3)))
    again = ledger_of(opened(ledger, opening(5, "n5", run=2)))
    assert (again.edition, again.run, again.progressed_at_failures) == (2, 2, 0)
    assert again.entries == {name: ledger.entries[name] for name in (d(1), d(5), d(6))}
    assert again.size_bytes == ledger_rules.total_bytes(again.entries) < ledger.size_bytes
    assert ledger_of(opened(again, opening(6, "n6", run=2))).edition == 2


def test_a_retry_leaves_the_inbox() -> None:
    ledger = ledger_of(pushed(opened_once(), push()))
    assert retried(ledger).inbox == ledger.inbox
    assert (retried(ledger).in_seq, retried(ledger).pending) == (1, 1)


# Entries.


def test_a_write_keeps_the_entry() -> None:
    ledger = ledger_of(written(opened_once(), write(failures=2)))
    assert ledger.entries == {d(1): entry()}
    assert (ledger.seq, ledger.progressed_at_failures, ledger.size_bytes) == (1, 2, ledger_rules.entry_bytes(entry()))


def test_a_repeated_write_changes_nothing() -> None:
    ledger = ledger_of(written(opened_once(), write()))
    assert written(ledger, write()) is ledger


def test_another_outcome_never_replaces_a_kept_one() -> None:
    ledger = ledger_of(written(opened_once(), write()))
    assert written(ledger, write(made=entry(2, value=b"2"))) == AlreadyKept(entry())
    later = ledger_of(opened(ledger, opening(2, "n2")))
    assert written(later, write(made=entry(1, "n2", value=b"2"))) == AlreadyKept(entry())
    assert written(later, write(made=entry(1, "n2", value=b"2"), completes=True)) == AlreadyKept(entry())


@pytest.mark.parametrize("ledger", [None, ledger_rules.pushed(None, push()), opened(None, opening(3, "n3"))])
def test_a_write_under_another_nonce_is_fenced(ledger: Any) -> None:
    assert written(ledger, write()) == Fenced(0 if ledger is None else ledger.attempt)


def test_a_stale_attempt_writes_until_the_next_one_opens() -> None:
    ledger = ledger_of(written(opened_once(), write()))
    later = ledger_of(opened(ledger, opening(2, "n2")))
    assert written(later, write(d(2), entry(2))) == Fenced(2)
    # Its own entry, kept before the open, is no reason to let it go on.
    assert written(later, write()) == Fenced(2)


def test_an_open_entry_is_completed_once() -> None:
    begun = entry(value=None, is_open=True, due_at=AT)
    ledger = ledger_of(written(opened_once(), write(made=begun, failures=4)))
    assert ledger.progressed_at_failures == 0, "a call that began is no progress"
    assert written(ledger, write(made=entry())) == AlreadyKept(begun)
    done = ledger_of(written(ledger, write(made=entry(), completes=True, failures=4)))
    assert (done.entries, done.progressed_at_failures) == ({d(1): entry()}, 4)
    assert written(done, write(made=entry(), completes=True)) is done
    assert written(done, write(made=begun)) == AlreadyKept(entry())


def test_a_later_attempt_completes_the_open_entry_of_an_earlier_one() -> None:
    ledger = ledger_of(written(opened_once(), write(made=entry(value=None, is_open=True))))
    later = ledger_of(opened(ledger, opening(2, "n2")))
    done = ledger_of(written(later, write(made=entry(1, "n2"), completes=True)))
    assert done.entries[d(1)] == entry(1, "n2")


def test_a_completion_without_its_open_entry_is_fenced() -> None:
    assert written(opened_once(), write(completes=True)) == Fenced(1)


def test_a_failed_try_is_no_progress() -> None:
    ledger = ledger_of(written(opened_once(), write(made=entry(call="try", value=None, due_at=AT), failures=4)))
    assert ledger.progressed_at_failures == 0


def test_a_ledger_is_full_of_entries() -> None:
    entries = {d(n): entry(n) for n in range(1, MAX_ENTRIES + 1)}
    ledger = replace(opened_once(), entries=entries)
    full = written(ledger, write(d(99_999), entry(MAX_ENTRIES + 1)))
    assert isinstance(full, LedgerFull) and "10,000 durable calls" in full.limit
    assert nearly_full(ledger) == "its ledger has 10,000 of at most 10,000 entries"
    assert written(ledger, write(d(1), entry(1))) is ledger


def test_a_full_ledger_completes_what_is_open() -> None:
    entries = {d(n): entry(n, is_open=n == 1) for n in range(1, MAX_ENTRIES + 1)}
    assert isinstance(written(replace(opened_once(), entries=entries), write(completes=True)), JobLedger)


def test_a_ledger_is_full_of_bytes() -> None:
    large = entry(value=b'"' + b"x" * (MAX_VALUE_BYTES - 2) + b'"')
    room = ledger_rules.entry_bytes(large)
    ledger = replace(opened_once(), size_bytes=MAX_BYTES - room)
    assert ledger_of(written(ledger, write(made=large))).size_bytes == MAX_BYTES
    full = written(replace(ledger, size_bytes=MAX_BYTES - room + 1), write(made=large))
    assert isinstance(full, LedgerFull) and "16,777,216 bytes" in full.limit


@pytest.mark.parametrize("digest", ["", "a.b", "$a", "ä", "x" * 32, "a" * 31, "a" * 33])
def test_a_digest_can_be_the_name_of_a_field(digest: str) -> None:
    with pytest.raises(ValueError, match="no digest"):
        write(digest)


def test_a_value_above_its_limit_is_refused() -> None:
    write(made=entry(value=b"x" * MAX_VALUE_BYTES))
    with pytest.raises(ValueError, match="1,048,576 bytes"):
        write(made=entry(value=b"x" * (MAX_VALUE_BYTES + 1)))


def test_texts_count_by_their_bytes() -> None:
    plain = ledger_rules.entry_bytes(entry())
    assert ledger_rules.entry_bytes(entry(name="quöte")) == plain + 1
    assert ledger_rules.entry_bytes(entry(error=EntryError("E", "äb"))) == plain + 4
    assert ledger_rules.entry_bytes(entry(key='"k"', value=b"123")) == plain + 5


# Signals.


def test_signals_are_numbered_in_order() -> None:
    ledger = ledger_of(pushed(ledger_of(pushed(None, push("a"))), push("b")))
    assert [(signal.id, signal.seq) for signal in ledger.inbox] == [("a", 1), ("b", 2)]
    assert (ledger.in_seq, ledger.pending) == (2, 2)


def test_a_repeated_signal_changes_nothing() -> None:
    ledger = ledger_of(pushed(opened_once(), push()))
    assert pushed(ledger, push(value=b"other")) == Repeated(ledger.inbox[0])


def test_a_signal_that_was_read_is_known() -> None:
    ledger = ledger_of(pushed(opened_once(), push()))
    taken = ledger_of(written(ledger, write(takes="s1")))
    assert (taken.inbox, taken.read_ids, taken.in_seq) == ((), (known_id("s1"),), 1)
    assert pushed(taken, push()) == Repeated(None)


def test_a_repeated_take_changes_nothing() -> None:
    ledger = ledger_of(written(ledger_of(pushed(opened_once(), push())), write(takes="s1")))
    assert written(ledger, write(takes="s1")) is ledger


def test_a_signal_is_taken_once() -> None:
    ledger = ledger_of(written(ledger_of(pushed(opened_once(), push())), write(takes="s1")))
    assert written(ledger, write(d(2), entry(2), takes="s1")) == SignalGone("s1")
    assert written(ledger, write(d(2), entry(2), takes="other")) == SignalGone("other")


def test_only_the_newest_ids_are_known() -> None:
    ledger = opened_once()
    for number in range(READ_IDS_KEPT + 1):
        ledger = ledger_of(pushed(ledger, push(f"s{number}")))
        ledger = ledger_of(written(replace(ledger, entries={}), write(takes=f"s{number}")))
    assert len(ledger.read_ids) == READ_IDS_KEPT
    assert isinstance(pushed(ledger, push("s0")), JobLedger)
    assert pushed(ledger, push("s1")) == Repeated(None)


def test_an_inbox_is_full_of_signals() -> None:
    ledger = opened_once()
    for number in range(MAX_UNREAD):
        ledger = ledger_of(pushed(ledger, push(f"s{number}")))
    full = pushed(ledger, push("other"))
    assert isinstance(full, InboxFull) and "1,000 unread" in full.limit
    assert pushed(ledger, push("s7")) == Repeated(ledger.inbox[7])
    assert nearly_full(ledger) == "1,000 of at most 1,000 signals are unread"


def test_an_inbox_is_full_of_bytes() -> None:
    ledger, number = opened_once(), 0
    while isinstance(found := pushed(ledger, push(f"s{number}", value=b"x" * MAX_SIGNAL_BYTES)), JobLedger):
        ledger, number = found, number + 1
    assert number == MAX_UNREAD_BYTES // (MAX_SIGNAL_BYTES + 1)
    assert isinstance(found, InboxFull) and "1,048,576 bytes" in found.limit
    assert (nearly_full(ledger) or "").startswith("unread signals have")
    assert isinstance(pushed(ledger, push("small")), JobLedger)


def test_a_signal_above_its_limit_is_refused() -> None:
    full = pushed(None, push(value=b"x" * (MAX_SIGNAL_BYTES + 1)))
    assert isinstance(full, InboxFull) and "65,536 bytes" in full.limit


def test_a_mark_is_unset_only_by_the_newest_signal() -> None:
    ledger = ledger_of(pushed(ledger_of(pushed(None, push("a"))), push("b")))
    assert announced(ledger, 1).pending == 2
    assert announced(ledger, 2).pending is None


def test_a_ledger_far_from_its_limits_warns_of_nothing() -> None:
    assert nearly_full(ledger_of(written(opened_once(), write()))) is None
    assert (nearly_full(replace(opened_once(), size_bytes=MAX_BYTES)) or "").startswith("its ledger has 16,777,216")


# Sequences.

Act = Callable[[JobLedger | None, int], object]


def _open(ledger: JobLedger | None, number: int) -> object:
    attempt = number % 7
    return opened(ledger, opening(attempt, f"n{attempt}", run=1 + attempt // 3))


def _write_of(ledger: JobLedger | None, number: int) -> LedgerWrite:
    nonce = f"n{number % 7}" if number % 3 else (ledger.by if ledger is not None and ledger.by else "n0")
    digest = d(number % 11)
    kept = None if ledger is None else ledger.entries.get(digest)
    completes = kept is not None and kept.is_open
    seq = kept.seq if kept is not None and completes else 1 if ledger is None else ledger.seq + 1
    error = EntryError("E", "m") if number % 13 == 0 else None
    made = entry(seq, nonce, is_open=not completes and number % 5 == 0, error=error)
    takes = ledger.inbox[0].id if ledger is not None and ledger.inbox and number % 2 else None
    return write(digest, made, completes=completes, takes=takes, failures=number % 4)


def _write(ledger: JobLedger | None, number: int) -> object:
    wanted = _write_of(ledger, number)
    found = written(ledger, wanted)
    if isinstance(found, JobLedger):
        assert written(found, wanted) is found, "a repetition changes nothing"
    return found


def _push(ledger: JobLedger | None, number: int) -> object:
    return pushed(ledger, push(f"s{number % 9}"))


def _announce(ledger: JobLedger | None, number: int) -> object:
    return None if ledger is None else announced(ledger, number % 5)


ACTS: tuple[Act, ...] = (_open, _write, _write, _write, _push, _announce)


def _check(before: JobLedger | None, after: JobLedger) -> None:
    if before is None:
        return
    assert (after.id, after.tenant) == (before.id, before.tenant)
    assert after.attempt >= before.attempt
    assert (after.by == before.by) is (after.attempt == before.attempt)
    assert after.edition in (before.edition, before.edition + 1)
    if after.edition == before.edition:
        for digest, kept in before.entries.items():
            if after.entries[digest] != kept:
                assert kept.is_open and not after.entries[digest].is_open
    else:
        assert after.entries.items() <= before.entries.items()
        assert not any(kept.error for kept in after.entries.values())
    assert after.in_seq in (before.in_seq, before.in_seq + 1)
    gone = {signal.id for signal in before.inbox} - {signal.id for signal in after.inbox}
    assert len(gone) <= 1
    assert {known_id(signal_id) for signal_id in gone} == set(after.read_ids) - set(before.read_ids)
    assert [signal.seq for signal in after.inbox] == sorted(signal.seq for signal in after.inbox)
    assert after.pending in (None, after.in_seq)


@given(st.lists(st.tuples(st.sampled_from(ACTS), st.integers(0, 10_000)), max_size=60))
@settings(max_examples=150)
def test_no_sequence_of_writes_breaks_a_ledger(acts: list[tuple[Act, int]]) -> None:
    ledger: JobLedger | None = None
    for act, number in acts:
        found = act(ledger, number)
        if not isinstance(found, JobLedger):
            continue
        _check(ledger, found)
        ledger = found
        if act is _open:
            assert _open(ledger, number) is ledger, "a repetition changes nothing"
    if ledger is not None:
        assert len({kept.seq for kept in ledger.entries.values()}) == len(ledger.entries)
