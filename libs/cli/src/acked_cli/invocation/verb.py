"""Make a function a command: the options that all commands have, the client, and how a command ends.

A verb takes a `Cli` first, then its own options, and returns its exit code. The shared options stand behind the verb,
as people type them, so each verb gets them into its signature, from which Typer reads them.
"""

import functools
import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from acked_cli import settings
from acked_cli.input.words import BadInput, parse_duration_s
from acked_cli.invocation.advice import explain
from acked_cli.invocation.exit_codes import EXPECTED, ExitCode, code_of
from acked_cli.output.writer import Format, Writer
from acked_client import Acked, RetryPolicy

PANEL = "Connection and output"
RETRY_FOR = "10s"

Output = Annotated[
    Format | None,
    typer.Option("--output", "-o", help="Default: table on a terminal, ndjson on a pipe.", rich_help_panel=PANEL),
]
Gateway = Annotated[
    str | None,
    typer.Option(metavar="URL", help="Address of the gateway. Default: ACKED_GATEWAY.", rich_help_panel=PANEL),
]
Intake = Annotated[
    str | None,
    typer.Option(metavar="URL", help="Address of intake, if the gateway does not name it.", rich_help_panel=PANEL),
]
TokenFile = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="File of mode 600 that holds the token.", rich_help_panel=PANEL),
]
RetryFor = Annotated[
    str, typer.Option(metavar="DURATION", help="How long a failed request is retried.", rich_help_panel=PANEL)
]
COMMON: dict[str, tuple[Any, Any]] = {
    "output": (Output, None),
    "gateway": (Gateway, None),
    "intake": (Intake, None),
    "token_file": (TokenFile, None),
    "retry_for": (RetryFor, RETRY_FOR),
}
"""The shared options: type and default."""


@dataclass(slots=True)
class Cli:
    """One invocation: where it writes, and the client that it sends requests with."""

    writer: Writer
    gateway: str
    intake: str | None
    token_file: Path | None
    retry_s: float
    _client: Acked | None = field(default=None, repr=False)

    @property
    def acked(self) -> Acked:
        """The client. Raise `UnusableSecret`, or `ValueError` for an address."""
        if self._client is None:
            token = settings.token(self.token_file)
            policy = RetryPolicy(budget_s=self.retry_s)
            # Without a token of its own the client would read the file that may be too open.
            self._client = Acked(self.gateway, intake=self.intake, token=token, retry=policy)
        return self._client

    @property
    def can_ask(self) -> bool:
        """Whether a person sits at a terminal who sees a question and can answer it."""
        return all(stream.isatty() for stream in (sys.stdin, self.writer.out, self.writer.err))

    def confirm(self, question: str) -> bool:
        """Ask on the terminal; anything but yes is no."""
        self.writer.err.write(f"{question} [y/N] ")
        self.writer.err.flush()
        return sys.stdin.readline().strip().lower() in ("y", "yes")

    def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            self._client.close()


Verb = Callable[..., ExitCode | None]
V = TypeVar("V", bound=Verb)


def verb(app: typer.Typer, name: str, *, is_group: bool = False) -> Callable[[V], V]:
    """Register a function as the command `name`, or as what a group does without a command of its own."""

    def register(function: V) -> V:
        if is_group:
            app.callback(invoke_without_command=True)(_command(function))
        else:
            app.command(name)(_command(function))
        return function

    return register


def _command(function: Verb) -> Callable[..., None]:
    own = list(inspect.signature(function).parameters.values())[1:]
    shared = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
        for name, (annotation, default) in COMMON.items()
    ]

    parameters = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in own] + shared

    @functools.wraps(function)
    def command(**options: Any) -> None:
        if (context := options.get("ctx")) is not None and context.invoked_subcommand is not None:
            if any(options[parameter.name] != parameter.default for parameter in parameters if parameter.name != "ctx"):
                # They would be ignored.
                typer.echo(f"acked: put the options after {context.invoked_subcommand}", err=True)
                raise typer.Exit(int(ExitCode.USAGE))
            return
        common = {name: options.pop(name) for name in COMMON}
        code = _run(function, common, options)
        if code is not ExitCode.OK:
            raise typer.Exit(int(code))

    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    # Typer follows this to the function without the shared options.
    del command.__wrapped__
    return command


def _run(function: Verb, common: dict[str, Any], options: dict[str, Any]) -> ExitCode:
    writer = Writer(common["output"] or (Format.TABLE if sys.stdout.isatty() else Format.NDJSON))
    address = settings.gateway(common["gateway"])
    cli: Cli | None = None
    try:
        retry_s = parse_duration_s(common["retry_for"])
        cli = Cli(writer, address, settings.intake(common["intake"]), common["token_file"], retry_s)
        code = function(cli, **options) or ExitCode.OK
        writer.out.flush()
        return code
    except KeyboardInterrupt:
        writer.progress(None)
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        return ExitCode.READER_GONE
    except EXPECTED as error:
        writer.progress(None)
        first, *more = explain(error, address)
        writer.note(f"acked: {first}")
        for line in more:
            writer.note(f"  {line}")
        return code_of(error)
    finally:
        if cli is not None:
            cli.close()


def usage(text: str) -> BadInput:
    """Return the exception of a command that can't be run as it was typed."""
    return BadInput(text)
