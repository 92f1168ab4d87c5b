"""Clients of a stack with tokens, each client with its own token."""

import asyncio
import os
import subprocess
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from acked_common.accounts.grants import Account
from acked_common.cli import tokens
from acked_common.runtime.env import Env
from acked_common.runtime.settings import read_common
from acked_common.store.mongo.store import MongoStore
from deploy.native.launch import service_environment
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


def _words(may: tuple[str, ...], tenant: str, client: str) -> list[str]:
    return ["make", "--client", client, "--tenant", tenant, "--may", ",".join(may)]


def token_of_recipe(
    stack: TestStack, *may: str, tenant: str = "acme", client: str = "test", more: tuple[str, ...] = ()
) -> str:
    """Create a token with the recipe."""
    done = recipe(stack, *_words(may, tenant, client), *more)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def make_token(stack: TestStack, *may: str, tenant: str = "acme", client: str = "test") -> str:
    """Create a token as the recipe does, but in this process: the two that a recipe starts take 2 s of CPU."""
    environ = service_environment(stack.stack.layout, stack.stack.service_environ, Account.INIT)
    servers = read_common(Env(environ)).servers
    chosen = tokens.parse_arguments(_words(may, tenant, client))

    async def make() -> str:
        store = MongoStore(
            servers.mongo_url, servers.database, app_name="acked-token", timeout_s=tokens.STORE_TIMEOUT_S
        )
        try:
            return await tokens.make_token(store.tokens(), store.audit(), chosen, await store.server_time())
        finally:
            await store.close()

    # Some tests run in a loop of their own.
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, make()).result(60)


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
