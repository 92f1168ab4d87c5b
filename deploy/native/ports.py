"""Find ports for a stack that nothing else uses."""

import random

from deploy.native.layout import MAX_PORT_BASE, PORTS_BROWSERS_REFUSE, SERVER_PORT_OFFSET
from deploy.native.preflight import is_free

# By default, Linux gives ports from 32,768 on to outgoing connections.
MAX_SAFE_PORT_BASE = 32_768 - SERVER_PORT_OFFSET - 10


def free_port_base(near: int | None = None) -> int:
    """Return a base whose ports are all free now, for tests: the first from `near`, else one in a safe range.

    Ports of servers that are in the kernel's range for outgoing connections are taken by those now and then. A browser
    can't open the pages at some ports.
    """
    safe = range(8_200, MAX_SAFE_PORT_BASE, 10)
    for base in random.sample(safe, len(safe)) if near is None else range(near, MAX_PORT_BASE, 10):
        pages = {base, base + 1}
        ports = [*pages, *(base + SERVER_PORT_OFFSET + n for n in range(2, 6))]
        if pages.isdisjoint(PORTS_BROWSERS_REFUSE) and all(map(is_free, ports)):
            return base
    raise LookupError("no base has all of its ports free")
