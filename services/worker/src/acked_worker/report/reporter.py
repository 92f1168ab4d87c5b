"""Report transitions and progress to gateways and receive their commands: a connection to each gateway of a name.

Reports are the fast path to the feed. They may be lost, and they neither block nor raise; the store is the source of
truth.
"""

import asyncio
import ipaddress
import socket
from collections.abc import Callable, Iterable, Sequence

from prometheus_client import Counter, Gauge

from acked_common.channel.frames import Hello
from acked_common.channel.worker_end import Command, WorkerEnd
from acked_common.model.events import JobEvent, ProgressEvent
from acked_common.runtime.lifetime import Tasks
from acked_common.runtime.logs import get_log
from acked_worker.report.gateway_line import GatewayLine
from acked_worker.settings import GatewayUrl

log = get_log(__name__)

RESOLVE_EVERY_S = 5.0
RESOLVE_WITHIN_S = 4.0
COUNT_EVERY_S = 1.0
FLUSH_WITHIN_S = 1.0
CLOSE_WITHIN_S = 1.5
MAX_LINES = 64

_reported = Counter("acked_reports_total", "Transitions and progress reports that a gateway has acknowledged.")
_dropped = Counter("acked_reports_dropped_total", "Transitions and progress that were dropped on the way to a gateway.")
_connections = Counter("acked_gateway_connections_total", "Connections to gateways, reconnections included.")
_connected = Gauge("acked_gateway_lines", "Gateways that this worker is connected to.")


class Reporter:
    """The gateway connections of one worker process."""

    def __init__(
        self,
        urls: Sequence[GatewayUrl],
        secret: str | None,
        *,
        hello: Callable[[int], Hello],
        on_command: Callable[[Command], None],
    ) -> None:
        """`hello` builds the first frame of the connection with the given number."""
        self._urls = urls
        self._secret = secret
        self._hello = hello
        self._on_command = on_command
        self._lines: dict[tuple[GatewayUrl, str], GatewayLine] = {}
        self._line_tasks: dict[tuple[GatewayUrl, str], asyncio.Task[None]] = {}
        self._made = 0
        self._unheard = 0
        self._counted = [0, 0, 0]
        self._gone = [0, 0, 0]
        self._unresolved: set[GatewayUrl] = set()
        self._tasks = Tasks()

    @property
    def problem(self) -> str | None:
        """Why no gateway receives reports; None while one does."""
        if any(line.is_connected for line in self._lines.values()):
            return None
        return "no gateway is connected; commands arrive with the renewals"

    def report(self, events: Iterable[JobEvent]) -> None:
        """Queue persisted transitions, in order. Return at once."""
        found = list(events)
        for line in self._takers(len(found)):
            line.end.report(found)
            line.notify()

    def progress(self, reports: Iterable[ProgressEvent]) -> None:
        """Queue progress of running attempts. Return at once."""
        found = list(reports)
        for line in self._takers(len(found)):
            line.end.progress(found)
            line.notify()

    async def start(self) -> None:
        """Connect and reconnect in the background."""
        if self._secret is None:
            log.warning("reports are off: set ACKED_WORKER_SECRET_FILE to the secret of the gateways")
            return
        self._tasks.repeat("find gateways", self._find, every_s=RESOLVE_EVERY_S)
        self._tasks.repeat("count reports", self._count, every_s=COUNT_EVERY_S)

    async def stop(self) -> None:
        """Flush for up to `FLUSH_WITHIN_S`, then close the connections."""
        try:
            async with asyncio.timeout(FLUSH_WITHIN_S):
                await asyncio.gather(*(line.flushed() for line in self._lines.values()))
        except TimeoutError:
            pass
        try:
            async with asyncio.timeout(CLOSE_WITHIN_S):
                await asyncio.gather(*(line.close() for line in self._lines.values()), return_exceptions=True)
        except TimeoutError:
            pass
        await self._tasks.cancel_all(within_s=1.0)
        for key in list(self._lines):
            self._forget(key)
        await self._count()

    def _takers(self, reports: int) -> list[GatewayLine]:
        lines = [line for line in self._lines.values() if not line.is_parked]
        if not lines:
            self._unheard += reports
        return [line for line in lines if line.end.is_heard]

    async def _find(self) -> None:
        """Resolve each name: add a connection per new address, and drop those that are gone and not connected."""
        for url in self._urls:
            addresses = await self._addresses(url)
            if addresses is None:
                continue
            for address in addresses:
                if (url, address) not in self._lines and len(self._lines) < MAX_LINES:
                    self._add(url, address)
            for key, line in list(self._lines.items()):
                # A name that resolves to fewer addresses for a moment must not cut working connections.
                if key[0] == url and key[1] not in addresses and not line.is_connected:
                    self._forget(key)

    async def _addresses(self, url: GatewayUrl) -> list[str] | None:
        """Return the addresses of the name; None if they can't be resolved now."""
        try:
            return [str(ipaddress.ip_address(url.host))]
        except ValueError:
            pass
        try:
            async with asyncio.timeout(RESOLVE_WITHIN_S):
                found = await asyncio.get_running_loop().getaddrinfo(url.host, url.port, type=socket.SOCK_STREAM)
        except (OSError, TimeoutError, UnicodeError) as error:
            if url not in self._unresolved:
                self._unresolved.add(url)
                log.warning("gateway name not resolved", host=url.host, error=f"{type(error).__name__}: {error}")
            return None
        self._unresolved.discard(url)
        return list(dict.fromkeys(str(entry[4][0]) for entry in found))

    def _add(self, url: GatewayUrl, address: str) -> None:
        if self._secret is None:
            return
        line = GatewayLine(
            url,
            address,
            WorkerEnd(self._hello(self._made)),
            self._secret,
            on_command=self._on_command,
            has_other_line=self._has_other_line,
        )
        self._made += 1
        self._lines[url, address] = line
        self._line_tasks[url, address] = self._tasks.spawn(line.run(), f"gateway {address}")

    def _forget(self, key: tuple[GatewayUrl, str]) -> None:
        line = self._lines.pop(key)
        self._line_tasks.pop(key).cancel()
        line.end.abandon()
        for i, count in enumerate(_counts(line)):
            self._gone[i] += count

    def _has_other_line(self, line: GatewayLine, boot: str) -> bool:
        return any(other is not line and other.end.gateway_boot == boot for other in self._lines.values())

    async def _count(self) -> None:
        """Update the metrics."""
        sums = list(self._gone)
        for line in self._lines.values():
            for i, count in enumerate(_counts(line)):
                sums[i] += count
        sums[1] += self._unheard
        for i, metric in enumerate((_reported, _dropped, _connections)):
            metric.inc(sums[i] - self._counted[i])
        self._counted = sums
        _connected.set(sum(line.is_connected for line in self._lines.values()))


def _counts(line: GatewayLine) -> tuple[int, int, int]:
    return line.end.acknowledged, line.end.dropped, line.connections
