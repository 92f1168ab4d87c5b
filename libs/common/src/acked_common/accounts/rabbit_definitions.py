"""RabbitMQ's accounts as the definitions that it loads at each start, with salted password hashes."""

import base64
import hashlib
import json
import secrets
from collections.abc import Mapping
from typing import Any

from acked_common.accounts.grants import RABBIT, Account, QueueRights

VHOST = "/"
OWNER = "acked"
"""The single account of data from before each service had its own.

In containers it loses its password and permissions. Natively it remains the operator's account; no service gets its
password.
"""

_SALT_BYTES = 4


def definitions(passwords: Mapping[Account, str], owner_password: str | None = None) -> str:
    """Return the JSON text for `load_definitions`. It prevents RabbitMQ from creating `guest`; reloading is safe."""
    rights = {account.value: RABBIT[account] for account in Account}
    users = [_user(account.value, password_hash(passwords[account])) for account in Account]
    # An empty hash is too short for any password to match, so it disables the login.
    users.append(_user(OWNER, "" if owner_password is None else password_hash(owner_password)))
    reached = "^$" if owner_password is None else ".*"
    rights[OWNER] = QueueRights(reached, reached, reached)
    return json.dumps(
        {
            "users": users,
            "vhosts": [{"name": VHOST}],
            "permissions": [
                {"user": name, "vhost": VHOST, "configure": may.configure, "write": may.write, "read": may.read}
                for name, may in rights.items()
            ],
        }
    )


def password_hash(password: str, salt: bytes | None = None) -> str:
    """Hash as RabbitMQ's `rabbit_password_hashing_sha256`: base64 of the salt and SHA-256(salt + password)."""
    salt = secrets.token_bytes(_SALT_BYTES) if salt is None else salt
    return base64.b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()


def _user(name: str, hashed: str) -> dict[str, Any]:
    return {
        "name": name,
        "password_hash": hashed,
        "hashing_algorithm": "rabbit_password_hashing_sha256",
        "tags": [],
        "limits": {},
    }
