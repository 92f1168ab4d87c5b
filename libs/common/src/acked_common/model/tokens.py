"""OWNER of tokens: their form, their stored record, their validity. Pure.

A token is `acked_<id>_<secret>`. The id names it in lists and logs; the secret has 256 random bits. The record contains
the SHA-256 of the whole token. A slow hash protects passwords that humans choose; 256 random bits can't be guessed, so
it would only cost time in each request.
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from acked_common.model.instants import whole_ms
from acked_common.model.names import CLIENT_NAME, TENANT_NAME
from acked_common.model.principal import DEFAULT_TENANT, Permission, Principal

PREFIX = b"acked_"
ID_CHARS = 12
SECRET_BYTES = 32
TOKEN_CHARS = 62
MOST_ACTIVE = 2
"""Active tokens of one client: the old one and the new one, while it is rotated."""
MIN_DAYS = 1 / 86_400
"""A second; a shorter-lived token would expire before its client gets it."""
MAX_DAYS = 3650
REMEMBERED_FOR = timedelta(days=30)
"""How long lists show a token that is no longer valid."""

_ALPHABET = "abcdefghijkmnpqrstuvwxyz23456789"
ID_FROM, ID_TO = len(PREFIX), len(PREFIX) + ID_CHARS
_TOKEN = re.compile(rb"acked_[a-z0-9]{12}_[A-Za-z0-9_-]{43}")
_IN_URL = re.compile(rb"(?:^|&)(?:access_)?token=|acked(?:_|%5[Ff])[a-z0-9]{12}(?:_|%5[Ff])")


class TokenError(Exception):
    """The token can't be made; the message gives the reason."""


@dataclass(frozen=True, slots=True)
class TokenRecord:
    """The stored record of a token. It identifies the client, and the token can't be derived from it."""

    id: str
    digest: bytes
    principal: Principal
    made_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None

    def holds(self, at: datetime) -> bool:
        """Return whether the token is valid at this instant."""
        return self.revoked_at is None and (self.expires_at is None or at < self.expires_at)

    @property
    def forget_at(self) -> datetime | None:
        """When the record can be deleted; None for a token without an end."""
        ends = [at for at in (self.expires_at, self.revoked_at) if at is not None]
        return min(ends) + REMEMBERED_FOR if ends else None


def mint(
    *, tenant: str, client: str, may: Iterable[str], at: datetime, expires_in_days: float | None = None
) -> tuple[str, TokenRecord]:
    """Make a token and its record. Raises `TokenError`."""
    for what, name, pattern in (("tenant", tenant, TENANT_NAME), ("client", client, CLIENT_NAME)):
        if pattern.fullmatch(name) is None:
            raise TokenError(
                f"{what} {name!r}: must be 1 to 64 of a-z, 0-9, '.', '_' and '-', the first a letter or digit"
            )
    permissions = _permissions(may)
    if Permission.WORKER in permissions and tenant != DEFAULT_TENANT:
        raise TokenError(
            f"workers serve all tenants: a token that may {Permission.WORKER} belongs to the tenant {DEFAULT_TENANT}"
        )
    if expires_in_days is not None and not MIN_DAYS <= expires_in_days <= MAX_DAYS:
        raise TokenError(f"a token expires in a second (0.000012 days) at least, and in {MAX_DAYS:,} days at most")
    token_id = "".join(secrets.choice(_ALPHABET) for _ in range(ID_CHARS))
    token = f"{PREFIX.decode()}{token_id}_{secrets.token_urlsafe(SECRET_BYTES)}"
    at = whole_ms(at)
    expires_at = None if expires_in_days is None else whole_ms(at + timedelta(days=expires_in_days))
    return token, TokenRecord(
        token_id, digest_of(token.encode()), Principal(tenant, client, permissions), at, expires_at
    )


def _permissions(may: Iterable[str]) -> frozenset[Permission]:
    wanted = [word.strip() for word in may if word.strip()]
    known = [permission.value for permission in Permission]
    if unknown := [word for word in wanted if word not in known]:
        raise TokenError(f"unknown permission {unknown[0]!r}; known are: {', '.join(known)}")
    if not wanted:
        raise TokenError(f"name the permissions of the token; known are: {', '.join(known)}")
    return frozenset(Permission(word) for word in wanted)


def digest_of(token: bytes) -> bytes:
    """Return the stored digest of a token."""
    return hashlib.sha256(token).digest()


def id_of(token: bytes) -> str | None:
    """Return the id in a token; None for a text that is not of this form."""
    if len(token) != TOKEN_CHARS or _TOKEN.fullmatch(token) is None:
        return None
    return token[ID_FROM:ID_TO].decode()


def is_of(record: TokenRecord, token: bytes) -> bool:
    """Return whether this is the token of the record, in constant time."""
    return hmac.compare_digest(record.digest, digest_of(token))


def is_token_like(text: bytes | str) -> bool:
    """Return whether a text has the form of a token, valid or not."""
    return id_of(text.encode("utf-8", "replace") if isinstance(text, str) else text) is not None


def is_in_query(query: bytes) -> bool:
    """Return whether the query of a URL contains a token, or a parameter for one."""
    return _IN_URL.search(query) is not None


def token_document(record: TokenRecord) -> dict[str, Any]:
    """Return the document of the record, with its id."""
    principal = record.principal
    document: dict[str, Any] = {
        "_id": record.id,
        "digest": record.digest,
        "tenant": principal.tenant,
        "client": principal.client,
        "permissions": sorted(permission.value for permission in principal.permissions),
        "made_at": record.made_at,
    }
    for name in ("expires_at", "revoked_at", "forget_at"):
        if (at := getattr(record, name)) is not None:
            document[name] = at
    return document


def token_from(document: dict[str, Any]) -> TokenRecord:
    """Read the record from its document. A permission that this version does not know allows nothing."""
    known = {permission.value for permission in Permission}
    allowed = frozenset(Permission(word) for word in document["permissions"] if word in known)
    return TokenRecord(
        id=document["_id"],
        digest=bytes(document["digest"]),
        principal=Principal(document["tenant"], document["client"], allowed),
        made_at=document["made_at"],
        expires_at=document.get("expires_at"),
        revoked_at=document.get("revoked_at"),
    )
