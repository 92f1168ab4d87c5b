"""`top`: workers, kinds and groups of errors, live on a terminal."""

import sys

import typer

from acked_cli import settings
from acked_cli.invocation.exit_codes import ExitCode
from acked_cli.invocation.verb import Cli, usage, verb
from acked_cli.output.writer import Format
from acked_cli.tui.source import BoardSource
from acked_client import AsyncAcked, RetryPolicy

INSTEAD = "acked kinds, acked workers, acked attention and acked watch"


def add_to(app: typer.Typer) -> None:
    """Register the verb."""
    verb(app, "top")(top)


def top(cli: Cli) -> ExitCode | None:
    """Show workers, kinds and failures live.

    q quits, / filters, p pauses or resumes the kind under the cursor, arrows and Tab move it.
    """
    if cli.writer.format is not Format.TABLE or not all(stream.isatty() for stream in (sys.stdin, sys.stdout)):
        raise usage(f"top needs a terminal; on a pipe, and for -o, there are {INSTEAD}")
    try:
        from acked_cli.tui.screen import TopScreen
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "textual":
            raise
        raise usage("top needs the extra tui: pip install 'acked-cli[tui]'") from None
    # Before the screen is taken, so that a wrong address or token is said as everywhere else.
    cli.acked.kinds()
    policy = RetryPolicy(budget_s=0.0, request_s=10.0)
    token = settings.token(cli.token_file)
    screen = TopScreen(BoardSource(AsyncAcked(cli.gateway, intake=cli.intake, token=token, retry=policy)), cli.gateway)
    return ExitCode(screen.run() or ExitCode.OK)
