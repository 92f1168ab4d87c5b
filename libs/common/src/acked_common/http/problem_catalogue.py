"""OWNER of the problem types: the meaning of each, and the advice to clients. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class ProblemType:
    """One problem type. `text` describes the fault, `advice` the remedy for the client."""

    status: int
    title: str
    text: str
    advice: str
    headers: Mapping[str, str] = field(default_factory=dict)
    """Headers of every response with this problem."""


_SOON = {"Retry-After": "1"}
_CLOSE = {"Connection": "close"}

CATALOGUE: Mapping[str, ProblemType] = {
    # JSON syntax.
    "bad-json": ProblemType(
        400,
        "The body is not JSON",
        "The body breaks the rules of JSON (RFC 8259) at the position that the response names.",
        "Correct the body. Let a library write it; NaN and Infinity are not JSON.",
    ),
    "bad-encoding": ProblemType(
        400,
        "The body is not UTF-8",
        "JSON is UTF-8 without a byte order mark. A byte of this body is not valid UTF-8.",
        "Encode the text as UTF-8. Send binary data as a string, for example in base64.",
    ),
    "bad-number": ProblemType(
        400,
        "A number is out of range",
        "An integer does not fit in 64 signed bits, or a number is too large for a double or longer than 400 "
        "characters. Other programs would read a different value.",
        "Send such a number as a string.",
    ),
    "bad-text": ProblemType(
        400,
        "A string can't be stored",
        "A string contains half of a surrogate pair, or a key contains the character NUL.",
        "Remove it. Half a pair often comes from a string that was cut inside an emoji.",
    ),
    "duplicate-key": ProblemType(
        400,
        "A key appears twice in one object",
        "Programs disagree on which of the two values counts.",
        "Send each key once.",
    ),
    "too-deep": ProblemType(
        400,
        "The body is nested too deeply",
        "Objects and arrays are nested deeper than 32 levels, the outermost counted.",
        "Make it flatter, or send the deep part as a string.",
    ),
    "empty-body": ProblemType(
        400,
        "The body is empty",
        "The request declares a JSON body or carries an Idempotency-Key, but its body is empty: it was lost in "
        "transit. Nothing was stored.",
        "Send it with its body. Clients that stream a body must read it again for each retry. A job of kind "
        "demo needs no body, and then neither header.",
    ),
    "bad-idempotency-key": ProblemType(
        400,
        "The idempotency key is invalid",
        "An Idempotency-Key has 1 to 255 of the characters A-Z, a-z, 0-9, dot, underscore, colon and hyphen, and a "
        "request has at most one. Nothing was stored.",
        "Send one valid key, for example a new UUID for each request.",
    ),
    "slow-body": ProblemType(
        408,
        "The body did not arrive in time",
        "The body did not arrive in full within the time limit. Nothing was stored; the connection is closed.",
        "Retry over a new connection.",
        _CLOSE,
    ),
    "body-too-large": ProblemType(
        413,
        "The body is too large",
        "The body exceeds the limit of its route: for example 256 KiB for POST /process, unless ACKED_MAX_BODY_BYTES "
        "is set, and 2 MiB for a resolve. Nothing was stored.",
        "Store large data elsewhere and send a reference to it, or raise ACKED_MAX_BODY_BYTES.",
        _CLOSE,
    ),
    "unsupported-media-type": ProblemType(
        415,
        "The body must be plain JSON",
        "The body is not declared as application/json in UTF-8, or it is compressed.",
        "Send the header Content-Type: application/json, and no Content-Encoding.",
    ),
    # Contents of the body and the query.
    "invalid-field": ProblemType(
        422,
        "A field is invalid",
        "The request is well-formed, but a field or parameter is missing, of the wrong type or out of range.",
        "Correct the fields that the response lists.",
    ),
    "unknown-field": ProblemType(
        422,
        "A field is unknown",
        "The body or the query contains a field that this route does not define; a misspelt option would be ignored.",
        "Correct its name, or remove it. Put the handler's input inside payload.",
    ),
    "unexpected-body": ProblemType(
        422,
        "This route takes no body",
        "The request has a body, which this route would ignore. So it is rejected.",
        "Send the request without a body.",
    ),
    "idempotency-key-reused": ProblemType(
        422,
        "The idempotency key belongs to another request",
        "A job holds this Idempotency-Key, and its request differs from this one. Nothing was stored.",
        "Repeat a request with the same body, and use a new key for a new request. A key is held as long as its job.",
    ),
    "unknown-kind": ProblemType(
        422,
        "The kind is unknown",
        "No worker has ever registered a handler for this kind.",
        "Correct the name, or start a worker that has the handler. GET /kinds lists the known kinds to clients with "
        "the permission read.",
    ),
    "bad-count": ProblemType(
        422,
        "The count is invalid",
        "A load test makes 1 to 100,000 calls.",
        "Send count as an integer in this range.",
    ),
    "bad-batch": ProblemType(
        422,
        "The batch name is invalid",
        "A batch name is 1 to 64 of A-Z, a-z, 0-9, dot, underscore and hyphen; a new one is not . or ..",
        "Use a valid name.",
    ),
    "bad-message": ProblemType(
        400,
        "The message is invalid",
        "A WebSocket message has an unknown type or field, or lacks a field.",
        "Correct the message; the connection stays open.",
    ),
    "too-many-subscriptions": ProblemType(
        429,
        "Too many subscriptions",
        "One connection of the feed carries at most 64 subscriptions and 10,000 ids; or all connections of this client "
        "together have reached the client's limit.",
        "Unsubscribe what is no longer shown, or follow a batch or a kind instead of single ids.",
        _SOON,
    ),
    "rate-limited": ProblemType(
        429,
        "Too many requests",
        "This client exceeds its request rate. The request had no effect.",
        "Retry after the time in Retry-After. The RateLimit header shows the remaining quota.",
        _SOON,
    ),
    "too-many-requests": ProblemType(
        429,
        "Too many requests at once",
        "This client has reached its limit of concurrent requests. The request had no effect.",
        "Wait until some of them end, then retry. ACKED_REQUESTS_PER_CLIENT is the limit.",
        _SOON,
    ),
    "too-many-polls": ProblemType(
        429,
        "Too many long polls at once",
        "This client has reached its limit of concurrent long polls.",
        "Follow many jobs over the feed, or send requests without wait_s. ACKED_LONG_POLLS_PER_CLIENT is the limit.",
        _SOON,
    ),
    "too-many-bytes": ProblemType(
        429,
        "Too many bytes in flight",
        "Request bodies and responses in flight have reached this client's limit of bytes. Nothing was stored.",
        "Send fewer large bodies at once, and read responses promptly. ACKED_HELD_BYTES_PER_CLIENT is the limit.",
        _SOON,
    ),
    "too-many-reads": ProblemType(
        429,
        "Too many lists and counts at once",
        "This client has reached its limit of concurrent lists and counts.",
        "Send one after the other. ACKED_READS_PER_CLIENT is the limit.",
        _SOON,
    ),
    "too-many-load-tests": ProblemType(
        429,
        "Too many load tests at once",
        "This client has reached its limit of load tests, or of their calls.",
        "Wait for one to end. ACKED_LOAD_TESTS_PER_CLIENT and ACKED_LOAD_TEST_CALLS_PER_CLIENT are the limits.",
        _SOON,
    ),
    "too-many-bulk-actions": ProblemType(
        429,
        "Too many bulk actions under way",
        "The maximum of unfinished bulk actions is reached: 10 of a tenant, 50 of all tenants. Nothing was changed.",
        "Wait until one ends, or abort one. GET /bulk-actions lists them.",
        {"Retry-After": "5"},
    ),
    "too-many-schedules": ProblemType(
        429,
        "Too many schedules",
        "The maximum of schedules is reached: 1,000 of a tenant, 10,000 of all tenants. Nothing was changed.",
        "Delete schedules that are not needed any more. GET /schedules lists them.",
        {"Retry-After": "60"},
    ),
    "too-many-callback-endpoints": ProblemType(
        429,
        "Too many callback endpoints",
        "The maximum of callback endpoints is reached: 20 of a tenant, 1,000 of all tenants. Nothing was changed.",
        "Delete endpoints that are not needed any more. GET /callback-endpoints lists them.",
        {"Retry-After": "60"},
    ),
    "too-many-feeds": ProblemType(
        429,
        "Too many connections to the feed",
        "This client has reached its limit of feed connections on this gateway.",
        "Close unneeded connections; one connection carries 64 subscriptions.",
        _SOON,
    ),
    # Destination and origin of the request.
    "bad-host": ProblemType(
        400,
        "The request must name one host",
        "The request has no Host header, or more than one.",
        "Send exactly one.",
    ),
    "host-not-allowed": ProblemType(
        421,
        "This host name is not allowed",
        "The Host header names a host that this server does not allow. A hostile page could point its own name here.",
        "Use localhost or 127.0.0.1, or add the name to ACKED_ALLOWED_HOSTS.",
    ),
    "cross-site": ProblemType(
        403,
        "A page of another origin may not do this",
        "A browser sent this request for a page of another origin, or speculatively. Another port of the "
        "same host is another origin.",
        "Use the page of this server, or call it from a program.",
    ),
    "stale-page": ProblemType(
        409,
        "This page has already started its load test",
        "The page tried to start a load test automatically, with a nonce that was used before or is too old. Nothing "
        "was started.",
        "Press Run to start another.",
    ),
    "upgrade-required": ProblemType(
        426,
        "This path serves WebSockets",
        "A plain HTTP request was sent to a WebSocket path.",
        "Connect with a WebSocket client: ws:// or wss:// instead of http:// or https://. /ws/feed also serves "
        "requests with Accept: text/event-stream.",
        {"Upgrade": "websocket", "Connection": "Upgrade"},
    ),
    "origin-not-allowed": ProblemType(
        403,
        "This origin is not allowed",
        "The request comes from a page whose origin is not listed.",
        "If the page is yours, add its origin to ACKED_ALLOWED_ORIGINS.",
    ),
    "bad-http": ProblemType(
        400,
        "This is not an HTTP request",
        "The bytes break the rules of HTTP/1.1, or too many requests were pipelined.",
        "Use an HTTP library. If a proxy terminates TLS, check the proxy.",
        _CLOSE,
    ),
    "unsupported-transfer-coding": ProblemType(
        501,
        "The transfer coding is not supported",
        "Transfer-Encoding names a coding other than chunked. The body would be misread.",
        "Send the body with a Content-Length, or with Transfer-Encoding: chunked alone.",
        _CLOSE,
    ),
    "slow-head": ProblemType(
        408,
        "The request arrived too slowly",
        "The request line and the headers did not arrive within the time limit; the connection is closed.",
        "Send the request as a whole, on a new connection.",
        _CLOSE,
    ),
    "headers-too-large": ProblemType(
        431,
        "The headers are too large",
        "The request line and the headers exceed 32 KiB in all.",
        "Send fewer or shorter ones; large cookies are a common cause.",
    ),
    "no-token": ProblemType(
        401,
        "A token is needed",
        "This server requires authentication, and the request carries no token.",
        "Send the header Authorization: Bearer <token>. The operator makes one with ./just token make.",
        {"WWW-Authenticate": "Bearer"},
    ),
    "unknown-token": ProblemType(
        401,
        "The token is not valid",
        "The token is unknown, was revoked, or has expired.",
        "Use a valid one; ./just token list shows them.",
        {"WWW-Authenticate": 'Bearer error="invalid_token"'},
    ),
    "token-in-url": ProblemType(
        400,
        "A token does not belong in the URL",
        "The URL carries a token. Logs, browser histories and proxies record URLs, so others could use it.",
        "Revoke this token, and send a new one in the header Authorization: Bearer <token>.",
    ),
    "missing-permission": ProblemType(
        403,
        "The token does not allow this",
        "The token is valid, but it lacks the permission that the response names.",
        "Use a token with this permission; ./just token make --may … makes one.",
    ),
    "wrong-worker-secret": ProblemType(
        401,
        "The worker secret is wrong or missing",
        "Only workers may connect to the worker channel, with a secret that gateways and workers share.",
        "Give gateways and workers the same ACKED_WORKER_SECRET_FILE, and restart those that had another one.",
        {"WWW-Authenticate": "Bearer"},
    ),
    "not-found": ProblemType(
        404,
        "Not found",
        "No job, batch, kind, group, action or page has this path. A job is deleted when its retention ends.",
        "Check the id or the path.",
    ),
    "method-not-allowed": ProblemType(
        405,
        "This method is not allowed here",
        "The path exists, but does not support this method.",
        "Use one of the methods in the Allow header.",
    ),
    "wrong-state": ProblemType(
        409,
        "The job's state does not allow this",
        "The job is in a state that does not allow this operation; it may have changed meanwhile.",
        "Read its status, then decide.",
    ),
    "two-secrets": ProblemType(
        409,
        "Two secrets sign callbacks already",
        "A tenant has at most two secrets that sign: the newest, and the one before for a day.",
        "End the earlier one when its receivers have the newest, then make another.",
    ),
    "inbox-full": ProblemType(
        409,
        "The job's inbox is full",
        "A job has at most 1,000 unread signals, 1 MiB in all. The signal was not stored.",
        "Wait until the job has taken some; GET /jobs/{id}/signals lists them. Or cancel the job.",
    ),
    "shared-lane": ProblemType(
        409,
        "The kind shares its lane",
        "A pause stops the lane of a kind. This kind shares its lane with other kinds, which the response names; "
        "they would stop too. Nothing was changed.",
        "Give the kind a lane of its own, with the option lane of its handler, and restart the workers.",
    ),
    "ambiguous-worker": ProblemType(
        409,
        "Several workers have this name",
        "Workers of several stacks on one database have this name. The command had no effect.",
        "Repeat it with the instance of the worker.",
    ),
    # The server can't do it now.
    "not-accepted": ProblemType(
        503,
        "The request was not accepted",
        "This call stored nothing, and nothing will run because of it.",
        "Retry after the time in Retry-After.",
        _SOON,
    ),
    "outcome-unknown": ProblemType(
        503,
        "It is not known whether the request was stored",
        "The database did not confirm in time. The request may be stored, and then it will run.",
        "A retry with the same Idempotency-Key is safe. Without a key it may run the work twice; GET /jobs with "
        "its batch or tag shows whether it was stored.",
        _SOON,
    ),
    "quota-exceeded": ProblemType(
        503,
        "Too many jobs wait",
        "The queue has reached its limit, for this tenant or in all. Nothing was stored.",
        "Retry after the time in Retry-After. At the present rate, there should be room by then.",
        _SOON,
    ),
    "busy": ProblemType(
        503,
        "The server is at capacity",
        "The queue of requests to store is full, all connections are in use, or all clients together have reached a "
        "limit, which the member limit names. Nothing was stored.",
        "Retry with exponential back-off.",
        _SOON,
    ),
    "store-unreachable": ProblemType(
        503,
        "The database is unavailable",
        "The server can't read or write now. No accepted job is lost.",
        "Retry after the time in Retry-After.",
        _SOON,
    ),
    "access-unknown": ProblemType(
        503,
        "The token can't be verified now",
        "The database of tokens is unavailable, and this server has not cached the token.",
        "Retry after the time in Retry-After.",
        _SOON,
    ),
    "intake-unreachable": ProblemType(
        503,
        "Intake could not be reached",
        "None of the calls got a 202 response.",
        "Check that intake runs and is ready (its /readyz), then start the load test again.",
        _SOON,
    ),
    "no-worker-secret": ProblemType(
        503,
        "No worker can connect",
        "The gateway was started without a worker secret, so it rejects all workers. Everything else works.",
        "Set ACKED_WORKER_SECRET_FILE for gateways and workers, then restart them.",
        _SOON,
    ),
    "internal": ProblemType(
        500,
        "Internal server error",
        "This is a fault of the server, not of the request. Its log has the details.",
        "The request may have taken effect; read its state before a retry. Please report the fault.",
    ),
}
