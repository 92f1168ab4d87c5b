"""The pages that the gateway serves: plain HTML, CSS and JavaScript, kept in this package.

The scripts know no state by name: the states, their colours and which of them are ends stand in the page, put there
from the lifecycle when it is loaded.
"""

from html import escape
from importlib import resources

from acked_common.model.lifecycle import TERMINAL, State

_MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}

ASSET_MEDIA_TYPES = tuple(sorted({media_type.partition(";")[0] for media_type in _MEDIA_TYPES.values()}))
"""What a page or an asset may be."""

# Told apart by lightness too, and readable on both a white and a dark card.
_COLOURS = {
    State.QUEUED: "#8794a8",
    State.RUNNING: "#3b82f6",
    State.SCHEDULED: "#a78bfa",
    State.WAITING: "#e0a100",
    State.SUCCEEDED: "#1f9d55",
    State.FAILED: "#d63a3a",
    State.CANCELLED: "#7a5c46",
}

PAGES = ("index.html", "load_test.html")
"""What has an address of its own."""
ASSETS = (
    "app.css",
    "batch_news.js",
    "feed.js",
    "icon.svg",
    "index.js",
    "load_test.js",
    "shared.js",
    "tally.js",
    "token.js",
)
"""What the pages ask for as `/pages/<name>`."""


def load_page(
    name: str,
    *,
    intake_url: str = "http://localhost:8081",
    host: str = "localhost:8080",
    run_once: str = "",
    run_batch: str = "",
) -> tuple[bytes, str]:
    """The bytes and the media type of one of `PAGES` or `ASSETS`; KeyError for any other name.

    `intake_url` is where people reach the intake, `host` the name under which they called the gateway; the pages show
    both in commands. With `run_once` the page of the load test starts one by itself, whose batch is `run_batch`;
    without it the page waits for a click.
    """
    if name not in PAGES and name not in ASSETS:
        raise KeyError(name)
    content = resources.files(__name__).joinpath(name).read_bytes()
    if name in PAGES:
        values = {
            "states": " ".join(State),
            "colours": " ".join(_COLOURS[state] for state in State),
            "terminal_states": " ".join(state for state in State if state in TERMINAL),
            "intake_url": intake_url.rstrip("/"),
            "host": host,
            "run_once": run_once,
            "run_batch": run_batch,
        }
        for key, value in values.items():
            content = content.replace(b"{{" + key.encode() + b"}}", escape(value).encode())
    return content, _MEDIA_TYPES[name[name.rindex(".") :]]
