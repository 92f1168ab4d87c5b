"""`doctor`: checks everything that a client needs."""

from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Annotated, Any

import typer

from acked_cli.input.words import parse_duration_s
from acked_cli.invocation.advice import explain
from acked_cli.invocation.exit_codes import ExitCode, code_of
from acked_cli.invocation.verb import Cli, verb
from acked_client import AckedError, NotFound, Probe, State, Tokens

CLOCK_S = 2.0
"""A difference of clocks below this can't be told: the services name whole seconds."""
SUBMIT, READ = "submit", "read"
OK, WARNING, ERROR, SKIPPED = "ok", "warning", "error", "skipped"
RoundTrip = Annotated[str, typer.Option("--kind", metavar="KIND", help="The kind of the job that is submitted.")]
Within = Annotated[str, typer.Option("--timeout", metavar="DURATION", help="Maximum duration of that job.")]
Check = dict[str, Any]


def add_to(app: typer.Typer) -> None:
    """Register the verb."""
    verb(app, "doctor")(doctor)


def doctor(cli: Cli, kind: RoundTrip = "noop", timeout: Within = "15s") -> ExitCode:
    """Check the connection, and run one job.

    Check addresses, versions, clocks and the token, then submit one job and wait for its end.
    """
    code = ExitCode.OK
    within_s = parse_duration_s(timeout)
    for found, failed_as in _checks(cli, kind, within_s):
        cli.writer.line("check", found)
        if found["outcome"] == ERROR:
            code = code or failed_as
    return code


def _check(name: str, outcome: str, detail: str, advice: str | None = None) -> Check:
    return {"check": name, "outcome": outcome, "detail": detail, "advice": advice}


def _checks(cli: Cli, kind: str, within_s: float) -> Iterator[tuple[Check, ExitCode]]:
    """Yield each check with the exit code of its failure."""
    probes = cli.acked.probe()
    now = datetime.now(UTC)
    for probe in probes:
        yield _reachable(probe), ExitCode.UNREACHABLE
    heard = [probe for probe in probes if probe.failure is None]
    if not heard:
        return
    yield _versions(heard), ExitCode.JOB_FAILED
    yield _clocks(heard, now), ExitCode.JOB_FAILED
    try:
        tokens = cli.acked.tokens()
    except AckedError as error:
        yield _failed("token", error, cli), code_of(error)
        return
    yield _token(tokens), ExitCode.REFUSED
    if len(heard) < len(probes):
        yield _check("round trip", SKIPPED, "intake does not respond"), ExitCode.OK
    elif missing := sorted({SUBMIT, READ} - set(tokens.own.permissions)):
        yield _check("round trip", SKIPPED, f"the token lacks {' and '.join(missing)}"), ExitCode.OK
    else:
        yield _round_trip(cli, kind, within_s)


def _failed(name: str, error: AckedError, cli: Cli) -> Check:
    first, *more = explain(error, cli.gateway)
    return _check(name, ERROR, first, "; ".join(more) or None)


def _reachable(probe: Probe) -> Check:
    if probe.failure is not None or probe.readiness is None:
        advice = "start the stack with ./just up, or correct --gateway and --intake"
        return _check(probe.service, ERROR, f"{probe.url}: {probe.failure}", advice)
    parts = ", ".join(f"{name} {state}" for name, state in probe.readiness.parts.items())
    detail = f"{probe.url}: {probe.readiness.status} in {probe.took_s * 1000:.0f} ms{f' ({parts})' if parts else ''}"
    if probe.readiness.status == "ready":
        return _check(probe.service, OK, detail)
    outcome = WARNING if probe.readiness.status == "degraded" else ERROR
    return _check(probe.service, outcome, detail, "./just status and ./just logs show the cause")


def _versions(probes: list[Probe]) -> Check:
    ours = version("acked-cli")
    found = {probe.service: probe.version or "unknown" for probe in probes} | {"acked": ours}
    detail = ", ".join(f"{name} {number}" for name, number in found.items())
    if len(set(found.values())) == 1:
        return _check("versions", OK, detail)
    return _check("versions", WARNING, detail, "./just restart updates services to the version of the checkout")


def _clocks(probes: list[Probe], now: datetime) -> Check:
    """Compare clocks by the `Date` of responses, which has whole seconds."""
    told = {probe.service: probe.server_at for probe in probes if probe.server_at is not None}
    if not told:
        return _check("clocks", SKIPPED, "the responses carry no Date")
    differences = {name: (at - now).total_seconds() for name, at in told.items()}
    detail = ", ".join(f"{name} {seconds:+.0f} s" for name, seconds in differences.items())
    if all(abs(seconds) <= CLOCK_S for seconds in differences.values()):
        return _check("clocks", OK, detail)
    return _check("clocks", WARNING, detail, "filters such as since=1h use the server's clock; synchronize both")


def _token(tokens: Tokens) -> Check:
    own = tokens.own
    may = ", ".join(own.permissions) or "nothing"
    if not tokens.asks_for_tokens:
        return _check("token", OK, f"not required; may {may}")
    ends = "" if own.expires_at is None else f", until {own.expires_at:%Y-%m-%d %H:%M:%SZ}"
    return _check("token", OK, f"client {own.client} of tenant {own.tenant} may {may}{ends}")


def _round_trip(cli: Cli, kind: str, within_s: float) -> tuple[Check, ExitCode]:
    name = f"round trip of {kind}"
    try:
        handle = cli.acked.submit(kind)
        found = handle.wait(within_s)
    except (AckedError, NotFound) as error:
        return _failed(name, error, cli), code_of(error)
    took_s = ((found.finished_at or found.accepted_at) - found.accepted_at).total_seconds()
    detail = f"job {found.id} {found.state} {took_s:.3f} s after it was accepted"
    if found.state == State.SUCCEEDED:
        return _check(name, OK, detail), ExitCode.OK
    return _check(name, ERROR, detail, f"acked show {found.id} shows why"), ExitCode.JOB_FAILED
