"""Make, rotate and end the secrets that sign callbacks, on behalf of an operator."""

import base64
import secrets

from acked_common.http.problems import ProblemError, problem
from acked_common.model.audit import AuditAction
from acked_common.model.callbacks import SECRET_BYTES, SECRET_PREFIX
from acked_common.model.instants import rfc3339, whole_ms
from acked_common.model.principal import Operator
from acked_common.runtime.clock import Clock
from acked_common.store.callbacks import CallbackSecret, CallbackSecretStore
from acked_gateway.audit.notes import Audit
from acked_gateway.callbacks.operations import MadeSecret, Secret, Secrets

_ID_BYTES = 8


class Signing:
    """The secrets of tenants. Its methods raise `ProblemError` and `StoreError`."""

    def __init__(self, store: CallbackSecretStore, audit: Audit, clock: Clock) -> None:
        self._store = store
        self._audit = audit
        self._clock = clock

    async def list(self, tenant: str) -> Secrets:
        """Return the secrets that sign now."""
        return {"secrets": [_shown(one) for one in await self._store.secrets(tenant, self._clock.now())]}

    async def make(self, *, operator: Operator) -> MadeSecret:
        """Make a secret. The one before signs for a day more."""
        at = whole_ms(self._clock.now())
        if len(signing := await self._store.secrets(operator.tenant, at)) > 1:
            raise _two_secrets(signing[-1].id)
        text = SECRET_PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()
        made = CallbackSecret(f"cs_{secrets.token_hex(_ID_BYTES)}", text, at)
        await self._audit.note(operator, AuditAction.CALLBACK_SECRET_MAKE, {"secret": made.id})
        if not await self._store.add_secret(operator.tenant, made):
            raise _two_secrets(None)
        return {**_shown(made), "secret": made.secret}

    async def end(self, secret_id: str, *, operator: Operator) -> Secrets:
        """End a secret at once."""
        at = whole_ms(self._clock.now())
        if secret_id not in [one.id for one in await self._store.secrets(operator.tenant, at)]:
            raise ProblemError(problem("not-found", f"no secret that signs has the id {secret_id[:64]!r}"))
        await self._audit.note(operator, AuditAction.CALLBACK_SECRET_END, {"secret": secret_id})
        await self._store.end_secret(operator.tenant, secret_id, at)
        return await self.list(operator.tenant)


def _shown(secret: CallbackSecret) -> Secret:
    return {
        "id": secret.id,
        "made_at": rfc3339(secret.made_at),
        "ends_at": None if secret.ends_at is None else rfc3339(secret.ends_at),
    }


def _two_secrets(earlier: str | None) -> ProblemError:
    how = f" with POST /callback-secrets/{earlier}/end" if earlier is not None else ""
    return ProblemError(
        problem("two-secrets", f"two secrets sign already: end the earlier one{how}, or wait until it ends by itself")
    )
