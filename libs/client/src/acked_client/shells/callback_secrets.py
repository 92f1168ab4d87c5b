"""The secrets that sign callbacks, blocking."""

from acked_client.core import callbacks
from acked_client.core.exchange import Session
from acked_client.model.callbacks import CallbackSecret, MadeCallbackSecret
from acked_client.shells.blocking import Driver


class CallbackSecretCalls:
    """The calls of `Acked` that concern the secrets of callbacks."""

    _driver: Driver
    _session: Session

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
