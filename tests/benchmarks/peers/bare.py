"""Bare Starlette: reads the same JSON, answers the same, keeps nothing."""

import sys

from benchmarks.peers.endpoint import application, new_id, serve


async def submit(kind: str, payload: dict) -> str:
    """Keeps nothing."""
    return new_id()


if __name__ == "__main__":
    serve(application(submit), int(sys.argv[1]))
