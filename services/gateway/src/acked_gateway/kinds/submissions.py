"""Send one job of a kind by the gateway, for pages: browsers let them call no other origin than their own.

Intake alone inserts jobs, so the gateway sends it the request as its caller. What intake refuses is the response.
"""

import msgspec

from acked_common.http import fair_thread
from acked_common.http.limits import Client
from acked_common.http.problems import ErrorAt, ProblemError, json_problem, problem
from acked_common.model import strict_json
from acked_common.model.ids import new_id
from acked_common.model.names import IDEMPOTENCY_KEY
from acked_common.model.strict_json import StrictJsonError
from acked_gateway.jobs.commands import MAX_BODY_BYTES

KIND_MEMBER = "kind"

_members_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])


def idempotency_key(header: str | None) -> str:
    """Return the key of a request, or a new one where it has none. Raises `ProblemError`."""
    if header is None:
        return f"page:{new_id()}"
    if IDEMPOTENCY_KEY.fullmatch(header) is None:
        detail = "an Idempotency-Key has 1 to 255 of the characters A-Z, a-z, 0-9, '.', '_', ':' and '-'"
        raise ProblemError(problem("bad-idempotency-key", f"{detail}. Nothing was stored"))
    return header


async def read_submission(body: bytes, kind: str, *, client: Client = None) -> bytes:
    """Parse a submission, a large or doubtful one in a thread; return the body for intake. Raises `ProblemError`."""
    return await fair_thread.read(client, len(body), lambda may_scan: parse_submission(body, kind, may_scan=may_scan))


def parse_submission(body: bytes, kind: str, *, may_scan: bool = True) -> bytes:
    """Return the body of `POST /process` for a body without its kind; each member stays exactly as it was sent.

    Intake checks the members. Raises `ProblemError`, and `NeedsScan` unless `may_scan`.
    """
    if not body:
        return msgspec.json.encode({KIND_MEMBER: kind})
    try:
        members = strict_json.parse(body, max_bytes=MAX_BODY_BYTES, may_scan=may_scan)
    except StrictJsonError as error:
        raise ProblemError(json_problem(error)) from None
    if not isinstance(members, dict):
        raise _invalid("", 'must be an object such as {"payload": {}}')
    if KIND_MEMBER in members:
        raise _invalid(f"/{KIND_MEMBER}", "stands in the path; leave it out")
    return msgspec.json.encode({KIND_MEMBER: kind, **_members_decoder.decode(body)})


def _invalid(pointer: str, detail: str) -> ProblemError:
    errors: list[ErrorAt] = [{"pointer": pointer, "detail": detail}]
    return ProblemError(problem("invalid-field", f"{pointer[1:] or 'the body'} {detail}", errors=errors))
