"""The commands of the recipes, in containers: `python -m deploy.docker up`."""

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from deploy.docker.containers import Containers
from deploy.docker.project import ContainersError, Project
from deploy.docker.running_settings import running as running_settings
from deploy.docker.running_settings import store_running
from deploy.held_work import held_work
from deploy.native.__main__ import (
    IS_DOWN,
    WITHOUT_FILE,
    UsageError,
    load_test,
    parse_arguments,
    parse_scale,
    parse_services,
    say_next,
    say_up,
    say_whole,
)
from deploy.native.layout import LayoutError, layout_from
from deploy.native.stack import StackError
from deploy.native.supervisor import SERVICES
from deploy.runtime import forget_runtime, keep_runtime
from deploy.settings_resolution import (
    NOT_IN_CONTAINERS,
    STORED_IN_CONTAINERS,
    ResolvedSettings,
    SettingsRefusedError,
    differences,
    refuse_opening,
    refuse_unusable,
    resolve_settings,
    set_and_show,
    without_file,
)

# What the services' containers have beside what compose.yaml passes on (deploy/Dockerfile).
_IN_CONTAINERS = {"ACKED_HOST": "0.0.0.0", "ACKED_PUBLISH_ADDRESS": "127.0.0.1"}  # noqa: S104 - inside a container


def take(containers: Containers, wanted: ResolvedSettings, *, may_open: bool) -> None:
    """Store the requested settings and print the changes.

    Raise `SettingsRefusedError` if they are unusable or open access.
    """
    if left_out := [name for name in sorted(NOT_IN_CONTAINERS) if wanted.environ.get(name)]:
        raise SettingsRefusedError(
            f"{', '.join(left_out)}: for native stacks only; in containers use an override file (docs/docker.md)"
        )
    running = running_settings(containers.project, STORED_IN_CONTAINERS) if containers.is_up() else None
    found = [] if running is None else differences(running, wanted.environ, STORED_IN_CONTAINERS)
    if not may_open:
        refuse_opening(found)
    settings = {name: value for name in STORED_IN_CONTAINERS if (value := wanted.environ.get(name, ""))}
    refuse_unusable([{**_IN_CONTAINERS, **settings}] * len(SERVICES))
    wanted.store()
    store_running(containers.project, STORED_IN_CONTAINERS)
    print("".join(f"{one}\n" for one in found), end="", flush=True)


def up(containers: Containers, wanted: ResolvedSettings) -> None:
    """Start the stack and print its URLs."""
    started = time.monotonic()
    was_up = containers.is_up()
    if not was_up:
        print(f"runtime: docker (Compose project {containers.project.name})", flush=True)
    take(containers, wanted, may_open=not was_up)
    containers.up()
    keep_runtime("docker")
    say_up(containers.project.urls, containers.project.scale["worker"], time.monotonic() - started, was_up=was_up)
    print("".join(f"{line}\n" for line in wanted.lines), end="")
    say_next(containers.project.urls, wanted.environ)


def _resolved(verb: str, containers: Containers) -> ResolvedSettings:
    running = running_settings(containers.project, STORED_IN_CONTAINERS)
    try:
        found = resolve_settings(os.environ, containers.project.state, running, STORED_IN_CONTAINERS)
    except SettingsRefusedError as error:
        if verb not in WITHOUT_FILE:
            raise
        print(f"just {verb}: warning: {error}", file=sys.stderr)
        return without_file(os.environ, containers.project.state, running)
    if running is not None and verb not in ("up", "restart", "settings"):
        # Whichever shell it is: containers are started with what runs.
        others = {name: value for name, value in found.environ.items() if name not in STORED_IN_CONTAINERS}
        return replace(found, environ={**others, **running})
    return found


def down(containers: Containers) -> None:
    """Remove the containers, and forget the choice of the runtime."""
    containers.down()
    forget_runtime()
    print("Acked is down; its volumes stay")


def scale(containers: Containers, wanted: dict[str, int]) -> None:
    """Change the number of containers and print the result."""
    runs = containers.scale(wanted)
    numbers = ", ".join(f"{n} {role}" for role, n in containers.project.scale.items())
    print(f"now: {numbers}" if runs else f"Acked is down; the next ./just up starts {numbers}")


def restart(containers: Containers, wanted: ResolvedSettings, services: Sequence[str], *, may_open: bool) -> None:
    """Restart services with the requested settings."""
    take(containers, wanted, may_open=may_open)
    containers.restart(services)


def status(containers: Containers) -> int:
    """Print the containers, pauses and bulk actions; the exit code is that of `say_whole`, or `IS_DOWN`."""
    if not containers.is_up():
        print("down; ./just up starts it")
        return IS_DOWN
    wrong = containers.status()
    print("".join(f"{line}\n" for line in held_work(containers.told_by_gateway)), end="")
    return say_whole(wrong)


def _run(chosen: argparse.Namespace) -> int:
    layout = layout_from()
    wanted = _resolved(chosen.verb, Containers(Project(layout.ports)))
    containers = Containers(Project(layout.ports, wanted.environ))
    commands: dict[str, Callable[[], int | None]] = {
        "up": lambda: up(containers, wanted),
        "settings": lambda: print("\n".join(set_and_show(wanted, chosen.changes, STORED_IN_CONTAINERS))),
        "down": lambda: down(containers),
        "scale": lambda: scale(containers, parse_scale(chosen.wanted)),
        "restart": lambda: restart(containers, wanted, parse_services(chosen.services), may_open=chosen.open),
        "status": lambda: status(containers),
        "logs": lambda: containers.logs(chosen.service, chosen.lines, follow=chosen.follow),
        "token": lambda: containers.token_command(chosen.words),
        "load-test": lambda: load_test(layout, chosen.count, containers.token, containers.project.reached_at),
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
    except (SettingsRefusedError, ContainersError, LayoutError, StackError, UsageError, OSError) as error:
        print(f"just {chosen.verb}: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
