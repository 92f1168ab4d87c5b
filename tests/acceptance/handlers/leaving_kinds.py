"""Kinds that fork, signal their own worker, or leave something behind in it."""

import asyncio
import atexit
import ctypes
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import setproctitle

from acked import Context, handler


def _title() -> str:
    return str(setproctitle.getproctitle())


def _signal_by_program() -> None:
    subprocess.run(["sh", "-c", f"kill -TERM {os.getpid()}"], check=True)


def _signal_by_child() -> None:
    worker = os.getpid()
    child = multiprocessing.get_context("fork").Process(target=os.kill, args=(worker, signal.SIGTERM))
    child.start()
    child.join()


def _signal_by_orphan() -> None:
    """Its parent has ended before it sends the signal."""
    subprocess.run(["sh", "-c", f"(sleep 0.3; kill -TERM {os.getpid()}) &"], check=True)
    time.sleep(0.6)


SIGNALS = {
    "kill": lambda: os.kill(os.getpid(), signal.SIGTERM),
    "interrupt": lambda: os.kill(os.getpid(), signal.SIGINT),
    "raise": lambda: signal.raise_signal(signal.SIGTERM),
    "group": lambda: os.killpg(os.getpgrp(), signal.SIGTERM),
    "program": _signal_by_program,
    "child": _signal_by_child,
    "orphan": _signal_by_orphan,
}


@handler("test.stops-its-worker", max_attempts=1)
def stops_its_worker(ctx: Context, payload: Any) -> Any:
    """Alone in a process it ends like others."""
    SIGNALS[payload["how"]]()
    if ctx.attempt == 1:
        while not ctx.cancelled:
            time.sleep(0.05)
        time.sleep(60)
    return _title()


@handler("test.where", max_attempts=1)
async def where(ctx: Context, payload: Any) -> Any:
    """Runs until it is drained; says where it runs then."""
    if ctx.attempt == 1:
        await asyncio.sleep(60)
    return _title()


@handler("test.child-is-signalled", max_attempts=1)
def child_is_signalled(ctx: Context, payload: Any) -> Any:
    """The child comes from the C library, so that no hook of Python runs: it holds all that the worker has."""
    libc = ctypes.PyDLL(None)
    pid = libc.fork()
    if pid == 0:
        libc.usleep(10_000_000)
        os._exit(7)
    time.sleep(0.2)
    os.kill(pid, signal.SIGTERM)
    os.waitpid(pid, 0)
    return os.getpid()


@handler("test.pools", max_attempts=1, timeout_s=120)
def pools(ctx: Context, payload: Any) -> Any:
    for _ in range(payload["count"]):
        with multiprocessing.get_context("fork").Pool(2) as pool:
            pool.map(abs, [-1, -2])
    return os.getpid()


@handler("test.child-leaves", max_attempts=1, timeout_s=20)
def child_leaves(ctx: Context, payload: Any) -> Any:
    pid = os.fork()
    if pid == 0:
        if payload["how"] == "exit":
            sys.exit(3)
        if payload["how"] == "raise":
            raise ValueError("in the child")
        return "child"
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@handler("test.child-awaits", max_attempts=1, timeout_s=20)
async def child_awaits(ctx: Context, payload: Any) -> Any:
    pid = os.fork()
    if pid == 0:
        if payload["how"] == "exit":
            sys.exit(3)
        await asyncio.sleep(0)
        os._exit(9)
    return os.waitstatus_to_exitcode((await asyncio.to_thread(os.waitpid, pid, 0))[1])


class _HangsAtTheEnd:
    def __del__(self) -> None:
        time.sleep(3600)


LEFT: list[Any] = []


@handler("test.leaves-behind", max_attempts=1)
def leaves_behind(ctx: Context, payload: Any) -> Any:
    """What Python waits for at its end: threads that are no daemons, pools, processes, hooks and finalizers."""
    threading.Thread(target=time.sleep, args=(3600,)).start()
    LEFT.append(ThreadPoolExecutor(1).submit(time.sleep, 3600))
    LEFT.append(_HangsAtTheEnd())
    child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(3600,))
    child.start()
    LEFT.append(child)
    atexit.register(time.sleep, 3600)
    return [os.getpid(), child.pid]
