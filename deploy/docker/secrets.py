"""The passwords of a stack in containers, one file each."""

import hashlib
from pathlib import Path

from acked_common.accounts.hand_out import SECRETS
from deploy.native.secret import secret


def make_secrets(folder: Path) -> None:
    """Make the secrets that are missing, each readable by this user alone."""
    for name in SECRETS:
        secret(folder / name)


def secrets_mark(folder: Path) -> str:
    """Return a digest that changes with the secrets. It reveals none: its input can't be guessed."""
    found = "\n".join((folder / name).read_text() for name in SECRETS)
    return hashlib.sha256(found.encode()).hexdigest()[:12]
