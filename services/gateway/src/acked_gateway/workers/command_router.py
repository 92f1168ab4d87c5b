"""Brings a command to the worker process that it is for: over its line, which may end at another gateway.

Nobody waits for it: what gets lost on the way is in the store, and comes with the worker's next renewal.
"""

from typing import Protocol
from uuid import UUID

from prometheus_client import Counter

from acked_common.broker import BrokerError
from acked_common.channel.commands import CancelCommand, Command, DrainCommand
from acked_common.channel.frames import JobAttempt
from acked_common.runtime.lifetime import Tasks
from acked_common.runtime.logs import get_log
from acked_gateway.workers.channel import WorkerChannel

log = get_log(__name__)

MAX_PASSING_ON = 1000

_commands = Counter("acked_commands_total", "Commands for workers, by the way they went.", ["way"])


class CommandBus(Protocol):
    """Tells every gateway."""

    async def publish(self, command: Command) -> None:
        """Raises `BrokerError`."""
        ...


class CommandRouter:
    """The commands of one gateway process."""

    def __init__(self, channel: WorkerChannel) -> None:
        self._channel = channel
        self._bus: CommandBus | None = None
        self._passing_on = 0
        self._tasks = Tasks()

    def attach(self, bus: CommandBus) -> None:
        """Commands for workers that have no line here go over this bus."""
        self._bus = bus

    async def stop(self) -> None:
        """Passes nothing on any more."""
        await self._tasks.cancel_all()

    def cancel(self, boot: str, job_id: UUID, attempt: int) -> None:
        """Stops an attempt; returns at once."""
        self._send(CancelCommand(boot, [JobAttempt(job_id, attempt)]))

    def drain(self, boot: str) -> None:
        """Makes a worker process drain; returns at once."""
        self._send(DrainCommand(boot))

    def deliver(self, command: Command) -> bool:
        """Sends a command down the worker's line; False where it has none here."""
        if isinstance(command, CancelCommand):
            return self._channel.cancel(command.boot, command.jobs)
        return self._channel.drain(command.boot)

    def take(self, command: Command) -> None:
        """Takes a command from the bus: one gateway has the worker's line, all others ignore it."""
        if self.deliver(command):
            _commands.labels("bus").inc()

    def _send(self, command: Command) -> None:
        if self.deliver(command):
            _commands.labels("line").inc()
        elif self._bus is None or self._passing_on >= MAX_PASSING_ON:
            _commands.labels("lost").inc()
        else:
            self._passing_on += 1
            self._tasks.spawn(self._pass_on(self._bus, command), "pass a command on")

    async def _pass_on(self, bus: CommandBus, command: Command) -> None:
        try:
            await bus.publish(command)
            _commands.labels("passed on").inc()
        except BrokerError as error:
            _commands.labels("lost").inc()
            log.info("command not passed on; it comes with a renewal", boot=command.boot, error=str(error))
        finally:
            self._passing_on -= 1
