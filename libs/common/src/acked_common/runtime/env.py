"""OWNER of the environment: reads `ACKED_*` variables and reports all problems together."""

import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from acked_common.model.numbers import decimal, whole
from acked_common.runtime.setting_names import is_of_kubernetes, unknown_settings

T = TypeVar("T")

MIN_SECRET_CHARS = 16
DEVELOPMENT_SECRET = "acked-development"  # noqa: S105 - how those that stand in the repository begin


class SettingsError(Exception):
    """Signal that settings can't be used; the message lists all of them."""


class Env:
    """Read `ACKED_*` variables and collect every problem until `finish`."""

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        environ = os.environ if environ is None else environ
        self._environ = {name: text for name, text in environ.items() if not is_of_kubernetes(name, text)}
        self._problems: list[str] = []
        self.has_development_secret = False
        """Whether one of the secrets is a development secret of the repository."""

    @property
    def unknown(self) -> tuple[str, ...]:
        """A line for each variable that nothing reads."""
        return tuple(unknown_settings(self._environ))

    def text(self, name: str, default: str) -> str:
        """Return the text, or the default if the variable is unset or empty."""
        return self._environ.get(name, "").strip() or default

    def path(self, name: str) -> Path | None:
        """Return the path, or None."""
        text = self.text(name, "")
        return Path(text) if text else None

    def secret(self, name: str) -> str | None:
        """Return the secret in the variable, else in the file that `<name>_FILE` names; None if neither is set."""
        path = self.path(f"{name}_FILE")
        text, source = self.text(name, ""), name
        if not text and path is not None:
            source = f"{name}_FILE={path}"
            try:
                text = path.read_text().strip()
            except (OSError, UnicodeDecodeError) as error:
                self._problems.append(f"{source}: can't be read: {error}")
                return None
        elif not text:
            return None
        if not (len(text) >= MIN_SECRET_CHARS and text.isascii() and text.isprintable() and " " not in text):
            self._problems.append(f"{source}: must be at least {MIN_SECRET_CHARS} printable ASCII characters, no space")
            return None
        self.has_development_secret |= text.startswith(DEVELOPMENT_SECRET)
        return text

    def choice(self, name: str, known: tuple[str, ...], default: str) -> str:
        """Return one of the known words."""
        text = self.text(name, default).lower()
        if text not in known:
            self._problems.append(f"{name}={text}: one of {', '.join(known)}")
        return text

    def names(self, name: str, default: str = "") -> tuple[str, ...]:
        """Return a comma-separated list."""
        return tuple(part.strip() for part in self.text(name, default).split(",") if part.strip())

    def each(self, name: str, read: Callable[[str], str]) -> tuple[str, ...]:
        """Return a comma-separated list, each part once, as `read` returns it. It raises `ValueError` with advice."""
        found: dict[str, None] = {}
        for text in self.names(name):
            try:
                found[read(text)] = None
            except ValueError as error:
                self._problems.append(f"{name}: {text}: {error}")
        return tuple(found)

    def whole(self, name: str, default: int, *, at_least: int = 0, at_most: int = 2**31) -> int:
        """Return a whole number."""
        return self._number(name, default, whole, at_least, at_most, "a whole number")

    def seconds(self, name: str, default: float, *, at_least: float = 0.001, at_most: float = 3.2e9) -> float:
        """Return a duration in seconds."""
        return self._number(name, default, decimal, at_least, at_most, "a number of seconds")

    def rate(self, name: str, default: float) -> float:
        """Return a number a second; 0 means no limit."""
        return self._number(name, default, decimal, 0.0, 1e6, "a number")

    def require(self, holds: bool, problem: str) -> None:
        """Record a contradiction between settings."""
        if not holds:
            self._problems.append(problem)

    def finish(self) -> None:
        """Raise `SettingsError` if there are problems."""
        if self._problems:
            raise SettingsError("these settings can't be used:\n  " + "\n  ".join(self._problems))

    def _number(self, name: str, default: T, read: Callable[[str], T], at_least: float, at_most: float, what: str) -> T:
        text = self.text(name, "")
        if not text:
            return default
        try:
            value = read(text)
        except ValueError:
            self._problems.append(f"{name}={text}: not {what}")
            return default
        if not (isinstance(value, int | float) and math.isfinite(value) and at_least <= value <= at_most):
            self._problems.append(f"{name}={text}: must be between {at_least:g} and {at_most:g}")
            return default
        return value
