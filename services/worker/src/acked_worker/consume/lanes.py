"""All lanes of a worker: a runner and a consumer each, started, paused and stopped together."""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from uuid import UUID

from acked_common.broker.rabbitmq.lane_consumer import LaneConsumer
from acked_common.runtime.lifetime import Tasks
from acked_worker.consume.in_flight import InFlight
from acked_worker.consume.lane_runner import LaneRunner

DRAIN = "draining"


class Lanes:
    """The lanes that this worker consumes."""

    def __init__(self) -> None:
        self._runners: dict[str, LaneRunner] = {}
        self._consumers: dict[str, LaneConsumer] = {}
        self._stopped_by: set[str] = set()
        self._is_ready = False
        self._tasks = Tasks()

    def add(self, runner: LaneRunner, consumer: LaneConsumer) -> None:
        """Add a lane, before `start`. The consumer delivers to the runner, which pauses it."""
        runner.attach(consumer)
        self._runners[runner.lane] = runner
        self._consumers[runner.lane] = consumer

    @property
    def idle(self) -> list[str]:
        """The lanes that are not consumed now, sorted; a lane that is paused counts as consumed."""
        return sorted(lane for lane, consumer in self._consumers.items() if not consumer.is_consuming)

    @property
    def tried_at(self) -> float | None:
        """When the most delayed consumer last ran, on the monotonic clock; None without lanes."""
        return min((consumer.tried_at for consumer in self._consumers.values()), default=None)

    def start(self, wait_ready: Callable[[], Awaitable[None]]) -> None:
        """Consume every lane, in the background, once `wait_ready` returns."""

        async def consume(consumer: LaneConsumer) -> None:
            await wait_ready()
            self._is_ready = True
            await consumer.run()

        for lane, consumer in self._consumers.items():
            self._tasks.spawn(consume(consumer), f"lane {lane}")

    def pause(self, reason: str) -> None:
        """Consume nothing until `resume` was called with this reason, and with every other one."""
        self._stopped_by.add(reason)
        for consumer in self._consumers.values():
            consumer.pause(reason)

    def resume(self, reason: str) -> None:
        """Consume again, if no other reason remains."""
        self._stopped_by.discard(reason)
        for consumer in self._consumers.values():
            consumer.resume(reason)

    def hold(self, lanes: Collection[str]) -> None:
        """Pause the claims of these lanes, whose kinds an operator has paused; resume those that are no longer
        paused."""
        for lane, runner in self._runners.items():
            if lane in lanes:
                runner.pause()
            else:
                runner.resume()

    def pull(self, recorded: Collection[UUID] | None = None) -> None:
        """Claim held jobs of limited kinds (see `limited_claims`) on every lane, once a second. After the ends of
        attempts were `recorded`, do so on the lanes whose limits have free places now."""
        may_claim = self._is_ready and not self._stopped_by
        for runner in self._runners.values():
            if (recorded is None or runner.note_recorded(recorded)) and may_claim:
                runner.pull()

    def note_ended(self, held: InFlight) -> None:
        """Notify the lane of an attempt that has ended."""
        self._runners[held.lane].note_ended(held)

    def drain(self) -> None:
        """Stop claiming and consuming."""
        for runner in self._runners.values():
            runner.drain()
        self.pause(DRAIN)

    async def wait_claimed(self, within_s: float) -> None:
        """Wait until no claim is in flight. Raises `TimeoutError`."""
        async with asyncio.timeout(within_s):
            for runner in self._runners.values():
                await runner.wait_claimed()

    async def stop(self) -> None:
        """Close the consumers: the broker delivers what was not acknowledged to other workers."""
        await self._tasks.cancel_all()
        for runner in self._runners.values():
            await runner.stop()
        for consumer in self._consumers.values():
            await consumer.close()
