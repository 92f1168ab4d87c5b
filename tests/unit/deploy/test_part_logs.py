"""Two programs write one log: no line is lost, overwritten or merged with another, whoever rotates the file."""

import gc
from pathlib import Path

import pytest
from supervisor import loggers

from deploy.native.part_logs import PartLogger

KEPT = 3
"""Files: the one that is written, and two old ones."""
SIZE = 1000


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "worker-1.log"


def logger_of(log: Path) -> loggers.Logger:
    """As a program's output gets it."""
    made = PartLogger(loggers.LevelsByName.INFO)
    loggers.handle_file(made, filename=str(log), fmt="%(message)s", rotating=True, maxbytes=SIZE, backups=KEPT - 1)
    return made


def lines(log: Path) -> list[bytes]:
    """What the log and its old files hold, the oldest first."""
    files = [log.with_name(f"{log.name}.{number}") for number in range(KEPT - 1, 0, -1)]
    return [line for file in [*files, log] if file.exists() for line in file.read_bytes().splitlines()]


def test_two_programs_lose_nothing_to_each_other(log: Path) -> None:
    old = logger_of(log)
    said = []
    for number in range(60):
        said.append(b"old %04d of the time before" % number)
        old.info(said[-1] + b"\n")
    assert log.with_name(f"{log.name}.1").exists()
    new = logger_of(log)
    for number in range(30):
        for name, program in ((b"old", old), (b"new", new)):
            said.append(b"%s %04d of the restart" % (name, number))
            program.info(said[-1] + b"\n")
    found = lines(log)
    # The oldest have been rotated away: of what is left nothing is missing, and all in order.
    assert found == said[-len(found) :]
    assert len(b"\n".join(found)) > (KEPT - 1) * SIZE


def test_what_the_survivor_says_is_in_the_newest_file(log: Path) -> None:
    old, new = logger_of(log), logger_of(log)
    old.info(b"x" * SIZE + b"\n")
    del old
    new.info(b"ready\n")
    assert log.read_bytes() == b"ready\n"


def test_line_that_another_program_interrupts_stays_apart(log: Path) -> None:
    old, new = logger_of(log), logger_of(log)
    old.info(b"half a ")
    new.info(b"whole\n")
    old.info(b"line\n")
    assert lines(log) == [b"half a ", b"whole", b"line"]


def test_one_program_may_write_a_line_in_pieces(log: Path) -> None:
    program = logger_of(log)
    program.info(b"half a ")
    program.info(b"line\n")
    assert lines(log) == [b"half a line"]


def test_both_write_to_the_new_file_when_logs_are_reopened(log: Path) -> None:
    programs = [logger_of(log), logger_of(log)]
    programs[0].info(b"before\n")
    log.rename(log.with_name("moved"))
    for program in programs:
        for handler in program.handlers:
            handler.reopen()
    for program in programs:
        program.info(b"after\n")
    assert lines(log) == [b"after", b"after"]


def test_file_is_closed_with_its_last_program(log: Path) -> None:
    old, new = logger_of(log), logger_of(log)
    stream = new.handlers[0]._file.stream
    assert stream is old.handlers[0]._file.stream
    del old
    new.info(b"still here\n")
    assert not stream.closed
    del new
    gc.collect()
    assert stream.closed
    again = logger_of(log)
    again.info(b"and again\n")
    assert lines(log) == [b"still here", b"and again"]
