"""`submit`, `submit-many` and `edit`: what makes jobs."""

import uuid
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Annotated, Any

import typer

from acked_cli.commands.follow import ENDED, ended_code
from acked_cli.commands.options import JobId, Kind, Timeout, Wait
from acked_cli.input.payloads import FileLine, read_payload, read_rows
from acked_cli.input.words import parse_duration_s
from acked_cli.invocation.exit_codes import ExitCode
from acked_cli.invocation.verb import Cli, usage, verb
from acked_client import AckedError, Callback, Handle, Submission, SubmittedRow

Payload = Annotated[
    str | None, typer.Option("--payload", "-p", metavar="JSON|@FILE|-", help="The input of the handler. Default: {}.")
]
NewPayload = Annotated[str, typer.Option("--payload", "-p", metavar="JSON|@FILE|-", help="The input of the new job.")]
Key = Annotated[
    str | None, typer.Option("--key", help="Idempotency key: repeating the command with it creates no second job.")
]
Delay = Annotated[str | None, typer.Option("--delay", metavar="DURATION", help="Delay before the earliest start.")]
Tag = Annotated[list[str] | None, typer.Option("--tag", help="A tag; may be repeated.")]
Batch = Annotated[str | None, typer.Option("--batch", help="The batch that the job belongs to.")]
CallbackUrl = Annotated[
    str | None, typer.Option("--callback", metavar="URL", help="URL that receives a signed event when the job ends.")
]
On = Annotated[
    list[str] | None,
    typer.Option("--on", metavar="EVENT", help="With --callback: succeeded, failed or cancelled; may be repeated."),
]
KeyPrefix = Annotated[
    str | None, typer.Option("--key-prefix", help="Lines without a key get PREFIX:LINE. Repeat it to resume.")
]
File = Annotated[str, typer.Argument(metavar="FILE.ndjson|-", help="One request per line; - is standard input.")]


def add_to(app: typer.Typer) -> None:
    """Register the verbs."""
    verb(app, "submit")(submit)
    verb(app, "submit-many")(submit_many)
    verb(app, "edit")(edit)


def submit(  # noqa: PLR0913 - the options of a request, each with a default
    cli: Cli,
    kind: Kind,
    payload: Payload = None,
    key: Key = None,
    delay: Delay = None,
    tag: Tag = None,
    batch: Batch = None,
    callback: CallbackUrl = None,
    on: On = None,
    wait: Wait = False,
    timeout: Timeout = None,
) -> ExitCode | None:
    """Submit a job.

    With --wait, wait for its end; the exit code shows the outcome.
    """
    if timeout is not None and not wait:
        raise usage("--timeout needs --wait")
    wait_s = None if timeout is None else parse_duration_s(timeout)
    handle = cli.acked.submit(
        kind,
        read_payload(payload),
        idempotency_key=key,
        delay_s=None if delay is None else parse_duration_s(delay),
        tags=tag or (),
        batch=batch,
        callback=_callback(callback, on or ()),
    )
    if not wait:
        accepted = {"id": handle.id, "kind": kind, "idempotency_key": handle.idempotency_key}
        cli.writer.one("accepted", accepted | {"replayed": bool(handle.is_replay)})
        return None
    cli.writer.progress(f"job {handle.id} is accepted; waiting for its end …")
    found = handle.wait(wait_s)
    cli.writer.progress(None)
    cli.writer.one("job", found, also=("result",))
    return ended_code(found)


def _callback(url: str | None, endings: Sequence[str]) -> Callback | None:
    if url is None:
        if endings:
            raise usage("--on needs --callback URL")
        return None
    return Callback(url=url, events=events_of(endings))


def events_of(endings: Sequence[str]) -> list[str]:
    """Return the events of `--on`."""
    for ending in endings:
        if ending not in ENDED:
            raise usage(f"--on is {', '.join(ENDED[:-1])} or {ENDED[-1]}, not {ending!r}")
    return [f"job.{ending}" for ending in endings]


def submit_many(cli: Cli, file: File, key_prefix: KeyPrefix = None) -> ExitCode | None:
    """Submit a file of requests, a line each.

    The outcomes are in the order of the lines. A refused line does not affect the others.
    """
    prefix = str(uuid.uuid4()) if key_prefix is None else key_prefix
    if key_prefix is None:
        cli.writer.note(f"keys begin with {prefix}: to resume, add --key-prefix {prefix}")
    refused = 0

    def counted() -> Iterator[dict[str, Any]]:
        nonlocal refused
        for row in _outcomes(cli, read_rows(file, prefix)):
            refused += "problem" in row
            yield row

    try:
        count = cli.writer.many("row", counted())
    except AckedError as error:
        # It is the key of one line.
        error.idempotency_key = None
        cli.writer.note(f"repeat the command with --key-prefix {prefix} to resume: no line creates a second job")
        raise
    if refused:
        cli.writer.note(f"acked: {refused} of {count} lines were refused: correct them and send the file again")
        return ExitCode.REFUSED
    return None


def edit(cli: Cli, job: JobId, payload: NewPayload) -> None:
    """Replace a failed or cancelled job by a new one with another payload.

    The same edit again is the same job.
    """
    handle = cli.acked.job(job).edit(read_payload(payload))
    cli.writer.one("edited", {"id": handle.id, "edited_from": job})


def _outcomes(cli: Cli, lines: Iterator[FileLine]) -> Iterator[dict[str, Any]]:
    """Yield the outcome of each line in order, also of lines that were never sent.

    The client reads some thousand lines ahead, so as many are held at most.
    """
    under_way: deque[FileLine] = deque()

    def submissions() -> Iterator[Submission]:
        for line in lines:
            under_way.append(line)
            if line.submission is not None:
                yield line.submission

    def faults() -> Iterator[dict[str, Any]]:
        while under_way and under_way[0].submission is None:
            line = under_way.popleft()
            yield {"line": line.number, "problem": {"status": 400, "name": "bad-line", "detail": line.fault}}

    for outcome in cli.acked.submit_many(submissions()):
        yield from faults()
        yield _sent(under_way.popleft(), outcome)
    yield from faults()


def _sent(line: FileLine, outcome: SubmittedRow[Handle[Any]]) -> dict[str, Any]:
    row: dict[str, Any] = {"line": line.number, "idempotency_key": outcome.idempotency_key}
    if outcome.job is not None:
        return row | {"id": outcome.job.id, "replayed": bool(outcome.job.is_replay)}
    assert outcome.error is not None  # noqa: S101 - a row has one of both
    problem = outcome.error.problem
    found = {"status": problem.status, "name": problem.name, "detail": problem.detail}
    if problem.errors:
        found["errors"] = [{"pointer": error.pointer, "detail": error.detail} for error in problem.errors]
    return row | {"problem": found}
