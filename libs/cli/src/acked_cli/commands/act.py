"""`retry`, `cancel`, `resolve`, `erase`, `run-now`: of some jobs by their ids, or of many by a filter.

A filter is always previewed and confirmed. It becomes a bulk action with the plan of that preview, so jobs that match
later stay as they are; the services apply it, also if this program is gone.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, cast, get_args

import typer

from acked_cli.commands.options import JobIds, Reason
from acked_cli.input.payloads import read_value
from acked_cli.input.words import parse_filter, parse_rate
from acked_cli.invocation.exit_codes import ExitCode, code_of
from acked_cli.invocation.verb import Cli, usage, verb
from acked_cli.output.columns import OF_RECORDS
from acked_cli.output.writer import Format, Writer
from acked_client import BulkHandle, BulkPreview, BulkStatus, Handle, JobStatus, ProblemError, Resolution
from acked_client.model.requests import BulkVerb, ResolvedState

MOST_IDS = 100
"""Ids of one command, each a request; --where has no limit."""
EXAMPLES = 5
DONE = "done"
Where = Annotated[
    str | None, typer.Option("--where", metavar="FILTER", help="All jobs that match, such as 'state=failed kind=x'.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Count the jobs and show examples; change nothing.")]
Rate = Annotated[str | None, typer.Option("--rate", metavar="N/s", help="With --where: maximum of jobs per second.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="With --where: skip the confirmation.")]
As = Annotated[str, typer.Option("--as", metavar="STATE", help="The outcome: succeeded or failed.")]
Result = Annotated[str | None, typer.Option("--result", metavar="JSON|@FILE|-", help="The result of the jobs.")]
Note = Annotated[str | None, typer.Option("--note", help="A note that is stored with the jobs.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Which jobs a command concerns, and how they move."""

    ids: Sequence[str]
    where: str | None
    dry_run: bool
    rate: str | None
    yes: bool
    reason: str | None
    resolution: Resolution | None = None


def add_to(app: typer.Typer) -> None:
    """Register the verbs."""
    for name, action, move, about in _MOVES:
        verb(app, name)(_mover(action, move, about))
    verb(app, "resolve")(resolve)


_Move = Callable[[Handle[Any]], JobStatus]
_MOVES: tuple[tuple[str, BulkVerb, _Move, str], ...] = (
    ("retry", "retry", Handle.retry, "Start a new run of failed or cancelled jobs."),
    ("cancel", "cancel", Handle.cancel, "Cancel jobs.\n\nRunning ones are stopped by their workers."),
    (
        "erase",
        "erase",
        Handle.erase,
        "Remove payload, result and errors of ended jobs.\n\nThis can't be undone.",
    ),
    (
        "run-now",
        "run_now",
        Handle.run_now,
        "End the delay or back-off of scheduled jobs.\n\nBy id, also the sleep of a parked job.",
    ),
)
"""The verb, its bulk action, its call for one job, and its help."""


def _mover(action: BulkVerb, move: _Move, about: str) -> Callable[..., ExitCode]:
    """Return the command of a verb that needs no more than the jobs."""

    def command(
        cli: Cli,
        jobs: JobIds = None,
        where: Where = None,
        dry_run: DryRun = False,
        rate: Rate = None,
        yes: Yes = False,
        reason: Reason = None,
    ) -> ExitCode:
        target = Target(ids=jobs or (), where=where, dry_run=dry_run, rate=rate, yes=yes, reason=reason)
        return _act(cli, action, move, target)

    command.__doc__ = about
    return command


def resolve(  # noqa: PLR0913 - the options of a command, each with a default
    cli: Cli,
    state: As,
    jobs: JobIds = None,
    result: Result = None,
    note: Note = None,
    where: Where = None,
    dry_run: DryRun = False,
    rate: Rate = None,
    yes: Yes = False,
    reason: Reason = None,
) -> ExitCode:
    """Give failed jobs their outcome by hand.

    acked resolve ID --as succeeded --note 'paid by phone'
    """
    known = get_args(ResolvedState)
    if state not in known:
        raise usage(f"--as is {' or '.join(known)}, not {state!r}")
    resolution = Resolution(state=cast(ResolvedState, state), result=read_value(result, "--result"), note=note)
    target = Target(
        ids=jobs or (), where=where, dry_run=dry_run, rate=rate, yes=yes, reason=reason, resolution=resolution
    )
    return _act(cli, "resolve", lambda handle: handle.resolve(resolution), target)


def _act(cli: Cli, action: BulkVerb, move: _Move, target: Target) -> ExitCode:
    if target.where is not None:
        if target.ids:
            raise usage("pass ids or --where, not both")
        return _act_on_many(cli, action, target)
    if not target.ids:
        raise usage(f"name the jobs: acked {action.replace('_', '-')} ID…, or --where 'state=failed kind=x'")
    if target.rate is not None or target.reason is not None:
        raise usage("--rate and --reason need --where; commands by ids have neither")
    if len(target.ids) > MOST_IDS:
        raise usage(f"one command takes {MOST_IDS} ids; use --where, or xargs -n {MOST_IDS}")
    if target.dry_run:
        found = cli.acked.preview_bulk_action(action, list(target.ids), resolution=target.resolution)
        _show_preview(cli.writer, found)
        return ExitCode.OK
    return _act_on_each(cli, move, target.ids)


def _act_on_each(cli: Cli, move: Callable[[Handle[Any]], JobStatus], ids: Sequence[str]) -> ExitCode:
    """Move jobs one by one; a refusal affects only its job. The first one determines the exit code."""
    code = ExitCode.OK
    for job_id in ids:
        try:
            found = move(cli.acked.job(job_id))
        except ProblemError as error:
            if len(ids) == 1 or error.problem.status not in (404, 409, 422):
                raise
            problem = error.problem
            cli.writer.line("moved", {"id": job_id, "problem": _problem(problem.status, problem.name, problem.detail)})
            code = code or code_of(error)
            continue
        moved = {"id": found.id, "state": found.state, "reason": found.reason, "run": found.run, "rev": found.rev}
        cli.writer.line("moved", moved)
    return code


def _problem(status: int, name: str, detail: str) -> Mapping[str, Any]:
    return {"status": status, "name": name, "detail": detail}


def _act_on_many(cli: Cli, action: BulkVerb, target: Target) -> ExitCode:
    where = parse_filter(str(target.where))
    rate_per_s = None if target.rate is None else parse_rate(target.rate)
    found = cli.acked.preview_bulk_action(action, where, resolution=target.resolution)
    if target.dry_run:
        _show_preview(cli.writer, found)
        return ExitCode.OK
    _show_preview(Writer(Format.TABLE, out=cli.writer.err, err=cli.writer.err), found)
    if not found.count:
        cli.writer.note("nothing to do")
        return ExitCode.OK
    if not target.yes:
        word = action.replace("_", "-")
        if not cli.can_ask:
            raise usage(f"nothing was changed: add --yes to {word} these {_count(found)} jobs without a confirmation")
        if not cli.confirm(f"{word} these {_count(found)} jobs?"):
            cli.writer.note("nothing was changed")
            return ExitCode.OK
    handle = cli.acked.bulk_action(
        action,
        where,
        plan=found.plan,
        rate_per_s=rate_per_s,
        reason=target.reason,
        resolution=target.resolution,
    )
    return follow(cli, handle)


def _count(found: BulkPreview) -> str:
    return f"{found.count:,}" if found.count_is_exact else f"more than {found.count:,}"


def _show_preview(writer: Writer, found: BulkPreview) -> None:
    if writer.format is not Format.TABLE:
        writer.one("example", found)
        return
    writer.block(f"{found.action.replace('_', '-')}: {_count(found)} jobs match", "")
    if found.examples:
        writer.many("example", found.examples[:EXAMPLES])
    if found.count > EXAMPLES:
        writer.block("", f"… and {found.count - EXAMPLES:,}{'' if found.count_is_exact else ' or more'} others")


def follow(cli: Cli, handle: BulkHandle) -> ExitCode:
    """Show the progress of a bulk action until it has ended, then its result. Ctrl-C leaves it running."""
    found: BulkStatus | None = None
    try:
        for found in handle.progress():
            cli.writer.progress(f"{found.action} {handle.id}: {found.done} of {found.matched} jobs")
    except KeyboardInterrupt:
        cli.writer.progress(None)
        cli.writer.note(f"the action continues; abort it with: acked bulk-actions abort {handle.id}")
        raise
    cli.writer.progress(None)
    assert found is not None  # noqa: S101 - an action has at least one status
    cli.writer.one("bulk", found, also=("failure",))
    return bulk_code(cli, found)


def bulk_code(cli: Cli, found: BulkStatus) -> ExitCode:
    """Return the exit code of an ended bulk action, and name the jobs that did not move."""
    if found.state != DONE:
        return ExitCode.JOB_FAILED
    if not found.refused:
        return ExitCode.OK
    cli.writer.note(
        f"acked: {sum(found.refused.values())} jobs were not moved: {OF_RECORDS['bulk']['refused'](_raw(found))}"
    )
    for job in found.refused_examples[:EXAMPLES]:
        cli.writer.note(f"  {job.id}: {job.reason}: {job.detail}")
    return ExitCode.REFUSED


def _raw(found: BulkStatus) -> Mapping[str, Any]:
    return {"refused": found.refused}
