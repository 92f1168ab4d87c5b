"""The descriptors that a forked child must close.

A child's copy of a listening socket would outlive its process and receive some of the probes of the next one. Parts
that listen register their descriptors here, and the fork hooks close them.
"""

not_for_children: set[int] = set()


def close_in_children(fd: int) -> None:
    """Close this descriptor in every child that is forked from now on."""
    not_for_children.add(fd)


def closed(fd: int) -> None:
    """Forget a descriptor that is closed in this process, because its number may be reused."""
    not_for_children.discard(fd)
