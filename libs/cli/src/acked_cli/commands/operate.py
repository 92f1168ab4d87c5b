"""`bulk-actions`, `pause`, `resume`, `limit`, `unlimit`, `workers`, `signal`: commands not on single jobs."""

from typing import Annotated

import typer

from acked_cli.commands.act import follow
from acked_cli.commands.options import LIMIT, JobId, Kind, Limit, ListAll, Reason, Wait
from acked_cli.commands.pages import listed
from acked_cli.input.payloads import read_value
from acked_cli.invocation.exit_codes import ExitCode
from acked_cli.invocation.verb import Cli, usage, verb

ActionId = Annotated[str, typer.Argument(metavar="ID", help="The id of a bulk action.")]
WorkerName = Annotated[str, typer.Argument(metavar="ID", help="The id of a worker, or its instance.")]
SignalName = Annotated[str, typer.Argument(metavar="NAME", help="The name that the handler waits for.")]
SignalPayload = Annotated[
    str | None, typer.Option("--payload", "-p", metavar="JSON|@FILE|-", help="The value. Default: null.")
]
SignalKey = Annotated[str | None, typer.Option("--key", help="Id of the signal; a repeated id sends no second signal.")]
Running = Annotated[int | None, typer.Option("--running", min=1, help="Over all workers and tenants.")]
PerTenant = Annotated[int | None, typer.Option("--per-tenant", min=1, help="Of each tenant.")]


def add_to(app: typer.Typer) -> None:
    """Register the verbs."""
    actions = typer.Typer(rich_markup_mode=None)
    verb(actions, "", is_group=True)(bulk_actions)
    verb(actions, "show")(show_action)
    verb(actions, "abort")(abort_action)
    app.add_typer(actions, name="bulk-actions")
    fleet = typer.Typer(rich_markup_mode=None)
    verb(fleet, "", is_group=True)(workers)
    verb(fleet, "drain")(drain)
    app.add_typer(fleet, name="workers")
    for name, function in (("pause", pause), ("resume", resume), ("limit", limit), ("unlimit", unlimit)):
        verb(app, name)(function)
    verb(app, "signal")(signal)


def bulk_actions(cli: Cli, ctx: typer.Context, limit: Limit = LIMIT, list_all: ListAll = False) -> None:
    """List bulk actions, newest first; show or abort one."""
    listed(cli, "bulk", cli.acked.bulk_actions(), None if list_all else limit)


def show_action(cli: Cli, action: ActionId, wait: Wait = False) -> ExitCode | None:
    """Show how far a bulk action is.

    With --wait, wait for its end; the exit code shows the outcome.
    """
    handle = cli.acked.bulk(action)
    if wait:
        return follow(cli, handle)
    found = handle.status()
    cli.writer.one("bulk", found, also=("filter", "ids", "rate_per_s", "progress", "failure", "started_at", "ended_at"))
    return None


def abort_action(cli: Cli, action: ActionId) -> None:
    """End a bulk action.

    Jobs that have moved stay as they are.
    """
    cli.writer.one("bulk", cli.acked.bulk(action).abort())


def pause(cli: Cli, kind: Kind, reason: Reason = None) -> None:
    """Stop the jobs of a kind from starting.

    Running jobs continue, and requests are accepted.
    """
    cli.writer.one("kind", cli.acked.pause(kind, reason=reason))


def resume(cli: Cli, kind: Kind) -> None:
    """Let the jobs of a paused kind start again."""
    cli.writer.one("kind", cli.acked.resume(kind))


def limit(cli: Cli, kind: Kind, running: Running = None, per_tenant: PerTenant = None, reason: Reason = None) -> None:
    """Limit how many jobs of a kind run at once.

    acked limit report --running 20 --per-tenant 5
    """
    if running is None and per_tenant is None:
        raise usage("give a limit: --running N, --per-tenant N, or both")
    cli.writer.one("kind", cli.acked.limit(kind, running=running, per_tenant=per_tenant, reason=reason))


def unlimit(cli: Cli, kind: Kind) -> None:
    """Remove the limit of a kind."""
    cli.writer.one("kind", cli.acked.unlimit(kind))


def workers(cli: Cli, ctx: typer.Context) -> None:
    """List the live workers; drain one."""
    cli.writer.many("worker", cli.acked.workers())


def drain(cli: Cli, worker: WorkerName) -> None:
    """Let a worker finish what it runs, and leave.

    Its supervisor starts a new one.
    """
    cli.writer.one("drained", cli.acked.drain(worker))


def signal(cli: Cli, job: JobId, name: SignalName, payload: SignalPayload = None, key: SignalKey = None) -> None:
    """Send a signal to a job.

    acked signal ID paid -p '{"amount": 100}'
    """
    cli.writer.one("sent", cli.acked.job(job).signal(name, read_value(payload), id=key))
