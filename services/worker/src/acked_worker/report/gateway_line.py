"""A persistent connection to one gateway: sends hello and reports, receives commands, and reconnects.

It never blocks the worker: reports only fill the end's bounded buffer.
"""

import asyncio
import logging
import random
from collections.abc import Callable

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

from acked_common.channel.frames import CloseCode, ProtocolFault
from acked_common.channel.worker_end import Command, WorkerEnd
from acked_common.model.backoff import Backoff
from acked_common.runtime.logs import get_log
from acked_worker.settings import GatewayUrl

log = get_log(__name__)

OPEN_WITHIN_S = 5.0
WELCOME_WITHIN_S = 5.0
PING_EVERY_S = 5.0
PONG_WITHIN_S = 8.0
CLOSE_WITHIN_S = 1.0
MAX_BYTES = 64 * 1024
RETRY = Backoff(base_s=0.2, cap_s=5.0)
SOON_S = 0.25
SLOW_S = 30.0
PARKED_LOOK_S = 5.0

_RESUME_SOON = frozenset({CloseCode.GOING_AWAY, CloseCode.RESTART})
_REFUSED_SECRET = frozenset({401, 403})
# The library logs every handshake; this module logs the relevant events once.
_library_log = logging.getLogger("acked.channel")
_library_log.setLevel(logging.ERROR)
_library_log.propagate = False


class GatewayLine:
    """A connection that is re-established until it is closed."""

    def __init__(
        self,
        url: GatewayUrl,
        address: str,
        end: WorkerEnd,
        secret: str,
        *,
        on_command: Callable[[Command], None],
        has_other_line: Callable[["GatewayLine", str], bool],
    ) -> None:
        """`has_other_line` says whether another connection leads to the same gateway process."""
        self.url = url
        self.address = address
        self.end = end
        self._secret = secret
        self._on_command = on_command
        self._has_other_line = has_other_line
        self._has_news = asyncio.Event()
        self._has_answer = asyncio.Event()
        self._socket: ClientConnection | None = None
        self._failures = 0
        self._complaint = ""
        self.connections = 0
        """Number of welcomes received."""
        self.is_parked = False
        """Whether another connection leads to the same gateway, so that this one is idle."""

    @property
    def is_connected(self) -> bool:
        """Whether the current connection was welcomed by a gateway."""
        return self.end.gateway_boot is not None

    def notify(self) -> None:
        """Wake the sender: there is something to send."""
        self._has_news.set()

    async def run(self) -> None:
        """Reconnect until cancelled."""
        while True:
            try:
                wait_s = await self._hold_once()
            except Exception:
                # No error may end the reports of this worker.
                log.exception("connection to the gateway failed", gateway=self.url.text, address=self.address)
                wait_s = SLOW_S
            await asyncio.sleep(wait_s)

    async def flushed(self) -> None:
        """Return once the gateway has acknowledged everything, or is disconnected."""
        while self.is_connected and not self.end.is_idle:
            self._has_answer.clear()
            await self._has_answer.wait()

    async def close(self) -> None:
        """Close the connection; reports that are not acknowledged by then are lost."""
        if self._socket is not None:
            await self._socket.close(CloseCode.GOING_AWAY, "the worker ends")

    async def _hold_once(self) -> float:
        """Run one connection from connect to close; return the delay in seconds before the next attempt."""
        try:
            socket = await connect(
                self.url.text,
                host=self.address,
                port=self.url.port,
                additional_headers={"Authorization": f"Bearer {self._secret}"},
                proxy=None,
                compression=None,
                open_timeout=OPEN_WITHIN_S,
                ping_interval=PING_EVERY_S,
                ping_timeout=PONG_WITHIN_S,
                close_timeout=CLOSE_WITHIN_S,
                max_size=MAX_BYTES,
                logger=_library_log,
            )
        except InvalidStatus as error:
            return self._refused(error.response.status_code, bytes(error.response.body or b""))
        except (OSError, TimeoutError, WebSocketException) as error:
            self._complain("no gateway is reachable; jobs run without it", error=f"{type(error).__name__}: {error}")
            return self._back_off()
        self._socket = socket
        boot: str | None = None
        try:
            boot = await self._serve(socket)
        finally:
            self._socket = None
            code = socket.close_code
            self.end.disconnected(code)
            self._has_answer.set()
            await socket.close()
        return await self._after(code, socket.close_reason or "", boot)

    async def _serve(self, socket: ClientConnection) -> str | None:
        """Send and receive until the connection ends; return the gateway's boot if it sent welcome."""
        sender: asyncio.Task[None] | None = None
        boot: str | None = None
        try:
            await socket.send(self.end.connected())
            async with asyncio.timeout(WELCOME_WITHIN_S):
                self.end.received(_text(await socket.recv()))
            boot = self.end.gateway_boot
            self._welcomed(boot)
            sender = asyncio.create_task(self._send(socket), name="report to the gateway")
            self._has_news.set()
            while True:
                command = self.end.received(_text(await socket.recv()))
                self._has_news.set()
                self._has_answer.set()
                if command is not None:
                    self._on_command(command)
        except ProtocolFault as fault:
            self._complain("the gateway violates the protocol", error=str(fault))
            await socket.close(fault.code, fault.reason)
        except TimeoutError:
            self._complain("the gateway sent no welcome", error=f"none within {WELCOME_WITHIN_S:g} s")
        except ConnectionClosed:
            pass
        finally:
            if sender is not None:
                sender.cancel()
                await asyncio.gather(sender, return_exceptions=True)
        return boot

    async def _send(self, socket: ClientConnection) -> None:
        while True:
            await self._has_news.wait()
            self._has_news.clear()
            while (text := self.end.next_frame()) is not None:
                await socket.send(text)

    def _welcomed(self, boot: str | None) -> None:
        self._failures = 0
        self._complaint = ""
        self.connections += 1
        log.info("connected to a gateway", gateway=self.url.text, address=self.address, boot=boot)

    async def _after(self, code: int | None, reason: str, boot: str | None) -> float:
        """Return the delay before the next attempt, by the way the connection ended."""
        if code == CloseCode.REPLACED and boot is not None:
            await self._park(boot)
            return SOON_S
        if boot is not None and code in _RESUME_SOON:
            return SOON_S * random.uniform(0.2, 1.0)
        if code == CloseCode.UNKNOWN_PROTOCOL:
            self._complain("the gateway has another protocol version; deploy the same one to both", error=reason)
            return SLOW_S * random.uniform(0.5, 1.0)
        if code is not None and code >= CloseCode.BAD_FRAME:
            self._complain("the gateway closed the connection", error=f"{code} {reason}")
        return self._back_off()

    async def _park(self, boot: str) -> None:
        """Stay idle while another connection leads to the same gateway process under another address."""
        self.is_parked = True
        self.end.abandon()
        try:
            while self._has_other_line(self, boot):  # noqa: ASYNC110 - polling is enough
                await asyncio.sleep(PARKED_LOOK_S)
        finally:
            self.is_parked = False

    def _refused(self, status: int, body: bytes) -> float:
        if status in _REFUSED_SECRET:
            text = (
                "the gateway rejects this worker's secret: give gateways and workers the same "
                "ACKED_WORKER_SECRET_FILE, then restart those that had another one"
            )
        elif status == 421:
            text = f"the gateway does not allow this host name: add {self.url.host} to its ACKED_ALLOWED_HOSTS"
        else:
            text = "the gateway rejects workers"
        self._complain(text, error=f"HTTP {status} {body[:300].decode('utf-8', 'replace')}", is_error=True)
        return SLOW_S * random.uniform(0.5, 1.0)

    def _complain(self, text: str, *, error: str, is_error: bool = False) -> None:
        """Log a complaint once, not with every attempt."""
        if text != self._complaint:
            self._complaint = text
            say = log.error if is_error else log.warning
            say(text, gateway=self.url.text, address=self.address, error=error)

    def _back_off(self) -> float:
        self._failures += 1
        return RETRY.equal_jitter_s(self._failures)


def _text(message: str | bytes) -> str:
    if isinstance(message, bytes):
        raise ProtocolFault(CloseCode.BAD_FRAME, "frames are JSON texts")
    return message
