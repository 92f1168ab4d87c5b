"""What a token is: how it looks, what is kept of it, when it holds."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acked_common.model.principal import Permission, Principal
from acked_common.model.tokens import (
    REMEMBERED_FOR,
    TOKEN_CHARS,
    TokenError,
    TokenRecord,
    id_of,
    is_in_query,
    is_of,
    mint,
    token_document,
    token_from,
)
from support.factories import now

AT = now()


def made(may: str = "submit,read", **fields: object) -> tuple[str, TokenRecord]:
    options: dict[str, object] = {"tenant": "acme", "client": "billing", "at": AT, **fields}
    return mint(may=may.split(","), **options)  # type: ignore[arg-type]


def test_a_token_names_its_record_and_opens_it_alone() -> None:
    token, record = made()
    other, _ = made()
    assert len(token) == TOKEN_CHARS
    assert id_of(token.encode()) == record.id
    assert record.principal == Principal("acme", "billing", frozenset({Permission.SUBMIT, Permission.READ}))
    assert is_of(record, token.encode())
    assert not is_of(record, other.encode())
    assert not is_of(record, token[:-1].encode() + b"_")


def test_nothing_that_is_kept_or_shown_is_the_secret() -> None:
    token, record = made()
    secret = token.rpartition("_")[2] if "_" not in token[19:] else token[19:]
    assert secret not in repr(record)
    assert secret.encode() not in repr(token_document(record)).encode()


@given(st.binary(max_size=80))
def test_what_does_not_look_like_a_token_has_no_id(text: bytes) -> None:
    assert id_of(text) is None


@pytest.mark.parametrize("spoilt", [lambda t: t[:-1], lambda t: t + "x", lambda t: t.upper(), lambda t: " " + t[1:]])
def test_a_spoilt_token_is_none(spoilt: object) -> None:
    assert id_of(spoilt(made()[0]).encode()) is None  # type: ignore[operator]


def test_it_holds_until_it_expires_or_is_revoked() -> None:
    _, record = made(expires_in_days=1)
    assert record.expires_at == AT + timedelta(days=1)
    assert record.holds(AT)
    assert record.holds(AT + timedelta(hours=23))
    assert not record.holds(AT + timedelta(days=1))
    assert record.forget_at == AT + timedelta(days=1) + REMEMBERED_FOR
    _, endless = made()
    assert endless.holds(AT + timedelta(days=36500))
    assert endless.forget_at is None


def test_a_document_gives_the_record_back() -> None:
    _, record = made("worker,operate", tenant="default", expires_in_days=2.5)
    assert token_from(token_document(record)) == record


def test_a_permission_of_a_newer_version_allows_nothing() -> None:
    document = token_document(made("read")[1])
    assert token_from({**document, "permissions": ["read", "rule"]}).principal.permissions == {Permission.READ}


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"may": "rule"}, "'rule'; known are: submit, read, operate, worker, signal"),
        ({"may": " ,"}, "known are: submit"),
        ({"tenant": "A b"}, "tenant 'A b'"),
        ({"tenant": "x" * 65}, "tenant"),
        ({"client": "$where"}, "client '$where'"),
        ({"may": "worker"}, "belongs to the tenant default"),
        ({"expires_in_days": 0}, "3,650 days at most"),
        ({"expires_in_days": 1e-9}, "a second"),
        ({"expires_in_days": 1e9}, "3,650 days at most"),
        ({"expires_in_days": float("nan")}, "3,650 days at most"),
    ],
)
def test_what_makes_no_sense_is_refused(fields: dict[str, object], says: str) -> None:
    with pytest.raises(TokenError, match=says.replace("$", r"\$")):
        made(**fields)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["token", "access_token", "x"])
def test_a_token_in_a_query_is_seen(name: str) -> None:
    token, _ = made()
    assert is_in_query(f"{name}={token}".encode())
    assert is_in_query(f"a=1&{name}={token}&b=2".encode())
    assert is_in_query(f"{name}={token.replace('_', '%5F')}".encode())


@pytest.mark.parametrize(
    "query", [b"page_token=abc", b"kind=token", b"tag=acked_x", b"batch=acked_report", b"wait_s=1"]
)
def test_other_queries_are_left_alone(query: bytes) -> None:
    assert not is_in_query(query)
