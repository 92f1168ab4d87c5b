"""`jobs`, `kinds`, `audit`, `steps`, `signals`: lists."""

from typing import Annotated, Any

import msgspec
import typer

from acked_cli.commands.options import LIMIT, JobId, Limit, ListAll
from acked_cli.commands.pages import listed
from acked_cli.input.words import parse_audit_words, parse_job_words
from acked_cli.invocation.verb import Cli, verb

JobFilters = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[FIELD=VALUE]...",
        help="state, kind, batch, tag, error, waiting_for, since, until (such as 8h), worker.",
    ),
]
AuditFilters = Annotated[
    list[str] | None,
    typer.Argument(metavar="[FIELD=VALUE]...", help="action, client, job, bulk, kind, since, until (such as 8h)."),
]
KindName = Annotated[str | None, typer.Argument(metavar="[KIND]", help="One kind, with its workers and counts.")]
Newest = Annotated[bool, typer.Option("--newest", help="Newest call first.")]


def add_to(app: typer.Typer) -> None:
    """Register the verbs."""
    verb(app, "jobs")(jobs)
    verb(app, "kinds")(kinds)
    verb(app, "audit")(audit)
    verb(app, "steps")(steps)
    verb(app, "signals")(signals)


def jobs(cli: Cli, filters: JobFilters = None, limit: Limit = LIMIT, list_all: ListAll = False) -> None:
    """List jobs, newest first.

    acked jobs state=failed kind=invoice since=8h
    """
    where, worker = parse_job_words(filters or ())
    count = None if list_all else limit
    page_size = 1_000 if count is None else min(count + 1, 1_000)
    listed(cli, "job", cli.acked.jobs(where, worker=worker, page_size=page_size), count)


def kinds(cli: Cli, kind: KindName = None) -> None:
    """List the kinds of jobs, or show one."""
    if kind is None:
        cli.writer.many("kind", cli.acked.kinds())
        return
    found = cli.acked.kind(kind)
    cli.writer.one("kind", found, also=("is_served", "is_payload_checked", "limit_use", "backlog"))


def audit(cli: Cli, filters: AuditFilters = None, limit: Limit = LIMIT, list_all: ListAll = False) -> None:
    """List what operators requested, newest first.

    acked audit action=retry client=ada since=8d
    """
    where = parse_audit_words(filters or ())
    listed(cli, "audit", cli.acked.audit(where), None if list_all else limit)


def steps(cli: Cli, job: JobId, newest: Newest = False, limit: Limit = LIMIT, list_all: ListAll = False) -> None:
    """List the durable calls of a job."""
    listed(cli, "step", cli.acked.job(job).steps(newest_first=newest), None if list_all else limit)


def signals(cli: Cli, job: JobId) -> None:
    """List the signals of a job.

    The unread ones, oldest first, then the newest that were taken.
    """
    found = cli.acked.job(job).signals()
    rows: list[dict[str, Any]] = []
    for name, part in (("unread", found.unread), ("taken", found.taken)):
        rows += [{**msgspec.to_builtins(signal), "state": name} for signal in part]
    cli.writer.many("signal", rows)
