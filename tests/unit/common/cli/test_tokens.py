"""The command line of `./just token`: what it takes, and what it refuses with the bound."""

from datetime import timedelta

import pytest

from acked_common.cli.tokens import make_token, parse_arguments, revoke_token
from acked_common.model.audit import AuditAction, AuditEntry
from acked_common.model.tokens import MAX_DAYS, TokenError
from acked_common.store.audit import MemoryAudit
from acked_common.store.errors import StoreUnavailable
from acked_common.store.tokens import MemoryTokens
from support.factories import now

MAKE = ("make", "--client", "billing", "--may", "read")


@pytest.mark.parametrize(("text", "days"), [("90", 90.0), ("0.5", 0.5), ("1.2e-5", 1.2e-5), ("3650", MAX_DAYS)])
def test_days_are_a_number_within_bounds(text: str, days: float) -> None:
    assert parse_arguments([*MAKE, "--days", text]).days == days


@pytest.mark.parametrize(
    "text",
    [
        "nan",
        "inf",
        "-inf",
        "-1",
        "0",
        "1e-9",
        "1e300",
        "3651",
        "1_0",
        " 5",
        "+5",
        "٣",
        "0x10",
        "",
        "ninety",
        "9" * 5000,
    ],
)
def test_other_days_are_refused_with_the_bounds(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse_arguments([*MAKE, f"--days={text}"])
    assert "not a number of days from 0.000012 (a second) to 3,650" in capsys.readouterr().err


@pytest.mark.parametrize(
    "more", [("--may", "submit"), ("--days", "1", "--days", "2"), ("--client", "x"), ("--tenant", "a", "--tenant", "b")]
)
def test_option_that_stands_twice_is_refused(more: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse_arguments([*MAKE, *more])
    assert "appears more than once" in capsys.readouterr().err


def test_the_same_words_are_taken_by_the_next_command() -> None:
    for _ in range(2):
        assert parse_arguments([*MAKE, "--days", "1", "--replace"]).replace


class NoAudit(MemoryAudit):
    """An audit that can't be written."""

    async def note(self, entry: AuditEntry) -> None:
        raise StoreUnavailable("no server answers")


AT = now()
MAKE_IN_ACME = parse_arguments(["make", "--client", "billing", "--tenant", "acme", "--may", "submit,read"])


async def test_a_token_is_noted_before_it_is_made() -> None:
    tokens, audit = MemoryTokens(), MemoryAudit()
    token = await make_token(tokens, audit, MAKE_IN_ACME, AT)
    (made,) = await tokens.all()
    (entry,) = audit.entries
    assert (entry.tenant, entry.client, entry.token_id, entry.at) == ("acme", "local", None, AT)
    assert entry.action == AuditAction.TOKEN_MAKE
    assert entry.target == {"token": made.id, "client": "billing", "may": ["read", "submit"], "replaces": False}
    assert token not in str(entry)


async def test_a_token_that_is_revoked_is_noted_once() -> None:
    tokens, audit = MemoryTokens(), MemoryAudit()
    await make_token(tokens, audit, MAKE_IN_ACME, AT)
    (made,) = await tokens.all()
    for _ in range(2):
        await revoke_token(tokens, audit, made.id, AT + timedelta(days=1))
    assert not (await tokens.all())[0].holds(AT + timedelta(days=1))
    assert [entry.action for entry in audit.entries] == [AuditAction.TOKEN_MAKE, AuditAction.TOKEN_REVOKE]
    assert (audit.entries[1].tenant, audit.entries[1].target) == ("acme", {"token": made.id, "client": "billing"})
    with pytest.raises(TokenError, match="no token has the id"):
        await revoke_token(tokens, audit, "nobody", AT)


async def test_without_an_entry_no_token_is_made_or_revoked() -> None:
    tokens = MemoryTokens()
    with pytest.raises(StoreUnavailable):
        await make_token(tokens, NoAudit(), MAKE_IN_ACME, AT)
    assert await tokens.all() == []
    await make_token(tokens, MemoryAudit(), MAKE_IN_ACME, AT)
    (made,) = await tokens.all()
    with pytest.raises(StoreUnavailable):
        await revoke_token(tokens, NoAudit(), made.id, AT)
    assert (await tokens.all())[0].holds(AT)
