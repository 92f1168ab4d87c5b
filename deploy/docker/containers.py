"""One stack in containers: up, down, scale, restart. Everything is done by `docker compose`."""

import hashlib
import http.client
import json
import os
import subprocess
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from acked_common.accounts.hand_out import SECRETS
from deploy.docker import engine
from deploy.native.layout import DEFAULT_PORT_BASE, ROOT, Ports
from deploy.native.secret import secret
from deploy.native.supervisor import SERVICES
from deploy.operator_token import ACCESS, MAKE, OperatorToken
from deploy.private_file import write_private

FILES = ("compose.yaml",)
PROXY_FILE = "deploy/compose.proxy.yaml"
PROXIED = ("gateway", "intake")
LOOPBACK = "127.0.0.1"
RUNNING_FILE = "running.json"
STEPS = ("hand-out", "accounts", "init")
"""What runs to its end before the services start."""
LISTED_WITHIN_S = 30.0
POLL_S = 0.1
ACCESS_RUN = ("run", "--rm", "--no-deps", "-T", "init", "python", "-m", ACCESS)
"""In the container that may write what `init` writes."""


class ContainersError(Exception):
    """Docker could not do it; the message has its last lines."""


def not_serving(containers: Sequence[Mapping[str, Any]], wanted: Mapping[str, int]) -> list[str]:
    """What is wrong with the containers that `docker compose ps` lists. Steps that have ended are no services."""
    found = []
    for service, number in wanted.items():
        states = [each for each in containers if each["Service"] == service]
        serving = [each for each in states if each["State"] == "running" and each.get("Health", "") in ("", "healthy")]
        found += [f"{each['Name']} ({each.get('Health') or each['State']})" for each in states if each not in serving]
        if len(states) < number:
            found.append(f"{service} ({len(states)} of {number})")
    return found


class Containers:
    """The stack of one port base."""

    def __init__(self, ports: Ports, environ: Mapping[str, str] | None = None, state: Path | None = None) -> None:
        """`environ` is what Compose reads its variables from; `state` keeps numbers of processes, and the secrets where
        `ACKED_SECRETS_DIR` names no other folder for them."""
        self.ports = ports
        # Volumes and images are those of one checkout, and never those of `docker compose up` by hand.
        checkout = hashlib.sha256(str(ROOT).encode()).hexdigest()[:6]
        self.project = f"acked-{checkout}" + ("" if ports.base == DEFAULT_PORT_BASE else f"-{ports.base}")
        self._state = state or ROOT / ".acked" / "docker" / self.project
        inherited = dict(os.environ if environ is None else environ)
        self._inherited = inherited
        own = inherited.get("ACKED_SECRETS_DIR")
        self.secrets = Path(own).resolve() if own else self._state / "secrets"
        self._environ = {
            **inherited,
            "ACKED_SECRETS_DIR": str(self.secrets),
            **engine.image_names(inherited),
            "COMPOSE_PROJECT_NAME": self.project,
            "ACKED_VERSION": inherited.get("ACKED_VERSION") or checkout,
            "ACKED_GATEWAY_PORT": str(ports.gateway),
            "ACKED_INTAKE_PORT": str(ports.intake),
        }
        bundle = inherited.get("ACKED_CA_BUNDLE") or inherited.get("SSL_CERT_FILE", "")
        if bundle:
            self._environ["ACKED_CA_BUNDLE"] = bundle
        if engine.IMAGES_FILE.is_file():
            # Where no registry is reachable, names are often resolved by the host alone.
            self._environ.setdefault("ACKED_BUILD_NETWORK", "host")

    @property
    def state(self) -> Path:
        """Its folder: numbers, secrets, settings."""
        return self._state

    def running(self, kept_names: Collection[str]) -> dict[str, str] | None:
        """The settings that the containers were last started with; None for a stack that is down."""
        try:
            found: dict[str, str] = json.loads((self._state / RUNNING_FILE).read_text())
        except (OSError, ValueError):
            return self._told_containers(kept_names)
        return found

    def _told_containers(self, kept_names: Collection[str]) -> dict[str, str] | None:
        """The same of a stack that was started before there was such a file."""
        found: dict[str, str] = {}
        for container in (ids := [one for role in SERVICES for one in self.containers(role)]):
            told = json.loads(self._docker("inspect", "--format={{json .Config.Env}}", container))
            found |= {name: value for name, _, value in (pair.partition("=") for pair in told) if name in kept_names}
        # What compose.yaml says itself.
        hosts = [host for host in found.get("ACKED_ALLOWED_HOSTS", "").split(",") if host not in (*PROXIED, "")]
        found["ACKED_ALLOWED_HOSTS"] = ",".join(hosts)
        own = ("ACKED_PUBLIC_GATEWAY_URL", "ACKED_PUBLIC_INTAKE_URL", "ACKED_PUBLISHED_ON_LOOPBACK")
        return {name: value for name, value in found.items() if value and name not in own} if ids else None

    def keep_running(self, kept_names: Iterable[str]) -> None:
        """Writes down the settings that containers are started with from now on."""
        settings = {name: value for name in kept_names if (value := self._inherited.get(name))}
        write_private(self._state / RUNNING_FILE, json.dumps(settings))

    @property
    def environ(self) -> Mapping[str, str]:
        """What Compose reads its variables from."""
        return self._environ

    @property
    def urls(self) -> dict[str, str]:
        """Where the parts are reached."""
        return {
            "gateway": f"http://localhost:{self.ports.gateway}",
            "intake": f"http://localhost:{self.ports.intake}",
        }

    @property
    def reached_at(self) -> str:
        """The address at which this machine reaches the published ports."""
        address = self._inherited.get("ACKED_PUBLISH_ADDRESS", "").strip("[] ")
        return LOOPBACK if address in ("", "0.0.0.0", "::") else address  # noqa: S104 - told apart, not listened on

    @property
    def scale_now(self) -> dict[str, int]:
        """How many containers of each service are wanted."""
        try:
            kept: dict[str, int] = json.loads((self._state / "scale.json").read_text())
        except (OSError, ValueError):
            kept = {}
        return {role: kept.get(role, 1) for role in SERVICES}

    def make_secrets(self) -> None:
        """Makes those that are missing, each readable by this user alone."""
        for name in SECRETS:
            secret(self.secrets / name)

    @property
    def secrets_mark(self) -> str:
        """Changes when a secret does; tells nothing of them, since what it is the hash of can't be guessed."""
        found = "\n".join((self.secrets / name).read_text() for name in SECRETS)
        return hashlib.sha256(found.encode()).hexdigest()[:12]

    def is_up(self) -> bool:
        """Whether any container of the stack runs."""
        return bool(self.containers())

    def up(self) -> None:
        """Builds what changed, starts everything and returns when it is ready. Raises `ContainersError`."""
        self._prepare()
        self._compose("build", "--quiet")
        self._start()

    def scale(self, wanted: Mapping[str, int]) -> bool:
        """Changes how many containers of each service run; whether the stack runs at all."""
        runs = self.is_up()
        self._prepare()
        (self._state / "scale.json").write_text(json.dumps({**self.scale_now, **wanted}))
        if runs:
            self._start()
        return runs

    def restart(self, services: Sequence[str]) -> None:
        """Starts services anew, the new containers ready before the old ones stop, where no published port is theirs
        alone."""
        self._prepare()
        self._compose("build", "--quiet")
        for role in services:
            number = self.scale_now[role]
            if role in PROXIED and not self._is_proxied:
                self._compose("up", "-d", "--no-deps", "--force-recreate", *self._waiting(), role)
                continue
            old = self.containers(role)
            self._compose(
                *("up", "-d", "--no-deps", "--no-recreate", *self._waiting()), f"--scale={role}={number * 2}", role
            )
            if old:
                # As Compose would: the service's own time to stop is a part of each container.
                self._docker("stop", *old)
                self._docker("rm", *old)
        self._wait_listed()

    def down(self) -> None:
        """Removes the containers; the volumes with all data stay."""
        self._prepare()
        # Whatever is there, also what only the proxy's file names.
        self._compose("down", "--remove-orphans")
        (self._state / RUNNING_FILE).unlink(missing_ok=True)

    def remove(self) -> None:
        """Removes the containers and all data, for tests."""
        self._prepare()
        self._compose("down", "--remove-orphans", "--volumes", "--timeout", "5")

    def logs(self, service: str, lines: int, *, follow: bool) -> None:
        """Prints the last lines of a service's containers, or of all."""
        wanted = [
            "logs",
            "--no-color",
            f"--tail={lines}",
            *(["--follow"] if follow else []),
            *([service] if service else []),
        ]
        self._compose(*wanted, shown=True)

    def status(self) -> list[str]:
        """Prints the containers; the services that do not serve, each with what is wrong. Empty for a whole stack."""
        self._prepare()
        self._compose("ps", "--all", "--format", "table {{.Name}}\t{{.Service}}\t{{.Status}}\t{{.Ports}}", shown=True)
        lines = self._compose("ps", "--all", "--format", "json").splitlines()
        wanted = {**dict.fromkeys(("mongo", "rabbitmq"), 1), **self.scale_now}
        if self._is_proxied:
            wanted["proxy"] = 1
        return not_serving([json.loads(line) for line in lines if line.strip()], wanted)

    @property
    def token(self) -> OperatorToken:
        """The token of the recipes themselves."""
        return OperatorToken(self._state / "operator-token", lambda: self._access(MAKE).strip())

    def token_command(self, words: Sequence[str]) -> int:
        """Makes, lists or revokes tokens, with its output here; the exit code."""
        self._prepare()
        done = subprocess.run(
            ["docker", *self._compose_words(*ACCESS_RUN, *words)], env=self._environ, check=False, cwd=ROOT
        )
        return done.returncode

    def _access(self, words: Sequence[str]) -> str:
        return self._compose(*ACCESS_RUN, *words)

    def containers(self, service: str | None = None) -> list[str]:
        """Ids of running containers, of one service or of all."""
        found = self._docker(
            "ps",
            "--quiet",
            f"--filter=label=com.docker.compose.project={self.project}",
            *([f"--filter=label=com.docker.compose.service={service}"] if service else []),
        )
        return found.split()

    @property
    def _is_proxied(self) -> bool:
        return any(self.scale_now[role] > 1 for role in PROXIED)

    def _prepare(self) -> None:
        self._state.mkdir(parents=True, exist_ok=True)
        self.make_secrets()
        self._environ["ACKED_SECRETS_MARK"] = self.secrets_mark

    def _start(self) -> None:
        if self._is_proxied:
            variable, _ = engine.PROXY_IMAGE
            image = self._environ[variable]
            if not engine.image_is_there(image) and not engine.pull(image):
                raise ContainersError(f"several gateways or intakes need a proxy, and the image {image} can't be had")
        numbers = [f"--scale={role}={number}" for role, number in self.scale_now.items()]
        try:
            self._compose("up", "-d", "--remove-orphans", *self._waiting(), *numbers)
        except ContainersError as error:
            raise ContainersError(f"{error}{self._said_by_failed_steps()}") from None
        self._wait_listed()

    def _said_by_failed_steps(self) -> str:
        """Why a step before the services has failed: Compose only tells that it has."""
        said = ""
        for step in STEPS:
            wanted = [
                f"--filter=label=com.docker.compose.{name}" for name in (f"project={self.project}", f"service={step}")
            ]
            for container in self._docker("ps", "--all", "--quiet", *wanted).split():
                if self._docker("inspect", "--format={{.State.ExitCode}}", container).strip() != "0":
                    said += f"\n{step} said:\n  " + self._docker("logs", "--tail=3", container, both=True).strip()
        return said

    def _waiting(self) -> list[str]:
        # Without a limit of its own: handlers may import for as long as they need. What ends or gets unhealthy ends it.
        return ["--wait"]

    def _wait_listed(self) -> None:
        """A worker counts when the gateway lists it."""
        wanted = self.scale_now["worker"]
        end = time.monotonic() + LISTED_WITHIN_S
        while len(self._workers()) < wanted:
            if time.monotonic() > end:
                raise ContainersError(f"the gateway does not list {wanted} workers: ./just logs worker")
            time.sleep(POLL_S)

    def _workers(self) -> list[Any]:
        connection = http.client.HTTPConnection(self.reached_at, self.ports.gateway, timeout=5)

        def ask(headers: dict[str, str]) -> tuple[int, Any]:
            connection.request("GET", "/workers", headers={"Host": "localhost", **headers})
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())

        try:
            status, body = self.token.asked(ask)
            return list(body.get("workers", ())) if status == 200 else []
        except (OSError, http.client.HTTPException, ValueError):
            return []
        finally:
            connection.close()

    def _compose(self, *words: str, shown: bool = False) -> str:
        return self._docker(*self._compose_words(*words), shown=shown)

    def _compose_words(self, *words: str) -> list[str]:
        files = [*FILES, *([PROXY_FILE] if self._is_proxied else [])]
        chosen = [word for file in files for word in ("--file", str(ROOT / file))]
        return ["compose", "--project-directory", str(ROOT), *chosen, *words]

    def _docker(self, *words: str, shown: bool = False, both: bool = False) -> str:
        """What a command prints; with `both` also what it prints as an error."""
        done = subprocess.run(
            ["docker", *words], env=self._environ, capture_output=not shown, text=True, check=False, cwd=ROOT
        )
        if done.returncode != 0:
            said = (done.stderr or done.stdout or "").strip().splitlines()[-15:]
            raise ContainersError(f"docker {' '.join(words[:1])} failed:\n  " + "\n  ".join(said))
        return (done.stdout or "") + (done.stderr or "" if both else "")
