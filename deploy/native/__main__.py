"""Run the commands of the recipes: `python -m deploy.native up`."""

import argparse
import http.client
import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from acked_common.accounts.grants import Account
from acked_common.model.lifecycle import State
from acked_common.model.numbers import whole
from deploy.held_work import held_work
from deploy.native import environment, preflight
from deploy.native.failure import log_tail
from deploy.native.launch import service_environment
from deploy.native.layout import DEFAULT_PORT_BASE, Layout, LayoutError, layout_from
from deploy.native.readiness import READY, told_by, why_degraded
from deploy.native.restarts import restarts
from deploy.native.stack import Stack, StackError
from deploy.native.supervisor import OUTPUT, SERVICES, SupervisorError, part_names
from deploy.operator_token import OperatorToken
from deploy.runtime import forget_runtime, keep_runtime
from deploy.settings_resolution import (
    STORED_NATIVELY,
    ResolvedSettings,
    SettingsRefusedError,
    differences,
    refuse_opening,
    refuse_unusable,
    resolve_settings,
    set_and_show,
    without_file,
)

MAX_PROCESSES = 64
FOLLOW_WITHIN_S = 300.0
IS_WHOLE, IS_PARTLY_DOWN, IS_DOWN = 0, 1, 3
"""What `status` exits with, as service scripts do: 3 is for what is not started."""
WITHOUT_FILE = ("down", "status", "logs")
"""What must be possible also while the settings file can't be used."""


class UsageError(Exception):
    """Signal that the command line can't be understood."""


def parse_scale(words: Sequence[str]) -> dict[str, int]:
    """Parse `4`, `worker=4` or `intake=2 gateway=2` into the number of processes of each service."""
    wanted: dict[str, int] = {}
    for word in words:
        role, _, number = word.rpartition("=")
        role = role or "worker"
        if role not in SERVICES:
            raise UsageError(f"{role!r} can't be scaled; these can: {', '.join(SERVICES)}")
        least = 0 if role == "worker" else 1
        processes = _whole_or_none(number)
        if processes is None or not least <= processes <= MAX_PROCESSES:
            raise UsageError(f"{word[:80]!r}: the number of {role} processes is {least} to {MAX_PROCESSES}")
        if role in wanted:
            raise UsageError(f"{word!r}: the number of {role} processes is given more than once; give it once")
        wanted[role] = processes
    if not wanted:
        raise UsageError("give the number of workers: ./just scale 4, or ./just scale worker=4 intake=2")
    return wanted


def parse_services(words: Sequence[str]) -> list[str]:
    """Return the named services; without a name, all."""
    if unknown := [word for word in words if word not in SERVICES]:
        raise UsageError(f"{unknown[0]!r} can't be restarted; these can: {', '.join(SERVICES)}")
    return [role for role in SERVICES if role in words or not words]


def scale(stack: Stack, wanted: dict[str, int]) -> None:
    """Change the number of processes and print the result."""
    runs = stack.scale(wanted)
    numbers = ", ".join(f"{n} {role}" for role, n in stack.scale_now.items())
    print(f"now: {numbers}" if runs else f"Acked is down; the next ./just up starts {numbers}")


def say_up(urls: Mapping[str, str], workers: int, took_s: float, *, was_up: bool) -> None:
    """Print the URLs and the next commands."""
    print(f"Acked is {'still up' if was_up else 'up'} ({took_s:.1f} s), {workers} worker(s)")
    print(f"  load test   {urls['gateway']}/load-test")
    print(f"  gateway     {urls['gateway']}")
    print(f"  intake      {urls['intake']}/process")
    print("  more        ./just status, ./just scale 4, ./just logs, ./just down")


def say_next(urls: Mapping[str, str], environ: Mapping[str, str]) -> None:
    """Print the first command to try on a stack that is up."""
    is_default = urls["gateway"].endswith(f":{DEFAULT_PORT_BASE}")
    command = ".venv/bin/acked submit demo --wait" + ("" if is_default else f" --gateway {urls['gateway']}")
    if environ.get("ACKED_ACCESS") == "tokens":
        command += " --token-file FILE    # ./just token make makes a token; the file has mode 600"
    print(f"next: {command}", flush=True)


def up(stack: Stack, wanted: ResolvedSettings) -> int:
    """Start the stack, print its URLs and return the exit code. A stack that is up stays as it is."""
    started = time.monotonic()
    was_up = stack.is_up()
    found = []
    if was_up:
        stack.check_is_the_same()
        found = differences(stack.service_environ, wanted.environ, STORED_NATIVELY)
        refuse_opening(found)
    _refuse_unusable(stack, wanted)
    wanted.store()
    if not was_up:
        print("runtime: native (private servers on this machine)", flush=True)
        for line in preflight.warnings(stack.layout):
            print(f"warning: {line}", flush=True)
    stack.up(lambda line: print(line, flush=True))
    keep_runtime("native")
    say_up(stack.urls, stack.scale_now["worker"], time.monotonic() - started, was_up=was_up)
    print("".join(f"{line}\n" for line in wanted.lines), end="")
    _warn_of_open_mongod(stack)
    if found:
        print("not applied yet; ./just restart applies it:\n  " + "\n  ".join(map(str, found)), flush=True)
    if any(one.closes for one in found):
        print("just up: the running stack is more open than its settings; apply them: ./just restart", file=sys.stderr)
        return 1
    say_next(stack.urls, stack.service_environ)
    return 0


def _warn_of_open_mongod(stack: Stack) -> None:
    if stack.has_open_mongod:
        print(
            "warning: an earlier version has started MongoDB, which requires no password until it is restarted: "
            "./just down, then ./just up",
            flush=True,
        )


def _refuse_unusable(stack: Stack, wanted: ResolvedSettings) -> None:
    if wanted.environ.get("ACKED_PUBLISH_ADDRESS"):
        raise SettingsRefusedError(
            "ACKED_PUBLISH_ADDRESS is for containers; natively ACKED_HOST sets the listen address"
        )
    refuse_unusable([service_environment(stack.layout, wanted.environ, Account(role)) for role in SERVICES])


def restart(stack: Stack, wanted: ResolvedSettings, services: Sequence[str], *, may_open: bool) -> None:
    """Restart services with the requested settings."""
    if not stack.is_up():
        raise StackError("Acked is down; ./just up starts it")
    stack.check_is_the_same()
    found = differences(stack.service_environ, wanted.environ, STORED_NATIVELY)
    if not may_open:
        refuse_opening(found)
    if len(services) < len(SERVICES) and (doors := [str(one) for one in found if one.closes or one.opens]):
        raise SettingsRefusedError("this change applies to all services: ./just restart\n  " + "\n  ".join(doors))
    _refuse_unusable(stack, wanted)
    wanted.store()
    print("".join(f"{one}\n" for one in found), end="", flush=True)
    stack.restart(services, lambda line: print(line, flush=True))
    _warn_of_open_mongod(stack)


def status(stack: Stack) -> int:
    """Print a table of the parts and return the exit code, see `IS_WHOLE`."""
    parts = stack.parts.known()
    if not parts:
        if left := len(stack.parts.processes()):
            print(f"the supervisor has exited and left {left} processes behind: ./just up ends them and starts again")
            return IS_PARTLY_DOWN
        print("down; ./just up starts it")
        return IS_DOWN
    again = restarts(stack.layout)
    wrong: list[str] = []
    print(f"{'part':<12} {'state':<10} {'pid':>8} {'up':>8} {'restarts':>8}  readiness")
    for name, info in parts.items():
        ready = stack.parts.readiness(name) if name.split("-", 1)[0] in SERVICES else ""
        age = info["now"] - info["start"] if info["pid"] else 0
        pid, times = info["pid"] or "-", again.get(name, 0)
        why = f": {why_degraded(stack.layout, name, info['pid'])}" if ready == "degraded" else ""
        print(f"{name:<12} {info['statename'].lower():<10} {pid:>8} {age:>7}s {times:>8}  {ready}{why}")
        if info["statename"] != "RUNNING" or ready not in ("", *READY):
            wrong.append(name)
    for name in ("gateway", "intake"):
        print(f"{name}: {stack.urls[name]}")
    print("".join(f"{line}\n" for line in _held_work(stack, parts)), end="")
    wrong += [f"{part} (missing)" for part in part_names(stack.layout, stack.scale_now) if part not in parts]
    return say_whole(wrong)


def _held_work(stack: Stack, parts: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return what a gateway that is ready says of pauses and bulk actions."""
    for name, info in parts.items():
        if name.startswith("gateway-") and stack.parts.readiness(name) in READY:
            return held_work(lambda path, name=name, pid=info["pid"]: _told_by(stack, name, pid, path))  # type: ignore[misc]
    return []


def _told_by(stack: Stack, gateway: str, pid: int, path: str) -> Any:
    try:
        return told_by(stack.layout, gateway, pid, stack.token, path)
    except StackError:
        # No token can be made for it.
        return None


def say_whole(wrong: Sequence[str]) -> int:
    """Print the parts that do not serve and return the exit code."""
    if wrong:
        print(f"just status: not whole: {', '.join(wrong)}", file=sys.stderr)
    return IS_PARTLY_DOWN if wrong else IS_WHOLE


def _names_of(log: Path) -> tuple[str, ...]:
    """Return the names that select a log: its own, its part's, and its service's."""
    part = log.stem.removesuffix(OUTPUT)
    return log.stem, part, part.split("-", 1)[0]


def logs(stack: Stack, service: str, lines: int, *, follow: bool) -> None:
    """Print the last lines of the logs of one service, or of all; with `follow`, continue until interrupted."""
    files = sorted(stack.layout.logs.glob("*.log"))
    chosen = [file for file in files if not service or service in _names_of(file)]
    if not chosen:
        known = sorted({file.stem for file in files})
        raise UsageError(f"no log of {service or 'anything'} yet; there are: {', '.join(known) or 'none'}")
    if follow:
        os.execvp("tail", ["tail", "-n", str(lines), "-F", *map(str, chosen)])  # noqa: S606 - what follows a log best
    for file in chosen:
        print(f"== {file.stem} ({file})")
        print(log_tail(stack.layout, file.stem, lines))


def load_test(layout: Layout, count: str, token: OperatorToken, at: str = "127.0.0.1") -> int:
    """Run a load test, follow its batch to the end, and return the exit code."""
    answer, figures = _call(layout, "POST", f"/load-test?count={quote(count)}", token, at)
    print(json.dumps(figures, indent=2))
    if answer != 200:
        return 1
    end = time.monotonic() + FOLLOW_WITHIN_S
    shown = ""
    while time.monotonic() < end:
        answer, batch = _call(layout, "GET", f"/batches/{figures['batch']}", token, at)
        if answer != 200:
            time.sleep(0.5)
            continue
        line = "  ".join(f"{state} {n}" for state, n in batch["states"].items())
        if line != shown:
            print(f"{batch['duration_s']:8.2f} s  {line}", flush=True)
            shown = line
        if all(State(state).is_terminal for state in batch["states"]):
            return 0 if batch["states"].keys() == {State.SUCCEEDED} else 1
        time.sleep(0.5)
    print("not finished yet; the batch's link shows its progress")
    return 1


def _call(layout: Layout, method: str, path: str, token: OperatorToken, at: str) -> tuple[int, Any]:
    return token.asked(lambda headers: _call_once(layout, method, path, headers, at))


def _call_once(layout: Layout, method: str, path: str, headers: Mapping[str, str], at: str) -> tuple[int, Any]:
    connection = http.client.HTTPConnection(at, layout.ports.gateway, timeout=180)
    try:
        connection.request(method, path, headers={"Host": "localhost", "Accept": "application/json", **headers})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    except ValueError:
        raise StackError(f"the process on port {layout.ports.gateway} is not a gateway of Acked") from None
    except (OSError, http.client.HTTPException) as error:
        raise StackError(f"the gateway does not respond ({error}); ./just up starts it") from None
    finally:
        connection.close()


def _whole_or_none(text: str) -> int | None:
    try:
        return whole(text)
    except ValueError:
        return None


def _lines(text: str) -> int:
    lines = _whole_or_none(text)
    if lines is None:
        raise argparse.ArgumentTypeError(f"{text[:80]!r} is not a number of lines")
    return lines


def parse_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    """Parse a recipe's verb and its arguments."""
    parser = argparse.ArgumentParser(prog="just")
    verbs = parser.add_subparsers(dest="verb", required=True)
    for verb in ("up", "down", "status"):
        verbs.add_parser(verb)
    verbs.add_parser("scale").add_argument("wanted", nargs="*")
    restart_parser = verbs.add_parser("restart")
    restart_parser.add_argument("services", nargs="*")
    restart_parser.add_argument("--open", action="store_true", help="apply settings even if they open access")
    verbs.add_parser("settings").add_argument("changes", nargs="*")
    # Options after it belong to the program that it runs.
    verbs.add_parser("token", add_help=False).add_argument("words", nargs=argparse.REMAINDER)
    verbs.add_parser("load-test").add_argument("count", nargs="?", default="1000")
    log_parser = verbs.add_parser("logs")
    log_parser.add_argument("service", nargs="?", default="")
    log_parser.add_argument("-n", "--lines", type=_lines, default=50)
    log_parser.add_argument("-f", "--follow", action="store_true")
    return parser.parse_args(arguments)


def _resolved(verb: str) -> ResolvedSettings:
    layout = layout_from(os.environ)
    running = environment.kept(layout)
    if running and running.get("ACKED_PORT_BASE") == str(DEFAULT_PORT_BASE):
        running = {name: value for name, value in running.items() if name != "ACKED_PORT_BASE"}
    try:
        return resolve_settings(os.environ, layout.state, running, STORED_NATIVELY)
    except SettingsRefusedError as error:
        if verb not in WITHOUT_FILE:
            raise
        print(f"just {verb}: warning: {error}", file=sys.stderr)
        return without_file(os.environ, layout.state, running)


def down(stack: Stack) -> None:
    """Stop everything, and forget the choice of the runtime."""
    stack.down()
    forget_runtime()
    print("Acked is down; its data stays")


def _run(chosen: argparse.Namespace) -> int:
    wanted = _resolved(chosen.verb)
    layout = layout_from(wanted.environ)
    stack = Stack(layout, wanted.environ)
    commands: dict[str, Callable[[], int | None]] = {
        "up": lambda: up(stack, wanted),
        "settings": lambda: print("\n".join(set_and_show(wanted, chosen.changes, STORED_NATIVELY))),
        "down": lambda: down(stack),
        "scale": lambda: scale(stack, parse_scale(chosen.wanted)),
        "restart": lambda: restart(stack, wanted, parse_services(chosen.services), may_open=chosen.open),
        "status": lambda: status(stack),
        "logs": lambda: logs(stack, chosen.service, chosen.lines, follow=chosen.follow),
        "token": lambda: stack.token_command(chosen.words),
        "load-test": lambda: load_test(layout, chosen.count, stack.token),
    }
    return commands[chosen.verb]() or 0


def main(arguments: Sequence[str]) -> int:
    """Run the command and return the exit code."""
    chosen = parse_arguments(arguments)
    try:
        return _run(chosen)
    except BrokenPipeError:
        # The reader of the output has gone; `console` handles that.
        raise
    except SupervisorError as error:
        print(f"just {chosen.verb}: the supervisor failed: {error}", file=sys.stderr)
        return 1
    except (SettingsRefusedError, LayoutError, StackError, UsageError) as error:
        print(f"just {chosen.verb}: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"just {chosen.verb}: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
