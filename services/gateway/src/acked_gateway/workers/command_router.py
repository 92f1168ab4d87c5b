"""Deliver commands to worker processes over their connections, which may end at another gateway.

Delivery is not acknowledged. Every command is also in MongoDB, where the worker reads it with its next renewal.
"""

from typing import Protocol
from uuid import UUID

from prometheus_client import Counter

from acked_common.broker import BrokerError
from acked_common.channel.commands import CancelCommand, Command, DrainCommand, SignalledCommand
from acked_common.channel.frames import JobAttempt
from acked_common.runtime.lifetime import Tasks
from acked_common.runtime.logs import get_log
from acked_gateway.workers.channel import WorkerChannel

log = get_log(__name__)

MAX_PASSING_ON = 1000

_commands = Counter("acked_commands_total", "Commands for workers, by the way they went.", ["way"])


class CommandBus(Protocol):
    """Publishes commands to every gateway."""

    async def publish(self, command: Command) -> None:
        """Publish a command. Raises `BrokerError`."""
        ...


class CommandRouter:
    """Routes the commands of one gateway process."""

    def __init__(self, channel: WorkerChannel) -> None:
        self._channel = channel
        self._bus: CommandBus | None = None
        self._passing_on = 0
        self._tasks = Tasks()

    def attach(self, bus: CommandBus) -> None:
        """Use this bus for commands to workers that are not connected here."""
        self._bus = bus

    async def stop(self) -> None:
        """Cancel publications in flight."""
        await self._tasks.cancel_all()

    def cancel(self, boot: str, job_id: UUID, attempt: int) -> None:
        """Stop an attempt. Returns at once."""
        self._send(CancelCommand(boot, [JobAttempt(job_id, attempt)]))

    def signalled(self, boot: str, job_id: UUID, attempt: int) -> None:
        """End the waits of an attempt, because a signal came. Returns at once."""
        self._send(SignalledCommand(boot, [JobAttempt(job_id, attempt)]))

    def drain(self, boot: str) -> None:
        """Drain a worker process. Returns at once."""
        self._send(DrainCommand(boot))

    def deliver(self, command: Command) -> bool:
        """Send a command to a worker that is connected here. Return False if it is not."""
        if isinstance(command, CancelCommand):
            return self._channel.cancel(command.boot, command.jobs)
        if isinstance(command, SignalledCommand):
            return self._channel.signalled(command.boot, command.jobs)
        return self._channel.drain(command.boot)

    def take(self, command: Command) -> None:
        """Handle a command from the bus: deliver it if the worker is connected here, else ignore it."""
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
