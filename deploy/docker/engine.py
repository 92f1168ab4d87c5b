"""Check what Docker can do here: whether an engine and Compose respond, and which images exist."""

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
IMAGES_FILE = ROOT / ".acked" / "images.env"
"""Names of stand-ins, as `./just images-airgap` wrote them."""

PUBLIC_IMAGES = {
    "ACKED_MONGO_IMAGE": "mongo:8.0",
    "ACKED_RABBITMQ_IMAGE": "rabbitmq:4.1",
    "ACKED_PYTHON_IMAGE": "python:3.13-slim",
}
PROXY_IMAGE = ("ACKED_PROXY_IMAGE", "haproxy:3.0")
RESPONDS_WITHIN_S = 60.0
"""Generous: an engine that is not there refuses at once, but one on a busy machine may take longer than ten seconds."""
PULLED_WITHIN_S = 600.0


def image_names(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the images by variable: those of the environment, else the stand-ins, else the public ones."""
    environ = os.environ if environ is None else environ
    names = {**PUBLIC_IMAGES, **dict([PROXY_IMAGE])}
    if IMAGES_FILE.is_file():
        lines = (line.partition("=") for line in IMAGES_FILE.read_text().splitlines() if "=" in line)
        names |= {name: value for name, _, value in lines if name in names}
    return {name: environ.get(name) or value for name, value in names.items()}


def why_not(environ: Mapping[str, str] | None = None) -> str | None:
    """Return why Docker can't run Acked here, in one line; None if it can. Pull missing images."""
    try:
        if not _succeeds("info"):
            return "no Docker engine responds"
    except subprocess.TimeoutExpired:
        return f"the Docker engine did not respond within {RESPONDS_WITHIN_S:g} s"
    if not _succeeds_in_time("compose", "version"):
        return "docker compose (version 2) is not installed"
    names = image_names(environ)
    for variable in PUBLIC_IMAGES:
        name = names[variable]
        if not image_is_there(name) and not pull(name):
            return f"the image {name} is not present and can't be pulled; ./just images-airgap makes stand-ins"
    return None


def image_is_there(name: str) -> bool:
    """Return whether the engine has the image."""
    return _succeeds_in_time("image", "inspect", name)


def pull(name: str) -> bool:
    """Pull an image; return whether that succeeded."""
    return _succeeds_in_time("pull", "--quiet", name, within_s=PULLED_WITHIN_S)


def _succeeds_in_time(*words: str, within_s: float | None = None) -> bool:
    try:
        return _succeeds(*words, within_s=within_s)
    except subprocess.TimeoutExpired:
        return False


def _succeeds(*words: str, within_s: float | None = None) -> bool:
    """Return whether a Docker command succeeds. Raise `TimeoutExpired`."""
    most_s = RESPONDS_WITHIN_S if within_s is None else within_s
    try:
        done = subprocess.run(["docker", *words], capture_output=True, check=False, timeout=most_s)
    except OSError:
        return False
    return done.returncode == 0
