"""`status`, `show`, `watch`, `batch`: the progress of jobs."""

import json
import time
from typing import Annotated, Any

import typer

from acked_cli.commands.options import LIMIT, JobId, JobIds, Limit, ListAll, Timeout, Wait
from acked_cli.commands.pages import listed
from acked_cli.input.words import parse_duration_s
from acked_cli.invocation.exit_codes import ExitCode
from acked_cli.invocation.verb import Cli, usage, verb
from acked_cli.output.writer import Format
from acked_client import Batch, JobDetails, JobStatus, State, StillRunning

ENDED = (State.SUCCEEDED, State.FAILED, State.CANCELLED)
POLL_S = 1.0
"""Between two looks at a batch."""
WatchKind = Annotated[str | None, typer.Option("--kind", help="The jobs of a kind.")]
WatchBatch = Annotated[str | None, typer.Option("--batch", help="The jobs of a batch.")]
Progress = Annotated[bool, typer.Option("--progress", help="Include progress reports.")]
BatchName = Annotated[str | None, typer.Argument(metavar="[NAME]", help="A batch. Without one: the list of batches.")]


def add_to(app: typer.Typer) -> None:
    """Register the verbs."""
    verb(app, "status")(status)
    verb(app, "show")(show)
    verb(app, "watch")(watch)
    verb(app, "batch")(batch)


def ended_code(found: JobStatus) -> ExitCode:
    """Return the exit code of a job that was waited for."""
    return ExitCode.OK if found.state == State.SUCCEEDED else ExitCode.JOB_FAILED


def _timeout_s(timeout: str | None, wait: bool) -> float | None:
    if timeout is not None and not wait:
        raise usage("--timeout needs --wait")
    return None if timeout is None else parse_duration_s(timeout)


def status(cli: Cli, job: JobId, wait: Wait = False, timeout: Timeout = None) -> ExitCode | None:
    """Show the status of a job.

    With --wait, wait for its end; the exit code shows the outcome.
    """
    handle, wait_s = cli.acked.job(job), _timeout_s(timeout, wait)
    found = handle.wait(wait_s) if wait else handle.status()
    cli.writer.one("job", found, also=("hint", "result"))
    return ended_code(found) if wait else None


def show(cli: Cli, job: JobId) -> None:
    """Show a job with its payload, errors and history."""
    found = cli.acked.job(job).details()
    more = ("hint", "due_at", "worker", "tags", "note", "waits", "steps", "edited_from", "edited_to", "erased_at")
    cli.writer.one("job", found, also=more)
    if cli.writer.format is Format.TABLE:
        _show_parts(cli, found)


def _show_parts(cli: Cli, job: JobDetails) -> None:
    writer = cli.writer
    writer.block("payload", _pretty(job.payload))
    if job.result is not None:
        writer.block("result", _pretty(job.result))
    if job.attempts:
        writer.many("attempt", job.attempts, title="\nunsuccessful attempts")
    if job.error is not None:
        for name in ("culprit", "traceback"):
            if text := getattr(job.error, name):
                writer.block(f"{name} of the newest error", text)
    writer.many("history", job.history, title="\nhistory")


def _pretty(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2)


def watch(
    cli: Cli,
    jobs: JobIds = None,
    kind: WatchKind = None,
    batch: WatchBatch = None,
    progress: Progress = False,
) -> None:
    """Show transitions as they happen, a line each.

    Of some jobs, a kind, a batch, or all. It connects again when the connection is lost, and shows what it missed.
    End it with Ctrl-C.
    """
    if sum(part is not None for part in (jobs or None, kind, batch)) > 1:
        raise usage("use one of: ids, --kind, --batch")
    if cli.writer.format is Format.JSON:
        raise usage("watch never ends, so it can't write one JSON document: use -o ndjson")
    for event in cli.acked.watch(ids=jobs or None, kind=kind, batch=batch, progress=progress):
        cli.writer.line("event", event)


def batch(
    cli: Cli,
    name: BatchName = None,
    wait: Wait = False,
    timeout: Timeout = None,
    limit: Limit = LIMIT,
    list_all: ListAll = False,
) -> ExitCode | None:
    """Count the jobs of a batch, or list the batches.

    With --wait, wait until all jobs of the batch have ended; the exit code shows whether all succeeded.
    """
    wait_s = _timeout_s(timeout, wait)
    if name is None:
        if wait:
            raise usage("name the batch to wait for")
        listed(cli, "batch", cli.acked.batches(), None if list_all else limit)
        return None
    found = _ended_batch(cli, name, wait_s) if wait else cli.acked.batch(name)
    cli.writer.one("one_batch", found)
    if not wait or found.states.keys() <= {State.SUCCEEDED}:
        return None
    return ExitCode.JOB_FAILED


def _ended_batch(cli: Cli, name: str, wait_s: float | None) -> Batch:
    until = None if wait_s is None else time.monotonic() + wait_s
    while True:
        found = cli.acked.batch(name)
        left = sum(count for state, count in found.states.items() if state not in ENDED)
        if not left:
            cli.writer.progress(None)
            return found
        cli.writer.progress(f"{left} of {found.total} jobs have not ended")
        if until is not None and time.monotonic() >= until:
            raise StillRunning(f"batch {name}", f"{left} jobs have not ended")
        time.sleep(POLL_S if until is None else min(POLL_S, max(0.0, until - time.monotonic())))
