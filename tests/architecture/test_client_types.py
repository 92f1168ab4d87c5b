"""A user's script, blocking and asyncio, under `mypy --strict`: results have the return type of the handler."""

import re
import subprocess
import sys
from pathlib import Path

HANDLERS = """
from typing import TypedDict

from acked import BlockingContext, Context, handler


class Name(TypedDict):
    name: str


class Greeting(TypedDict):
    greeting: str


@handler("hello")
async def hello(ctx: Context, payload: Name) -> Greeting:
    return {"greeting": f"Hello, {payload['name']}!"}


@handler("count")
def count(ctx: BlockingContext, payload: list[str]) -> int:
    return len(payload)
"""
BLOCKING = """
from acked_client import Acked, JobFailed, JobFilter, StillRunning, Submission
from handlers import count, hello

with Acked("http://localhost:8080") as acked:
    job = acked.submit(hello, {"name": "world"}, batch="nightly")
    try:
        reveal_type(job.result(timeout=30))
    except JobFailed as failed:
        print(failed.id, failed.error, failed.attempts)
    except StillRunning as running:
        print(running.state)
    reveal_type(acked.submit(count, ["a", "b"]).result())
    reveal_type(acked.submit("hello", {"any": 1}).result())
    reveal_type(acked.job("id", hello).result())
    for event in acked.watch(batch="nightly"):
        reveal_type(event.rev)
    for row in acked.submit_many(Submission(kind=hello, payload={"name": str(n)}) for n in range(9)):
        print(row.job.id if row.job is not None else row.error)
    print([listed.state for listed in acked.jobs(JobFilter(batch="nightly"))])
    print(acked.bulk_action("retry", JobFilter(state="failed")).wait(timeout=60).done)
"""
WRONG = """
from acked_client import Acked
from handlers import hello

acked = Acked()
text: str = acked.submit(hello, {"name": "world"}).result()
acked.submit(hello, {"name": "world"}, bach="nightly")
acked.bulk_action("destroy", ["id"])
"""


def asynchronous(script: str) -> str:
    """The same script for asyncio."""
    lines = script.replace("import Acked,", "import AsyncAcked,").replace("with Acked(", "async with AsyncAcked(")
    lines = lines.replace("for event in", "async for event in").replace("for row in acked", "async for row in acked")
    lines = lines.replace("[listed.state for listed", "[listed.state async for listed")
    lines = lines.replace("job = acked.submit", "job = await acked.submit").replace("(job.result", "(await job.result")
    lines = re.sub(r"\(acked\.submit\((.*)\)\.result\(\)\)", r"(await (await acked.submit(\1)).result())", lines)
    lines = lines.replace("(acked.job(", "(await acked.job(")
    lines = re.sub(
        r"print\(acked\.bulk_action\((.*?\))\)\.wait\((.*?)\)\.done\)",
        r"print((await (await acked.bulk_action(\1)).wait(\2)).done)",
        lines,
    )
    head, _, body = lines.partition("async with")
    indented = "".join(f"    {line}\n" for line in f"async with{body}".splitlines())
    return f"{head}\n\nasync def main() -> None:\n{indented}"


def test_scripts_of_users_are_typed(tmp_path: Path) -> None:
    (tmp_path / "handlers.py").write_text(HANDLERS)
    (tmp_path / "blocking.py").write_text(BLOCKING)
    (tmp_path / "asynchronous.py").write_text(asynchronous(BLOCKING))
    (tmp_path / "wrong.py").write_text(WRONG)
    for name in ("blocking", "asynchronous"):
        compile((tmp_path / f"{name}.py").read_text(), name, "exec")
    command = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "--config-file=", "."]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=600, check=False)
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    for name in ("blocking", "asynchronous"):
        revealed = [line.split('"')[1] for line in lines if line.startswith(f"{name}.py") and "Revealed" in line]
        assert [re.sub(r"\bbuiltins\.|handlers\.", "", text).partition("(")[0] for text in revealed] == [
            "TypedDict",
            "int",
            "Any",
            "TypedDict",
            "int",
        ], done.stdout
        assert "Greeting" in revealed[0] and "Greeting" in revealed[3]
    wrong = [
        re.sub(r"^wrong\.py:(\d+): (\w+): .*\[([\w-]+)\]$", r"\1 \2 \3", line) for line in lines if "error:" in line
    ]
    assert {line.split()[0] for line in wrong} == {"6", "7", "8"}, done.stdout
