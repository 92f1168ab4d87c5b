"""The settings file of a stack: `settings.env` in its state folder, written by `up` and `restart`, read by all recipes.

One setting a line, `NAME=value`. A line that begins with `#` is a comment. One pair of quotes around a value is
removed; nothing else in it is special. `up` changes single lines and leaves all others as they are.
"""

import os
import stat
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from acked_common.runtime.setting_names import KNOWN, PREFIX, unknown_setting
from deploy.private_file import write_private

NAME = "settings.env"
MAX_BYTES = 64 * 1024
_HEADER = (
    "# Settings of this stack: every recipe reads them, and those of the shell win. One NAME=value a line.",
    "# Change one with ./just settings NAME=value, reset one with ./just settings NAME= , or edit this file.",
)
_QUOTES = ("'", '"')


class SettingsFileError(Exception):
    """Signal that the file can't be used; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class SettingsFile:
    """The content of the file."""

    path: Path
    lines: tuple[str, ...]
    values: Mapping[str, str]
    exists: bool


def load(folder: Path, known: Collection[str]) -> SettingsFile:
    """Load the file of a state folder; a missing file is empty. Raise `SettingsFileError`."""
    path = folder / NAME
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        if path.is_symlink():
            raise SettingsFileError(f"{path} is a link to a missing file: correct or remove it") from None
        return SettingsFile(path, (), {}, exists=False)
    except OSError as error:
        raise SettingsFileError(f"{path} can't be read: {error.strerror}") from None
    try:
        _check_owner(path, os.fstat(descriptor))
        with os.fdopen(descriptor, "rb", closefd=False) as opened:
            found = opened.read(MAX_BYTES + 1)
    finally:
        os.close(descriptor)
    if len(found) > MAX_BYTES:
        raise SettingsFileError(f"{path} has more than {MAX_BYTES} bytes: it is not a settings file")
    try:
        # Some editors put a mark in front.
        text = found.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SettingsFileError(f"{path} is not UTF-8: {error}") from None
    lines = tuple(text.replace("\r\n", "\n").split("\n"))
    lines = lines[:-1] if lines[-1] == "" else lines
    values, problems = parse(lines, known)
    if problems:
        raise SettingsFileError(f"{path} can't be used:\n  " + "\n  ".join(problems))
    return SettingsFile(path, lines, values, exists=True)


def _check_owner(path: Path, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise SettingsFileError(f"{path} is not a regular file: remove it")
    if found.st_uid not in (os.getuid(), 0):
        raise SettingsFileError(f"{path} belongs to another user, who could open access with it: chown it or remove it")
    if found.st_mode & 0o077:
        raise SettingsFileError(f"other users can read or write {path}, which may contain passwords: chmod 600 {path}")


def parse(lines: Sequence[str], known: Collection[str]) -> tuple[dict[str, str], list[str]]:
    """Parse lines; return the values by name, and the problems with their line numbers. Pure."""
    values: dict[str, str] = {}
    first_at: dict[str, int] = {}
    problems = []
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, equals, text = line.partition("=")
        name = name.strip()
        problem, value = None, ""
        if not equals or not name.isidentifier():
            problem = "must be NAME=value" + (", without export" if name.startswith("export ") else "")
        elif name not in known:
            problem = not_stored(name)
        elif name in first_at:
            problem = f"{name} is in line {first_at[name]} too: remove one of them"
        else:
            value, problem = _unquoted(text.strip())
        if problem is not None:
            problems.append(f"line {number}: {problem}")
        elif value:
            values[name] = value
        first_at.setdefault(name, number)
    return values, problems


def not_stored(name: str) -> str:
    """Return why a name must not be in the file."""
    if name in KNOWN:
        return f"{name} can't be stored: it is set in the shell, or by the recipes"
    if name.startswith(PREFIX):
        return unknown_setting(name)
    return f"{name} is not a setting of Acked; their names begin with {PREFIX}"


def _unquoted(text: str) -> tuple[str, str | None]:
    if text[:1] in _QUOTES:
        if len(text) < 2 or text[-1] != text[0]:
            return "", f"the value begins with {text[0]} and does not end with it"
        text = text[1:-1]
    elif " #" in text or "\t#" in text:
        return "", "a comment needs a line of its own; a value with # after a space needs quotes"
    return text, value_problem(text)


def value_problem(value: str) -> str | None:
    """Return why a value can't be in the file; None if it can."""
    return None if value.isprintable() or not value else "the value has a line break or a control character"


def changed(lines: Sequence[str], changes: Mapping[str, str]) -> list[str]:
    """Return the lines with changed values; an empty value removes a setting. Keep comments and all else. Pure."""
    found, left = [], dict(changes)
    for line in lines:
        name = line.partition("=")[0].strip()
        if name not in changes or line.lstrip().startswith("#"):
            found.append(line)
        elif value := left.pop(name, ""):
            found.append(_line(name, value))
    found = found or list(_HEADER)
    return [*found, *(_line(name, value) for name, value in left.items() if value)]


def _line(name: str, value: str) -> str:
    is_plain = value == value.strip() and value[0] not in _QUOTES and " #" not in value and "\t#" not in value
    return f"{name}={value}" if is_plain else f'{name}="{value}"'


def save(file: SettingsFile, changes: Mapping[str, str]) -> None:
    """Store changed values; write nothing if they are stored already. Raise `SettingsFileError`."""
    changes = {name: value for name, value in changes.items() if file.values.get(name, "") != value}
    if not changes:
        return
    for name, value in changes.items():
        if (problem := value_problem(value)) is not None:
            raise SettingsFileError(f"{name} can't be stored: {problem}")
    write_private(file.path, "\n".join(changed(file.lines, changes)) + "\n")
