"""The active tokens in memory: read every few seconds, and again before a token is refused as unknown."""

import asyncio
import time

from acked_common.http.problems import Problem, ProblemError, problem
from acked_common.model.tokens import ID_FROM, ID_TO, TokenRecord, id_of, is_of
from acked_common.runtime.clock import Clock
from acked_common.runtime.lifetime import Tasks
from acked_common.store.errors import StoreError
from acked_common.store.tokens import TokenStore

REFRESH_S = 2.0
STALE_AFTER_S = 300.0
"""How long cached tokens stay valid while MongoDB does not respond."""
LOOK_GAP_S = 0.5
"""The interval of reads for unknown tokens: MongoDB is queried at most twice a second, however many are tried."""
MISSING_FOR_S = 2.0
MAX_MISSING = 10_000
MAX_WAITING = 1000

_CHALLENGE = {"WWW-Authenticate": 'Bearer error="invalid_token"'}


class TokenCache:
    """Resolves tokens to their records. A token is valid as soon as it is made; a revoked one is invalid after at most
    1.1 times `REFRESH_S`."""

    def __init__(self, store: TokenStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._records: dict[str, TokenRecord] = {}
        self._proven: dict[bytes, TokenRecord] = {}
        """Tokens that were valid since the last read, because a digest per request would take time."""
        self._missing: dict[str, float] = {}
        self._read_at: float | None = None
        self._look_began_at = float("-inf")
        self._looking: asyncio.Task[None] | None = None
        self._waiting = 0

    def start(self, tasks: Tasks) -> None:
        """Start to refresh the cache."""
        tasks.repeat("tokens", self.refresh, every_s=REFRESH_S)

    async def refresh(self) -> None:
        """Read all active tokens. Raises `StoreError`."""
        began_at = time.monotonic()
        records = {record.id: record for record in await self._store.active(self._clock.now())}
        if self._read_at is None or began_at >= self._read_at:
            self._records, self._read_at = records, began_at
            self._proven = {}

    def active(self, tenant: str) -> list[TokenRecord]:
        """Return the active tokens of a tenant as they were read last, at most `REFRESH_S` ago; no I/O."""
        now = self._clock.now()
        return [record for record in self._records.values() if record.principal.tenant == tenant and record.holds(now)]

    def holds(self, record: TokenRecord) -> bool:
        """Return whether an admitted token is still valid."""
        found = self._records.get(record.id)
        if found is None or not self._is_fresh:
            return False
        return found.expires_at is None or found.holds(self._clock.now())

    def known(self, token: bytes) -> TokenRecord | None:
        """Return the record of a token without I/O; None if `find` must decide."""
        if not self._is_fresh:
            return None
        record = self._proven.get(token)
        if record is None:
            record = self._records.get(token[ID_FROM:ID_TO].decode("latin-1"))
            if record is None or not is_of(record, token):
                return None
            self._proven[token] = record
        return record if record.expires_at is None or record.holds(self._clock.now()) else None

    async def find(self, token: bytes) -> TokenRecord:
        """Return the record of a token. Raises `ProblemError`: 401 for an invalid token, 503 if that is unknown."""
        token_id = id_of(token)
        if token_id is None:
            raise ProblemError(_unknown("this is not a token of Acked"))
        if not self._is_fresh or (token_id not in self._records and not self._is_missing(token_id)):
            await self._look(token_id)
        record = self._records.get(token_id)
        if record is None or not is_of(record, token):
            raise ProblemError(_unknown("this token is unknown; it may be revoked or expired"))
        if record.expires_at is not None and not record.holds(self._clock.now()):
            raise ProblemError(_unknown(f"the token {token_id} has expired; use a new one"))
        return record

    @property
    def _is_fresh(self) -> bool:
        return self._read_at is not None and time.monotonic() - self._read_at < STALE_AFTER_S

    def _is_missing(self, token_id: str) -> bool:
        return self._missing.get(token_id, float("-inf")) > time.monotonic()

    async def _look(self, token_id: str) -> None:
        """Read the tokens, starting now. Concurrent callers share the read, and its failure."""
        if self._waiting >= MAX_WAITING:
            raise ProblemError(_nobody_knows("too many unknown tokens are sent at once"))
        asked_at = time.monotonic()
        self._waiting += 1
        try:
            while self._look_began_at < asked_at:
                if self._looking is None:
                    self._looking = asyncio.create_task(self._look_in_turn(), name="look for a token")
                    self._looking.add_done_callback(self._looked)
                await asyncio.shield(self._looking)
        except StoreError as error:
            raise ProblemError(_nobody_knows(str(error))) from None
        finally:
            self._waiting -= 1
        if token_id not in self._records:
            if len(self._missing) >= MAX_MISSING:
                self._missing.clear()
            self._missing[token_id] = time.monotonic() + MISSING_FOR_S

    async def _look_in_turn(self) -> None:
        await asyncio.sleep(self._look_began_at + LOOK_GAP_S - time.monotonic())
        self._look_began_at = time.monotonic()
        await self.refresh()

    def _looked(self, task: asyncio.Task[None]) -> None:
        self._looking = None
        if not task.cancelled():
            # Waiters get the error; without waiters, asyncio would log it as never retrieved.
            task.exception()


def _unknown(detail: str) -> Problem:
    return problem("unknown-token", detail, headers=_CHALLENGE)


def _nobody_knows(why: str) -> Problem:
    return problem("access-unknown", f"this token can't be checked now: {why}")
