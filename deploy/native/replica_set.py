"""Make the private mongod a replica set of one member with the services' accounts: `python -m` this module.

Idempotent: after a crash the next run continues. It adopts data of a version without accounts, and a mongod that still
runs without them, which requires passwords from its next start on.
"""

import os

from acked_common.accounts.grants import Account
from acked_common.accounts.hand_out import MONGO_ADMIN, mongo_secret
from acked_common.accounts.mongo_accounts import AccountsError, ensure_accounts
from deploy.native.launch import database_of
from deploy.native.layout import layout_from
from deploy.native.secret import secret

WITHIN_S = 40.0

if __name__ == "__main__":
    layout = layout_from()
    member = f"127.0.0.1:{layout.ports.mongod}"
    try:
        ensure_accounts(
            member,
            database=database_of(os.environ),
            admin_password=secret(layout.secrets / MONGO_ADMIN),
            passwords={account: secret(layout.secrets / mongo_secret(account)) for account in Account},
            within_s=WITHIN_S,
            at=member,
            # As long as nobody was asked for a password, anybody could have made an account.
            alone=not layout.data_mark.exists(),
        )
    except AccountsError as failure:
        raise SystemExit(str(failure)) from None
    if layout.accounts_mark.exists():
        layout.data_mark.touch()
