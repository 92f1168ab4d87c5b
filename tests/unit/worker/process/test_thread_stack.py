"""Where another thread is, also while it runs on."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from acked_worker.process.thread_stack import stack_of

READS = 300
DEPTH = 30
"""Frames that a busy thread enters and leaves all the time."""


@contextmanager
def running(thread: threading.Thread, ends: threading.Event) -> Iterator[int]:
    thread.start()
    assert thread.ident is not None
    try:
        yield thread.ident
    finally:
        ends.set()
        thread.join()


def test_stack_of_a_waiting_thread_ends_where_it_waits() -> None:
    waits, ends = threading.Event(), threading.Event()

    def outer() -> None:
        inner()

    def inner() -> None:
        waits.set()
        ends.wait()

    with running(threading.Thread(target=outer), ends) as ident:
        waits.wait()
        ours = [frame for frame in stack_of(ident) if frame.filename == __file__]
    assert [frame.name for frame in ours] == ["outer", "inner"]
    # It may be on its way into the wait.
    assert ours[-1].line in ("waits.set()", "ends.wait()")


def test_each_read_of_a_busy_thread_is_whole() -> None:
    ends = threading.Event()

    def descend(depth: int) -> int:
        return 0 if depth == 0 else 1 + descend(depth - 1)

    def work() -> None:
        while not ends.is_set():
            descend(DEPTH)

    seen = set()
    with running(threading.Thread(target=work), ends) as ident:
        for _ in range(READS):
            stack = stack_of(ident)
            ours = [frame.name for frame in stack if Path(frame.filename) == Path(__file__)]
            assert ours[:1] in ([], ["work"])
            assert set(ours[1:]) <= {"descend"}
            seen.add(len(ours))
    assert len(seen) > 1, "the thread ran on between the reads"


def test_names_beyond_ascii_are_whole() -> None:
    waits, ends = threading.Event(), threading.Event()

    def function() -> None:
        waits.set()
        ends.wait()

    name = ("é_名.py", "größe_𠀀")
    function.__code__ = function.__code__.replace(co_filename=name[0], co_name=name[1])
    with running(threading.Thread(target=function), ends) as ident:
        waits.wait()
        assert name in {(frame.filename, frame.name) for frame in stack_of(ident)}


def test_thread_that_has_ended_has_no_stack() -> None:
    thread = threading.Thread(target=lambda: None)
    thread.start()
    thread.join()
    assert thread.ident is not None
    assert not stack_of(thread.ident)
