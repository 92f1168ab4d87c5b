"""Detect another database that uses the same virtual host of RabbitMQ.

Lanes have the same names for every database. Two databases on one virtual host consume each other's bundles: the claim
finds no job, the worker drops the bundle, and the sweeper must republish it. So gateways publish the id of their
database to each other. A gateway that receives another id logs an error and reports itself degraded until the gateways
of the other database are gone.

A persistent mark in the broker was rejected: it would refuse a stack whose own database was replaced, and queues of
earlier versions have none.
"""

from collections.abc import Callable
from typing import Protocol

from acked_common.broker import BrokerError
from acked_common.channel.commands import DatabaseNotice
from acked_common.runtime.lifetime import Tasks
from acked_common.runtime.logs import get_log
from acked_common.store.ports import IdentityStore

log = get_log(__name__)

NOTICE_EVERY_S = 30.0
FIRST_EVERY_S = 2.0
"""The interval until this gateway receives notices: the response to its first one could be lost."""
FORGOTTEN_AFTER_S = 100.0
"""More than three intervals, because a notice may be lost."""
TICK_S = 1.0
MOST_OTHERS = 16


class NoticeBus(Protocol):
    """Reaches every gateway of the virtual host."""

    async def publish(self, command: DatabaseNotice) -> None:
        """Publish a notice. Raises `BrokerError`."""
        ...


class SharedHost:
    """The databases on the virtual host of one gateway."""

    def __init__(self, store: IdentityStore, name: str, monotonic: Callable[[], float]) -> None:
        """`name` is the database's name, for messages."""
        self._store = store
        self._name = name
        self._monotonic = monotonic
        self._bus: NoticeBus | None = None
        self._id: str | None = None
        self._next_at = monotonic()
        self._receives = False
        self._others: dict[str, tuple[str, float]] = {}
        """The name of each other database and the time of its last notice, by id."""

    def attach(self, bus: NoticeBus) -> None:
        """Use this bus for notices."""
        self._bus = bus

    def start(self, tasks: Tasks) -> None:
        """Start to publish notices."""
        tasks.repeat("notices of the database", self.tick, every_s=TICK_S)

    @property
    def problem(self) -> str | None:
        """The other databases that use the virtual host, as a message; None without any."""
        since = self._monotonic() - FORGOTTEN_AFTER_S
        self._others = {other_id: other for other_id, other in self._others.items() if other[1] > since}
        if not self._others:
            return None
        names = ", ".join(sorted(f"{name!r} ({other_id})" for other_id, (name, _) in self._others.items()))
        return (
            f"shared with another database: {names}. Give each a virtual host of its own (ACKED_AMQP_URL=amqp://…/name)"
        )

    async def tick(self) -> None:
        """Publish the id of this database when due. Raises `StoreError`."""
        now = self._monotonic()
        if now < self._next_at or self._bus is None:
            return
        self._next_at = now + (NOTICE_EVERY_S if self._receives else FIRST_EVERY_S)
        # Read each time, because the database may have been replaced.
        self._id = await self._store.database_id()
        if self._id is None:
            return
        try:
            await self._bus.publish(DatabaseNotice(self._id, self._name))
        except BrokerError as error:
            log.debug("notice of the database not published", error=str(error))

    def take(self, notice: DatabaseNotice) -> None:
        """Handle a notice from a gateway, possibly this one."""
        self._receives = True
        is_known = notice.id in self._others
        if self._id is None or notice.id == self._id or (not is_known and len(self._others) >= MOST_OTHERS):
            return
        now = self._monotonic()
        self._others[notice.id] = notice.name, now
        if not is_known:
            log.error(
                "RabbitMQ's virtual host is shared with another database, and each drops bundles of the other's jobs. "
                "Give each database a virtual host of its own",
                database=self._name,
                id=self._id,
                other=notice.name,
                other_id=notice.id,
            )
            # The other gateway may have started after our last notice.
            self._next_at = now
