"""Make the private mongod a replica set of one member with the services' accounts.

It adopts data of a version without accounts, and a mongod that still runs without them, which requires passwords from
its next start on.
"""

from collections.abc import Mapping

from acked_common.accounts.grants import Account
from acked_common.accounts.hand_out import MONGO_ADMIN, mongo_secret
from acked_common.accounts.mongo_accounts import ensure_accounts
from deploy.native.launch import database_of
from deploy.native.layout import Layout
from deploy.native.secret import secret

WITHIN_S = 40.0


def make_replica_set(layout: Layout, environ: Mapping[str, str]) -> None:
    """Return when the set has its primary and all accounts. Raise `AccountsError`.

    Idempotent: after a crash the next call continues. `environ` is that of the services, which names their database.
    """
    member = f"127.0.0.1:{layout.ports.mongod}"
    ensure_accounts(
        member,
        database=database_of(environ),
        admin_password=secret(layout.secrets / MONGO_ADMIN),
        passwords={account: secret(layout.secrets / mongo_secret(account)) for account in Account},
        within_s=WITHIN_S,
        at=member,
        # Without passwords, any local client could have created an account.
        alone=not layout.data_mark.exists(),
    )
    if layout.accounts_mark.exists():
        layout.data_mark.touch()
