"""Clients of a stack that asks for tokens: made with the recipe, each calling as itself."""

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from deploy.native.layout import ROOT
from support.stacks import Answer, TestStack


def recipe(stack: TestStack, *words: str) -> subprocess.CompletedProcess[str]:
    """`./just token …` of this stack."""
    layout = stack.stack.layout
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("ACKED_")}
    return subprocess.run(
        [str(layout.venv_python), "-m", "deploy.native", "token", *words],
        env={**inherited, "ACKED_STATE_DIR": str(layout.state), "ACKED_PORT_BASE": str(layout.ports.base)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def make_token(
    stack: TestStack, *may: str, tenant: str = "acme", client: str = "test", more: tuple[str, ...] = ()
) -> str:
    """A new token."""
    done = recipe(stack, "make", "--client", client, "--tenant", tenant, "--may", ",".join(may), *more)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def id_of(token: str) -> str:
    """The public part of a token."""
    return token.split("_")[1]


@dataclass(frozen=True, slots=True)
class Client:
    """Who calls with one token; an empty one shows none."""

    stack: TestStack
    token: str

    @property
    def headers(self) -> dict[str, str]:
        """What it shows."""
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}

    def call(
        self, method: str, path: str, body: Any = None, *, to: str = "gateway", headers: Mapping[str, str] | None = None
    ) -> Answer:
        """One call."""
        return self.stack.call(method, path, body, to=to, headers={**self.headers, **(headers or {})})

    def process(self, kind: str = "noop", **fields: Any) -> str:
        """Sends a request, which must be accepted; its id."""
        answer = self.call("POST", "/process", {"kind": kind, **fields}, to="intake")
        assert answer.status == 202, answer.raw
        return str(answer.body["id"])


def problem_name(answer: Answer) -> str:
    """The name of the problem that was answered; empty for a success."""
    if not answer.headers.get("content-type", "").startswith("application/problem+json"):
        return ""
    return str(answer.body["type"].rpartition("/")[2])
