"""`http_call`: sends an HTTP request and stores the response.

    {"url": "https://api.example.com/orders", "json": {"item": 7}, "headers": {"authorization": "Bearer …"}}

Fields: `url`, `method`, `headers`, `body` (string) or `json`, `timeout_s` (30), `expect` (a status or a list of
statuses that are a success; default any 2xx). Each request carries an `Idempotency-Key`, equal for every attempt of a
run. Connection errors, timeouts, 408, 425, 429 and 5xx are retried, no sooner than `Retry-After` says; other responses
fail the job. If the server closes a kept connection instead of responding, GET, HEAD, OPTIONS, PUT and DELETE are sent
again within the attempt, on a new connection. For other methods the attempt fails, because the server may have acted.
Redirects are not followed. The request asks for an uncompressed response; gzip and deflate are undone all the same, up
to 64 KiB. A body that is not text in the charset of its Content-Type is in `body_base64`. The rules for allowed hosts
are in `acked.kinds.http_guard`.
"""

from datetime import UTC, datetime
from typing import Any

from acked import Context, handler
from acked.kinds import MOST_ATTEMPTS, MOST_TIMEOUT_S, settings
from acked.kinds.http_answer import raise_failure, result_of
from acked.kinds.http_client import caller, name_of
from acked.kinds.http_request import parse_request

# An invalid setting stops the worker at its start instead of failing each job.
settings.http_call_allow()


@handler("http_call", timeout_s=3_700.0, timeout_limit_s=MOST_TIMEOUT_S, max_attempts_limit=MOST_ATTEMPTS)
async def http_call(ctx: Context, payload: Any) -> dict[str, Any]:
    """Call `payload["url"]`; the result is `{"status", "headers", "json" or "body" or "body_base64", "truncated"?}`."""
    request, url = parse_request(payload)
    answer = await caller.get().call(request, url, ctx.idempotency_key, min(request.timeout_s, ctx.remaining_s))
    if not request.expects(answer.status):
        raise_failure(name_of(request, url), answer, datetime.now(UTC))
    return result_of(answer)
