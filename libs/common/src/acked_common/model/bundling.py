"""OWNER of how many jobs one bundle carries. Pure.

Large bundles save round trips, but one bundle must not fill a worker: it is claimed whole, so it may exceed the free
slots by its size. A bundle therefore has at most `MAX_BUNDLE` jobs and at most a quarter of a worker's slots. Handlers
that run in threads get one job at a time.
"""

MAX_BUNDLE = 32
"""Also the maximum that a kind may request. `acked.definition` repeats it, since handlers don't depend on services."""
PARTS_OF_SLOTS = 4


def largest_bundle(slots: int) -> int:
    """Return the maximum of jobs in a bundle for a worker with this number of slots."""
    return max(1, min(MAX_BUNDLE, slots // PARTS_OF_SLOTS))


def bundle_size(wished: int | None, *, slots: int, is_async: bool) -> int:
    """Return the bundle size of a kind that requests this many jobs; None: as many as useful."""
    return min(wished or MAX_BUNDLE, largest_bundle(slots)) if is_async else 1
