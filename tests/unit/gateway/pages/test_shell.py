"""The shell: one page for every address, complete, self-contained, and free of inline code."""

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from html.parser import HTMLParser
from typing import Any

import pytest
from starlette.requests import Request

from acked_common.model import interventions
from acked_common.model.ids import new_id
from acked_common.model.lifecycle import TERMINAL, State, Transition
from acked_gateway.load_test.one_time import OneTimeValues
from acked_gateway.load_test.page import make_page
from acked_gateway.pages.assets import assets, static
from acked_gateway.pages.shell import Shell, settings_of_pages
from support.factories import ManualClock

HOST = "gateway.example:18080"
INTAKE = "http://intake.example:18081/"
TYPED = {"sec-fetch-site": "none", "sec-fetch-mode": "navigate", "sec-fetch-user": "?1", "sec-fetch-dest": "document"}
CLICKED = {**TYPED, "sec-fetch-site": "same-origin"}


class Tags(HTMLParser):
    """Collects every tag with its attributes, and the text within scripts and styles."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.inline = ""
        self._within = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        self._within = tag

    def handle_endtag(self, tag: str) -> None:
        self._within = ""

    def handle_data(self, data: str) -> None:
        if self._within in ("script", "style"):
            self.inline += data.strip()

    def of(self, tag: str) -> list[dict[str, str | None]]:
        """The attributes of each element of a name."""
        return [attributes for name, attributes in self.found if name == tag]


def shell(host: str = HOST, intake: str = INTAKE) -> Tags:
    return Tags(Shell(intake).render(host).decode())


def page_of(path: str, headers: dict[str, str] | None = None) -> bytes:
    """Return what a browser gets at an address."""
    clock = ManualClock(datetime(2026, 11, 28, tzinfo=UTC))
    show = make_page(Shell(INTAKE), OneTimeValues("secret"), clock)
    target, _, query = path.partition("?")
    sent = {"host": HOST, **(headers or {})}
    scope = {
        "type": "http",
        "method": "GET",
        "path": target,
        "query_string": query.encode(),
        "headers": [(name.encode(), value.encode()) for name, value in sent.items()],
        "server": ("127.0.0.1", 18080),
        "scheme": "http",
    }
    return bytes(show(Request(scope)).body)


def test_shell_obeys_its_content_security_policy() -> None:
    tags = shell()
    assert tags.inline == ""
    for tag, attributes in tags.found:
        assert tag != "style"
        assert not [key for key in attributes if key == "style" or key.startswith("on")], (tag, attributes)


def test_shell_loads_versioned_assets_of_its_own() -> None:
    tags = shell()
    asked = [one.get("src") or one.get("href") or "" for tag in ("script", "link") for one in tags.of(tag)]
    versioned = {f"/pages/{asset.versioned}" for asset in assets().values()}
    assert len(asked) == 4
    assert set(asked) <= versioned


def test_every_place_of_the_shell_is_filled_and_escaped() -> None:
    page = Shell("http://localhost:1/<&").render('"><script>x').decode()
    assert "{{" not in page
    assert "<&" not in page
    assert "<script>x" not in page


def test_shell_says_the_states_of_the_lifecycle_with_their_look() -> None:
    (body,) = shell().of("body")
    config = json.loads(body["data-config"] or "")
    assert [state["name"] for state in config["states"]] == list(State)
    assert {state["name"] for state in config["states"] if state["is_terminal"]} == TERMINAL
    assert len({(state["tone"], state["shape"]) for state in config["states"]}) == len(State)
    shapes = re.search(r"const SHAPES = \{(.*?)\n\};", static("parts.js").decode(), re.DOTALL)
    tones = set(re.findall(r"--tone-(\w+):", static("app.css").decode()))
    assert shapes is not None
    for state in config["states"]:
        assert f"{state['shape']}:" in shapes[1]
        assert state["tone"] in tones
    assert config["failure"] == State.FAILED
    assert config["intake_url"] == INTAKE.rstrip("/")


def test_commands_are_allowed_in_the_states_that_their_transitions_leave() -> None:
    allowed = settings_of_pages(INTAKE)["allowed"]
    at, span = datetime(2026, 11, 28, tzinfo=UTC), {"retention_s": 1.0}
    queued = {"grace_s": 1.0, "expires_in_s": 1.0}
    resolved = interventions.resolve(at=at, to=State.FAILED, result=None, note=None, **span)
    leaves = {
        "cancel": interventions.cancel(at=at, **span).leaves | interventions.request_cancel(at=at).leaves,
        "retry": interventions.retry(at=at, **queued).leaves,
        "run_now": interventions.run_now(at=at, **queued).leaves,
        "end_wait": interventions.end_wait(at=at, **queued).leaves,
        "resolve": resolved.leaves,
        "edit": {state for state in State if may(interventions.edit, at=at, state=state, edited_to=new_id(), **span)},
        "erase": {state for state in State if may(interventions.erase, at=at, state=state)},
    }
    assert {command: set(states) for command, states in allowed.items()} == leaves


def may(transition: Callable[..., Transition], **fields: Any) -> bool:
    """Return whether a transition can be made of these fields."""
    try:
        return transition(**fields).to is fields["state"]
    except ValueError:
        return False


def test_commands_of_the_shell_name_the_ports_in_use() -> None:
    page = Shell(INTAKE).render(HOST).decode()
    assert f"http://{HOST}/load-test?count=1000" in page
    assert "http://intake.example:18081/process" in page
    assert "8080/" not in page.replace("18080/", "")


def test_scripts_find_every_element_of_the_shell_that_they_name() -> None:
    ids = {attributes["id"] for _, attributes in shell().found if "id" in attributes}
    for name in ("main.js", "page.js", "places.js", "act.js"):
        named = set(re.findall(r'byId\("([^"]+)"\)', static(name).decode()))
        assert named <= ids, name


def test_shell_has_landmarks_and_a_name_for_each_control() -> None:
    tags = shell()
    assert [len(tags.of(tag)) for tag in ("main", "header", "h1", "nav")] == [1, 1, 1, 1]
    assert tags.of("html")[0]["lang"] == "en"
    assert tags.of("nav")[0]["aria-label"]
    for attributes in tags.of("ul") + tags.of("button"):
        if "aria-controls" in attributes:
            assert attributes["aria-controls"] in {one.get("id") for one in tags.of("ul")}


@pytest.mark.parametrize(
    "path",
    ["/", "/jobs", "/jobs/01a20d05-adff-75dc-870e-4517b8566f53", "/jobs?satte=x", "/tokens", "/nowhere", "/load-test"],
)
def test_shell_is_the_same_at_every_address_for_everyone(path: str) -> None:
    plain = Shell(INTAKE).render(HOST)
    for more in ({}, {"authorization": "Bearer wrong"}, {"cookie": "a=b"}, {"accept-language": "de"}):
        assert page_of(path, more) == plain


@pytest.mark.parametrize(
    ("path", "headers", "runs"),
    [
        ("/load-test", TYPED, True),
        ("/load-test?count=7", TYPED, True),
        ("/load-test?count=7", CLICKED, True),
        # The place "Load test" of each page shows the form.
        ("/load-test", CLICKED, False),
        ("/load-test?count=7", {}, False),
        ("/load-test?count=7", {**TYPED, "sec-fetch-site": "cross-site"}, False),
        ("/load-test?count=7", {**TYPED, "sec-purpose": "prefetch"}, False),
        ("/load-test?count=7&batch=b", TYPED, False),
        ("/jobs", TYPED, False),
    ],
)
def test_load_test_runs_by_itself_with_a_value_alone(path: str, headers: dict[str, str], runs: bool) -> None:
    (body,) = Tags(page_of(path, headers).decode()).of("body")
    assert ("data-run-once" in body, "data-run-batch" in body) == (runs, runs)
    page = page_of(path, headers).decode()
    without = re.sub(r' data-run-(?:once|batch)="[^"]*"', "", page)
    assert without.encode() == Shell(INTAKE).render(HOST)
