"""The settings that limit the clients of an HTTP service."""

from dataclasses import dataclass

from acked_common.runtime.env import Env


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """Limits that apply before a request is complete."""

    connections: int = 8192
    """HTTP connections, without WebSockets."""
    first_byte_s: float = 10.0
    head_s: float = 10.0
    body_s: float = 10.0
    idle_s: float = 75.0


@dataclass(frozen=True, slots=True)
class Bound:
    """How much of one resource all clients of a process may hold together, and each of them."""

    in_all: int
    of_client: int


@dataclass(frozen=True, slots=True)
class HeldLimits:
    """What clients may hold in every HTTP service."""

    requests: Bound
    long_polls: Bound
    bytes: Bound


def usual_held(connections: int) -> HeldLimits:
    """Return the defaults for a number of connections. A client at its limit leaves half of them to others, and long
    polls leave a quarter to short requests."""
    return HeldLimits(
        requests=Bound(connections, connections // 2),
        long_polls=Bound(connections * 3 // 4, connections // 4),
        bytes=Bound(128 * 2**20, 32 * 2**20),
    )


def read_bound(
    env: Env, name: str, name_of_client: str, usual: Bound, *, at_least: int = 1, at_most: int = 2**31
) -> Bound:
    """Read a limit from two settings. A client's default never exceeds the total that is set."""
    in_all = env.whole(name, usual.in_all, at_least=at_least, at_most=at_most)
    of_client = env.whole(name_of_client, min(usual.of_client, in_all), at_least=at_least, at_most=at_most)
    env.require(of_client <= in_all, f"{name_of_client}={of_client}: must be at most {name}={in_all}")
    return Bound(in_all, min(of_client, in_all))


def read_held_limits(env: Env, http: HttpLimits, *, largest_body: int) -> HeldLimits:
    """Read what clients may hold; `largest_body` must fit into the limit of one client."""
    usual = usual_held(http.connections)
    requests = env.whole("ACKED_REQUESTS_PER_CLIENT", usual.requests.of_client)
    env.require(
        1 <= requests <= http.connections,
        f"ACKED_REQUESTS_PER_CLIENT={requests}: must be 1 to ACKED_MAX_CONNECTIONS={http.connections}",
    )
    polls = read_bound(env, "ACKED_LONG_POLLS", "ACKED_LONG_POLLS_PER_CLIENT", usual.long_polls)
    env.require(
        polls.in_all < http.connections,
        f"ACKED_LONG_POLLS={polls.in_all}: must be less than ACKED_MAX_CONNECTIONS={http.connections}, "
        "or long polls could hold every connection",
    )
    held_bytes = read_bound(env, "ACKED_HELD_BYTES", "ACKED_HELD_BYTES_PER_CLIENT", usual.bytes, at_least=largest_body)
    return HeldLimits(Bound(http.connections, max(1, min(requests, http.connections))), polls, held_bytes)


def read_http_limits(env: Env) -> HttpLimits:
    """Read the limits of an HTTP service."""
    usual = HttpLimits()
    return HttpLimits(
        connections=env.whole("ACKED_MAX_CONNECTIONS", usual.connections, at_least=16, at_most=1_000_000),
        first_byte_s=env.seconds("ACKED_FIRST_BYTE_TIMEOUT_S", usual.first_byte_s),
        head_s=env.seconds("ACKED_HEAD_TIMEOUT_S", usual.head_s),
        body_s=env.seconds("ACKED_BODY_TIMEOUT_S", usual.body_s),
        idle_s=env.seconds("ACKED_IDLE_TIMEOUT_S", usual.idle_s),
    )
