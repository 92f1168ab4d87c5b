"""OWNER of what the command line reads from its environment: addresses, secrets, and the folder of handlers."""

import json
import os
import stat
from pathlib import Path

GATEWAY = "ACKED_GATEWAY"
INTAKE = "ACKED_INTAKE"
TOKEN = "ACKED_TOKEN"  # noqa: S105 - the name of a variable
TOKEN_FILE = "ACKED_TOKEN_FILE"  # noqa: S105 - the name of a variable
HANDLERS_DIR = "ACKED_HANDLERS_DIR"
DEFAULT_GATEWAY = "http://localhost:8080"
MAX_SECRET_BYTES = 4_096
_OF_OTHERS = stat.S_IRWXG | stat.S_IRWXO


class UnusableSecret(Exception):
    """There is a token or a secret, but it can't be used; the text says what to do."""


def gateway(given: str | None) -> str:
    """Return the address of the gateway: of the option, else of the environment."""
    return given or os.environ.get(GATEWAY) or DEFAULT_GATEWAY


def intake(given: str | None) -> str | None:
    """Return the address of intake; None if the gateway names it."""
    return given or os.environ.get(INTAKE) or None


def token(file: Path | None) -> str | None:
    """Return the token: of the file, else of the environment; None for none. Raise `UnusableSecret`.

    A file that other users may read or write is refused. A token is never an argument, which every user could list.
    """
    if file is None:
        if given := os.environ.get(TOKEN):
            return given
        named = os.environ.get(TOKEN_FILE)
        if not named:
            return None
        file = Path(named)
    return _private(file, "token", f"--token-file or {TOKEN_FILE}")


def signing_secret(file: Path) -> str:
    """Return the secret in a file: its text, or the `secret` of the JSON of `acked callback-secrets make`.

    Raise `UnusableSecret`, also for a file that other users may read or write.
    """
    text = _private(file, "secret", "--secret-file")
    if not text.startswith("{"):
        return text
    try:
        return str(json.loads(text)["secret"])
    except (ValueError, KeyError):
        raise UnusableSecret(f"{file} is JSON without a secret: pass what acked callback-secrets make wrote") from None


def _private(file: Path, what: str, option: str) -> str:
    """Return the text of a file that its owner alone can read. Raise `UnusableSecret`."""
    try:
        with file.open("rb") as opened:
            # Of the open file: another one may take its name.
            mode = os.fstat(opened.fileno()).st_mode
            if mode & _OF_OTHERS:
                raise UnusableSecret(
                    f"the {what} file {file} has mode {stat.S_IMODE(mode):04o}, so other users may read or change it: "
                    f"run chmod 600 '{file}', and make a new {what} if others had access"
                )
            text = opened.read(MAX_SECRET_BYTES + 1)
    except OSError as error:
        raise UnusableSecret(f"the {what} file {file} can't be read ({error.strerror}): correct {option}") from None
    if len(text) > MAX_SECRET_BYTES:
        raise UnusableSecret(f"{file} is not a {what} file: it has more than {MAX_SECRET_BYTES:,} bytes")
    return text.decode("utf-8", "replace").strip()


def handlers_dir(checkout: Path) -> Path:
    """Return the folder from which the workers of a checkout load handlers."""
    named = os.environ.get(HANDLERS_DIR)
    return Path(named) if named else checkout / "handlers"


def environment_with(**more: str) -> dict[str, str]:
    """Return the environment of a child process."""
    return {**os.environ, **more}
