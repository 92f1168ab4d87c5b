"""`wrk`: finds it, or fetches Debian's without root; runs it; reads what it says."""

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from benchmarks.processes import Children
from deploy.native.packages import Apt, PackagesError

PACKAGES = ("wrk", "libluajit2-5.1-2")
MARK = "measured: "
_SLACK_S = 30.0

SCRIPT = """
wrk.method = "POST"
wrk.body = os.getenv("BENCH_BODY")
wrk.headers["Content-Type"] = "application/json"
for line in string.gmatch(os.getenv("BENCH_HEADERS"), "[^\\n]+") do
  local name, value = string.match(line, "([^:]+): (.*)")
  wrk.headers[name] = value
end

local prefix = os.getenv("BENCH_KEY_PREFIX")
if prefix ~= "" then
  local made, head, tail = 0, nil, nil
  function init(args)
    wrk.headers["Idempotency-Key"] = "KEYGOESHERE"
    local text = wrk.format()
    local first, last = string.find(text, "KEYGOESHERE", 1, true)
    head, tail = string.sub(text, 1, first - 1), string.sub(text, last + 1)
  end
  function request()
    made = made + 1
    return head .. prefix .. made .. tail
  end
end

function done(summary, latency, requests)
  local e = summary.errors
  print(string.format(
    'measured: {"requests": %d, "duration_us": %d, "not_2xx": %d, "broken": %d, "p50_us": %d, "p99_us": %d}',
    summary.requests, summary.duration, e.status, e.connect + e.read + e.write + e.timeout,
    latency:percentile(50), latency:percentile(99)))
end
"""
"""Requests of one body; with a prefix, each with a key of its own. One thread: keys are counted in it."""


@dataclass(frozen=True, slots=True)
class Load:
    """What came of a load of requests, answers other than 2xx and broken calls apart."""

    answered: int
    took_s: float
    refused: int
    broken: int
    p50_ms: float
    p99_ms: float

    @property
    def accepted(self) -> int:
        """Requests that were answered with 2xx."""
        return self.answered - self.refused

    @property
    def per_s(self) -> float:
        """Accepted requests a second."""
        return self.accepted / self.took_s


def parse(output: str) -> Load:
    """The line that the script prints. Raises `ValueError` where there is none."""
    line = next((line for line in output.splitlines() if line.startswith(MARK)), None)
    if line is None:
        raise ValueError(f"wrk has measured nothing: {output.strip()[-300:]}")
    found = json.loads(line.removeprefix(MARK))
    return Load(
        answered=found["requests"],
        took_s=found["duration_us"] / 1e6,
        refused=found["not_2xx"],
        broken=found["broken"],
        p50_ms=found["p50_us"] / 1e3,
        p99_ms=found["p99_us"] / 1e3,
    )


@dataclass(frozen=True, slots=True)
class Wrk:
    """The program and the libraries that it needs beside those of the machine."""

    program: str
    libraries: str = ""

    def post(
        self,
        url: str,
        body: bytes,
        headers: dict[str, str],
        *,
        connections: int,
        seconds: float,
        key_prefix: str = "",
        script: Path,
        children: Children,
    ) -> Load:
        """Posts for so long over so many connections. wrk counts in whole seconds."""
        script.write_text(SCRIPT)
        whole = max(1, round(seconds))
        environ = {
            "PATH": os.environ["PATH"],
            "BENCH_BODY": body.decode(),
            "BENCH_HEADERS": "\n".join(f"{name}: {value}" for name, value in headers.items()),
            "BENCH_KEY_PREFIX": key_prefix,
            **({"LD_LIBRARY_PATH": self.libraries} if self.libraries else {}),
        }
        command = [
            *(self.program, "--threads", "1", "--connections", str(connections)),
            *("--duration", f"{whole}s", "--timeout", "10s", "--script", str(script), url),
        ]
        return parse(children.run(command, environ=environ, within_s=whole + _SLACK_S))


def find(tools: Path) -> Wrk | None:
    """wrk of the machine, else Debian's unpacked below `tools`; None where it can't be had."""
    if (installed := shutil.which("wrk")) is not None:
        return Wrk(installed)
    folder = tools / "wrk"
    if not (folder / "usr" / "bin" / "wrk").exists():
        shutil.rmtree(folder, ignore_errors=True)
        try:
            Apt(tools / "apt").unpack(PACKAGES, folder)
        except (PackagesError, OSError):
            return None
    libraries = sorted({str(found.parent) for found in folder.rglob("*.so*")})
    return Wrk(str(folder / "usr" / "bin" / "wrk"), ":".join(libraries))
