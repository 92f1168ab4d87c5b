"""`completion`: the script by which a shell completes the words of `acked`."""

import subprocess
import sys
from enum import StrEnum
from typing import Annotated

import typer

from acked_cli import settings
from acked_cli.invocation.exit_codes import ExitCode
from acked_cli.invocation.verb import Cli, verb


class ShellKind(StrEnum):
    """Shells that can complete."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


ShellName = Annotated[ShellKind, typer.Argument(help="The shell.")]


def add_to(app: typer.Typer) -> None:
    """Register the verb."""
    verb(app, "completion")(completion)


def completion(cli: Cli, shell: ShellName) -> ExitCode | None:
    """Print the completion script of a shell.

    source <(acked completion bash)
    """
    environment = settings.environment_with(_ACKED_COMPLETE=f"source_{shell.value}")
    done = subprocess.run([sys.executable, "-m", "acked_cli"], env=environment, stdout=subprocess.PIPE, check=True)
    cli.writer.out.write(done.stdout.decode())
    return None
