"""OWNER of what the client reads from its environment: the token."""

import os
import ssl
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from acked_client.model.requests import RetryPolicy, TraceContext
from acked_client.shells.transport import Config

TOKEN = "ACKED_TOKEN"  # noqa: S105 - the name of a variable
TOKEN_FILE = "ACKED_TOKEN_FILE"  # noqa: S105 - the name of a variable


def read_config(
    gateway: str,
    *,
    intake: str | None,
    token: str | None,
    token_file: str | Path | None,
    retry: RetryPolicy | None,
    verify: ssl.SSLContext | bool,
    trace_context: TraceContext | None,
) -> Config:
    """Return the settings of a client. Raise `ValueError` for an address or a token that can't be used."""
    return Config(
        gateway=_address("gateway", gateway),
        intake=None if intake is None else _address("intake", intake),
        policy=retry or RetryPolicy(),
        verify=verify,
        trace_context=trace_context,
        token=_token(token, token_file, os.environ),
    )


def _address(name: str, url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ValueError(f"{name} must be an address such as http://localhost:8080, not {url!r}")
    if parts.username is not None or parts.password is not None:
        raise ValueError(f"{name} must not contain a user or a password; the token is an argument of its own")
    return url.rstrip("/")


def _token(token: str | None, file: str | Path | None, environ: Mapping[str, str]) -> str | None:
    """Return the token: the argument, else that of the environment. A file contains only the token and white space."""
    if token is not None and file is not None:
        raise ValueError("pass token or token_file, not both")
    if token is None and file is None:
        token, file = environ.get(TOKEN) or None, environ.get(TOKEN_FILE) or None
    if token is None and file is not None:
        token = Path(file).read_text(encoding="utf-8")
    if token is None:
        return None
    token = token.strip()
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise ValueError("the token is empty, or contains invalid characters")
    return token
