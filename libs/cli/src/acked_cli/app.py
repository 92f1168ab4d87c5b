"""The commands of `acked`, and the run of one."""

from collections.abc import Sequence
from importlib.metadata import version
from typing import Annotated

import typer

from acked_cli.commands import (
    act,
    attention,
    callback_endpoints,
    callbacks,
    completion,
    dev,
    doctor,
    follow,
    lists,
    operate,
    schedules,
    submit,
    top,
)

NAME = "acked"
HELP = """Submit, follow and operate jobs of Acked.

Lists are tables on a terminal and lines of JSON on a pipe.

Exit codes: 0 ok, 1 a job failed, 2 usage, 3 not found, 4 refused, 5 unreachable."""


def build() -> typer.Typer:
    """Return the application with all verbs."""
    app = typer.Typer(
        name=NAME,
        help=HELP,
        no_args_is_help=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_of_all_commands)
    for part in (
        submit,
        follow,
        lists,
        attention,
        act,
        operate,
        schedules,
        callbacks,
        callback_endpoints,
        top,
        doctor,
        dev,
        completion,
    ):
        part.add_to(app)
    return app


def _show_version(is_wanted: bool) -> None:
    if is_wanted:
        typer.echo(f"{NAME} {version('acked-cli')}")
        raise typer.Exit


def _of_all_commands(
    _: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Take the options that stand ahead of a command."""


def run(words: Sequence[str]) -> int:
    """Run one command and return its exit code."""
    try:
        build()(args=list(words), prog_name=NAME)
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    return 0
