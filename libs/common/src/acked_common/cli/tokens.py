"""Create, list and revoke tokens: `python -m acked_common.cli.tokens make --client billing --tenant acme --may read`.

`./just token …` runs it where the stack runs. A new token is printed once, alone on standard output.
"""

import argparse
import asyncio
import sys
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from acked_common.model.audit import AuditAction, new_entry
from acked_common.model.instants import rfc3339
from acked_common.model.numbers import decimal
from acked_common.model.principal import DEFAULT_TENANT, LOCAL_OPERATOR, Operator, Permission
from acked_common.model.tokens import MAX_DAYS, MIN_DAYS, MOST_ACTIVE, TokenError, TokenRecord, mint
from acked_common.runtime.env import Env, SettingsError
from acked_common.runtime.logs import set_up_logs
from acked_common.runtime.settings import CommonSettings, read_common
from acked_common.store.audit import AuditStore
from acked_common.store.errors import StoreError
from acked_common.store.mongo.store import MongoStore
from acked_common.store.tokens import TokenStore

STORE_TIMEOUT_S = 10.0


class _Once(argparse.Action):
    """Reject a repeated option: `--may read --may submit` would allow `submit` alone."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        given: set[str] = namespace.__dict__.setdefault("given", set())
        if self.dest in given:
            parser.error(f"{option_string} appears more than once; write it once")
        given.add(self.dest)
        setattr(namespace, self.dest, values)


def _days(text: str) -> float:
    try:
        days = decimal(text)
    except ValueError:
        days = 0.0
    if not MIN_DAYS <= days <= MAX_DAYS:
        raise argparse.ArgumentTypeError(
            f"{text[:40]!r} is not a number of days from 0.000012 (a second) to {MAX_DAYS:,}, such as 90 or 0.5"
        )
    return days


def parse_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    """Parse the verb and its options."""
    parser = argparse.ArgumentParser(prog="just token", description="Tokens of clients.")
    verbs = parser.add_subparsers(dest="verb", required=True)
    make = verbs.add_parser("make", help="creates a token and prints it, once")
    make.add_argument("--client", required=True, action=_Once, help="the client's name, such as billing")
    make.add_argument(
        "--tenant", default=DEFAULT_TENANT, action=_Once, help=f"the tenant of its jobs; default {DEFAULT_TENANT}"
    )
    make.add_argument("--may", required=True, action=_Once, help=f"permissions, by commas: {', '.join(Permission)}")
    make.add_argument("--days", type=_days, action=_Once, help=f"days until it expires, up to {MAX_DAYS:,}; else never")
    make.add_argument("--replace", action="store_true", help="revokes the client's other tokens")
    verbs.add_parser("list", help="lists all tokens")
    verbs.add_parser("revoke", help="revokes a token").add_argument("id", help="its id in the list")
    return parser.parse_args(arguments)


async def make_token(tokens: TokenStore, audit: AuditStore, chosen: argparse.Namespace, at: datetime) -> str:
    """Create and persist a token, and note it in the audit before. Raise `TokenError`, `StoreError`."""
    token, record = mint(
        tenant=chosen.tenant,
        client=chosen.client,
        may=chosen.may.split(","),
        at=at,
        expires_in_days=chosen.days,
    )
    await _note(
        audit, AuditAction.TOKEN_MAKE, record, at, may=sorted(record.principal.permissions), replaces=chosen.replace
    )
    if chosen.replace:
        await tokens.revoke_all(chosen.tenant, chosen.client, at)
    if not await tokens.add(record):
        raise TokenError(
            f"client {chosen.client} of tenant {chosen.tenant} has {MOST_ACTIVE} active tokens: revoke the unused one "
            "(./just token list, ./just token revoke <id>), or use --replace to revoke both"
        )
    return token


async def revoke_token(tokens: TokenStore, audit: AuditStore, token_id: str, at: datetime) -> None:
    """Revoke a token, and note it in the audit before. Raise `TokenError`, `StoreError`."""
    found = [record for record in await tokens.all() if record.id == token_id]
    if not found:
        raise TokenError(f"no token has the id {token_id[:64]!r}; ./just token list shows them")
    if found[0].revoked_at is None:
        await _note(audit, AuditAction.TOKEN_REVOKE, found[0], at)
        await tokens.revoke(token_id, at)


async def _note(audit: AuditStore, action: AuditAction, record: TokenRecord, at: datetime, **more: Any) -> None:
    """Write an act on a token to the audit of its tenant, with the local operator as the actor."""
    principal = record.principal
    target = {"token": record.id, "client": principal.client, **more}
    await audit.note(new_entry(Operator(principal.tenant, LOCAL_OPERATOR.actor), action, target, at=at))


def table(records: Sequence[TokenRecord], at: datetime) -> str:
    """Format a list of tokens; it contains no secret."""
    rows = [("ID", "TENANT", "CLIENT", "MAY", "MADE", "STATE")]
    for record in records:
        principal = record.principal
        allowed = ",".join(permission for permission in Permission if permission in principal.permissions)
        rows.append(
            (record.id, principal.tenant, principal.client, allowed, rfc3339(record.made_at), _state(record, at))
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join("  ".join(cell.ljust(n) for cell, n in zip(row, widths, strict=True)).rstrip() for row in rows)


def _state(record: TokenRecord, at: datetime) -> str:
    if record.revoked_at is not None:
        return f"revoked {rfc3339(record.revoked_at)}"
    if record.expires_at is None:
        return "active"
    return f"{'expires' if record.holds(at) else 'expired'} {rfc3339(record.expires_at)}"


def what_it_does(asks_for_tokens: bool) -> str:
    """Return the notice for the operator after a token was created."""
    if asks_for_tokens:
        return "Store it now: it is not shown again. It works at once."
    return (
        "Store it now: it is not shown again. Acked requires no tokens yet and serves every client that reaches its "
        "ports: to require them, run ACKED_ACCESS=tokens ./just restart."
    )


async def run(store: MongoStore, chosen: argparse.Namespace, *, asks_for_tokens: bool) -> None:
    """Run the chosen verb. Raise `TokenError`, `StoreError`."""
    tokens, audit, at = store.tokens(), store.audit(), await store.server_time()
    if chosen.verb == "make":
        await store.check_schema()
        token = await make_token(tokens, audit, chosen, at)
        print(token, flush=True)
        print(what_it_does(asks_for_tokens), file=sys.stderr)
    elif chosen.verb == "list":
        print(table(await tokens.all(), at))
    else:
        await revoke_token(tokens, audit, chosen.id, at)
        print(f"{chosen.id} is revoked; services reject it within a few seconds", file=sys.stderr)


async def _run_on_store(settings: CommonSettings, chosen: argparse.Namespace) -> None:
    store = MongoStore(
        settings.servers.mongo_url, settings.servers.database, app_name="acked-token", timeout_s=STORE_TIMEOUT_S
    )
    try:
        await run(store, chosen, asks_for_tokens=settings.access.asks_for_tokens)
    finally:
        await store.close()


def main(arguments: Sequence[str]) -> int:
    """Run the command line and return the exit code."""
    chosen = parse_arguments(arguments)
    env = Env()
    try:
        settings = read_common(env)
        env.finish()
        set_up_logs("acked-token", "error")
        asyncio.run(_run_on_store(settings, chosen))
    except (SettingsError, TokenError) as error:
        print(f"just token: {error}", file=sys.stderr)
        return 2
    except StoreError as error:
        print(f"just token: {error}; is Acked up? ./just up starts it", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
