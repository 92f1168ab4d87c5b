"""What operators hold up or have under way, as `./just status` shows it: paused and limited kinds, and bulk actions."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

MOST_PAGES = 5
"""Of the list of bulk actions, newest first: one that began before so many others is not shown."""
REASON_CHARS = 100

AskGateway = Callable[[str], Any]
"""Makes one GET of a path; answers the decoded body, None where no gateway responds with 200."""


def held_work(ask: AskGateway) -> list[str]:
    """Return a line for each paused or limited kind and each bulk action under way; none while no gateway responds."""
    kinds = ask("/kinds") or {"kinds": []}
    paused = [_pause(kind) for kind in kinds["kinds"] if kind["paused"] is not None]
    limited = [_limit(kind) for kind in kinds["kinds"] if kind.get("limit") is not None]
    return [*paused, *limited, *(_bulk_action(one) for one in _listed(ask) if one["ended_at"] is None)]


def _listed(ask: AskGateway) -> Iterator[Mapping[str, Any]]:
    token = ""
    for _ in range(MOST_PAGES):
        page = ask(f"/bulk-actions?page_size=100{token and f'&page_token={token}'}")
        if page is None:
            return
        yield from page["bulk_actions"]
        if not page["next_page_token"]:
            return
        token = page["next_page_token"]


def _pause(kind: Mapping[str, Any]) -> str:
    pause = kind["paused"]
    return f"paused: kind {kind['kind']} by {pause['client']} since {pause['since']}{_why(pause['reason'])}"


def _limit(kind: Mapping[str, Any]) -> str:
    limit = kind["limit"]
    numbers = {"in all": limit["running"], "of each tenant": limit["per_tenant"]}
    most = ", ".join(f"{number} {of}" for of, number in numbers.items() if number is not None)
    by = f"by {limit['client']} since {limit['since']}{_why(limit['reason'])}"
    return f"limited: kind {kind['kind']} to {most} at once {by}"


def _bulk_action(action: Mapping[str, Any]) -> str:
    refused = sum(action["refused"].values())
    at_least = "" if action["matched_is_exact"] else "at least "
    done = f"{action['done']} of {at_least}{action['matched']} done" + (f", {refused} refused" if refused else "")
    asked = f"by {action['by']['client']} since {action['asked_at']}"
    aborts = ", is being aborted" if "abort_requested_at" in action else ""
    return f"bulk action: {action['action']} {action['id']}, {done}, {asked}{aborts}{_why(action.get('reason'))}"


def _why(reason: str | None) -> str:
    """Return the reason that an operator gave. It is any text: what a terminal would obey is left out."""
    if not reason:
        return ""
    shown = "".join(letter if letter.isprintable() else "?" for letter in reason[:REASON_CHARS])
    return f": {shown}{'…' if len(reason) > REASON_CHARS else ''}"
