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
