"""The recipes' own token, for a stack that requires tokens: made on first use, in a file that only its owner reads."""

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
"""Makes one call with these headers. Returns the status and the body."""


class OperatorToken:
    """The token of one stack, in a file of its state folder."""

    def __init__(self, file: Path, make: Callable[[], str]) -> None:
        """`make` makes a new token in the stack's database."""
        self._file = file
        self._make = make

    def asked(self, ask: Ask) -> tuple[int, Any]:
        """Call with the token, if there is one; if it is refused, make a new one and call again."""
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
