"""Which faults a seed brings, how often and when. Pure: drawn once, from the seed."""

from collections.abc import Collection
from dataclasses import dataclass, fields, replace
from random import Random
from typing import Any

CALM_SHARE = 0.08
"""Seeds without any fault: they show that nothing moves twice when nothing goes wrong."""


@dataclass(frozen=True, slots=True)
class FaultRates:
    """How likely each fault is at each message; 0 everywhere is calm."""

    slow: float = 0.0
    """A message takes up to seconds."""
    slow_verbs: tuple[str, ...] = ()
    """These verbs of the store take long at every call; most renewals fail, others take as long as leases last."""
    store_refuses: float = 0.0
    """A call fails before it takes effect."""
    store_unanswered: float = 0.0
    """A call takes effect, and its answer is lost."""
    store_late: float = 0.0
    """The caller is told that nobody knows; the call takes effect afterwards."""
    store_twice: float = 0.0
    """A call takes effect twice."""
    store_torn: float = 0.0
    """A call over several jobs takes effect for some of them first, for the others later."""
    publish_lost: float = 0.0
    """A bundle is lost and not confirmed."""
    publish_unconfirmed: float = 0.0
    """A bundle is delivered and not confirmed."""
    publish_twice: float = 0.0
    """A bundle is delivered twice."""
    publish_vanishes: float = 0.0
    """A bundle is confirmed and then lost."""
    acks_lost: float = 0.0
    """The channel breaks before an acknowledgement arrives."""
    commands_lost: float = 0.0
    """A cancel does not reach its worker but with the renewal."""
    suspects_crash: float = 0.0
    """A suspect ends the process in which it runs alone."""
    suspects_fail_to_start: float = 0.0
    """The process of a suspect dies before its handler begins."""
    jobs_crash: float = 0.0
    """The handler of a job ends its process, its worker or its own, at its first attempts or at each."""
    struck_at_calls: float = 0.0
    """A process is killed or paused a few steps behind a durable call of a handler, or a step of a signal."""


MOST = FaultRates(
    slow=0.15,
    store_refuses=0.15,
    store_unanswered=0.15,
    store_late=0.1,
    store_twice=0.2,
    store_torn=0.5,
    publish_lost=0.3,
    publish_unconfirmed=0.3,
    publish_twice=0.3,
    publish_vanishes=0.8,
    acks_lost=0.2,
    commands_lost=0.7,
    suspects_crash=0.5,
    suspects_fail_to_start=0.4,
    jobs_crash=0.2,
    struck_at_calls=0.15,
)

SLOW_VERBS = ("apply", "apply", "claim", "insert", "live_jobs", "renew", "renew", "get_many")
SLOW_VERBS_OF_CALLS = (
    *("ledgers.open_ledgers", "ledgers.write_entries", "ledgers.write_entries", "ledgers.read_inboxes"),
    *("ledgers.push_signal", "ledgers.unset_pending", "announce", "announce", "resume"),
)
"""Those of jobs with durable calls."""

INCIDENTS = {
    "worker killed": 5,
    "worker paused": 5,
    "worker drained": 2,
    "intake killed": 2,
    "intake paused": 1,
    "intake stopped": 1,
    "gateway killed": 2,
    "gateway paused": 2,
    "process cut off from the store": 3,
    "store away": 3,
    "broker away": 2,
    "broker restarted": 2,
    "broker wiped": 1,
    "broker swallows": 2,
    "lane purged": 2,
    "lane deleted": 1,
    "channel dropped": 3,
}
"""Kinds of incidents, and how often each is drawn beside the others."""
MOST_INCIDENTS = 9

NO_CHANCES = frozenset({"slow_verbs", *INCIDENTS})
KNOBS = tuple(field.name for field in fields(FaultRates)) + tuple(INCIDENTS)


@dataclass(frozen=True, slots=True)
class Incident:
    """One incident; `strength` (0 to 1) says how long it lasts, `steps` where in a process's work it strikes."""

    kind: str
    at_s: float
    strength: float
    steps: int


@dataclass(frozen=True, slots=True)
class FaultPlan:
    """All that goes wrong in one seed."""

    rates: FaultRates
    incidents: tuple[Incident, ...]
    clocks_are_off: bool

    @property
    def is_calm(self) -> bool:
        """Whether nothing goes wrong."""
        return not self.incidents and self.rates == FaultRates()


def draw_plan(rng: Random, lasts_s: float, without: Collection[str] = (), *, has_calls: bool = False) -> FaultPlan:
    """Draws a seed's faults. Those named in `without` are left out; the others stay as they are. `has_calls`: some of
    its jobs have durable calls."""
    is_calm = rng.random() < CALM_SHARE
    drawn_knobs: dict[str, Any] = {
        name: rng.random() * getattr(MOST, name) * (rng.random() < 0.5) for name in KNOBS if name not in NO_CHANCES
    }
    drawn_knobs["slow_verbs"] = tuple(rng.choices(SLOW_VERBS, k=rng.choice((0, 0, 1, 3, 4))))
    if has_calls:
        drawn_knobs["slow_verbs"] += tuple(rng.choices(SLOW_VERBS_OF_CALLS, k=rng.choice((0, 0, 1, 3))))
    kinds = [kind for kind in INCIDENTS if rng.random() < 0.5] or ["worker killed"]
    drawn = rng.choices(kinds, [INCIDENTS[kind] for kind in kinds], k=rng.randint(0, MOST_INCIDENTS))
    incidents = [Incident(kind, rng.uniform(0.3, lasts_s), rng.random(), rng.randint(1, 60)) for kind in drawn]
    clocks_are_off = rng.random() < 0.5
    if is_calm:
        return FaultPlan(FaultRates(), (), clocks_are_off)
    rates = replace(FaultRates(), **{name: drawn for name, drawn in drawn_knobs.items() if name not in without})
    return FaultPlan(rates, tuple(incident for incident in incidents if incident.kind not in without), clocks_are_off)
