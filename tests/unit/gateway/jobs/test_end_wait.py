"""What a person may do to a parked job: end its sleep, and no wait for a signal."""

from collections.abc import Sequence
from datetime import timedelta

import pytest

from acked_common.http.problems import ProblemError
from acked_common.model import lifecycle_waits
from acked_common.model.audit import AuditAction
from acked_common.model.ledger import LedgerEntry
from acked_common.model.ledger_rules import replayed
from acked_common.model.lifecycle import Move, Reason, State
from acked_common.model.lifecycle_waits import Waits
from acked_common.store.errors import OutcomeUnknown
from acked_common.store.records import Applied, Job
from support.commands_bench import CommandsBench as Bench
from support.commands_bench import refused
from support.factories import again, moved, now, running
from support.ledgers import digest, entry, ledger_of, opened, opening, write
from support.parts import settle

IN_A_DAY = now() + timedelta(days=1)


class TestEndWait:
    """Running a parked job now."""

    async def parked(self, bench: Bench, waits: Waits, **entries: LedgerEntry) -> Job:
        job = await running(bench.store, at=bench.clock.now())
        ledgers = bench.store.ledgers()
        await opened(ledgers, opening(job.id))
        for number, made in enumerate(entries.values(), 1):
            await ledgers.write_entries([write(job.id, number, made)])
        return await moved(bench.store, job, lifecycle_waits.park(at=bench.clock.now(), waits=waits))

    @pytest.mark.parametrize("call", ["sleep", "try"])
    async def test_a_sleep_ends_and_the_job_is_published(self, bench: Bench, call: str) -> None:
        until_at = bench.clock.now() + timedelta(days=30)
        sleep = entry(1, call=call, name="rest", value=None, due_at=until_at)
        before = await self.parked(bench, Waits(call, "rest", until_at), sleep=sleep)
        bench.clock.advance(5)

        job = await bench.commands.run_now(str(before.id))

        assert (job.state, job.reason, job.waits) == (State.QUEUED, Reason.RUN_NOW.value, None)
        assert (job.run, job.failures, job.attempt) == (before.run, before.failures, before.attempt)
        found = await opened(bench.store.ledgers(), opening(job.id, 2))
        assert found.ended_early == {digest(1): bench.clock.now()} and found.entries == {digest(1): sleep}
        assert replayed(found)[digest(1)].due_at == sleep.at
        await settle()
        bundle = bench.broker.take(job.kind)
        assert bundle is not None and bundle.ids == (job.id,)
        assert [one.action for one in bench.store.audit().entries] == [AuditAction.RUN_NOW]

    @pytest.mark.parametrize(
        "waits",
        [
            Waits("wait", "paid", None, ("paid",)),
            Waits("wait", "paid", IN_A_DAY, ("paid",)),
            Waits("first", "paid-or-late", IN_A_DAY, ("paid",)),
        ],
    )
    async def test_a_wait_for_a_signal_is_never_skipped(self, bench: Bench, waits: Waits) -> None:
        job = await self.parked(bench, waits, wait=entry(1, call=waits.call, name=waits.name, due_at=waits.until_at))
        with pytest.raises(ProblemError, match="waits for signal 'paid'") as caught:
            await bench.commands.run_now(str(job.id))
        assert refused(caught) == ("wrong-state", 409)
        assert await again(bench.store, job) == job
        assert (await ledger_of(bench.store.ledgers(), job.id)).ended_early == {}
        assert bench.store.audit().entries == []

    async def test_a_sleep_that_the_ledger_does_not_have_is_not_ended(self, bench: Bench) -> None:
        until_at = bench.clock.now() + timedelta(days=1)
        job = await self.parked(bench, Waits("sleep", "rest", until_at), other=entry(1, call="sleep", name="other"))
        with pytest.raises(ProblemError, match="does not have the wait") as caught:
            await bench.commands.run_now(str(job.id))
        assert refused(caught) == ("wrong-state", 409)
        assert await again(bench.store, job) == job

    async def test_a_wake_in_between_is_told(self, bench: Bench) -> None:
        until_at = bench.clock.now() + timedelta(days=1)
        sleep = entry(1, call="sleep", name="rest", due_at=until_at)
        job = await self.parked(bench, Waits("sleep", "rest", until_at, ("paid",)), sleep=sleep)
        bench.store.behind = [Move(job.seen, lifecycle_waits.wake(at=bench.clock.now(), grace_s=9, expires_in_s=99))]
        with pytest.raises(ProblemError, match="can't be run now"):
            await bench.commands.run_now(str(job.id))
        assert (await again(bench.store, job)).reason == Reason.WOKEN

    async def test_a_command_that_died_behind_the_ledger_is_repeated(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        until_at = bench.clock.now() + timedelta(days=1)
        job = await self.parked(
            bench, Waits("sleep", "rest", until_at), sleep=entry(1, call="sleep", name="rest", due_at=until_at)
        )
        apply = bench.store.apply

        async def fails(moves: Sequence[Move]) -> list[Applied]:
            raise OutcomeUnknown("MongoDB did not confirm")

        monkeypatch.setattr(bench.store, "apply", fails)
        with pytest.raises(OutcomeUnknown):
            await bench.commands.run_now(str(job.id))
        first = (await ledger_of(bench.store.ledgers(), job.id)).ended_early
        monkeypatch.setattr(bench.store, "apply", apply)
        bench.clock.advance(5)
        assert (await bench.commands.run_now(str(job.id))).state is State.QUEUED
        assert (await ledger_of(bench.store.ledgers(), job.id)).ended_early == first
