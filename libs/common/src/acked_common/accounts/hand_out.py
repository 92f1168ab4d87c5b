"""OWNER of who gets which secret in containers: copies each from its file into the receiver's own volume.

Compose mounts a secret's file as it is: with mode 600 only its owner on the machine could read it. So one container,
which alone sees all of them, gives each receiver a copy of what it needs, readable by the receiver's user alone. It
gives the servers' data folders to the servers' users, too, which then need no capability.
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
"""Where a receiver finds its files."""

MONGO_KEY = "mongo-key"
MONGO_ADMIN = "mongo-admin"
WORKER = "worker"


def mongo_secret(account: Account) -> str:
    """The name of an account's password for MongoDB."""
    return f"mongo-{account}"


def amqp_secret(account: Account) -> str:
    """The name of an account's password for RabbitMQ."""
    return f"amqp-{account}"


SECRETS = (
    MONGO_KEY,
    MONGO_ADMIN,
    *map(mongo_secret, Account),
    *map(amqp_secret, Account),
    WORKER,
)
"""The names of all secrets: what members of the replica set show each other, passwords, and the workers' secret."""

# The services' user in their images (deploy/Dockerfile).
SERVICE_USER = (10001, 10001)

_RABBITMQ_CONF = f"load_definitions = {RECEIVED}/definitions.json\n"
# No plugin at all: neither a management page nor metrics that ask for no password.
_NO_PLUGINS = "[].\n"


class HandOutError(Exception):
    """A secret is missing; the message says which."""


@dataclass(frozen=True, slots=True)
class Receiver:
    """A container's files, by name, and the ids of its user and group."""

    files: Mapping[str, str]
    user: tuple[int, int]


def receivers(
    secrets: Mapping[str, str], mongo_user: tuple[int, int], rabbitmq_user: tuple[int, int]
) -> dict[str, Receiver]:
    """What each container gets, by the name of its service in compose.yaml."""
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
    """All secrets by name. Raises `HandOutError`."""
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
    """Those that stand in the repository for everyone to read."""
    return sorted(name for name, value in secrets.items() if value.startswith(DEVELOPMENT_SECRET))


def hand_out(to: Receiver, folder: Path, chown: Chown = os.chown) -> None:
    """Writes the files of one receiver, each whole at once, and takes away what it should not have."""
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
    """Gives a data folder and all that is in it to a server's user; whether it was another's."""
    if folder.stat().st_uid == user[0]:
        return False
    # The folder itself last: what was cut off is done again.
    for path in (*folder.rglob("*"), folder):
        if not path.is_symlink():
            chown(path, *user)
    return True
