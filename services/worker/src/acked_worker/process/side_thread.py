"""Run a function in a thread while the calling thread runs user code."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def side_thread(name: str, run: Callable[[threading.Event], object]) -> Iterator[None]:
    """Call `run` in a daemon thread. Its argument is set when the context ends; `run` must return soon after.

    The thread is joined: a process can be forked safely only while it has one thread.
    """
    done = threading.Event()
    thread = threading.Thread(target=run, args=(done,), name=name, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
