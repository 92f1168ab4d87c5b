"""Deliveries of callbacks and the secrets that sign them, for asyncio."""

from collections.abc import AsyncIterator

from acked_client.core import callbacks
from acked_client.core.exchange import Session
from acked_client.model.callbacks import CallbackSecret, Delivery, MadeCallbackSecret
from acked_client.shells.asynchronous import AsyncDriver


class AsyncCallbackCalls:
    """The calls of `AsyncAcked` that concern callbacks of all jobs."""

    _driver: AsyncDriver
    _session: Session

    def callbacks(self, *, state: str | None = None) -> AsyncIterator[Delivery]:
        """Iterate over the deliveries of all jobs, newest event first. `state` selects some, such as `failed`."""
        return self._driver.pages(callbacks.all_deliveries(self._session, state))

    async def callback_secrets(self) -> list[CallbackSecret]:
        """Return the secrets that sign callbacks now, newest first, without their values."""
        return await self._driver.run(callbacks.secrets(self._session))

    async def make_callback_secret(self) -> MadeCallbackSecret:
        """Make a secret and return it with its value, which no later call shows again.

        The one before signs for a day more; while two sign, raise `TwoSecrets`. A response that was lost is not
        repeated: raise `NoResponse`, which names the secret to end.
        """
        return await self._driver.run(callbacks.make_secret(self._session))

    async def end_callback_secret(self, secret_id: str) -> list[CallbackSecret]:
        """End a secret at once. Return the remaining ones."""
        return await self._driver.run(callbacks.end_secret(self._session, secret_id))
