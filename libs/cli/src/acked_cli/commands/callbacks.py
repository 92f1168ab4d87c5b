"""`callbacks`, `resend` and `callback-secrets`: deliveries of a job, and the secrets that sign them."""

from typing import Annotated

import typer

from acked_cli.commands.options import LIMIT, JobId, Limit, ListAll
from acked_cli.commands.pages import listed
from acked_cli.invocation.exit_codes import ExitCode
from acked_cli.invocation.verb import Cli, verb

ONCE = "the secret is shown only now: store it where the receivers read it"
DeliveryId = Annotated[
    str | None, typer.Argument(metavar="[DELIVERY]", help="The id of a delivery. Default: the newest one.")
]
SecretId = Annotated[str, typer.Argument(metavar="ID", help="The id of a secret.")]


def add_to(app: typer.Typer) -> None:
    """Register the verbs."""
    verb(app, "callbacks")(callbacks)
    verb(app, "resend")(resend)
    group = typer.Typer(rich_markup_mode=None)
    verb(group, "", is_group=True)(callback_secrets)
    verb(group, "make")(make)
    verb(group, "end")(end)
    app.add_typer(group, name="callback-secrets")


def callbacks(cli: Cli, job: JobId, limit: Limit = LIMIT, list_all: ListAll = False) -> None:
    """List the deliveries of a job's callback, newest first.

    The JSON has their attempts: -o json.
    """
    listed(cli, "delivery", cli.acked.job(job).callbacks(), None if list_all else limit)


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
