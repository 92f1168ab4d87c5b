"""OWNER of the problem types: what each means, and what a client does about it. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class ProblemType:
    """One kind of problem. `text` says what happened, `advice` what the client does about it."""

    status: int
    title: str
    text: str
    advice: str
    headers: Mapping[str, str] = field(default_factory=dict)
    """What each answer with this problem carries."""


_SOON = {"Retry-After": "1"}
_CLOSE = {"Connection": "close"}

CATALOGUE: Mapping[str, ProblemType] = {
    # The body as a text.
    "bad-json": ProblemType(
        400,
        "The body is not JSON",
        "The body breaks the rules of JSON (RFC 8259) at the place that the answer names.",
        "Correct the body. Let a library write it; NaN and Infinity are no JSON.",
    ),
    "bad-encoding": ProblemType(
        400,
        "The body is not UTF-8",
        "JSON is sent as UTF-8 without a byte order mark. A byte of the body is not.",
        "Encode the text as UTF-8. Send binary data as a text, in base64 for example.",
    ),
    "bad-number": ProblemType(
        400,
        "A number is out of range",
        "An integer does not fit in 64 signed bits, or a number is too large for a double or longer than 400 "
        "characters. Other programs would read another value than the one that was sent.",
        "Send such a number as a text.",
    ),
    "bad-text": ProblemType(
        400,
        "A text can't be kept",
        "A text holds half of a surrogate pair, or a key holds the character NUL.",
        "Remove it. Half a pair often comes from a text that was cut inside an emoji.",
    ),
    "duplicate-key": ProblemType(
        400,
        "A key stands twice in one object",
        "Programs do not agree which of the two counts.",
        "Send each key once.",
    ),
    "too-deep": ProblemType(
        400,
        "The body is nested too deeply",
        "Objects and arrays are nested deeper than 32 levels, the outermost counted.",
        "Make it flatter, or send the deep part as a text.",
    ),
    "empty-body": ProblemType(
        400,
        "The body is empty",
        "The request declares a body of JSON or carries an Idempotency-Key, and its body is empty: it was lost on its "
        "way. Nothing was stored.",
        "Send it with its body. Clients that send a body from a stream must read it anew for each try. A job of kind "
        "demo needs no body, and then neither header.",
    ),
    "bad-idempotency-key": ProblemType(
        400,
        "The idempotency key can't be used",
        "An Idempotency-Key has 1 to 255 of the characters A-Z, a-z, 0-9, dot, underscore, colon and hyphen, and a "
        "request has one at most. Nothing was stored.",
        "Send one such key, a new UUID for each request for example.",
    ),
    "slow-body": ProblemType(
        408,
        "The body did not arrive in time",
        "The whole body did not arrive within the time allowed. Nothing was stored; the connection is closed.",
        "Send it again over a new connection.",
        _CLOSE,
    ),
    "body-too-large": ProblemType(
        413,
        "The body is too large",
        "The body has more bytes than this route takes: 256 KiB unless ACKED_MAX_BODY_BYTES is set, and 2 MiB for a "
        "resolve. Nothing was stored.",
        "Keep large data elsewhere and send a reference to it, or raise ACKED_MAX_BODY_BYTES.",
        _CLOSE,
    ),
    "unsupported-media-type": ProblemType(
        415,
        "The body must be plain JSON",
        "The body is not declared as application/json in UTF-8, or it is compressed.",
        "Send the header Content-Type: application/json, and no Content-Encoding.",
    ),
    # What the body or the query says.
    "invalid-field": ProblemType(
        422,
        "A field can't be used",
        "The request can be read, but a field or parameter is missing, of the wrong type or out of range.",
        "Correct the fields that the answer lists.",
    ),
    "unknown-field": ProblemType(
        422,
        "A field is not known",
        "The body or the query holds a field that means nothing here; a misspelt option would be ignored.",
        "Correct its name, or remove it. What the handler needs belongs inside payload.",
    ),
    "unexpected-body": ProblemType(
        422,
        "No body is taken here",
        "The request has a body, and nothing reads one here. It is refused, as what it asks for would be ignored.",
        "Send the request without a body.",
    ),
    "idempotency-key-reused": ProblemType(
        422,
        "The idempotency key belongs to another request",
        "A job holds this Idempotency-Key, and it asks for something else than this request. Nothing was stored.",
        "Send the same request with the same body, a new one with a new key. A key is held as long as its job is kept.",
    ),
    "unknown-kind": ProblemType(
        422,
        "The kind is not known",
        "No worker has ever registered a handler for this kind.",
        "Correct the name, or start a worker that has the handler. GET /kinds lists the known ones to clients that may "
        "read.",
    ),
    "bad-count": ProblemType(
        422,
        "The count can't be used",
        "A load test makes 1 to 100,000 calls.",
        "Send count as a whole number in this range.",
    ),
    "bad-batch": ProblemType(
        422,
        "The batch name can't be used",
        "A batch name has 1 to 64 of the characters A-Z, a-z, 0-9, dot, underscore and hyphen.",
        "Use such a name.",
    ),
    "bad-message": ProblemType(
        400,
        "The message can't be used",
        "A message on the WebSocket has no known type or lacks a field.",
        "Correct the message; the connection stays open.",
    ),
    "too-many-subscriptions": ProblemType(
        429,
        "Too many subscriptions",
        "One connection of the feed carries 64 subscriptions and 10,000 ids at most; or all connections of this client "
        "together hold as many as one client may.",
        "Unsubscribe what is no longer shown, or follow a batch or a kind instead of single ids.",
        _SOON,
    ),
    "rate-limited": ProblemType(
        429,
        "Too many requests",
        "This client has sent more requests than its rate allows. Nothing was done.",
        "Send it again after the time in Retry-After. The header RateLimit tells how many more are free now.",
        _SOON,
    ),
    "too-many-requests": ProblemType(
        429,
        "Too many requests at once",
        "As many requests of this client are under way as one client may have. Nothing was done.",
        "Wait for some of them, then send it again. ACKED_REQUESTS_PER_CLIENT is the bound.",
        _SOON,
    ),
    "too-many-polls": ProblemType(
        429,
        "Too many long polls at once",
        "As many long polls of this client wait as one client may have.",
        "Follow many jobs over the feed, or ask without wait_s. ACKED_LONG_POLLS_PER_CLIENT is the bound.",
        _SOON,
    ),
    "too-many-bytes": ProblemType(
        429,
        "Too many bytes under way",
        "Bodies and responses of this client that are under way have as many bytes as one client may hold. Nothing was "
        "stored.",
        "Send fewer large bodies at once, and read responses as they come. ACKED_HELD_BYTES_PER_CLIENT is the bound.",
        _SOON,
    ),
    "too-many-reads": ProblemType(
        429,
        "Too many lists and counts at once",
        "As many lists and counts of this client are under way as one client may have.",
        "Ask for one after the other. ACKED_READS_PER_CLIENT is the bound.",
        _SOON,
    ),
    "too-many-load-tests": ProblemType(
        429,
        "Too many load tests at once",
        "Load tests of this client are under way with as many tests, or as many calls, as one client may have.",
        "Wait for one to end. ACKED_LOAD_TESTS_PER_CLIENT and ACKED_LOAD_TEST_CALLS_PER_CLIENT are the bounds.",
        _SOON,
    ),
    "too-many-feeds": ProblemType(
        429,
        "Too many connections to the feed",
        "This client has as many connections to the feed of this gateway as one client may have.",
        "Close those that are not needed; one connection carries 64 subscriptions.",
        _SOON,
    ),
    # Where the request goes, and from whom.
    "bad-host": ProblemType(
        400,
        "The request must name one host",
        "The request has no Host header, or more than one.",
        "Send exactly one.",
    ),
    "host-not-allowed": ProblemType(
        421,
        "This host name is not allowed",
        "The Host header holds a name that this server does not know. A foreign page could point its own name here.",
        "Use localhost or 127.0.0.1, or add the name to ACKED_ALLOWED_HOSTS.",
    ),
    "cross-site": ProblemType(
        403,
        "A page of another origin may not do this",
        "A browser sent this request for a page of another origin, or ahead of a person's wish. Another port of the "
        "same host is another origin.",
        "Open the page of this server instead, or call it from a program.",
    ),
    "stale-page": ProblemType(
        409,
        "This page has started its test already",
        "The page tried to start a load test by itself, with a value that was used before or is too old. Nothing was "
        "started.",
        "Press Run to start another.",
    ),
    "upgrade-required": ProblemType(
        426,
        "This address speaks WebSocket",
        "A plain HTTP request was sent to the address of a WebSocket.",
        "Connect with a WebSocket client: ws:// or wss:// instead of http:// or https://.",
        {"Upgrade": "websocket", "Connection": "Upgrade"},
    ),
    "origin-not-allowed": ProblemType(
        403,
        "This origin is not allowed",
        "A page of an origin that is not on the list asked for this.",
        "If the page is yours, add its origin to ACKED_ALLOWED_ORIGINS.",
    ),
    "bad-http": ProblemType(
        400,
        "This is no HTTP request",
        "What was sent breaks the rules of HTTP/1.1, or is too many requests at once without waiting for answers.",
        "Let a library send it. Over TLS, ask the proxy that ends it.",
        _CLOSE,
    ),
    "unsupported-transfer-coding": ProblemType(
        501,
        "The body is framed in a way that is not served",
        "Transfer-Encoding names a coding other than chunked. The body would be read as something else than was sent.",
        "Send the body with a Content-Length, or with Transfer-Encoding: chunked alone.",
        _CLOSE,
    ),
    "slow-head": ProblemType(
        408,
        "The request arrived too slowly",
        "The request line and the headers must arrive within some seconds; the connection is closed.",
        "Send the request as a whole, on a new connection.",
        _CLOSE,
    ),
    "headers-too-large": ProblemType(
        431,
        "The headers are too large",
        "The request line and the headers have more than 32 KiB in all.",
        "Send fewer or shorter ones; large cookies are a common cause.",
    ),
    "no-token": ProblemType(
        401,
        "A token is needed",
        "This server wants to know who calls, and the request carries no token.",
        "Send the header Authorization: Bearer <token>. Who runs the server makes one with ./just token make.",
        {"WWW-Authenticate": "Bearer"},
    ),
    "unknown-token": ProblemType(
        401,
        "The token is not known",
        "The token was never made here, was revoked, or has expired.",
        "Use one that holds; ./just token list shows which do.",
        {"WWW-Authenticate": 'Bearer error="invalid_token"'},
    ),
    "token-in-url": ProblemType(
        400,
        "A token does not belong in the URL",
        "The URL carries a token. URLs are kept in logs and histories and by proxies; who reads those could use it.",
        "Revoke this token, and send another one in the header Authorization: Bearer <token>.",
    ),
    "missing-permission": ProblemType(
        403,
        "The token does not allow this",
        "The token is known, but it was made without the permission that the answer names.",
        "Use a token that has it; ./just token make --may … makes one.",
    ),
    "wrong-worker-secret": ProblemType(
        401,
        "The worker secret is wrong or missing",
        "The worker channel is for workers alone. They show a secret, which gateways and workers share.",
        "Give gateways and workers the same ACKED_WORKER_SECRET_FILE, and start those again that had another one.",
        {"WWW-Authenticate": "Bearer"},
    ),
    "not-found": ProblemType(
        404,
        "There is nothing here",
        "No job, batch or page has this address. A job is deleted when its retention ends.",
        "Check the id or the path.",
    ),
    "method-not-allowed": ProblemType(
        405,
        "This method is not allowed here",
        "The path exists, but not for this method.",
        "Use one of the methods in the Allow header.",
    ),
    "wrong-state": ProblemType(
        409,
        "The job's state does not allow this",
        "The job is in a state from which this can't be done; it may have moved meanwhile.",
        "Read its status, then decide.",
    ),
    "ambiguous-worker": ProblemType(
        409,
        "Several workers have this name",
        "Workers of several stacks on one database share names, and nothing was done to any of them.",
        "Send it again with the instance of the one that is meant.",
    ),
    # What the server can't do now.
    "not-accepted": ProblemType(
        503,
        "The request was not accepted",
        "This call stored nothing, and nothing will run because of it.",
        "Send it again, after the time in Retry-After.",
        _SOON,
    ),
    "outcome-unknown": ProblemType(
        503,
        "It is not known whether the request was stored",
        "The database did not confirm in time. The request may be stored, and then it will run.",
        "Sending it again with the same Idempotency-Key is safe. Without a key it may run the work twice; GET /jobs of "
        "its batch or tag tells whether it is there.",
        _SOON,
    ),
    "quota-exceeded": ProblemType(
        503,
        "Too many jobs wait",
        "As many jobs wait for workers as may, of this tenant or in all. Nothing was stored.",
        "Send it again after the time in Retry-After: then, at the present pace, there is room.",
        _SOON,
    ),
    "busy": ProblemType(
        503,
        "The server has no room",
        "More requests wait to be stored than the server holds, or it has as many connections as it serves, or all "
        "clients together hold as much of something as it can; then limit names it. Nothing was stored.",
        "Send it again later, with growing pauses.",
        _SOON,
    ),
    "store-unreachable": ProblemType(
        503,
        "The database does not answer",
        "What was asked for can't be read or changed now. No accepted job is lost.",
        "Ask again, after the time in Retry-After.",
        _SOON,
    ),
    "access-unknown": ProblemType(
        503,
        "It is not known whether the token holds",
        "The database that keeps the tokens does not answer, and this server has not seen the token lately.",
        "Send it again, after the time in Retry-After.",
        _SOON,
    ),
    "intake-unreachable": ProblemType(
        503,
        "Intake could not be reached",
        "None of the calls was answered with a 202.",
        "Check that intake runs and is ready (its /readyz), then start the load test again.",
        _SOON,
    ),
    "no-worker-secret": ProblemType(
        503,
        "No worker can connect",
        "The gateway was started without a worker secret, so it lets no worker connect. Everything else works.",
        "Set ACKED_WORKER_SECRET_FILE for gateways and workers, then start them again.",
        _SOON,
    ),
    "internal": ProblemType(
        500,
        "Something broke in the server",
        "This is a fault of the server, not of the request. Its log has the details.",
        "Whether the request took effect is not known; read before you send it again. Please report it.",
    ),
}
