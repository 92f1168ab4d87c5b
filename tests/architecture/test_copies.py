"""A record that is made of another one by hand is given every field: a forgotten one would silently be its default."""

import ast
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CLIENT = ROOT / "libs" / "client"
SOURCES = sorted(path for folder in ("libs", "services", "deploy") for path in (ROOT / folder).rglob("*.py"))
COPIES_FROM = 3
"""A call that reads so many members of one object makes a copy of it."""

# Each with its reason; what stands here and is no longer left out fails too.
LEFT_OUT = {
    # A lease or a signal in between makes a move stale only where the caller asks for that.
    ("store/records.py", "Seen"): {"next_check_at", "signals"},
    # A transition names what it changes.
    ("model/lifecycle.py", "Transition"): {"adds", "unless_cancelling", "ended", "by"},
    # A delivery is no client's request: its id makes it unique, and its own end calls nobody.
    ("accept/callback_deliveries.py", "NewJob"): {"callback", "callback_endpoints", "edited_from", "key"},
    # It begins with a job's first transition.
    ("feed/seen_transitions.py", "_Known"): {"progress_at"},
    # Only an operator's request writes it.
    ("acked_worker/presence.py", "WorkerRecord"): {"drain_requested"},
    # An event with progress is a report of it, and no transition; a history has transitions only.
    ("core/frames.py", "JobEvent"): {"progress"},
    ("core/ledger.py", "JobEvent"): {"progress", "waits"},
    # A new bulk action has done nothing yet.
    ("bulk/orders.py", "BulkAction"): {"abort", "ended_at", "failure", "position", "started_at", "state", "tally"},
}


def fields_of(node: ast.ClassDef) -> list[str] | None:
    """The fields of a struct or a dataclass in their order; None for another class."""
    is_record = any(ast.unparse(base).rpartition(".")[2] == "Struct" for base in node.bases)
    is_record |= any("dataclass" in ast.unparse(decorator) for decorator in node.decorator_list)
    if not is_record:
        return None
    return [
        line.target.id for line in node.body if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name)
    ]


def known_records(sources: Sequence[Path]) -> dict[str, list[str]]:
    """The fields of every record of the sources; of two with one name the union, which asks for more."""
    found: dict[str, list[str]] = {}
    for path in sources:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef) and (fields := fields_of(node)) is not None:
                found[node.name] = list(dict.fromkeys([*found.get(node.name, []), *fields]))
    return found


def is_copy(call: ast.Call) -> bool:
    """Whether the arguments of a call read several members of one other object."""
    values = [*call.args, *(keyword.value for keyword in call.keywords)]
    read = Counter(
        part.value.id
        for value in values
        for part in ast.walk(value)
        if isinstance(part, ast.Attribute | ast.Subscript) and isinstance(part.value, ast.Name)
    )
    return any(count >= COPIES_FROM for count in read.values())


def copies() -> Iterator[tuple[str, str, set[str]]]:
    """Place, record and the fields that are left out, of each call that makes a record of another object."""
    # The client library imports nothing of ours, and its records have the names of those behind the API.
    for is_of_client in (False, True):
        yield from copies_in([path for path in SOURCES if path.is_relative_to(CLIENT) is is_of_client])


def copies_in(sources: Sequence[Path]) -> Iterator[tuple[str, str, set[str]]]:
    """The same of some sources, which share their records."""
    known = known_records(sources)
    for path in sources:
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or not is_copy(node):
                continue
            name = ast.unparse(node.func).rpartition(".")[2]
            # What is spread is derived already.
            is_spread = any(isinstance(argument, ast.Starred) for argument in node.args)
            is_spread |= any(keyword.arg is None for keyword in node.keywords)
            if name in known and not is_spread:
                given = {*known[name][: len(node.args)], *(str(keyword.arg) for keyword in node.keywords)}
                yield f"{path.relative_to(ROOT)}:{node.lineno}", name, set(known[name]) - given


def test_a_copy_gives_every_field() -> None:
    found = list(copies())
    assert len(found) >= 40
    left: dict[tuple[str, str], set[str]] = {}
    for place, record, missing in found:
        entry = next((key for key in LEFT_OUT if key[1] == record and f"/{key[0]}:" in place), None)
        assert missing <= LEFT_OUT.get(entry, set()) if entry else not missing, (
            f"{place} makes a {record} without {', '.join(sorted(missing))}: give it, or say in LEFT_OUT why not"
        )
        if entry:
            left.setdefault(entry, set()).update(missing)
    assert left == LEFT_OUT
