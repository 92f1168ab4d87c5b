"""Imports of user code have no limit in a recipe, everything else that a part does at its start has one."""

from deploy.native.patience import (
    ENDED_AT_ONCE,
    ENDED_IN_IMPORT,
    GIVES_UP_AFTER_S,
    PART_WITHIN_S,
    SAID_EVERY_S,
    Patience,
    importing_text,
)

IMPORTING = "not ready: handlers: imports since 70 s: module 'models' for 69 s (models.py:3)"


class Waiting:
    """Patience with one worker, and a clock that the test moves."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.told: list[str] = []
        self._patience = Patience("worker-1", self.told.append, lambda: self.now)

    def over(self, readiness: str = "not started yet", *, state: str = "RUNNING", pid: int = 7) -> str | None:
        return self._patience.over(state, pid, lambda: readiness)

    def for_s(self, seconds: int, readiness: str, *, state: str = "RUNNING", pid: int = 7) -> str | None:
        for _ in range(seconds):
            self.now += 1.0
            if (why := self.over(readiness, state=state, pid=pid)) is not None:
                return why
        return None


def test_patience_with_a_part_that_shows_nothing_ends() -> None:
    waiting = Waiting()
    assert waiting.for_s(int(PART_WITHIN_S), "not started yet") is None
    assert waiting.for_s(1, "not started yet") == ""


def test_patience_with_an_import_has_no_limit() -> None:
    waiting = Waiting()
    assert waiting.for_s(10 * int(PART_WITHIN_S), IMPORTING) is None
    assert len(waiting.told) == 10 * PART_WITHIN_S // SAID_EVERY_S
    assert waiting.told[0] == f"worker-1: {IMPORTING}"


def test_patience_after_an_import_has_a_limit_again() -> None:
    waiting = Waiting()
    assert waiting.for_s(5, IMPORTING) is None
    assert waiting.for_s(int(PART_WITHIN_S), "not ready: lanes: not consumed: demo") is None
    assert waiting.for_s(1, "not ready: lanes: not consumed: demo") == ""


def test_patience_with_an_import_that_lets_nothing_answer_has_no_limit() -> None:
    waiting = Waiting()
    assert waiting.for_s(2, IMPORTING) is None
    assert waiting.for_s(3 * int(PART_WITHIN_S), "does not respond (TimeoutError)") is None


def test_patience_with_a_process_that_never_answered_ends() -> None:
    assert Waiting().for_s(2 * int(PART_WITHIN_S), "does not respond (TimeoutError)") == ""


def test_patience_ends_when_the_import_ended_the_process() -> None:
    waiting = Waiting()
    assert waiting.for_s(70, IMPORTING) is None
    assert waiting.over(IMPORTING, pid=8) == ENDED_IN_IMPORT


def test_patience_with_a_part_that_ends_again_and_again_ends() -> None:
    waiting = Waiting()
    assert waiting.for_s(int(GIVES_UP_AFTER_S) + 1, "not started yet", state="BACKOFF", pid=0) is None
    assert waiting.for_s(1, "not started yet", state="BACKOFF", pid=0) == ENDED_AT_ONCE


def test_importing_text_reads_the_line_of_a_log() -> None:
    line = '{"event": "handlers are being imported", "since_s": 30, "module": "models", "at_line": "models.py:3"}'
    assert importing_text(line) == "imports since 30 s: module 'models' (models.py:3)"
    for other in ("", "no json", "7", '{"event": "initialized"}'):
        assert importing_text(other) is None
