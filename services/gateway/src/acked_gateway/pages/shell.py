"""The page at every address: the same bytes for everyone, because it holds no data that needs a permission.

The scripts know no state by name. States with their look, and the states in which each command is allowed, stand in
the shell; they come from the lifecycle.
"""

import json
import re
from collections.abc import Mapping
from html import escape
from typing import Any

from acked_common.model.bulk_actions import MOVES
from acked_common.model.interventions import EDITABLE, ENDABLE_NOW, RESOLVED_AS
from acked_common.model.lifecycle import TERMINAL, State
from acked_common.model.lifecycle_waits import ENDABLE
from acked_common.model.principal import Permission
from acked_gateway.pages.assets import assets, static

_LOOKS = {
    # The tone is a colour of app.css; the shape tells states apart where colours do not.
    State.QUEUED: ("wait", "ring"),
    State.RUNNING: ("run", "play"),
    State.SCHEDULED: ("later", "clock"),
    State.WAITING: ("later", "hourglass"),
    State.SUCCEEDED: ("good", "check"),
    State.FAILED: ("bad", "cross"),
    State.CANCELLED: ("off", "bar"),
}
_ALLOWED = {verb.value: states for verb, states in MOVES.items()} | {"edit": EDITABLE, "end_wait": ENDABLE_NOW}
_PLACE = re.compile(r"\{\{(\w+)\}\}")


def settings_of_pages(intake_url: str) -> dict[str, Any]:
    """Return what the scripts need of the server; all of it is public."""
    return {
        "intake_url": intake_url.rstrip("/"),
        "states": [
            {"name": state, "tone": tone, "shape": shape, "is_terminal": state in TERMINAL}
            for state, (tone, shape) in ((state, _LOOKS[state]) for state in State)
        ],
        "allowed": {command: [state for state in State if state in states] for command, states in _ALLOWED.items()},
        "endable": sorted(ENDABLE),
        "resolved_as": RESOLVED_AS,
        "failure": State.FAILED,
        "wait": State.QUEUED,
        "run": State.RUNNING,
        "permissions": {permission.name.lower(): permission for permission in Permission},
    }


class Shell:
    """Renders the shell; the template is read and filled once."""

    def __init__(self, intake_url: str) -> None:
        """Fill in the names of the assets, and the URL at which people reach intake."""
        values = {asset.name.replace(".", "_"): f"/pages/{asset.versioned}" for asset in assets().values()}
        values["config"] = json.dumps(settings_of_pages(intake_url), separators=(",", ":"))
        values["intake_url"] = intake_url.rstrip("/")
        text = static("shell.html").decode()
        self._text = _PLACE.sub(lambda match: escape(values[match[1]]) if match[1] in values else match[0], text)

    def render(self, host: str, attributes: Mapping[str, str] | None = None) -> bytes:
        """Return the page. `host` is the name under which the browser reached the gateway, for commands that it shows.

        `attributes` are data attributes of the body, for the one page that needs them: the load test.
        """
        given = "".join(f' data-{name}="{escape(value)}"' for name, value in (attributes or {}).items())
        return self._text.replace("{{host}}", escape(host)).replace("{{attributes}}", given).encode()
