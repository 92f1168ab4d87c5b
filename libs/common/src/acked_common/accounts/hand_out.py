"""OWNER of the distribution of secrets in containers: which container receives which files.

Compose mounts a secret file with its own mode: with 600, only its owner on the host could read it. So a single
container sees all secrets and writes a copy into each receiver's volume, readable by that receiver's user only. It also
gives the servers' data folders to the servers' users, which then need no capability.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from acked_common.accounts.grants import Account
from acked_common.accounts.rabbit_definitions import definitions
from acked_common.runtime.env import DEVELOPMENT_SECRET

Chown = Callable[[Path, int, int], None]

RECEIVED = Path("/run/acked")
"""Where a receiver reads its files."""

MONGO_KEY = "mongo-key"
MONGO_ADMIN = "mongo-admin"
WORKER = "worker"


def mongo_secret(account: Account) -> str:
    """Return the name of an account's MongoDB password."""
    return f"mongo-{account}"


def amqp_secret(account: Account) -> str:
    """Return the name of an account's RabbitMQ password."""
    return f"amqp-{account}"


SECRETS = (
    MONGO_KEY,
    MONGO_ADMIN,
    *map(mongo_secret, Account),
    *map(amqp_secret, Account),
    WORKER,
)
"""Names of all secrets: the replica set's key, the passwords, and the workers' secret."""

# The services' user in their images (deploy/Dockerfile).
SERVICE_USER = (10001, 10001)

_RABBITMQ_CONF = f"load_definitions = {RECEIVED}/definitions.json\n"
# No plugins: management and metrics would listen without a password.
_NO_PLUGINS = "[].\n"


class HandOutError(Exception):
    """A secret is missing or empty; the message names it."""


@dataclass(frozen=True, slots=True)
class Receiver:
    """A container's files by name, and the ids of its user and group."""

    files: Mapping[str, str]
    user: tuple[int, int]


def receivers(
    secrets: Mapping[str, str], mongo_user: tuple[int, int], rabbitmq_user: tuple[int, int]
) -> dict[str, Receiver]:
    """Return each container's files, by its service name in compose.yaml."""
    of_services = {
        account: {"mongo": secrets[mongo_secret(account)], "amqp": secrets[amqp_secret(account)]} for account in Account
    }
    for account in (Account.GATEWAY, Account.WORKER):
        of_services[account]["worker"] = secrets[WORKER]
    mongo_passwords = (MONGO_ADMIN, *map(mongo_secret, Account))
    rabbitmq = {
        "rabbitmq.conf": _RABBITMQ_CONF,
        "enabled_plugins": _NO_PLUGINS,
        "definitions.json": definitions({account: secrets[amqp_secret(account)] for account in Account}),
    }
    return {
        "mongo": Receiver({"key": secrets[MONGO_KEY]}, mongo_user),
        "rabbitmq": Receiver(rabbitmq, rabbitmq_user),
        "accounts": Receiver({name: secrets[name] for name in mongo_passwords}, SERVICE_USER),
        **{account.value: Receiver(files, SERVICE_USER) for account, files in of_services.items()},
    }


def read_secrets(folder: Path) -> dict[str, str]:
    """Read all secrets by name. Raise `HandOutError`."""
    found: dict[str, str] = {}
    for name in SECRETS:
        try:
            found[name] = (folder / name).read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise HandOutError(f"the secret {name} can't be read: {error}") from error
        if not found[name]:
            raise HandOutError(f"the secret {name} is empty")
    return found


def development_secrets(secrets: Mapping[str, str]) -> list[str]:
    """Return the names of secrets that still have their public development values."""
    return sorted(name for name, value in secrets.items() if value.startswith(DEVELOPMENT_SECRET))


def hand_out(to: Receiver, folder: Path, chown: Chown = os.chown) -> None:
    """Write one receiver's files, each atomically, and remove all others from its folder."""
    uid, gid = to.user
    for name, text in to.files.items():
        fresh = folder / f".{name}.new"
        fresh.unlink(missing_ok=True)
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400)
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
        chown(fresh, uid, gid)
        fresh.replace(folder / name)
    for left in folder.iterdir():
        if left.name not in to.files:
            left.unlink()


def give_folder(folder: Path, user: tuple[int, int], chown: Chown = os.chown) -> bool:
    """Change the owner of a data folder and its contents to a server's user. Return False if it was the owner."""
    if folder.stat().st_uid == user[0]:
        return False
    # The folder itself comes last, so an interrupted run is repeated.
    for path in (*folder.rglob("*"), folder):
        if not path.is_symlink():
            chown(path, *user)
    return True
