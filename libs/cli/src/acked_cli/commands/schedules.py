"""`schedules`: list, show, define and operate schedules."""

from typing import Annotated, cast, get_args

import typer

from acked_cli.commands.options import LIMIT, Kind, Limit, ListAll, Reason
from acked_cli.commands.pages import listed
from acked_cli.input.payloads import read_payload
from acked_cli.input.words import parse_whole_s
from acked_cli.invocation.verb import Cli, usage, verb
from acked_cli.output.writer import Format
from acked_client import ScheduleDefinition, ScheduleDetails, SchedulePreview
from acked_client.model.requests import Overlap

SHOWN_FIRINGS = 10
PREVIEWED = 20
OVERLAPS = get_args(Overlap)
_ALSO = ("from", "until", "catch_up_s", "jitter_s", "tags", "batch", "payload", "revision", "changed_at")

Name = Annotated[str, typer.Argument(metavar="NAME", help="The name of a schedule.")]
Cron = Annotated[str | None, typer.Option("--cron", metavar="EXPRESSION", help="Five fields, or such as @daily.")]
Every = Annotated[str | None, typer.Option("--every", metavar="DURATION", help="Fixed interval, instead of --cron.")]
Zone = Annotated[str | None, typer.Option("--timezone", metavar="ZONE", help="Time zone of --cron. Default: UTC.")]
Payload = Annotated[
    str | None, typer.Option("--payload", "-p", metavar="JSON|@FILE|-", help="The input of the jobs. Default: {}.")
]
Tag = Annotated[list[str] | None, typer.Option("--tag", help="A tag of the jobs; may be repeated.")]
Batch = Annotated[str | None, typer.Option("--batch", help="The batch that the jobs belong to.")]
OverlapRule = Annotated[
    str | None, typer.Option("--overlap", help=f"While a job is live: {', '.join(OVERLAPS)}. Default: skip.")
]
CatchUp = Annotated[str | None, typer.Option("--catch-up", metavar="DURATION", help="Maximum lateness of a firing.")]
Jitter = Annotated[str | None, typer.Option("--jitter", metavar="DURATION", help="Maximum random delay of a firing.")]
From = Annotated[str | None, typer.Option("--from", metavar="INSTANT", help="First instant (inclusive).")]
Until = Annotated[str | None, typer.Option("--until", metavar="INSTANT", help="End (exclusive).")]
Begin = Annotated[str, typer.Option("--from", metavar="INSTANT", help="First instant (inclusive).")]
End = Annotated[str | None, typer.Option("--until", metavar="INSTANT", help="End (exclusive). Default: now.")]
Instants = Annotated[
    int | None, typer.Option("--limit", "-n", min=1, metavar="N", help="Maximum, oldest first. Default: 1,000.")
]
Paused = Annotated[bool, typer.Option("--paused", help="Also pause it. Default: unchanged.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Check it, list its next instants, and store nothing.")]
Count = Annotated[int, typer.Option("--count", "-n", min=1, metavar="N", help="Number of instants.")]


def add_to(app: typer.Typer) -> None:
    """Register the verbs."""
    group = typer.Typer(rich_markup_mode=None)
    verb(group, "", is_group=True)(schedules)
    for name, function in (("show", show), ("firings", firings), ("next", upcoming), ("put", put)):
        verb(group, name)(function)
    for name, command in (("pause", pause), ("resume", resume), ("run-now", run_now), ("delete", delete)):
        verb(group, name)(command)
    verb(group, "backfill")(backfill)
    app.add_typer(group, name="schedules")


def schedules(cli: Cli, ctx: typer.Context, limit: Limit = LIMIT, list_all: ListAll = False) -> None:
    """List schedules by name; show, define or operate one."""
    listed(cli, "schedule", cli.acked.schedules(), None if list_all else limit)


def show(cli: Cli, name: Name) -> None:
    """Show a schedule.

    A table has its newest firings too.
    """
    handle = cli.acked.schedule(name)
    _show(cli, handle.details())
    if cli.writer.format is Format.TABLE and (found := handle.firings()[:SHOWN_FIRINGS]):
        cli.writer.many("firing", found, title="\nnewest firings")


def firings(cli: Cli, name: Name) -> None:
    """List the newest firings of a schedule.

    Firings that started no job have a reason.
    """
    cli.writer.many("firing", cli.acked.schedule(name).firings())


def upcoming(cli: Cli, name: Name, count: Count = PREVIEWED) -> None:
    """List the next instants of a schedule.

    They are the same while it is paused.
    """
    _show_instants(cli, cli.acked.schedule(name).next(count))


def _show_instants(cli: Cli, found: SchedulePreview) -> None:
    cli.writer.many("instant", found.instants)
    cli.writer.note(f"{found.timezone}, time-zone data {found.time_zone_data}")


def put(  # noqa: PLR0913 - the options of a definition, each with a default
    cli: Cli,
    name: Name,
    kind: Kind,
    cron: Cron = None,
    every: Every = None,
    timezone: Zone = None,
    payload: Payload = None,
    tag: Tag = None,
    batch: Batch = None,
    overlap: OverlapRule = None,
    catch_up: CatchUp = None,
    jitter: Jitter = None,
    from_at: From = None,
    until_at: Until = None,
    paused: Paused = False,
    dry_run: DryRun = False,
) -> None:
    """Define a schedule, or replace its definition.

    acked schedules put nightly report --cron '30 2 * * *' --timezone Europe/Berlin
    """
    if (cron is None) == (every is None):
        raise usage("give one of --cron '30 2 * * *' and --every 15m")
    if overlap is not None and overlap not in OVERLAPS:
        raise usage(f"--overlap is {', '.join(OVERLAPS[:-1])} or {OVERLAPS[-1]}, not {overlap!r}")
    definition = ScheduleDefinition(
        kind=kind,
        cron=cron,
        every_s=parse_whole_s(every),
        timezone=timezone,
        payload=read_payload(payload),
        tags=tag or (),
        batch=batch,
        overlap=cast(Overlap | None, overlap),
        catch_up_s=parse_whole_s(catch_up),
        jitter_s=parse_whole_s(jitter),
        from_at=from_at,
        until_at=until_at,
        paused=paused or None,
    )
    handle = cli.acked.schedule(name)
    if dry_run:
        _show_instants(cli, handle.preview(definition, PREVIEWED))
    else:
        _show(cli, handle.put(definition))


def pause(cli: Cli, name: Name, reason: Reason = None) -> None:
    """Stop a schedule from firing.

    Its jobs continue, and instants during the pause do not fire later.
    """
    _show(cli, cli.acked.schedule(name).pause(reason=reason))


def resume(cli: Cli, name: Name) -> None:
    """Let a paused schedule fire again."""
    _show(cli, cli.acked.schedule(name).resume())


def run_now(cli: Cli, name: Name) -> None:
    """Fire a schedule now, by its rule for overlaps.

    acked schedules firings NAME shows the outcome.
    """
    cli.writer.one("firing", cli.acked.schedule(name).run_now())


def backfill(cli: Cli, name: Name, from_at: Begin, until_at: End = None, limit: Instants = None) -> None:
    """Let past instants fire that have no job.

    acked schedules backfill nightly --from 2026-11-01T00:00:00Z
    """
    cli.writer.one("backfill", cli.acked.schedule(name).backfill(from_at, until_at, limit=limit))
    cli.writer.note(f"follow it with: acked schedules show {name}")


def delete(cli: Cli, name: Name) -> None:
    """Delete a schedule, and show it as it was.

    Its jobs stay.
    """
    _show(cli, cli.acked.schedule(name).delete())


def _show(cli: Cli, found: ScheduleDetails) -> None:
    cli.writer.one("schedule", found, also=_ALSO)
