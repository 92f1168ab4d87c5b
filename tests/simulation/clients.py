"""Clients and operators of a simulation: what they send, over connections that may break, and what they were told."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from uuid import UUID

from acked_common.http.problems import ProblemError
from acked_common.model.bulk_actions import BulkAction, BulkResolution, BulkVerb
from acked_common.model.lifecycle import State
from acked_common.model.options import JobOptions
from acked_common.model.principal import LOCAL_OPERATOR
from acked_common.store.errors import StoreError
from acked_common.store.records import Job
from acked_gateway.bulk.body import Wish as BulkWish
from acked_gateway.jobs.acts import Resolution
from acked_intake.accept.submission import Submission
from simulation.handlers import KINDS, Script, draw_script
from simulation.long_handlers import LONG
from simulation.processes import Node

if TYPE_CHECKING:
    from simulation.simulator import Simulator

CLIENT_WITHIN_S = 5.0
ANSWERS = ("accepted", "unknown", "refused")
"""What was told once stays true."""


class ConnectionLost(Exception):
    """The process that was asked has died, or does not respond."""


@dataclass(slots=True)
class Sent:
    """One submission and what its client was told: `accepted`, `refused`, or `unknown`."""

    number: int
    submission: Submission
    key: str | None = None
    answer: str = "unknown"
    job_id: UUID | None = None
    """The one of its last answer."""
    job_ids: set[UUID] = field(default_factory=set)
    """Those of all its answers: with a key a client sends it again."""


@dataclass(frozen=True, slots=True)
class CancelAnswer:
    """What a person was told who cancelled: `cancelled`, `asked`, `ended`, `409` or `unknown`."""

    job_id: UUID
    answer: str
    at: float


class Clients:
    """All clients and operators of one simulation."""

    def __init__(self, simulator: "Simulator") -> None:
        self._simulator = simulator
        self._loop = simulator.loop
        self._rng = simulator.rng
        self.scripts: list[Script] = []
        self.submissions: list[Sent] = []
        self.cancels: list[CancelAnswer] = []
        self.asking = 0

    def draw(self, lasts_s: float) -> None:
        """Draw who sends what and when, and start all of them."""
        rng = self._rng
        # Jobs with durable calls have several attempts each.
        crowd = rng.choice((0, 1, 3) if self._simulator.is_long else (3, 6, 10, 16))
        at_s = sorted(rng.uniform(0.1, lasts_s * 0.8) for _ in range(crowd))
        if rng.random() < 0.5 and crowd:
            # Many at once: they share a group commit and bundles.
            at_s = [at_s[0]] * crowd
        for number in range(crowd):
            submission = self._submission(number)
            key = f"key-{number}" if rng.random() < 0.25 else None
            self.submissions.append(Sent(number, submission, key))
            self.spawn(self._client(self.submissions[number], at_s[number]))
        if self._simulator.is_long:
            self._draw_long(lasts_s)
        for _ in range(rng.choice((0, 0, 1, 3))):
            self.spawn(self._person_of_many(rng.uniform(0.2, lasts_s * 1.5)))
        for _ in range(rng.choice((0, 1, 4, 10))):
            act = rng.choice(("cancel", "cancel", "retry", "resolve", "run_now", "erase"))
            self.spawn(self._person(rng.uniform(0.2, lasts_s * 1.5), act))

    def _draw_long(self, lasts_s: float) -> None:
        rng = self._rng
        for _ in range(rng.choice((1, 2, 3, 5))):
            number = len(self.submissions)
            self._simulator.long.draw(number)
            self.scripts.append(
                Script(crashes=rng.choice((1, 2)) if rng.random() < self._simulator.rates.jobs_crash else 0)
            )
            options = JobOptions(max_attempts=rng.randint(1, 3) if rng.random() < 0.3 else None)
            submission = Submission(kind=LONG, payload=b'{"n":%d}' % number, options=options)
            self.submissions.append(Sent(number, submission, f"key-{number}"))
            self.spawn(self._long_client(self.submissions[number], rng.uniform(0.1, lasts_s * 0.5)))
        for _ in range(rng.choice((0, 1, 3))):
            self.spawn(self._person(rng.uniform(lasts_s * 0.5, lasts_s * 3), "retry"))

    def spawn(self, coroutine: Any) -> None:
        """Let an operator act, until it is `done_asking`."""
        self.asking += 1
        self._loop.outside.spawn(coroutine)

    async def ask(self, node: Node, call: Callable[[], Awaitable[Any]]) -> Any:
        """Calls a process as a client does, over a line that may break. Raises what the call raises, or
        `ConnectionLost`."""
        answered = self._loop.create_future()

        def answer(result: Any, error: BaseException | None) -> None:
            if not answered.done():
                if error is None:
                    answered.set_result(result)
                else:
                    answered.set_exception(error)

        async def serve() -> None:
            try:
                result, error = await call(), None
            except (ProblemError, StoreError) as raised:
                result, error = None, raised
            self._loop.outside_later(self._simulator.delay_s(), answer, result, error)

        def arrive() -> None:
            if not node.process.is_dead:
                node.process.spawn(serve())

        lost = ConnectionLost()
        node.process.on_death.append(lambda: self._loop.outside_later(0.05, answer, None, lost))
        self._loop.outside_later(self._simulator.delay_s(), arrive)
        self._loop.outside_later(CLIENT_WITHIN_S, answer, None, lost)
        return await answered

    async def _client(self, sent: Sent, at_s: float) -> None:
        await asyncio.sleep(at_s)
        sent.answer = await self._submit(sent)
        if sent.key is not None:
            await self._submit_again(sent)
        self.done_asking()

    async def _long_client(self, sent: Sent, at_s: float) -> None:
        """Send a job with durable calls until it is accepted, a few times."""
        await asyncio.sleep(at_s)
        for _ in range(6):
            sent.answer = min(sent.answer, await self._submit(sent), key=ANSWERS.index)
            if sent.job_id is not None:
                self._simulator.long.senders.reached(sent.number, sent.job_id, None)
                break
            await asyncio.sleep(1.0)
        self.done_asking()

    async def _submit_again(self, sent: Sent) -> None:
        """With a key that is safe, whatever is known by now; some of it at once, beside each other."""
        for _ in range(self._rng.choice((1, 2, 4))):
            await asyncio.sleep(self._rng.choice((0.0, self._rng.uniform(0, 2), self._rng.uniform(0, 6))))
            for answer in await asyncio.gather(*(self._submit(sent) for _ in range(self._rng.choice((1, 1, 3))))):
                sent.answer = min(sent.answer, answer, key=ANSWERS.index)

    async def _submit(self, sent: Sent) -> str:
        intakes = self._simulator.up("intake")
        if not intakes:
            return "refused"
        intake = self._rng.choice(intakes)
        try:
            job = await self.ask(intake, lambda: intake.acceptance.accept(sent.submission, key_text=sent.key))
            sent.job_id = job.id
            sent.job_ids.add(job.id)
            answer = "accepted"
        except ProblemError as error:
            answer = "unknown" if error.problem.name == "outcome-unknown" else "refused"
            if error.problem.name == "idempotency-key-reused":
                self._simulator.broken("I6", f"submission {sent.number} was taken for another one with the same key")
        except ConnectionLost:
            answer = "unknown"
        self._simulator.note("client", f"submission {sent.number}: {answer}", *([sent.job_id] if sent.job_id else []))
        return answer

    async def _person(self, at_s: float, act: str) -> None:
        await asyncio.sleep(at_s)
        known = [sent.job_id for sent in self.submissions if sent.job_id is not None]
        # A cancel is most interesting for what runs, and now and then for what has ended.
        targets = {
            "cancel": State.RUNNING if self._rng.random() < 0.8 else None,
            "retry": State.FAILED if self._rng.random() < 0.8 else State.CANCELLED,
            "run_now": State.SCHEDULED,
            "erase": None,
        }
        wanted = targets.get(act, State.FAILED)
        known = [i for i in known if wanted in (None, self._simulator.observer.jobs[i].document["state"])]
        gateways = self._simulator.up("gateway")
        if known and gateways:
            await self._act(self._rng.choice(gateways), act, self._rng.choice(known))
        self.done_asking()

    async def cancel(self, job_id: UUID, in_s: float) -> None:
        """An operator cancels this job."""
        await asyncio.sleep(in_s)
        if gateways := self._simulator.up("gateway"):
            await self._act(self._rng.choice(gateways), "cancel", job_id)
        self.done_asking()

    async def _person_of_many(self, at_s: float) -> None:
        """An operator that moves many jobs at once: those of a kind, or those with known ids."""
        await asyncio.sleep(at_s)
        rng = self._rng
        verb = rng.choice((BulkVerb.RETRY, *BulkVerb))
        resolution = BulkResolution(State.SUCCEEDED, b'"by hand"') if verb is BulkVerb.RESOLVE else None
        known = tuple(sorted({sent.job_id for sent in self.submissions if sent.job_id is not None}))
        wish = BulkWish(verb, filter={"kind": rng.choice(sorted(KINDS))}, resolution=resolution)
        if rng.random() < 0.5 and known:
            wish = BulkWish(verb, ids=known, resolution=resolution)
        action = await self._of_many(f"{verb} of many", lambda gateway: gateway.orders.order(wish, LOCAL_OPERATOR))
        if action is not None and rng.random() < 0.5:
            # Most of them are short.
            await asyncio.sleep(rng.choice((0.0, rng.uniform(0.0, 0.1), rng.uniform(0.0, 3.0))))
            await self._of_many("abort", lambda gateway: gateway.orders.abort(action.id, LOCAL_OPERATOR))
        self.done_asking()

    async def _of_many(self, what: str, call: "Callable[[Any], Awaitable[BulkAction | None]]") -> BulkAction | None:
        """Asks some gateway about a bulk action; None where it does not confirm."""
        if not (gateways := self._simulator.up("gateway")):
            return None
        gateway = self._rng.choice(gateways)
        try:
            action: BulkAction | None = await self.ask(gateway, lambda: call(gateway))
            answer = "none" if action is None else str(action.id)
        except (ProblemError, StoreError, ConnectionLost) as error:
            action, answer = None, type(error).__name__
        self._simulator.note("person", f"{what}: {answer}")
        return action

    async def _act(self, gateway: Any, act: str, job_id: UUID) -> None:
        commands = gateway.commands
        calls: dict[str, Callable[[], Awaitable[Job]]] = {
            "cancel": lambda: commands.cancel(str(job_id)),
            "retry": lambda: commands.retry(str(job_id)),
            "resolve": lambda: commands.resolve(str(job_id), Resolution(State.SUCCEEDED, b'"by hand"', None)),
            "run_now": lambda: commands.run_now(str(job_id)),
            "erase": lambda: commands.erase(str(job_id)),
        }
        try:
            job = await self.ask(gateway, calls[act])
            answer = job.state.value
            if act == "cancel":
                is_cancelled = job.state is State.CANCELLED
                answer = "cancelled" if is_cancelled else "asked" if job.cancel_requested else "ended"
        except ProblemError as error:
            answer = str(error.problem.status)
        except (StoreError, ConnectionLost):
            answer = "unknown"
        self._simulator.note("person", f"{act}: {answer}", job_id)
        if act == "cancel":
            self.cancels.append(CancelAnswer(job_id, answer, self._loop.time()))

    def done_asking(self) -> None:
        """One of them wants nothing more."""
        self.asking -= 1

    def _submission(self, number: int) -> Submission:
        rng = self._rng
        timeout_s = rng.uniform(0.5, 4) if rng.random() < 0.2 else None
        self.scripts.append(draw_script(rng, timeout_s, self._simulator.rates.jobs_crash))
        return Submission(
            kind=rng.choice(sorted(KINDS)),
            payload=b'{"n":%d}' % number,
            delay_s=rng.uniform(0, 6) if rng.random() < 0.2 else 0.0,
            options=JobOptions(
                max_attempts=rng.randint(1, 5) if rng.random() < 0.3 else None,
                timeout_s=timeout_s,
                expires_in_s=rng.uniform(1, 20) if rng.random() < 0.1 else None,
            ),
        )
