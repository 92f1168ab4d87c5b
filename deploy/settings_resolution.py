"""Resolve the settings of a stack, from the shell first and then from its file, and compare them with what runs.

Pure but for the file, which `deploy/settings_file.py` reads.
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from acked_common.runtime.env import Env, SettingsError
from acked_common.runtime.setting_names import CONTAINERS, PREFIX, SECRETS, SERVICES, STACK, unknown_settings
from acked_common.runtime.settings import is_loopback
from acked_gateway.settings import read_settings as read_gateway
from acked_intake.settings import read_settings as read_intake
from acked_worker.settings import read_settings as read_worker
from deploy import settings_file
from deploy.settings_file import SettingsFile, SettingsFileError, save

_BY_RECIPES = frozenset(
    {
        *("ACKED_GATEWAY_PORT", "ACKED_INTAKE_PORT", "ACKED_INIT_REPLICA_SET"),
        *("ACKED_RUN_FILE", "ACKED_RUN_DIR", "ACKED_WORKER_NAME"),
    }
)
"""Settings that recipes set themselves, for each process."""
_OF_ONE_SHELL = frozenset({"ACKED_STATE_DIR", "ACKED_RUNTIME", "ACKED_CRASH"})
"""Settings that select the stack, and settings of tests."""

STORED_NATIVELY = (SERVICES | STACK) - _BY_RECIPES - _OF_ONE_SHELL - {"ACKED_PUBLISH_ADDRESS"}
NOT_IN_CONTAINERS = frozenset(
    {
        *(name for secret in SECRETS for name in (secret, f"{secret}_FILE")),
        *("ACKED_MONGO_URL", "ACKED_AMQP_URL", "ACKED_DATABASE", "ACKED_HOST", "ACKED_INTAKE_URL"),
        *("ACKED_HANDLERS_DIR", "ACKED_GATEWAY_URL", "ACKED_HEALTH_PORT", "ACKED_HEALTH_HOST"),
    }
)
"""Settings that compose.yaml sets itself; an override file replaces them."""
# The port base is a part of the name of such a stack.
STORED_IN_CONTAINERS = (SERVICES | CONTAINERS) - _BY_RECIPES - _OF_ONE_SHELL - NOT_IN_CONTAINERS

THE_SHELL, THE_FILE, RUNNING = "this shell", "stored", "the running stack"
_PASSWORD = re.compile(r"(://[^/@:]*:)[^@/]*(@)")
_LISTS = frozenset({"ACKED_ALLOWED_HOSTS", "ACKED_ALLOWED_ORIGINS", "ACKED_HTTP_CALL_ALLOW"})
_ADDRESSES = frozenset({"ACKED_HOST", "ACKED_PUBLISH_ADDRESS", "ACKED_HEALTH_HOST", "ACKED_METRICS_HOST"})
_CLOSED = {"ACKED_ACCESS": "tokens", "ACKED_PUBLISHED_ON_LOOPBACK": "no"}


class SettingsRefusedError(Exception):
    """Signal that the requested settings can't be applied; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A setting whose running value differs from the requested one."""

    name: str
    runs: str
    requested: str

    @property
    def opens(self) -> bool:
        """Return whether the change admits clients that the running stack rejects."""
        return opens_access(self.name, self.runs, self.requested)

    @property
    def closes(self) -> bool:
        """Return whether the running stack admits clients that the requested value rejects."""
        return opens_access(self.name, self.requested, self.runs)

    def __str__(self) -> str:
        runs, requested = (shown(self.name, value) or "the default" for value in (self.runs, self.requested))
        return f"{self.name}: running with {runs}, requested {requested}"


@dataclass(frozen=True, slots=True)
class ResolvedSettings:
    """The requested settings, and the source of each."""

    environ: Mapping[str, str]
    """The shell's environment, completed from the file."""
    sources: Mapping[str, str]
    """The source of each stored setting."""
    file: SettingsFile
    _stored: Mapping[str, str] = field(repr=False)

    def store(self) -> None:
        """Store the requested settings for all later recipes. Raise `SettingsRefusedError`."""
        try:
            save(self.file, {name: self.environ[name] for name in self.sources})
        except SettingsFileError as error:
            raise SettingsRefusedError(str(error)) from None

    @property
    def lines(self) -> list[str]:
        """Return one line for each setting and its source, to print."""
        if not self.sources:
            return []
        width = max(len(f"{name}={shown(name, self.environ[name])}") for name in self.sources)
        found = [f"settings ({self.file.path}):"]
        for name, source in sorted(self.sources.items()):
            instead = self._stored.get(name, "")
            is_other = source == THE_SHELL and instead not in ("", self.environ[name])
            more = f", instead of {shown(name, instead)}" if is_other else ""
            found.append(f"  {f'{name}={shown(name, self.environ[name])}':<{width}}  {source}{more}")
        return found


def refuse_unknown(environ: Mapping[str, str]) -> None:
    """Raise `SettingsRefusedError` if the shell has an unknown `ACKED_*` variable."""
    if lines := unknown_settings(environ):
        raise SettingsRefusedError(
            "unknown settings in the environment; correct or unset them:\n  " + "\n  ".join(lines)
        )


def resolve_settings(
    shell: Mapping[str, str], folder: Path, running: Mapping[str, str] | None, stored_names: Collection[str]
) -> ResolvedSettings:
    """Merge the shell's settings with those of the file or, without a file, of the running stack.

    Raise `SettingsRefusedError` if the file can't be used.
    """
    try:
        file = settings_file.load(folder, stored_names)
    except SettingsFileError as error:
        raise SettingsRefusedError(str(error)) from None
    base, source = dict(file.values), THE_FILE
    if not file.exists and running is not None:
        base, source = {name: running[name] for name in stored_names if running.get(name)}, RUNNING
    sources = dict.fromkeys(base, source) | {name: THE_SHELL for name in stored_names if shell.get(name, "").strip()}
    environ = {**shell, **{name: base[name] for name, where in sources.items() if where == source}}
    return ResolvedSettings(environ, sources, file, base)


def without_file(shell: Mapping[str, str], folder: Path, running: Mapping[str, str] | None) -> ResolvedSettings:
    """Merge the shell's settings with those that run, for recipes that must work even if the file is unusable."""
    found = {name: value for name, value in (running or {}).items() if name.startswith(PREFIX)}
    environ = {**shell, **{name: value for name, value in found.items() if not shell.get(name)}}
    return ResolvedSettings(environ, {}, SettingsFile(folder / settings_file.NAME, (), {}, exists=True), {})


def differences(running: Mapping[str, str], wanted: Mapping[str, str], stored_names: Iterable[str]) -> list[Difference]:
    """Return the settings that run with another value, except the port base, which has its own check."""
    found = (
        Difference(name, running.get(name, "").strip(), wanted.get(name, "").strip())
        for name in sorted(stored_names)
        if name != "ACKED_PORT_BASE"
    )
    return [one for one in found if one.runs != one.requested]


def refuse_opening(found: Iterable[Difference]) -> None:
    """Raise `SettingsRefusedError` if a running stack would admit clients that it rejects now."""
    if opening := [str(one) for one in found if one.opens]:
        raise SettingsRefusedError(
            "this would open access that the running stack denies:\n  " + "\n  ".join(opening) + "\n"
            "to open it deliberately: ./just restart --open; otherwise unset it in this shell, or correct it with "
            "./just settings"
        )


def opens_access(name: str, before: str, after: str) -> bool:
    """Return whether a change of this setting admits clients that were rejected before."""
    if name in _CLOSED:
        return before.lower() == _CLOSED[name] != after.lower()
    if name in _ADDRESSES:
        return before != after and bool(after) and not is_loopback(after.strip("[]"))
    if name in _LISTS:
        return bool(_parts(after) - _parts(before))
    return False


def _parts(text: str) -> set[str]:
    return {part.strip() for part in text.split(",") if part.strip()}


def shown(name: str, value: str) -> str:
    """Return a value that can be printed: secrets are masked."""
    return "…" if name in SECRETS and value else _PASSWORD.sub(r"\1…\2", value)


def set_by_words(words: Iterable[str], stored_names: Collection[str]) -> dict[str, str]:
    """Parse `NAME=value` words of `./just settings`; an empty value removes a setting. Raise `SettingsRefusedError`."""
    changes: dict[str, str] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals:
            raise SettingsRefusedError(f"{word!r}: write NAME=value, or NAME= to reset a setting")
        if name not in stored_names:
            raise SettingsRefusedError(settings_file.not_stored(name))
        if name in changes:
            raise SettingsRefusedError(f"{name} is given twice")
        changes[name] = value.strip()
    return changes


def refuse_unusable(environs: Iterable[Mapping[str, str]]) -> None:
    """Raise `SettingsRefusedError` with all problems that prevent services from starting in these environments."""
    found: dict[str, None] = {}
    for environ, read in zip(environs, (read_intake, read_gateway, read_worker), strict=True):
        try:
            read(Env(environ))
        except SettingsError as error:
            found |= dict.fromkeys(str(error).splitlines()[1:])
    if found:
        raise SettingsRefusedError("these settings can't be used:\n" + "\n".join(found))


def set_and_show(wanted: ResolvedSettings, words: Sequence[str], stored_names: Collection[str]) -> list[str]:
    """Change stored settings and return lines that show all: `./just settings`. Raise `SettingsRefusedError`."""
    changes = set_by_words(words, stored_names)
    try:
        save(wanted.file, changes)
        file = settings_file.load(wanted.file.path.parent, stored_names)
    except SettingsFileError as error:
        raise SettingsRefusedError(str(error)) from None
    found = [f"{file.path}:" if file.values else f"{file.path}: nothing is set"]
    found += [f"  {name}={shown(name, value)}" for name, value in sorted(file.values.items())]
    hidden = [
        name for name, value in file.values.items() if wanted.environ.get(name, value) != value and name not in changes
    ]
    return found + [f"  ({name} has another value in this shell, which wins)" for name in sorted(hidden)]
