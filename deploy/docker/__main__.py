"""The commands behind the recipes, in containers: `python -m deploy.docker up`."""

import sys
import time
from collections.abc import Sequence

from deploy.docker.containers import Containers, ContainersError
from deploy.native.__main__ import (
    IS_DOWN,
    UsageError,
    load_test,
    parse_arguments,
    parse_scale,
    parse_services,
    say_up,
    say_whole,
)
from deploy.native.layout import LayoutError, layout_from
from deploy.native.stack import StackError
from deploy.runtime import forget_runtime, keep_runtime


def up(containers: Containers) -> None:
    """Starts the stack and says where it is."""
    started = time.monotonic()
    was_up = containers.is_up()
    if not was_up:
        print(f"runtime: docker (Compose project {containers.project})", flush=True)
    containers.up()
    keep_runtime("docker")
    say_up(containers.urls, containers.scale_now["worker"], time.monotonic() - started, was_up=was_up)


def main(arguments: Sequence[str]) -> int:
    """The exit code."""
    chosen = parse_arguments(arguments)
    try:
        layout = layout_from()
        containers = Containers(layout.ports)
        if chosen.verb == "up":
            up(containers)
        elif chosen.verb == "down":
            containers.down()
            forget_runtime()
            print("Acked is down; its volumes are kept")
        elif chosen.verb == "scale":
            runs = containers.scale(parse_scale(chosen.wanted))
            numbers = ", ".join(f"{n} {role}" for role, n in containers.scale_now.items())
            print(f"now: {numbers}" if runs else f"Acked is down; the next ./just up starts {numbers}")
        elif chosen.verb == "restart":
            containers.restart(parse_services(chosen.services))
        elif chosen.verb == "status":
            if not containers.is_up():
                print("down; ./just up starts it")
                return IS_DOWN
            return say_whole(containers.status())
        elif chosen.verb == "logs":
            containers.logs(chosen.service, chosen.lines, follow=chosen.follow)
        elif chosen.verb == "token":
            return containers.token_command(chosen.words)
        else:
            return load_test(layout, chosen.count, containers.token)
    except BrokenPipeError:
        # Of whoever read the output: `console` knows.
        raise
    except (ContainersError, LayoutError, StackError, UsageError, OSError) as error:
        print(f"just {chosen.verb}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
