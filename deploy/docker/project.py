"""The Compose project of a stack: its name, folder and variables, and running `docker` and `docker compose` for it."""

import hashlib
import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from deploy.docker import engine
from deploy.docker.secrets import make_secrets, secrets_mark
from deploy.native.layout import DEFAULT_PORT_BASE, ROOT, Ports
from deploy.native.supervisor import SERVICES

FILES = ("compose.yaml",)
PROXY_FILE = "deploy/compose.proxy.yaml"
PROXIED = ("gateway", "intake")
LOOPBACK = "127.0.0.1"


class ContainersError(Exception):
    """Signal that Docker failed; the message has its last lines."""


class Project:
    """The project of one port base."""

    def __init__(self, ports: Ports, environ: Mapping[str, str] | None = None, state: Path | None = None) -> None:
        """Take the environment for Compose, and the state folder for process counts and secrets.

        `ACKED_SECRETS_DIR` overrides the folder of the secrets.
        """
        self.ports = ports
        # Volumes and images are those of one checkout, and never those of `docker compose up` by hand.
        checkout = hashlib.sha256(str(ROOT).encode()).hexdigest()[:6]
        self.name = f"acked-{checkout}" + ("" if ports.base == DEFAULT_PORT_BASE else f"-{ports.base}")
        self.state = state or ROOT / ".acked" / "docker" / self.name
        inherited = dict(os.environ if environ is None else environ)
        self.asked: Mapping[str, str] = inherited
        """The environment that this command was started with."""
        own = inherited.get("ACKED_SECRETS_DIR")
        self.secrets = Path(own).resolve() if own else self.state / "secrets"
        self._environ = {
            **inherited,
            "ACKED_SECRETS_DIR": str(self.secrets),
            **engine.image_names(inherited),
            "COMPOSE_PROJECT_NAME": self.name,
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
    def environ(self) -> Mapping[str, str]:
        """The environment from which Compose reads its variables."""
        return self._environ

    @property
    def urls(self) -> dict[str, str]:
        """The URLs of the parts."""
        return {
            "gateway": f"http://localhost:{self.ports.gateway}",
            "intake": f"http://localhost:{self.ports.intake}",
        }

    @property
    def reached_at(self) -> str:
        """The address at which this machine reaches the published ports."""
        address = self.asked.get("ACKED_PUBLISH_ADDRESS", "").strip("[] ")
        return LOOPBACK if address in ("", "0.0.0.0", "::") else address  # noqa: S104 - told apart, not listened on

    @property
    def scale(self) -> dict[str, int]:
        """The wanted number of containers of each service."""
        try:
            kept: dict[str, int] = json.loads(self._scale_file.read_text())
        except (OSError, ValueError):
            kept = {}
        return {role: kept.get(role, 1) for role in SERVICES}

    def keep_scale(self, wanted: Mapping[str, int]) -> None:
        """Store new numbers of containers; services that are not named keep theirs."""
        self._scale_file.write_text(json.dumps({**self.scale, **wanted}))

    @property
    def is_proxied(self) -> bool:
        """Whether a proxy publishes the ports, because several containers share one."""
        return any(self.scale[role] > 1 for role in PROXIED)

    def prepare(self) -> None:
        """Make the folder and the missing secrets, which every call of Compose needs."""
        self.state.mkdir(parents=True, exist_ok=True)
        make_secrets(self.secrets)
        self._environ["ACKED_SECRETS_MARK"] = secrets_mark(self.secrets)

    def containers(self, service: str | None = None) -> list[str]:
        """Return the ids of running containers, of one service or of all."""
        found = self.docker(
            "ps",
            "--quiet",
            f"--filter=label=com.docker.compose.project={self.name}",
            *([f"--filter=label=com.docker.compose.service={service}"] if service else []),
        )
        return found.split()

    def compose(self, *words: str, shown: bool = False) -> str:
        """Run `docker compose` and return its output, or show it. Raises `ContainersError`."""
        return self.docker(*self.compose_words(*words), shown=shown)

    def compose_words(self, *words: str) -> list[str]:
        """Return the arguments of `docker` for a command of Compose."""
        files = [*FILES, *([PROXY_FILE] if self.is_proxied else [])]
        chosen = [word for file in files for word in ("--file", str(ROOT / file))]
        return ["compose", "--project-directory", str(ROOT), *chosen, *words]

    def docker(self, *words: str, shown: bool = False, both: bool = False) -> str:
        """Run `docker` and return what it prints, with `both` also its errors. Raises `ContainersError`."""
        done = subprocess.run(
            ["docker", *words], env=self._environ, capture_output=not shown, text=True, check=False, cwd=ROOT
        )
        if done.returncode != 0:
            said = (done.stderr or done.stdout or "").strip().splitlines()[-15:]
            raise ContainersError(f"docker {' '.join(words[:1])} failed:\n  " + "\n  ".join(said))
        return (done.stdout or "") + (done.stderr or "" if both else "")

    @property
    def _scale_file(self) -> Path:
        return self.state / "scale.json"
