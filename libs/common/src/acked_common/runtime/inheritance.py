"""The descriptors that no forked child may keep: the socket of one would go on listening after the end of its process,
and get a part of the probes of the next one. Whoever listens registers here; whoever guards forks closes them.
"""

not_for_children: set[int] = set()


def close_in_children(fd: int) -> None:
    """Close this descriptor in every child that is forked from now on."""
    not_for_children.add(fd)


def closed(fd: int) -> None:
    """Forget a descriptor that is closed here: its number may stand for something else from now on."""
    not_for_children.discard(fd)
