"""Every command in a document or on a page: curl lines run against a stack, with its ports; of the others it is checked
that their recipe exists, and they are listed here with the reason why they don't run.
"""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from acked_common.model.lifecycle import State
from support.deliveries import ended_delivery
from support.stacks import StartStack, TestStack, eventually

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), ROOT / "handlers" / "README.md"])

PROGRAMS = r"(?:[A-Z_]+=\S+ )*(?:curl|\./just|docker|cp|git|websocat|export|sudo|pip|python3?|kubectl)\b"
_COMMAND = re.compile(rf"(?:    )?\$ \S|    {PROGRAMS}")
_ON_PAGE = re.compile(r"<(pre|code)\b[^>]*>(curl .*?)</\1>", re.DOTALL)
_RECIPE = re.compile(r"\./just ([a-z][a-z-]*)")

NOT_RUN = {
    r"(?:\S+=\S+ )*\./just ": "recipes have tests of their own, which start and stop whole stacks",
    r"(?:\S+=\S+ )*docker compose ": "needs Docker and a Compose project; test_compose.py runs them where there is one",
    r"docker (?:run|network) ": "needs Docker and a Compose project; test_compose.py lets Prometheus in the same way",
    r"cp -r deploy/docker/development ": "fills a folder for secrets beside an installed Docker",
    r"cp handlers/": "the fixture does it in a folder of its own",
    r"python -m acked.testing ": "needs the reader's handler; the unit tests of the kit run the same program",
    r"python docs/examples/callback_receiver\.py ": "ends with Ctrl-C; test_first_steps.py runs it",
    r"pip install \./libs/client": "test_packages_alone.py installs it into an empty environment",
    r"acked ": "test_cli.py runs those that end, and these in a pseudo terminal or with a checkout of its own",
    r"git pull": "changes the work tree",
    r"curl -N ": "follows a stream without an end; test_feed_events.py follows the same address",
    r"websocat ": "a program that is not installed by tests; test_feed.py follows the same address",
}
"""Patterns of commands that this module does not run, and why."""


@dataclass(frozen=True, slots=True)
class Command:
    """A command as it stands in a document, and the output that is shown below it."""

    source: str
    text: str
    shown: str = ""
    is_refused: bool = False
    """Whether a comment says that the response is a 422."""

    def __str__(self) -> str:
        return f"{self.source} {self.text[:60]}"


def commands_in(path: Path) -> Iterator[Command]:
    lines = path.read_text().splitlines()
    for number, line in enumerate(lines):
        if not _COMMAND.match(line):
            continue
        text, end = line.strip().removeprefix("$ "), number
        while text.endswith("\\"):
            end += 1
            text = text[:-1] + lines[end].strip()
        after = lines[end + 1] if end + 1 < len(lines) else ""
        shown = after if line.startswith("$ ") and after.startswith("{") else ""
        command, _, comment = text.partition("  #")
        yield Command(f"{path.relative_to(ROOT)}:{number + 1}", command.strip(), shown, comment.startswith(" 422"))


WRITTEN = [command for path in DOCUMENTS for command in commands_in(path)]
_RUNS = re.compile(r"curl (?!-N )")
CURL = [command for command in WRITTEN if _RUNS.match(command.text)]
OTHERS = [command for command in WRITTEN if not _RUNS.match(command.text)]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, start_stack: StartStack) -> TestStack:
    """With the handler that the documents begin with."""
    folder = tmp_path_factory.mktemp("handlers")
    shutil.copy(ROOT / "handlers" / "hello.py.example", folder / "hello.py")
    return start_stack({"ACKED_HANDLERS_DIR": str(folder)})


def job_for(stack: TestStack, text: str) -> str:
    """A job for which the command means something."""
    if any(command in text for command in ("/cancel", "/run-now", "/signals/")):
        return stack.process("noop", delay_s=3600)
    if any(command in text for command in ("/retry", "/resolve", "/edit", "/erase")):
        job_id = stack.process("flaky", payload={"failures": 9}, max_attempts=1)
        assert stack.finished(job_id)["state"] == State.FAILED
        return job_id
    return stack.process("noop", batch="shown")


def bulk_action_for(stack: TestStack) -> str:
    """The id of a bulk action."""
    response = stack.call("POST", "/bulk-actions", {"action": "retry", "filter": {"batch": "nobody"}})
    assert response.status == 202, response.body
    return str(response.body["id"])


def group_for(stack: TestStack) -> str:
    """A group of errors that the last census has found."""
    job_id = stack.process("flaky", payload={"failures": 9}, max_attempts=1)
    group = str(stack.finished(job_id)["error"]["group"])

    def found() -> bool:
        # One of the commands snoozes it.
        lists = [stack.call("GET", f"/attention?snoozed={snoozed}").body["groups"] for snoozed in ("false", "true")]
        return any(one["group"] == group for groups in lists for one in groups)

    eventually(found, within_s=60, what="the group needs attention")
    return group


def fitted(stack: TestStack, text: str) -> str:
    """The command with the ports and ids of this stack."""
    group = re.compile(r"<group>|(?<=/attention/)[0-9a-f]+")
    if group.search(text):
        text = group.sub(group_for(stack), text)
    if "/bulk-actions/" in text:
        text = re.sub(r"(?<=/bulk-actions/)(?:<[^>]*>|[0-9a-f-]{36})", bulk_action_for(stack), text)
    text = text.replace("localhost:8080", f"localhost:{stack.gateway_port}")
    text = text.replace("localhost:8081", f"localhost:{stack.intake_port}")
    placeholder = re.compile(r"<(?:the )?id[^>]*>|(?<=/status/)[0-9a-f-]{36}|(?<=/jobs/)[0-9a-f-]{36}")
    if "/callbacks/" in text:
        job, delivery = ended_delivery(stack)
        text = re.sub(r"/jobs/[^/]+/callbacks/[^/]+", f"/jobs/{job}/callbacks/{delivery}", text)
    elif placeholder.search(text):
        text = placeholder.sub(job_for(stack, text), text)
    if "/batches/" in text:
        stack.process("noop", batch="shown")
        text = re.sub(r"(?<=/batches/)[\w.-]+", "shown", text)
    return text


def run(text: str) -> tuple[int, str]:
    """The status and the body of a curl line, run by a shell as a person would."""
    found = subprocess.run(
        ["/bin/sh", "-c", f"{text} -sS -w '\\n%{{http_code}}'"], capture_output=True, text=True, timeout=60, check=False
    )
    assert found.returncode == 0, found.stderr
    body, _, status = found.stdout.rpartition("\n")
    return int(status), body.replace("\r", "").rpartition("\n\n")[2]


def shape(text: str) -> Any:
    """The names of a shown object in their order; an ellipsis stands for any."""
    return re.findall(r'"(\w+)":', text)


@pytest.mark.parametrize("command", CURL, ids=str)
def test_curl_line_does_what_the_document_says(stack: TestStack, command: Command) -> None:
    text = fitted(stack, command.text)
    status, body = run(text)
    if (defined := re.search(r"-X PUT .*(/callback-endpoints/\w+)", text, re.DOTALL)) is not None:
        # Its host does not exist, and jobs of other tests have it no more.
        assert stack.call("DELETE", defined[1]).status == 200
    expected = status == 422 if command.is_refused else 200 <= status < 300
    assert expected, (command.source, status, body)
    json.loads(body)
    for name in shape(command.shown):
        if name in ("succeeded", "slept_s"):
            # What the job that is shown has come to.
            continue
        assert f'"{name}":' in body, (command.source, name)


@pytest.mark.parametrize("path", ["/", "/load-test"])
def test_curl_line_on_a_page_runs_as_it_stands(stack: TestStack, path: str) -> None:
    page = stack.call("GET", path, headers={"Host": f"localhost:{stack.gateway_port}", "Accept": "text/html"})
    found = [unescape(match[2]) for match in _ON_PAGE.finditer(page.raw.decode())]
    assert found, "the page shows a command"
    for text in found:
        status, body = run(text)
        assert 200 <= status < 300, (text, status, body)


def test_documents_show_commands() -> None:
    assert len(CURL) >= 10
    sources = {command.source.partition(":")[0] for command in CURL}
    assert sources >= {"README.md", "docs/api.md", "docs/how-do-i.md", "handlers/README.md"}


@pytest.mark.parametrize("command", OTHERS, ids=str)
def test_command_that_is_not_run_is_listed_with_a_reason(command: Command) -> None:
    assert [pattern for pattern in NOT_RUN if re.match(pattern, command.text)], f"run it, or say why not: {command}"
    recipes = set(re.findall(r"^@?([a-z][a-z-]*)(?: [^:=\n]*)?:(?!=)", (ROOT / "justfile").read_text(), re.MULTILINE))
    for recipe in _RECIPE.findall(command.text):
        assert recipe in recipes, f"{command.source}: there is no recipe {recipe}"


@pytest.mark.parametrize("pattern", NOT_RUN)
def test_reason_belongs_to_a_command_that_exists(pattern: str) -> None:
    assert any(re.match(pattern, command.text) for command in OTHERS), "nothing is left to excuse: remove it"
