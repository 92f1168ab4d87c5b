"""Clients of a stack with tokens: created by the recipe, each client with its own token."""

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from deploy.native.layout import ROOT
from support.stacks import Answer, TestStack


def recipe(stack: TestStack, *words: str) -> subprocess.CompletedProcess[str]:
    """Run `./just token …` for this stack."""
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
    """Create a token."""
    done = recipe(stack, "make", "--client", client, "--tenant", tenant, "--may", ",".join(may), *more)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def id_of(token: str) -> str:
    """Return the public part of a token."""
    return token.split("_")[1]


@dataclass(frozen=True, slots=True)
class Client:
    """A client with one token; an empty one sends none."""

    stack: TestStack
    token: str

    @property
    def headers(self) -> dict[str, str]:
        """The headers with the token."""
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}

    def call(
        self, method: str, path: str, body: Any = None, *, to: str = "gateway", headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Send one request."""
        return self.stack.call(method, path, body, to=to, headers={**self.headers, **(headers or {})})

    def process(self, kind: str = "noop", **fields: Any) -> str:
        """Submit a request, which must be accepted, and return its id."""
        answer = self.call("POST", "/process", {"kind": kind, **fields}, to="intake")
        assert answer.status == 202, answer.raw
        return str(answer.body["id"])


def problem_name(answer: Answer) -> str:
    """Return the name of the problem in a response; empty for a success."""
    if not answer.headers.get("content-type", "").startswith("application/problem+json"):
        return ""
    return str(answer.body["type"].rpartition("/")[2])
