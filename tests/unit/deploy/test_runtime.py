"""Which runtime a recipe is meant for, and which images it takes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.docker import engine
from deploy.runtime import RuntimeChoiceError, choose, forget_runtime, keep_runtime, kept_runtime

NO_ENGINE = "no Docker engine responds"


def never_asked() -> str | None:
    raise AssertionError("Docker must not be asked")


def test_up_takes_docker_where_it_can() -> None:
    assert choose("up", {}, None, lambda: None) == ("docker", None)


def test_up_says_why_it_is_native() -> None:
    assert choose("up", {}, None, lambda: NO_ENGINE) == ("native", f"native, because {NO_ENGINE}")


def test_native_can_be_forced_without_asking_docker() -> None:
    assert choose("up", {"ACKED_RUNTIME": "native"}, None, never_asked) == ("native", None)


def test_docker_that_is_forced_and_not_there_is_an_error() -> None:
    with pytest.raises(RuntimeChoiceError, match=NO_ENGINE):
        choose("up", {"ACKED_RUNTIME": "docker"}, None, lambda: NO_ENGINE)


@pytest.mark.parametrize("verb", ["up", "scale", "status", "logs", "load-test", "down", "restart"])
@pytest.mark.parametrize("kept", ["docker", "native"])
def test_what_up_chose_holds_for_every_recipe(verb: str, kept: str) -> None:
    assert choose(verb, {}, kept, never_asked) == (kept, None)
    assert choose(verb, {"ACKED_RUNTIME": kept}, kept, never_asked) == (kept, None)


def test_the_other_runtime_is_refused_while_one_is_up() -> None:
    with pytest.raises(RuntimeChoiceError, match=r"up with the runtime native: \./just down first"):
        choose("up", {"ACKED_RUNTIME": "docker"}, "native", never_asked)


def test_an_unknown_runtime_is_refused() -> None:
    with pytest.raises(RuntimeChoiceError, match="must be docker or native"):
        choose("up", {"ACKED_RUNTIME": "podman"}, None, never_asked)


def test_the_choice_is_kept_until_it_is_forgotten(tmp_path: Path) -> None:
    file = tmp_path / "new" / "runtime"
    assert kept_runtime(file) is None
    keep_runtime("docker", file)
    assert kept_runtime(file) == "docker"
    forget_runtime(file)
    forget_runtime(file)
    assert kept_runtime(file) is None


def test_stack_of_another_folder_has_a_choice_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("docker", "native"):
        monkeypatch.setenv("ACKED_STATE_DIR", str(tmp_path / name))
        keep_runtime(name)
    assert kept_runtime() == "native"
    forget_runtime()
    monkeypatch.setenv("ACKED_STATE_DIR", str(tmp_path / "docker"))
    assert kept_runtime() == "docker"


def test_a_file_with_something_else_is_no_choice(tmp_path: Path) -> None:
    (tmp_path / "runtime").write_text("podman\n")
    assert kept_runtime(tmp_path / "runtime") is None


def test_images_come_from_the_environment_then_stand_ins_then_the_public_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "images.env"
    monkeypatch.setattr(engine, "IMAGES_FILE", file)
    assert engine.image_names({}) == {
        "ACKED_MONGO_IMAGE": "mongo:8.0",
        "ACKED_RABBITMQ_IMAGE": "rabbitmq:4.1",
        "ACKED_PYTHON_IMAGE": "python:3.13-slim",
        "ACKED_PROXY_IMAGE": "haproxy:3.0",
    }

    file.write_text("ACKED_MONGO_IMAGE=stand-in/mongo\nACKED_PYTHON_IMAGE=stand-in/python\nACKED_BUILD_NETWORK=host\n")
    found = engine.image_names({"ACKED_PYTHON_IMAGE": "mine/python:3.12"})
    assert found["ACKED_MONGO_IMAGE"] == "stand-in/mongo"
    assert found["ACKED_PYTHON_IMAGE"] == "mine/python:3.12"
    assert found["ACKED_PROXY_IMAGE"] == "haproxy:3.0"
    assert "ACKED_BUILD_NETWORK" not in found


def test_a_reader_who_has_enough_is_no_error(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    environ = {**os.environ, "ACKED_RUNTIME": "native", "ACKED_STATE_DIR": str(tmp_path), "PYTHONUNBUFFERED": ""}
    try:
        done = subprocess.run(
            [sys.executable, "-m", "deploy.runtime", "status"], stdout=writing, stderr=subprocess.PIPE, env=environ
        )
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"")


def docker_that(does: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a `docker` that does this in front of the path."""
    program = folder / "docker"
    program.write_text(f"#!/bin/sh\n{does}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


def test_an_engine_that_is_slow_is_not_called_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "RESPONDS_WITHIN_S", 0.1)
    docker_that("exec sleep 60", tmp_path, monkeypatch)
    assert engine.why_not() == "the Docker engine did not respond within 0.1 s"


def test_an_engine_that_refuses_is_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    docker_that("exit 1", tmp_path, monkeypatch)
    assert engine.why_not() == NO_ENGINE
