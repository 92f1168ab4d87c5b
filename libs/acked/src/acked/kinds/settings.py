"""The environment variables of the shipped kinds."""

import os

from acked.kinds.http_guard import AllowList

HTTP_CALL_ALLOW = "ACKED_HTTP_CALL_ALLOW"


def http_call_allow() -> AllowList:
    """Parse `ACKED_HTTP_CALL_ALLOW`: `host` or `host:port`, separated by commas. Raise `ValueError`."""
    try:
        return AllowList.parse(os.environ.get(HTTP_CALL_ALLOW, ""))
    except ValueError as error:
        raise ValueError(f"{HTTP_CALL_ALLOW}: {error}") from None


CALLBACK_RETRIES_S = "ACKED_CALLBACK_RETRIES_S"
USUAL_RETRIES_S = (5.0, 300.0, 1_800.0, 7_200.0, 18_000.0, 36_000.0, 36_000.0)
"""The schedule of Svix."""
MOST_RETRIES = 20
MAX_RETRY_S = 7 * 86_400.0


def callback_retries_s() -> tuple[float, ...]:
    """Parse `ACKED_CALLBACK_RETRIES_S`: the delays before further attempts in seconds, separated by commas. Raise
    `ValueError`."""
    text = os.environ.get(CALLBACK_RETRIES_S, "")
    if not text.strip():
        return USUAL_RETRIES_S
    try:
        found = tuple(float(part) for part in text.split(","))
    except ValueError:
        found = ()
    if not 1 <= len(found) <= MOST_RETRIES or not all(0 <= delay_s <= MAX_RETRY_S for delay_s in found):
        raise ValueError(
            f"{CALLBACK_RETRIES_S}: must be 1 to {MOST_RETRIES} numbers of seconds, separated by commas, each at most "
            f"{MAX_RETRY_S:.0f}"
        )
    return found
