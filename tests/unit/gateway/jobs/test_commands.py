"""What a person may do to a job, in each of its states."""

import json
from collections.abc import AsyncIterator, Sequence

import jsonschema_rs
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from acked_common.background.bundle_publisher import BundlePublisher
from acked_common.background.job_writer import JobWriter
from acked_common.background.kind_cache import KindCache
from acked_common.http.problems import Problem, ProblemError
from acked_common.model import interventions, lifecycle
from acked_common.model.lifecycle import Move, Reason, State
from acked_common.store.records import Applied, Job
from acked_gateway.jobs import commands as module
from acked_gateway.jobs.commands import MAX_NOTE_CHARS, MAX_RESULT_BYTES, Commands, Resolution, parse_resolution
from acked_gateway.jobs.operations import Resolve
from support.factories import LEASE_S, MAKERS, ManualClock, again, cancelling, failed, moved, owner, queued, running
from support.memory_broker import MemoryBroker
from support.memory_store import MemoryStore
from support.parts import common_settings, settle

BAD = {State.SUCCEEDED, State.FAILED}


class Store(MemoryStore):
    """Moves a job behind the back of whoever is about to write."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock)
        self.behind: list[Move] = []

    async def apply(self, moves: Sequence[Move]) -> list[Applied]:
        if self.behind:
            await super().apply([self.behind.pop(0)])
        return await super().apply(moves)


class Bench:
    """Commands over parts in memory."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.store = Store(self.clock)
        self.broker = MemoryBroker()
        self.kinds = KindCache(self.store)
        self.bundle_publisher = BundlePublisher(self.broker, self.kinds)
        self.writer = JobWriter(self.store, self.bundle_publisher.offer)
        self.commands = Commands(self.store, self.writer, self.clock, common_settings(retention_s=100).times)


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    made = Bench()
    await made.kinds.refresh()
    yield made
    await made.bundle_publisher.stop()


def refused(caught: pytest.ExceptionInfo[ProblemError]) -> tuple[str, int]:
    return caught.value.problem.name, caught.value.problem.status


@pytest.mark.parametrize("command", ["cancel", "retry"])
@pytest.mark.parametrize("text", ["nonsense", "7d0266c7-3ba5-4ff0-a721-932413a94871"])
async def test_a_job_that_is_not_there_is_not_found(bench: Bench, command: str, text: str) -> None:
    with pytest.raises(ProblemError) as caught:
        await getattr(bench.commands, command)(text)
    assert refused(caught) == ("not-found", 404)


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
        with pytest.raises(ProblemError, match="too fast"):
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

    @pytest.mark.parametrize("state", sorted(set(MAKERS) - {State.FAILED, State.CANCELLED}))
    async def test_only_a_failed_or_cancelled_job_is_retried(self, bench: Bench, state: State) -> None:
        job = await MAKERS[state](bench.store)
        with pytest.raises(ProblemError) as caught:
            await bench.commands.retry(str(job.id))
        assert refused(caught) == ("wrong-state", 409)
        await settle()
        assert bench.broker.take(job.kind) is None


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


class TestParsing:
    """The body of a resolve."""

    def refusal(self, body: bytes) -> Problem:
        with pytest.raises(ProblemError) as caught:
            parse_resolution(body)
        return caught.value.problem

    def pointers(self, members: object) -> set[str]:
        found = self.refusal(json.dumps(members).encode())
        assert (found.name, found.status) == ("invalid-field", 422)
        return {error["pointer"] for error in found.errors}

    def test_all_parts_are_read(self) -> None:
        body = json.dumps({"state": State.SUCCEEDED.value, "result": {"a": [1, None]}, "note": "n"}).encode()
        assert parse_resolution(body) == Resolution(State.SUCCEEDED, b'{"a":[1,null]}', "n")

    def test_a_result_of_null_is_one(self) -> None:
        end = State.FAILED.value
        assert parse_resolution(json.dumps({"state": end, "result": None}).encode()).result == b"null"
        assert parse_resolution(json.dumps({"state": end}).encode()).result is None

    @pytest.mark.parametrize("state", [None, 7, "", "done", ["x"], State.CANCELLED.value, State.QUEUED.value])
    def test_only_two_ends_can_be_told(self, state: object) -> None:
        assert self.pointers({"state": state}) == {"/state"}

    def test_all_mistakes_are_told_at_once(self) -> None:
        assert self.pointers({"result": "x" * MAX_RESULT_BYTES, "note": "x" * (MAX_NOTE_CHARS + 1), "why": 1}) == {
            "/state",
            "/result",
            "/note",
            "/why",
        }

    @pytest.mark.parametrize("body", [b"[]", b"7", b'"x"', b"null"])
    def test_it_must_be_an_object(self, body: bytes) -> None:
        assert self.refusal(body).status == 422

    @pytest.mark.parametrize("body", [b"", b"{", b'{"state":"x","state":"y"}', b"\xff"])
    def test_it_must_be_sound_json(self, body: bytes) -> None:
        assert self.refusal(body).status == 400

    def test_a_body_may_be_larger_than_its_result(self) -> None:
        result = "x" * (MAX_RESULT_BYTES - 2)
        body = json.dumps({"state": State.FAILED.value, "result": result}).encode()
        assert parse_resolution(body).result == json.dumps(result).encode()
        assert self.refusal(b" " * (module.MAX_BODY_BYTES + 1)).status == 413

    @given(st.binary(max_size=200))
    def test_any_bytes_are_a_resolution_or_a_problem(self, body: bytes) -> None:
        try:
            parse_resolution(body)
        except ProblemError as error:
            assert error.problem.status in (400, 413, 422)

    @pytest.mark.parametrize(
        "members",
        [
            {"state": State.FAILED.value},
            {"state": State.SUCCEEDED.value, "result": None, "note": None},
            {"state": State.SUCCEEDED.value, "note": "x" * MAX_NOTE_CHARS},
            {"state": State.SUCCEEDED.value, "note": "x" * (MAX_NOTE_CHARS + 1)},
            {"state": State.CANCELLED.value},
            {"state": State.FAILED.value, "why": 1},
            {"note": "n"},
            {},
        ],
    )
    def test_the_document_and_the_parser_agree(self, members: dict[str, object]) -> None:
        is_described = jsonschema_rs.is_valid(msgspec.json.schema(Resolve), members)
        try:
            parse_resolution(json.dumps(members).encode())
            is_taken = True
        except ProblemError:
            is_taken = False
        assert is_described == is_taken
