"""OWNER of how many jobs one bundle carries. Pure.

Large bundles save round trips, but one bundle must not fill a worker: it is claimed whole, so it may exceed the free
slots by its size. A bundle therefore has at most `MAX_BUNDLE` jobs and at most a quarter of a worker's slots. Handlers
that run in threads get one job at a time.
"""

MAX_BUNDLE = 32
"""Also what a kind may ask for; `acked.definition` checks the same number, since handlers don't depend on services."""
PARTS_OF_SLOTS = 4


def largest_bundle(slots: int) -> int:
    """Returns the most jobs that a bundle for a worker with so many slots carries."""
    return max(1, min(MAX_BUNDLE, slots // PARTS_OF_SLOTS))


def bundle_size(wished: int | None, *, slots: int, is_async: bool) -> int:
    """Returns the jobs of a bundle of a kind that wishes for so many; None: as many as useful."""
    return min(wished or MAX_BUNDLE, largest_bundle(slots)) if is_async else 1
