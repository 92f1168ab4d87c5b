"""How large a module, a signature, a class and an options struct may be.

Each exception has its reason in one table, and fails when it is no longer needed. CONTRIBUTING.md has the same numbers.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("libs", "services", "deploy", "tests")
MODULES = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text()

LINES = "lines in a module"
PARAMETERS = "parameters of a function"
METHODS = "public methods of a class"
FIELDS = "fields of a dataclass or struct"
LIMITS = {LINES: 400, PARAMETERS: 8, METHODS: 12, FIELDS: 10}

COMMON = "libs/common/src/acked_common"
CLIENT = "libs/client/src/acked_client"
CLI = "libs/cli/src/acked_cli"
Key = tuple[str, str, str]
"""Limit, module, and the name of the class or function; empty for the module itself."""

EXCEPTIONS: dict[Key, str] = {
    # The job's own: one field for each thing that is stored of a job, or that a request can say.
    (FIELDS, f"{COMMON}/store/records.py", "Job"): "the job itself",
    (FIELDS, f"{COMMON}/store/records.py", "NewJob"): "the job itself, as it is inserted",
    (FIELDS, f"{COMMON}/model/ledger.py", "LedgerEntry"): "one field for each part of a kept outcome",
    (FIELDS, f"{COMMON}/model/ledger.py", "JobLedger"): "the ledger itself",
    (FIELDS, f"{COMMON}/store/records.py", "ClaimedJob"): "the part of the job that a worker reads",
    (FIELDS, f"{COMMON}/store/records.py", "KindRecord"): "the defaults of a kind, each for a field of its jobs",
    (FIELDS, f"{COMMON}/store/records.py", "WorkerRecord"): "one field for each thing that a worker's document says",
    (FIELDS, "tests/support/contract.py", "Worker"): "one field for each member of an entry of `GET /workers`",
    (FIELDS, "services/gateway/src/acked_gateway/schedules/operations.py", "ScheduleRequest"): "one for each member",
    # The handler API is stable: its names are what users have written.
    (PARAMETERS, "libs/acked/src/acked/registration.py", "handler"): "keywords that users write, each with a default",
    (FIELDS, "libs/acked/src/acked/testing/recording.py", "RecordingAttempt"): "what tests of users read of an attempt",
    (FIELDS, "libs/acked/src/acked/durable/port.py", "Kept"): "one field for each thing that is kept of a durable call",
    # The client: what users write and read is as wide as the API.
    (FIELDS, f"{CLIENT}/model/jobs.py", "JobSummary"): "one field for each member of a job in a list",
    (FIELDS, f"{CLIENT}/model/jobs.py", "Step"): "one field for each member of a durable call",
    (FIELDS, f"{CLIENT}/model/lists.py", "Kind"): "one field for each member of a kind",
    (FIELDS, f"{CLIENT}/model/lists.py", "AttentionGroup"): "one field for each member of a group",
    (FIELDS, f"{CLIENT}/model/lists.py", "BulkStatus"): "one field for each member of a bulk action",
    (FIELDS, f"{CLIENT}/model/schedules.py", "Firing"): "one field for each member of a firing",
    (FIELDS, f"{CLIENT}/model/schedules.py", "ScheduleSummary"): "one field for each member of a schedule in a list",
    (FIELDS, f"{CLIENT}/model/callbacks.py", "Delivery"): "one field for each member of a delivery",
    (FIELDS, f"{CLIENT}/model/callbacks.py", "CallbackEndpoint"): "one field for each member of an endpoint",
    (FIELDS, f"{CLIENT}/model/requests.py", "ScheduleDefinition"): "fields that users write, each with a default",
    (PARAMETERS, f"{CLIENT}/client.py", "Acked.submit"): "keywords that users write, each with a default",
    (PARAMETERS, f"{CLIENT}/async_client.py", "AsyncAcked.submit"): "keywords that users write, each with a default",
    (FIELDS, f"{CLIENT}/model/operating.py", "Worker"): "one field for each member of a worker",
    (METHODS, f"{CLIENT}/shells/handles.py", "Handle"): "one method for each route of a job",
    (METHODS, f"{CLIENT}/shells/async_handles.py", "AsyncHandle"): "one method for each route of a job",
    (PARAMETERS, f"{CLI}/commands/submit.py", "submit"): "options that users type, each with a default",
    (PARAMETERS, f"{CLI}/commands/schedules.py", "put"): "options that users type, each with a default",
    (PARAMETERS, f"{CLI}/commands/act.py", "resolve"): "options that users type, each with a default",
    # What a route is, written down once for the server and for /openapi.json.
    (FIELDS, f"{COMMON}/api/routes.py", "Operation"): "one field for each part of an OpenAPI operation",
    # A core without I/O: one method for each thing that a process, its worker or the clock reports.
    (METHODS, "services/worker/src/acked_worker/isolate/attempts.py", "IsolatedAttempts"): "one method for each event",
    (LINES, f"{COMMON}/http/problem_catalogue.py", ""): "data: one entry for each problem type",
    # Being reduced.
    (LINES, "tests/support/memory_store.py", ""): "to be split by role",
    (METHODS, "tests/support/memory_store.py", "MemoryStore"): "to be split by role",
    (LINES, "tests/contracts/test_store_moves.py", ""): "to be split",
    # Tests: what they read or report is as wide as what happens.
    (METHODS, "tests/simulation/loop.py", "VirtualLoop"): "the methods of an event loop that asyncio calls",
    (METHODS, "tests/simulation/simulator.py", "Simulator"): "one verb for each thing that a fault or a client does",
    (FIELDS, "tests/simulation/fault_plan.py", "FaultRates"): "one probability for each fault, drawn from one seed",
    (FIELDS, "tests/simulation/checks.py", "Watched"): "one counter for each event that the rules judge",
    (FIELDS, "tests/faults/evidence.py", "Evidence"): "one list for each source that the checker compares",
    (FIELDS, "tests/faults/checker.py", "Figures"): "one field for each column of docs/fault-results.md",
    (METHODS, "tests/faults/rig.py", "Rig"): "one verb for each fault, so that an experiment reads as a list of them",
    (METHODS, "tests/faults/experiment.py", "Experiment"): "one verb for each step of an experiment",
    (FIELDS, "tests/benchmarks/bench.py", "Bench"): "one field for each system and folder that figures share",
    (METHODS, "tests/benchmarks/ours.py", "Ours"): "the interface of a measured system, and what only Acked has",
    (FIELDS, "tests/benchmarks/plan.py", "Plan"): "one duration or count for each figure",
}


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    arguments = function.args
    named = [*arguments.posonlyargs, *arguments.args]
    of_class = bool(named) and named[0].arg in ("self", "cls")
    return len(named) + len(arguments.kwonlyargs) - of_class


def public_methods(owner: ast.ClassDef) -> int:
    functions = [node for node in owner.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    return len({node.name for node in functions if not node.name.startswith("_")})


def is_record(owner: ast.ClassDef) -> bool:
    """Whether it is a dataclass or a struct. A TypedDict is what a response or a document consists of."""
    words = [ast.unparse(node) for node in (*owner.decorator_list, *owner.bases)]
    return any(re.search(r"\b(dataclass|Struct|NamedTuple)\b", word) for word in words)


def fields(owner: ast.ClassDef) -> int:
    declared = [node for node in owner.body if isinstance(node, ast.AnnAssign)]
    return sum("ClassVar" not in ast.unparse(node.annotation) for node in declared)


def sizes(name: str, text: str) -> Iterator[tuple[Key, int]]:
    """Everything in a module that has a size."""
    yield (LINES, name, ""), len(text.splitlines())
    scopes: list[tuple[str, ast.AST]] = [("", ast.parse(text))]
    while scopes:
        prefix, scope = scopes.pop()
        for node in ast.iter_child_nodes(scope):
            inner = prefix
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield (PARAMETERS, name, prefix + node.name), parameters(node)
                inner = f"{prefix}{node.name}."
            elif isinstance(node, ast.ClassDef):
                yield (METHODS, name, prefix + node.name), public_methods(node)
                if is_record(node):
                    yield (FIELDS, name, prefix + node.name), fields(node)
                inner = f"{prefix}{node.name}."
            scopes.append((inner, node))


def beyond(name: str, text: str) -> dict[Key, int]:
    return {key: size for key, size in sizes(name, text) if size > LIMITS[key[0]]}


def test_nothing_exceeds_its_limit_without_a_reason() -> None:
    found: dict[Key, int] = {}
    for path in MODULES:
        found |= beyond(relative(path), path.read_text())
    assert [f"{key}: {size}" for key, size in found.items() if key not in EXCEPTIONS] == []
    assert [key for key in EXCEPTIONS if key not in found] == [], "exceptions that nothing needs any more"
    assert all(EXCEPTIONS.values())


def test_contributing_names_the_same_limits() -> None:
    rows = re.findall(r"^\| ([a-z ]+) \| (\d+)\b", CONTRIBUTING, re.MULTILINE)
    assert {limit: int(number) for limit, number in rows} == LIMITS


@pytest.mark.parametrize(
    ("text", "limit", "name", "size"),
    [
        ("x = 1\n" * 401, LINES, "", 401),
        ("def f(a, b, c, d, e, f, g, /, h, *, i): ...", PARAMETERS, "f", 9),
        ("class A:\n def f(self, b, c, d, e, f, g, h, i, j): ...", PARAMETERS, "A.f", 9),
        ("if 1:\n def f(a, b, c, d, e, f, g, h, i): ...", PARAMETERS, "f", 9),
        ("class A:\n" + "".join(f" @property\n def p{n}(self): ...\n" for n in range(13)), METHODS, "A", 13),
        ("@dataclass(slots=True)\nclass A:\n" + "".join(f" p{n}: int\n" for n in range(11)), FIELDS, "A", 11),
        ("class A(msgspec.Struct):\n" + "".join(f" p{n}: int = 1\n" for n in range(11)), FIELDS, "A", 11),
    ],
)
def test_what_is_too_large_is_found(text: str, limit: str, name: str, size: int) -> None:
    assert beyond("m.py", text) == {(limit, "m.py", name): size}


@pytest.mark.parametrize(
    "text",
    [
        "x = 1\n" * 400,
        "class A:\n def f(self, b, c, d, e, f, g, h, i): ...",
        "class A:\n" + "".join(f" def _p{n}(self): ...\n" for n in range(20)),
        "class A(TypedDict):\n" + "".join(f" p{n}: int\n" for n in range(20)),
    ],
)
def test_what_fits_is_not_found(text: str) -> None:
    assert beyond("m.py", text) == {}
