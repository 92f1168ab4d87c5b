"""Deliveries of callbacks and the secrets that sign them, blocking."""

from collections.abc import Iterator

from acked_client.core import callbacks
from acked_client.core.exchange import Session
from acked_client.model.callbacks import CallbackSecret, Delivery, MadeCallbackSecret
from acked_client.shells.blocking import Driver


class CallbackCalls:
    """The calls of `Acked` that concern callbacks of all jobs."""

    _driver: Driver
    _session: Session

    def callbacks(self, *, state: str | None = None) -> Iterator[Delivery]:
        """Iterate over the deliveries of all jobs, newest event first. `state` selects some, such as `failed`."""
        return self._driver.pages(callbacks.all_deliveries(self._session, state))

    def callback_secrets(self) -> list[CallbackSecret]:
        """Return the secrets that sign callbacks now, newest first, without their values."""
        return self._driver.run(callbacks.secrets(self._session))

    def make_callback_secret(self) -> MadeCallbackSecret:
        """Make a secret and return it with its value, which no later call shows again.

        The one before signs for a day more; while two sign, raise `TwoSecrets`. A response that was lost is not
        repeated: raise `NoResponse`, which names the secret to end.
        """
        return self._driver.run(callbacks.make_secret(self._session))

    def end_callback_secret(self, secret_id: str) -> list[CallbackSecret]:
        """End a secret at once. Return the remaining ones."""
        return self._driver.run(callbacks.end_secret(self._session, secret_id))
