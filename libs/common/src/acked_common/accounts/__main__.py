"""The two container steps before `init`, run by every `up`: `python -m acked_common.accounts <step>`.

`hand-out` writes each container's secrets; `make` creates the MongoDB accounts, in mongod's network namespace.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from acked_common.accounts.grants import Account
from acked_common.accounts.hand_out import (
    MONGO_ADMIN,
    RECEIVED,
    HandOutError,
    development_secrets,
    give_folder,
    hand_out,
    read_secrets,
    receivers,
)
from acked_common.accounts.mongo_accounts import AccountsError, ensure_accounts
from acked_common.accounts.settings import AccountsSettings, read_settings
from acked_common.runtime.env import SettingsError
from acked_common.runtime.logs import get_log, set_up_logs
from acked_common.runtime.settings import DEVELOPMENT_WARNING

SECRETS_FOLDER = Path("/run/secrets")
HAND_OUT_FOLDER = Path("/hand-out")
DATA_FOLDER = Path("/data")
WITHIN_S = 60.0

log = get_log(__name__)


def _hand_out(settings: AccountsSettings) -> None:
    secrets = read_secrets(SECRETS_FOLDER)
    if known := development_secrets(secrets):
        log.warning(DEVELOPMENT_WARNING, secrets=known)
    for name, receiver in receivers(secrets, settings.mongo_user, settings.rabbitmq_user).items():
        hand_out(receiver, HAND_OUT_FOLDER / name)
    for name, user in (("mongo", settings.mongo_user), ("rabbitmq", settings.rabbitmq_user)):
        if give_folder(DATA_FOLDER / name, user):
            log.info("data folder given to the server's user", server=name)
    log.info("secrets distributed")


def _make(settings: AccountsSettings) -> None:
    ensure_accounts(
        settings.replica_set,
        database=settings.database,
        admin_password=(RECEIVED / MONGO_ADMIN).read_text(),
        passwords={account: (RECEIVED / f"mongo-{account}").read_text() for account in Account},
        within_s=WITHIN_S,
    )
    log.info("accounts created", accounts=[account.value for account in Account])


def main(arguments: Sequence[str]) -> int:
    """Run a step and return the exit code."""
    steps = {"hand-out": _hand_out, "make": _make}
    try:
        step = steps[arguments[0]]
        settings = read_settings()
        set_up_logs("acked-accounts", settings.log_level)
        step(settings)
    except (IndexError, KeyError):
        print(f"acked-accounts: one of {', '.join(steps)}", file=sys.stderr)  # noqa: T201 - read by a person
        return 2
    except (SettingsError, HandOutError, AccountsError, OSError) as error:
        print(f"acked-accounts: {error}", file=sys.stderr)  # noqa: T201 - read by a person
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
