"""The program `acked` as people run it: its documented commands, on a pipe, and in a pseudo terminal."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import IO, Any

import pytest

from acked_common.model.lifecycle import State
from support.nonce import nonce
from support.stacks import CENSUS_WITHIN_S, StartStack, TestStack, eventually
from support.terminal import terminal

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs" / "cli.md"
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
COMMANDS = [
    (f"{path.name}:{number}", line.strip())
    for path in DOCUMENTS
    for number, line in enumerate(path.read_text().splitlines(), 1)
    if re.match(r"(?:    )+(?:\.venv/bin/)?acked ", line)
]
"""Commands as they stand in documents. Those after a `$` don't end by themselves; further tests run them."""
PROGRAM = Path(sys.executable).with_name("acked")
WITHIN_S = 60.0
ROWS, BROKEN = 1_500, (3, 500, 501, 900, 1_200, 1_499, 1_500)


@pytest.fixture(scope="module")
def stack(start_stack: StartStack) -> TestStack:
    return start_stack({})


@pytest.fixture
def environ(stack: TestStack) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ACKED_")}
    path = f"{PROGRAM.parent}{os.pathsep}{kept.get('PATH', '')}"
    return kept | {"ACKED_GATEWAY": f"http://localhost:{stack.gateway_port}", "PATH": path, "TERM": "xterm"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What the documented commands read."""
    (tmp_path / "payload.json").write_text(json.dumps({"nonce": nonce()}))
    (tmp_path / "rows.ndjson").write_text('{"kind": "noop"}\n{"kind": "noop", "tags": ["eu"]}\n')
    (tmp_path / ".venv").symlink_to(PROGRAM.parents[1])
    return tmp_path


def acked(environ: dict[str, str], *words: str, typed: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(PROGRAM), *words], env=environ, input=typed, capture_output=True, text=True, timeout=WITHIN_S, check=False
    )


def records(ended: subprocess.CompletedProcess[str]) -> list[Any]:
    return [json.loads(line) for line in ended.stdout.splitlines()]


def failed_job(stack: TestStack, **fields: Any) -> str:
    job_id = stack.process("flaky", payload={"failures": 9, "nonce": nonce()}, max_attempts=1, **fields)
    assert stack.finished(job_id)["state"] == State.FAILED
    return job_id


def end_deliveries(stack: TestStack, job_id: str, count: int = 1) -> None:
    """Wait for the deliveries of a job, and cancel them: their host does not exist."""

    def have_ended() -> bool:
        found = stack.call("GET", f"/jobs/{job_id}/callbacks").body["deliveries"]
        for delivery in found:
            if delivery["finished_at"] is None:
                stack.call("POST", f"/jobs/{delivery['id']}/cancel")
        return len(found) >= count and all(delivery["finished_at"] is not None for delivery in found)

    eventually(have_ended, within_s=WITHIN_S, what="the deliveries have ended")


def job_with_delivery(stack: TestStack) -> str:
    job_id = stack.process("noop", payload={"nonce": nonce()}, callback={"url": "https://hooks.example/acked"})
    end_deliveries(stack, job_id)
    return job_id


def made_secret(stack: TestStack) -> str:
    return str(stack.call("POST", "/callback-secrets").body["id"])


def prepared(stack: TestStack, command: str) -> str:
    """The command with names of what exists, once all exists that it concerns."""
    if "nightly" in command:
        stack.finished(stack.process("noop", batch="nightly"))
    if "acked schedules" in command:
        assert stack.call("PUT", "/schedules/nightly", {"kind": "noop", "cron": "@yearly"}).status < 300
    if "acked callback-endpoints" in command:
        # Disabled, since nothing is to be sent to a host that does not exist.
        hook = {"url": "https://hooks.example/acked", "enabled": False}
        assert stack.call("PUT", "/callback-endpoints/billing", hook).status < 300
    for word, make in MADE.items():
        if word in command:
            command = command.replace(word, make(stack))
    return command.replace("<id>", job_for(stack, command)) if "<id>" in command else command


def undo(stack: TestStack, command: str, shown: str) -> None:
    """Leave the stack as it was: further tests run on it."""
    if "acked pause " in command:
        assert stack.call("POST", "/kinds/noop/resume").status == 200
    if "acked schedules" in command:
        assert stack.call("DELETE", "/schedules/nightly").status in (200, 404)
    if "acked callback-endpoints" in command:
        assert stack.call("DELETE", "/callback-endpoints/billing").status in (200, 404)
    if "acked callback-secrets" in command:
        for secret in stack.call("GET", "/callback-secrets").body["secrets"]:
            assert stack.call("POST", f"/callback-secrets/{secret['id']}/end").status == 200
    if "acked resend " in command:
        end_deliveries(stack, command.split()[2], count=2)
    if "--callback " in command and "--on" not in command:
        for line in shown.splitlines():
            end_deliveries(stack, str(json.loads(line)["id"]))


def job_for(stack: TestStack, command: str) -> str:
    """A job for which the command means something."""
    if re.search(r"acked (?:cancel|run-now|signal) ", command):
        return stack.process("noop", delay_s=3600)
    if re.search(r"acked (?:retry|resolve) ", command):
        return failed_job(stack)
    if "acked edit " in command:
        # No failed one: a documented filter would find it, and it can't be retried any more.
        job_id = stack.process("noop", delay_s=3600)
        assert stack.call("POST", f"/jobs/{job_id}/cancel").body["state"] == State.CANCELLED
        return job_id
    if re.search(r"acked (?:callbacks|resend) ", command):
        return job_with_delivery(stack)
    job_id = stack.process("noop")
    stack.finished(job_id)
    return job_id


def bulk_action(stack: TestStack) -> str:
    answer = stack.call("POST", "/bulk-actions", {"action": "retry", "filter": {"batch": f"none-{nonce()}"}})
    return str(answer.body["id"])


def noted_group(stack: TestStack) -> str:
    group = str(stack.status(failed_job(stack))["error"]["group"])
    eventually(
        lambda: group in [one["group"] for one in stack.call("GET", "/attention").body["groups"]],
        within_s=CENSUS_WITHIN_S,
        what="a census has the group",
    )
    return group


MADE = {"<bulk-action>": bulk_action, "<secret>": made_secret, "<group>": noted_group}
"""Placeholders of documented commands beside `<id>`, and what makes that which they stand for."""


@pytest.mark.parametrize(("source", "command"), COMMANDS, ids=[source for source, _ in COMMANDS])
def test_documented_command_runs(
    stack: TestStack, environ: dict[str, str], folder: Path, source: str, command: str
) -> None:
    command = prepared(stack, command)
    ended = subprocess.run(
        ["/bin/sh", "-c", command],
        cwd=folder,
        env=environ,
        capture_output=True,
        text=True,
        timeout=WITHIN_S,
        check=False,
    )
    undo(stack, command, ended.stdout)
    assert ended.returncode == 0, (source, command, ended.stdout, ended.stderr)
    if "completion" not in command:
        for document in [ended.stdout] if command.endswith("-o json") else ended.stdout.splitlines():
            json.loads(document)


def test_document_shows_each_verb(environ: dict[str, str]) -> None:
    text = DOCUMENT.read_text()
    verbs = re.findall(r"^  ([a-z-]+) ", acked(environ, "--help").stdout.partition("Commands:")[2], re.MULTILINE)
    assert len(verbs) > 20
    assert [verb for verb in verbs if f"acked {verb}" not in text] == []


@pytest.mark.long
def test_exit_codes_of_the_program(stack: TestStack, environ: dict[str, str]) -> None:
    payload = {"nonce": nonce()}
    done = acked(environ, "submit", "test.echo", "-p", json.dumps(payload), "--wait")
    assert done.returncode == 0 and records(done)[0]["result"]["payload"] == payload, done.stderr
    job_id = records(done)[0]["id"]
    assert acked(environ, "submit", "flaky", "-p", '{"failures": 999}', "--wait", "--timeout", "0s").returncode == 1
    assert acked(environ, "submit", "demo", "-p", "{").returncode == 2
    assert acked(environ, "status", "0198a000-0000-7000-8000-000000000000").returncode == 3
    assert acked(environ, "retry", job_id).returncode == 4
    nobody = acked(environ | {"ACKED_GATEWAY": "http://localhost:1"}, "status", job_id, "--retry-for", "0")
    assert nobody.returncode == 5 and "./just up" in nobody.stderr and "Traceback" not in nobody.stderr


def test_doctor_finds_nothing(environ: dict[str, str]) -> None:
    ended = acked(environ, "doctor")
    assert ended.returncode == 0, ended.stdout
    assert {record["outcome"] for record in records(ended)} == {"ok"} and len(records(ended)) == 6


def test_lines_are_resumed_after_a_kill(stack: TestStack, environ: dict[str, str], tmp_path: Path) -> None:
    batch, file = f"cli-{nonce()}", tmp_path / "rows"
    good = [json.dumps({"kind": "noop", "batch": batch, "payload": {"n": n, "nonce": nonce()}}) for n in range(ROWS)]
    for number in BROKEN:
        good[number - 1] = '{"kind": "noop", '
    file.write_text("\n".join(good))
    words = [str(PROGRAM), "submit-many", str(file), "--key-prefix", batch]
    with subprocess.Popen(words, env=environ, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as first:
        assert first.stdout is not None and json.loads(first.stdout.readline())["line"] == 1
        first.kill()
    ended = acked(environ, *words[1:])
    found = records(ended)
    assert ended.returncode == 4 and [row["line"] for row in found] == list(range(1, ROWS + 1))
    assert [row["line"] for row in found if "problem" in row] == list(BROKEN)
    assert len({row["id"] for row in found if "id" in row}) == ROWS - len(BROKEN)
    assert any(row.get("replayed") for row in found)
    assert acked(environ, "batch", batch, "--wait").returncode == 0
    assert stack.batch(batch) == {State.SUCCEEDED: ROWS - len(BROKEN)}


def test_filter_on_a_pipe_needs_a_yes(stack: TestStack, environ: dict[str, str]) -> None:
    batch = f"cli-{nonce()}-where"
    jobs = [failed_job(stack, batch=batch) for _ in range(6)]
    words = ["retry", "--where", f"batch={batch} state=failed", "--reason", f"because of {batch}"]
    refused = acked(environ, *words)
    assert (refused.returncode, refused.stdout) == (2, "") and "6 jobs match" in refused.stderr
    assert refused.stderr.count("flaky") == 5
    assert all(stack.status(job_id)["run"] == 1 for job_id in jobs)
    done = acked(environ, *words, "--rate", "100/s", "--yes")
    assert done.returncode == 0 and records(done)[0]["done"] == 6, done.stderr
    assert all(stack.status(job_id)["run"] == 2 for job_id in jobs)
    (entry,) = records(acked(environ, "audit", f"bulk={records(done)[0]['id']}"))
    assert (entry["action"], entry["reason"]) == ("bulk", f"because of {batch}")


def test_watch_ends_quietly_when_its_reader_is_gone(stack: TestStack, environ: dict[str, str]) -> None:
    batch = f"cli-{nonce()}-gone"
    stack.process("noop", batch=batch)
    words = [str(PROGRAM), "watch", "--batch", batch]
    with subprocess.Popen(words, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as watching:
        assert watching.stdout is not None and watching.stderr is not None
        assert json.loads(watching.stdout.readline())["id"]
        watching.stdout.close()

        def ended() -> bool:
            stack.process("noop", batch=batch)
            return watching.poll() is not None

        eventually(ended, within_s=WITHIN_S, what="the program has seen that nobody reads")
        assert (watching.returncode, watching.stderr.read()) == (-signal.SIGPIPE, "")


def test_interrupted_watch_leaves_a_sane_terminal(stack: TestStack, environ: dict[str, str]) -> None:
    batch = f"cli-{nonce()}-watch"
    first = stack.process("noop", batch=batch)
    with terminal(PROGRAM, environ, "watch", "--batch", batch) as shown:
        shown.wait_for(first)
        second = stack.process("noop", batch=batch)
        shown.wait_for(second)
        shown.wait_for(str(State.SUCCEEDED))
        shown.type("\x03")
        assert shown.ended() == -signal.SIGINT


def test_interrupted_listen_leaves_a_sane_terminal(environ: dict[str, str]) -> None:
    with terminal(PROGRAM, environ, "callbacks", "listen", "--forward-to", "localhost:9") as shown:
        shown.wait_for("signed with whsec_")
        shown.type("\x03")
        assert shown.ended() == -signal.SIGINT


@pytest.mark.parametrize(("typed", "code"), [("q", 0), ("\x03", -signal.SIGINT)], ids=["q", "ctrl-c"])
def test_top_leaves_a_sane_terminal(environ: dict[str, str], typed: str, code: int) -> None:
    with terminal(PROGRAM, environ | {"COLUMNS": "120", "LINES": "40"}, "top") as shown:
        shown.wait_for("worker-1")
        shown.type(typed)
        assert shown.ended() == code, shown.shown
        # Of the screen that it took, and of the mouse.
        for taken in ("?1049", "?1000"):
            shown.wait_for(f"\x1b[{taken}l")
            assert shown.shown.count(f"\x1b[{taken}h") == shown.shown.count(f"\x1b[{taken}l") > 0


def test_filter_on_a_terminal_is_asked_for(stack: TestStack, environ: dict[str, str]) -> None:
    batch = f"cli-{nonce()}-asked"
    job_id = failed_job(stack, batch=batch)
    words = ("retry", "--where", f"batch={batch}")
    for typed, run in (("n\n", 1), ("y\n", 2)):
        with terminal(PROGRAM, environ, *words) as shown:
            shown.wait_for("retry these 1 jobs? [y/N]")
            shown.type(typed)
            assert shown.ended() == 0, shown.shown
        assert stack.status(job_id)["run"] == run


def test_payload_can_not_steer_the_terminal(stack: TestStack, environ: dict[str, str]) -> None:
    title = nonce()
    job_id = stack.process("noop", payload={"x": f"\x1b]0;{title}\x07\u009b31m"})
    stack.finished(job_id)
    with terminal(PROGRAM, environ, "show", job_id) as shown:
        assert shown.ended() == 0
        shown.wait_for("history")
        assert title in shown.shown and "\x1b]" not in shown.shown and "\x07" not in shown.shown


def test_dev_notices_a_handler(environ: dict[str, str], tmp_path: Path) -> None:
    for mark in ("justfile", "libs/cli/pyproject.toml"):
        (tmp_path / mark).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / mark).touch()
    (tmp_path / "just").write_text("#!/bin/sh\n")
    (tmp_path / "just").chmod(0o755)
    handlers = tmp_path / "handlers"
    handlers.mkdir()
    with subprocess.Popen(
        [str(PROGRAM), "dev"], cwd=tmp_path, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as dev:
        out: list[str] = []
        assert dev.stdout is not None and dev.stderr is not None
        stream: IO[str] = dev.stdout
        reader = threading.Thread(target=lambda: out.extend(stream), daemon=True)
        reader.start()
        assert "watching" in dev.stderr.readline()

        def restarted() -> bool:
            # The watch may begin after the line that announces it.
            (handlers / "hello.py").write_text(f"number = {len(out)}\n# {os.urandom(4).hex()}\n")
            return bool(out)

        eventually(restarted, within_s=WITHIN_S, what="a restart of the workers")
        dev.send_signal(signal.SIGINT)
        assert dev.wait(WITHIN_S) == -signal.SIGINT
        found = json.loads(out[0])
        assert (found["changed"], found["outcome"]) == (["hello.py"], "restarted")
        assert "Traceback" not in dev.stderr.read()
