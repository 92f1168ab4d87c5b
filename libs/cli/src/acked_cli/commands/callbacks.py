"""`callbacks`, `resend` and `callback-secrets`: deliveries, and the secrets that sign them."""

from typing import Annotated

import typer
from typer.core import TyperGroup

from acked_cli.commands import listen
from acked_cli.commands.options import LIMIT, JobId, Limit, ListAll
from acked_cli.commands.pages import listed
from acked_cli.invocation.exit_codes import ExitCode
from acked_cli.invocation.verb import Cli, usage, verb

ONCE = "the secret is shown only now: store it where the receivers read it"
LIST = "list"
OfJob = Annotated[str | None, typer.Argument(metavar="[ID]", help="The id of a job. Default: all jobs.")]
DeliveryState = Annotated[str | None, typer.Option("--state", help="Only deliveries in this state, such as failed.")]
DeliveryId = Annotated[
    str | None, typer.Argument(metavar="[DELIVERY]", help="The id of a delivery. Default: the newest one.")
]
SecretId = Annotated[str, typer.Argument(metavar="ID", help="The id of a secret.")]


class _ListByDefault(TyperGroup):
    """A group whose words are those of `list` unless they begin with a command: no id of a job is one."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]
        is_list = not args or (args[0] not in self.commands and args[0] not in ctx.help_option_names)
        # A shell that completes words is offered the commands.
        if is_list and not ctx.resilient_parsing:
            args = [LIST, *args]
        return super().parse_args(ctx, args)


def add_to(app: typer.Typer) -> None:
    """Register the verbs."""
    deliveries = typer.Typer(
        rich_markup_mode=None,
        cls=_ListByDefault,
        help="List deliveries, or forward them to this machine.\n\nacked callbacks ID is acked callbacks list ID.",
    )
    verb(deliveries, LIST)(callbacks)
    listen.add_to(deliveries)
    app.add_typer(deliveries, name="callbacks")
    verb(app, "resend")(resend)
    group = typer.Typer(rich_markup_mode=None)
    verb(group, "", is_group=True)(callback_secrets)
    verb(group, "make")(make)
    verb(group, "end")(end)
    app.add_typer(group, name="callback-secrets")


def callbacks(
    cli: Cli, job: OfJob = None, state: DeliveryState = None, limit: Limit = LIMIT, list_all: ListAll = False
) -> None:
    """List the deliveries of a job, or of all jobs, newest first.

    The JSON has their attempts: -o json.
    """
    if job is not None and state is not None:
        raise usage("--state selects among the deliveries of all jobs: leave it out, or leave the id out")
    found = cli.acked.callbacks(state=state) if job is None else cli.acked.job(job).callbacks()
    listed(cli, "delivery", found, None if list_all else limit)


def resend(cli: Cli, job: JobId, delivery: DeliveryId = None) -> ExitCode | None:
    """Send the event of a callback again.

    Receivers recognize it by its webhook-id.
    """
    handle = cli.acked.job(job)
    if delivery is None:
        newest = next(iter(handle.callbacks()), None)
        if newest is None:
            cli.writer.note("acked: the job has no delivery: it has no callback, has not ended, or ended just now")
            cli.writer.note("  acked status ID -o json has the state of its callback")
            return ExitCode.NOT_FOUND
        delivery = newest.id
    cli.writer.one("resent", handle.resend(delivery))
    return None


def callback_secrets(cli: Cli, ctx: typer.Context) -> None:
    """List the secrets that sign callbacks, without their values; make or end one."""
    cli.writer.many("secret", cli.acked.callback_secrets())


def make(cli: Cli) -> None:
    """Make a secret, and show it this once.

    The one before signs for a day more.
    """
    cli.writer.one("made_secret", cli.acked.make_callback_secret())
    cli.writer.note(ONCE)


def end(cli: Cli, secret: SecretId) -> None:
    """Let a secret sign no more, at once.

    Lists those that are left.
    """
    cli.writer.many("secret", cli.acked.end_callback_secret(secret))
