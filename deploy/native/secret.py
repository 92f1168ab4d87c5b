"""Make random secrets of one stack, each in a file that only its owner can read."""

import os
import secrets
from pathlib import Path


def secret(path: Path, *, mode: int = 0o600) -> str:
    """Return the secret in the file; make it if there is none. Two processes at once agree on one."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not path.exists():
        fresh = path.with_name(f"{path.name}.{os.getpid()}")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_hex(20))
        fresh.chmod(mode)
        try:
            os.link(fresh, path)
        except FileExistsError:
            pass
        fresh.unlink()
    return path.read_text().strip()
