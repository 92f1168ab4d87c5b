"""How long and how often things are measured: the usual run, the quick one and the long one. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass

CONNECTIONS = 100
"""Of the load on an endpoint."""
PACED_PER_S = 500.0
EVENTS_PER_S = 1000
FOLLOWERS = 100
LOAD_TEST_CALLS = 1000
MOST_SECONDS_OF_LOAD = 700.0
"""No load is asked for longer than that."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Times are seconds of load or of measurement, without what starting and stopping takes."""

    name: str
    rounds: int
    warm_up_s: float
    fill_s: float
    """How long requests come in behind the warm-up while all workers are stopped; what is accepted is drained then."""
    beside_s: float
    """How long each further way to accept is measured: with keys, with workers on."""
    drain_s: float
    idle_samples: int
    idle_s: float
    paced_s: float
    feed_s: float
    clients: int
    clients_s: float
    stored: tuple[int, ...]
    """Jobs in the store, by steps, for the cost as it grows."""
    waiting: int
    slow_accepted: int
    """Jobs of a slow kind, most of which wait while a quick one is measured."""
    grown_s: float
    memory_s: float
    per_job_s: float
    steps_s: float
    """How long each system drains jobs of steps."""
    chains: int
    """Jobs whose steps are timed, one at a time."""
    sleepers: int
    sleepers_s: float
    """How long they have to be accepted and to park."""
    signals: int
    """Parked jobs that get a signal, one at a time."""
    distance_s: float
    """How long each combination of distance, intakes and jobs is measured."""
    distances_ms: tuple[float, ...]
    distance_intakes: tuple[int, ...]
    stays_awake: bool
    """Endpoints of all systems stay, with nothing to do, while another is measured: there is no time to start them."""
    within_s: float
    """What the whole run may take."""
    budgets_s: Mapping[str, float]
    """What each figure may take of it, as a guide; `accept` has the sessions that give `drain` and `start` too."""


USUAL = Plan(
    name="usual",
    rounds=5,
    warm_up_s=1.0,
    fill_s=19.0,
    beside_s=2.0,
    drain_s=10.0,
    idle_samples=150,
    idle_s=1.5,
    paced_s=2.0,
    feed_s=3.0,
    clients=10_000,
    clients_s=2.0,
    stored=(0, 1_000_000),
    waiting=200_000,
    slow_accepted=100_000,
    grown_s=2.0,
    memory_s=120.0,
    per_job_s=2.0,
    steps_s=5.0,
    chains=100,
    sleepers=100_000,
    sleepers_s=120.0,
    signals=1_000,
    distance_s=8.0,
    distances_ms=(0.0, 1.0, 4.0),
    distance_intakes=(1, 3),
    stays_awake=False,
    within_s=36 * 60.0,
    budgets_s={
        "accept": 920.0,
        "drain": 1.0,
        "start": 1.0,
        "per-job": 50.0,
        "load-test": 45.0,
        "lanes": 45.0,
        "many": 30.0,
        "steps": 130.0,
        "sleepers": 200.0,
        "signals": 40.0,
        "distance": 230.0,
        "feed": 50.0,
        "growth": 160.0,
        "memory": 130.0,
        "clients": 65.0,
    },
)

QUICK = Plan(
    name="quick",
    rounds=1,
    warm_up_s=1.0,
    fill_s=2.0,
    beside_s=1.0,
    drain_s=1.5,
    idle_samples=40,
    idle_s=0.8,
    paced_s=1.0,
    feed_s=1.5,
    clients=500,
    clients_s=1.0,
    stored=(0, 20_000),
    waiting=2_000,
    slow_accepted=2_000,
    grown_s=1.0,
    memory_s=4.0,
    per_job_s=1.0,
    steps_s=1.5,
    chains=20,
    sleepers=2_000,
    sleepers_s=20.0,
    signals=50,
    distance_s=3.0,
    distances_ms=(4.0,),
    distance_intakes=(1, 3),
    stays_awake=True,
    within_s=6 * 60.0,
    budgets_s={
        "accept": 62.0,
        "drain": 1.0,
        "start": 1.0,
        "per-job": 10.0,
        "load-test": 10.0,
        "lanes": 16.0,
        "many": 30.0,
        "steps": 30.0,
        "sleepers": 60.0,
        "signals": 12.0,
        "distance": 38.0,
        "feed": 12.0,
        "growth": 16.0,
        "memory": 8.0,
        "clients": 10.0,
    },
)

LONG = Plan(
    name="long",
    rounds=9,
    warm_up_s=1.0,
    fill_s=19.0,
    beside_s=5.0,
    drain_s=10.0,
    idle_samples=400,
    idle_s=8.0,
    paced_s=8.0,
    feed_s=15.0,
    clients=10_000,
    clients_s=6.0,
    stored=(0, 1_000_000, 5_000_000),
    waiting=200_000,
    slow_accepted=100_000,
    grown_s=6.0,
    memory_s=600.0,
    per_job_s=10.0,
    steps_s=10.0,
    chains=300,
    sleepers=1_000_000,
    sleepers_s=1_200.0,
    signals=1_000,
    distance_s=20.0,
    distances_ms=(0.0, 1.0, 4.0, 10.0),
    distance_intakes=(1, 3),
    stays_awake=False,
    within_s=130 * 60.0,
    budgets_s={
        "accept": 2300.0,
        "drain": 1.0,
        "start": 1.0,
        "per-job": 240.0,
        "load-test": 90.0,
        "lanes": 120.0,
        "many": 30.0,
        "steps": 350.0,
        "sleepers": 1900.0,
        "signals": 60.0,
        "distance": 590.0,
        "feed": 300.0,
        "growth": 900.0,
        "memory": 620.0,
        "clients": 180.0,
    },
)
