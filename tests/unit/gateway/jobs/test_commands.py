"""What a person may do to a job, in each of its states."""

from collections.abc import Sequence

import pytest

from acked_common.http.problems import ProblemError
from acked_common.model import interventions, lifecycle
from acked_common.model.audit import AuditAction
from acked_common.model.lifecycle import Move, Reason, State
from acked_common.model.principal import Actor, Operator
from acked_common.store.errors import OutcomeUnknown
from acked_common.store.records import Applied, Job
from acked_gateway.jobs.acts import Resolution
from support.commands_bench import CommandsBench as Bench
from support.commands_bench import refused
from support.factories import (
    ERROR,
    LEASE_S,
    MAKERS,
    again,
    cancelling,
    failed,
    moved,
    owner,
    queued,
    running,
)
from support.parts import settle

BAD = {State.SUCCEEDED, State.FAILED}


@pytest.mark.parametrize("command", ["cancel", "retry", "run_now", "erase"])
@pytest.mark.parametrize("text", ["nonsense", "7d0266c7-3ba5-4ff0-a721-932413a94871"])
async def test_a_job_that_is_not_there_is_not_found(bench: Bench, command: str, text: str) -> None:
    with pytest.raises(ProblemError) as caught:
        await getattr(bench.commands, command)(text)
    assert refused(caught) == ("not-found", 404)
    assert bench.store.audit().entries == []


class TestCancel:
    """Cancelling."""

    @pytest.mark.parametrize("state", [State.QUEUED, State.SCHEDULED])
    async def test_what_nobody_runs_ends_at_once(self, bench: Bench, state: State) -> None:
        before = await MAKERS[state](bench.store, at=bench.clock.now())
        job = await bench.commands.cancel(str(before.id))
        assert (job.state, job.reason, job.next_check_at) == (State.CANCELLED, Reason.CANCELLED.value, None)
        assert job.finished_at == bench.clock.now()

    async def test_what_runs_is_asked_to_stop(self, bench: Bench) -> None:
        before = await running(bench.store)
        job = await bench.commands.cancel(str(before.id))
        assert (job.state, job.cancel_requested, job.owner) == (State.RUNNING, True, before.owner)
        assert job.next_check_at == before.next_check_at

    async def test_a_second_cancel_changes_nothing(self, bench: Bench) -> None:
        for job in (await cancelling(bench.store), await MAKERS[State.CANCELLED](bench.store)):
            assert await bench.commands.cancel(str(job.id)) == job

    @pytest.mark.parametrize("state", sorted(BAD))
    async def test_what_has_ended_otherwise_can_not_be_cancelled(self, bench: Bench, state: State) -> None:
        job = await MAKERS[state](bench.store)
        with pytest.raises(ProblemError) as caught:
            await bench.commands.cancel(str(job.id))
        assert refused(caught) == ("wrong-state", 409)
        assert caught.value.problem.extra["state"] == state.value
        assert await again(bench.store, job) == job

    async def test_a_claim_in_between_turns_it_into_a_request(self, bench: Bench) -> None:
        job = await queued(bench.store)
        bench.store.behind = [Move(job.seen, lifecycle.claim(at=bench.clock.now(), owner=owner(), lease_s=LEASE_S))]
        found = await bench.commands.cancel(str(job.id))
        assert (found.state, found.cancel_requested) == (State.RUNNING, True)

    async def test_an_end_in_between_is_told(self, bench: Bench) -> None:
        job = await running(bench.store)
        bench.store.behind = [Move(job.seen, lifecycle.succeed(at=bench.clock.now(), result=b"1", retention_s=100))]
        with pytest.raises(ProblemError) as caught:
            await bench.commands.cancel(str(job.id))
        assert refused(caught) == ("wrong-state", 409)
        assert (await again(bench.store, job)).state is State.SUCCEEDED

    async def test_a_job_that_never_stands_still_is_given_up_on(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def stale(moves: Sequence[Move]) -> list[Applied]:
            return [Applied.STALE] * len(moves)

        monkeypatch.setattr(bench.store, "apply", stale)
        with pytest.raises(ProblemError, match="prevented each attempt"):
            await bench.commands.cancel(str((await queued(bench.store)).id))


class TestRetry:
    """Retrying."""

    async def test_a_failed_job_gets_a_new_run_and_is_published(self, bench: Bench) -> None:
        before = await failed(bench.store)
        job = await bench.commands.retry(str(before.id))
        assert (job.state, job.run, job.failures, job.attempt) == (State.QUEUED, 2, 0, before.attempt)
        assert (job.error, job.finished_at) == (None, None)
        await settle()
        bundle = bench.broker.take(job.kind)
        assert bundle is not None and (bundle.ids, bundle.queued_at) == ((job.id,), job.queued_at)

    async def test_without_a_broker_the_retry_stands(self, bench: Bench) -> None:
        bench.broker.is_away = True
        job = await bench.commands.retry(str((await failed(bench.store)).id))
        assert job.state is State.QUEUED

    async def test_a_cancelled_job_is_retried_too(self, bench: Bench) -> None:
        job = await bench.commands.retry(str((await MAKERS[State.CANCELLED](bench.store)).id))
        assert (job.state, job.run, job.finished_at) == (State.QUEUED, 2, None)
        await settle()
        assert bench.broker.take(job.kind) is not None

    @pytest.mark.parametrize("state", sorted(set(MAKERS) - {State.FAILED, State.CANCELLED}))
    async def test_only_what_failed_or_was_cancelled_is_retried(self, bench: Bench, state: State) -> None:
        job = await MAKERS[state](bench.store)
        with pytest.raises(ProblemError) as caught:
            await bench.commands.retry(str(job.id))
        assert refused(caught) == ("wrong-state", 409)
        await settle()
        assert bench.broker.take(job.kind) is None


class TestRunNow:
    """Running now."""

    async def test_a_delayed_job_is_queued_and_published(self, bench: Bench) -> None:
        before = await MAKERS[State.SCHEDULED](bench.store)
        job = await bench.commands.run_now(str(before.id))
        assert (job.state, job.reason, job.due_at) == (State.QUEUED, Reason.RUN_NOW.value, None)
        assert job.queued_at == job.history[-1].at
        await settle()
        bundle = bench.broker.take(job.kind)
        assert bundle is not None and bundle.ids == (job.id,)

    async def test_a_back_off_ends_and_its_failures_count_on(self, bench: Bench) -> None:
        backing_off = lifecycle.back_off(at=bench.clock.now(), error=ERROR, delay_s=60)
        before = await moved(bench.store, await running(bench.store, at=bench.clock.now()), backing_off)
        job = await bench.commands.run_now(str(before.id))
        assert (job.state, job.run, job.failures, job.error) == (State.QUEUED, 1, 1, before.error)

    @pytest.mark.parametrize("state", sorted(set(MAKERS) - {State.SCHEDULED, State.WAITING}))
    async def test_only_what_waits_for_its_time_is_run_now(self, bench: Bench, state: State) -> None:
        job = await MAKERS[state](bench.store)
        with pytest.raises(ProblemError, match="can't be run now") as caught:
            await bench.commands.run_now(str(job.id))
        assert refused(caught) == ("wrong-state", 409)
        assert await again(bench.store, job) == job


class TestErase:
    """Erasing."""

    @pytest.mark.parametrize("state", sorted(lifecycle.TERMINAL))
    async def test_of_an_ended_job_the_skeleton_stays(self, bench: Bench, state: State) -> None:
        before = await MAKERS[state](bench.store, payload=b'{"iban":"x"}', batch="b", tags=("t",))
        job = await bench.commands.erase(str(before.id))
        assert (job.payload, job.result, job.error, job.progress, job.attempts) == (b"null", None, None, None, ())
        assert (job.state, job.reason, job.erased_at) == (state, Reason.ERASED.value, job.history[-1].at)
        assert (job.options, job.history[:-1], job.run) == (before.options, before.history, before.run)

    async def test_a_second_erasure_changes_nothing(self, bench: Bench) -> None:
        job = await bench.commands.erase(str((await failed(bench.store)).id))
        bench.clock.advance(5)
        assert await bench.commands.erase(str(job.id)) == job
        assert len(bench.store.audit().entries) == 1

    async def test_a_note_behind_an_erasure_is_erased_too(self, bench: Bench) -> None:
        job = await bench.commands.erase(str((await failed(bench.store)).id))
        resolution = Resolution(State.FAILED, None, "paid by Ada")
        assert (await bench.commands.resolve(str(job.id), resolution)).note == "paid by Ada"
        assert (await bench.commands.erase(str(job.id))).note is None

    @pytest.mark.parametrize("state", sorted(set(MAKERS) - lifecycle.TERMINAL))
    async def test_a_live_job_is_not_erased(self, bench: Bench, state: State) -> None:
        job = await MAKERS[state](bench.store)
        with pytest.raises(ProblemError, match="cancel it first") as caught:
            await bench.commands.erase(str(job.id))
        assert refused(caught) == ("wrong-state", 409)
        assert await again(bench.store, job) == job

    async def test_an_erased_job_is_neither_retried_nor_given_a_result(self, bench: Bench) -> None:
        job = await bench.commands.erase(str((await failed(bench.store)).id))
        with pytest.raises(ProblemError, match="erased can't be retried") as caught:
            await bench.commands.retry(str(job.id))
        assert refused(caught) == ("wrong-state", 409)
        with pytest.raises(ProblemError, match="erased can't be resolved with a result") as caught:
            await bench.commands.resolve(str(job.id), Resolution(State.SUCCEEDED, b"1", None))
        assert refused(caught) == ("wrong-state", 409)
        assert await again(bench.store, job) == job
        resolved = await bench.commands.resolve(str(job.id), Resolution(State.SUCCEEDED, None, None))
        assert resolved.state is State.SUCCEEDED

    async def test_a_retry_in_between_wins_over_an_erasure(self, bench: Bench) -> None:
        job = await failed(bench.store, payload=b"7")
        bench.store.behind = [Move(job.seen, interventions.retry(at=bench.clock.now(), grace_s=10, expires_in_s=100))]
        with pytest.raises(ProblemError) as caught:
            await bench.commands.erase(str(job.id))
        assert refused(caught) == ("wrong-state", 409)
        assert (await again(bench.store, job)).payload == b"7"


class TestAudit:
    """Who did what, noted before it is done."""

    ADA = Operator("default", Actor("ada", "a" * 12))

    async def test_every_command_is_noted_and_names_who_asked(self, bench: Bench) -> None:
        resolution = Resolution(State.FAILED, None, "called them")
        asked = [
            ("cancel", AuditAction.CANCEL, await queued(bench.store), ()),
            ("cancel", AuditAction.CANCEL, await running(bench.store), ()),
            ("retry", AuditAction.RETRY, await failed(bench.store), ()),
            ("run_now", AuditAction.RUN_NOW, await MAKERS[State.SCHEDULED](bench.store), ()),
            ("erase", AuditAction.ERASE, await failed(bench.store), ()),
            ("resolve", AuditAction.RESOLVE, await failed(bench.store), (resolution,)),
        ]
        for command, action, before, more in asked:
            job = await getattr(bench.commands, command)(str(before.id), *more, operator=self.ADA)
            assert job.history[-1].by == self.ADA.actor
            entry = bench.store.audit().entries[-1]
            assert (entry.action, entry.target["job"], entry.at) == (action, str(job.id), bench.clock.now())
            assert (entry.tenant, entry.client, entry.token_id) == ("default", "ada", "a" * 12)
        assert len(bench.store.audit().entries) == len(asked)
        assert bench.store.audit().entries[-1].reason == "called them"
        assert bench.store.audit().entries[-1].target["state"] == State.FAILED.value

    async def test_without_an_entry_there_is_no_act(self, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        async def note(entry: object) -> None:
            raise OutcomeUnknown("MongoDB did not confirm")

        monkeypatch.setattr(bench.store.audit(), "note", note)
        for command, make in (("cancel", queued), ("retry", failed), ("erase", failed)):
            job = await make(bench.store)
            with pytest.raises(OutcomeUnknown):
                await getattr(bench.commands, command)(str(job.id))
            assert await again(bench.store, job) == job

    async def test_the_entry_stands_before_the_job_moves(self, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        noted_at_move: list[int] = []
        apply = bench.store.apply

        async def noting(moves: Sequence[Move]) -> list[Applied]:
            noted_at_move.append(len(bench.store.audit().entries))
            return await apply(moves)

        job = await failed(bench.store)
        monkeypatch.setattr(bench.store, "apply", noting)
        await bench.commands.retry(str(job.id))
        assert noted_at_move == [1]

    async def test_a_command_that_is_tried_again_is_noted_once(self, bench: Bench) -> None:
        job = await queued(bench.store)
        bench.store.behind = [Move(job.seen, lifecycle.claim(at=bench.clock.now(), owner=owner(), lease_s=LEASE_S))]
        await bench.commands.cancel(str(job.id))
        assert len(bench.store.audit().entries) == 1

    async def test_what_is_refused_or_done_already_is_not_noted(self, bench: Bench) -> None:
        await bench.commands.cancel(str((await MAKERS[State.CANCELLED](bench.store)).id))
        for command in ("retry", "run_now"):
            with pytest.raises(ProblemError):
                await getattr(bench.commands, command)(str((await MAKERS[State.SUCCEEDED](bench.store)).id))
        assert bench.store.audit().entries == []


class TestResolve:
    """Resolving."""

    async def resolve(self, bench: Bench, job: Job, **fields: object) -> Job:
        given = Resolution(**{"state": State.SUCCEEDED, "result": None, "note": None, **fields})  # type: ignore[arg-type]
        return await bench.commands.resolve(str(job.id), given)

    async def test_a_failed_job_succeeds_as_a_person_says(self, bench: Bench) -> None:
        job = await self.resolve(bench, await failed(bench.store), result=b'{"paid":true}', note="by hand")
        assert (job.state, job.reason, job.run) == (State.SUCCEEDED, Reason.RESOLVED.value, 2)
        assert (job.result, job.note, job.error) == (b'{"paid":true}', "by hand", None)

    async def test_a_failed_job_may_stay_failed(self, bench: Bench) -> None:
        before = await failed(bench.store)
        job = await self.resolve(bench, before, state=State.FAILED)
        assert (job.state, job.reason, job.error) == (State.FAILED, Reason.RESOLVED.value, before.error)

    @pytest.mark.parametrize("state", [State.SUCCEEDED, State.FAILED])
    async def test_a_resolve_leaves_nothing_that_an_earlier_one_said(self, bench: Bench, state: State) -> None:
        before = await failed(bench.store)
        first = await self.resolve(bench, before, state=State.FAILED, result=b"1", note="by hand")
        assert (first.result, first.note) == (b"1", "by hand")
        second = await self.resolve(bench, first, state=state)
        assert (second.result, second.note, second.run) == (None, None, 3)

    @pytest.mark.parametrize("state", sorted(set(MAKERS) - {State.FAILED}))
    async def test_only_a_failed_job_is_resolved(self, bench: Bench, state: State) -> None:
        with pytest.raises(ProblemError) as caught:
            await self.resolve(bench, await MAKERS[state](bench.store))
        assert refused(caught) == ("wrong-state", 409)

    async def test_a_retry_in_between_wins(self, bench: Bench) -> None:
        job = await failed(bench.store)
        bench.store.behind = [Move(job.seen, interventions.retry(at=bench.clock.now(), grace_s=10, expires_in_s=100))]
        with pytest.raises(ProblemError) as caught:
            await self.resolve(bench, job)
        assert refused(caught) == ("wrong-state", 409)
        retried = await again(bench.store, job)
        assert (retried.state, retried.run) == (State.QUEUED, 2)
        assert (await moved(bench.store, retried, interventions.cancel(at=bench.clock.now(), retention_s=100))).run == 2
