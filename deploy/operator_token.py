"""The token of the recipes themselves, where tokens are asked for: made when it is first needed, kept for its owner."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from deploy.private_file import write_private

ACCESS = "acked_common.cli.tokens"
"""The module that makes, lists and revokes tokens."""
CLIENT = "operator"
MAKE = ("make", "--client", CLIENT, "--may", "submit,read,operate", "--replace")
"""Words for it; what it prints is the token."""

UNAUTHORIZED = 401

Ask = Callable[[dict[str, str]], tuple[int, Any]]
"""Makes one call with these headers; answers the status and the body."""


class OperatorToken:
    """One stack's own token, in a file of its state folder."""

    def __init__(self, file: Path, make: Callable[[], str]) -> None:
        """`make` makes a new token in the stack's database."""
        self._file = file
        self._make = make

    def asked(self, ask: Ask) -> tuple[int, Any]:
        """A call with the token, if there is one; where it is refused, again with a new one."""
        status, body = ask(self._headers())
        if status != UNAUTHORIZED:
            return status, body
        self._keep(self._make())
        return ask(self._headers())

    def _headers(self) -> dict[str, str]:
        try:
            token = self._file.read_text().strip()
        except OSError:
            return {}
        return {"Authorization": f"Bearer {token}"} if token else {}

    def _keep(self, token: str) -> None:
        write_private(self._file, token)
