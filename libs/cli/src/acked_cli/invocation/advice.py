"""Error messages with their remedies. Pure."""

from collections.abc import Iterator

from acked_client import (
    AckedError,
    Conflict,
    LimitReached,
    NoResponse,
    NotFound,
    ProblemError,
    StillRunning,
    Unavailable,
    UnexpectedResponse,
)

_SHOWN_ERRORS = 5
_OF_PROBLEMS = {
    "no-token": "set ACKED_TOKEN_FILE to a file of mode 600 that holds a token; ./just token make makes one",
    "unknown-token": "the token was revoked or has expired; ./just token make makes a new one",
    "missing-permission": "use a token with this permission; acked doctor shows the permissions of the current one",
    "wrong-state": "acked show ID shows the job's state and history",
    "idempotency-key-reused": "use another --key, or send the same request",
    "shared-lane": "give the kind a lane of its own, with lane= of its handler, and restart the workers",
    "ambiguous-worker": "pass the instance of one of them; acked workers lists both",
    "too-many-schedules": "delete one; acked schedules lists them",
    "too-many-callback-endpoints": "delete one; acked callback-endpoints lists them",
    "two-secrets": "acked callback-secrets lists them; acked callback-secrets end ID ends one",
    "too-many-bulk-actions": "wait for one to end, or abort one; acked bulk-actions lists them",
}


def explain(error: Exception, gateway: str) -> Iterator[str]:
    """Yield the lines of the message of an expected exception; the first says what is wrong."""
    if isinstance(error, ProblemError):
        yield from _of_problem(error)
    else:
        yield _text(error)
    match error:
        case NoResponse():
            yield f"the gateway is {gateway}: start the stack with ./just up, or set --gateway or ACKED_GATEWAY"
            yield "acked doctor checks each part"
        case UnexpectedResponse():
            yield f"check that {gateway} is the address of a gateway of Acked, and no other server or a proxy"
        case StillRunning():
            yield "the job continues; acked status ID --wait waits again"
    key = error.idempotency_key if isinstance(error, AckedError) else None
    if key is not None and not isinstance(error, StillRunning):
        yield f"its idempotency key is {key}: repeating the command with --key {key} creates no second job"


def _of_problem(error: ProblemError) -> Iterator[str]:
    problem = error.problem
    yield f"{problem.detail} ({problem.status} {problem.name})"
    for fault in problem.errors[:_SHOWN_ERRORS]:
        yield f"{fault.pointer}: {fault.detail}"
    for member in ("known_kinds", "known_fields", "instances", "edited_to"):
        if found := problem.members.get(member):
            yield f"{member.replace('_', ' ')}: {', '.join(found) if isinstance(found, list) else found}"
    if advice := _OF_PROBLEMS.get(problem.name):
        yield advice
    elif isinstance(error, NotFound):
        yield "check the name or the id; jobs are deleted when their retention ends"
    elif isinstance(error, LimitReached | Unavailable):
        wait = f"in {error.retry_after_s:g} s" if error.retry_after_s else "later"
        yield f"try again {wait}, or raise --retry-for"
    elif isinstance(error, Conflict):
        yield "check its current state, then decide"


def _text(error: Exception) -> str:
    # Without the key, which has a line of its own.
    return str(error.args[0]) if error.args else str(error)
