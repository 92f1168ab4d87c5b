"""The order of the modules of a folder that run side by side: the longest first.

A long module that begins late works on alone, while the other processes have nothing left to run.
"""

from collections.abc import Mapping
from pathlib import Path

LONGEST: Mapping[str, tuple[str, ...]] = {
    # Of those that start many processes, or containers, one at a time begins.
    "acceptance": (
        "test_access.py",
        "test_compose.py",
        "test_openapi.py",
        "test_scaled.py",
        "test_order_example.py",
        "test_night_story.py",
        "test_metrics_scaled.py",
        "test_feed_without_gaps.py",
        "test_feed_events.py",
        "test_compose_hardening.py",
        "test_timeseries.py",
        "test_access_matrix.py",
        "test_settings_kept.py",
        "test_documented_commands.py",
        "test_bulk_actions.py",
        "test_waiting_reasons.py",
        # Over the shared stack.
        "test_down_up.py",
        "test_page_accessibility.py",
    ),
    "faults": (
        "test_broker_loses.py",
        "test_poison.py",
        "test_database_away.py",
        "test_database.py",
        "test_backlog.py",
        "test_disk_full.py",
        "test_durable_calls.py",
        "test_services_killed.py",
        "test_broker_away.py",
        "test_links.py",
        "test_worker_killed.py",
        "test_handlers.py",
    ),
    "integration": (
        "test_signals.py",
        "test_native_servers.py",
        "test_leftovers.py",
        "test_exit_codes.py",
        "test_graceful_stop.py",
        "test_commands.py",
    ),
}
"""Of each folder, about the longest one first; all others follow in the order of their names."""


def rank(module: Path) -> int:
    """Return the place of a module among those of its folder; modules of one place keep their order."""
    longest = LONGEST.get(module.parent.name, ())
    return longest.index(module.name) if module.name in longest else len(longest)
