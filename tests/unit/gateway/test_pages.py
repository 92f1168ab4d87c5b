"""The pages: complete, self-contained, and ignorant of the states' names."""

import re
from html.parser import HTMLParser
from importlib import resources

import pytest

from acked_common.model.lifecycle import TERMINAL, State
from acked_gateway.pages import ASSETS, PAGES, load_page


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


def text_of(name: str) -> str:
    return load_page(name)[0].decode()


@pytest.mark.parametrize(
    ("name", "media_type"),
    [
        ("index.html", "text/html; charset=utf-8"),
        ("app.css", "text/css; charset=utf-8"),
        ("load_test.js", "text/javascript; charset=utf-8"),
        ("icon.svg", "image/svg+xml"),
    ],
)
def test_each_file_has_its_media_type(name: str, media_type: str) -> None:
    content, found = load_page(name)
    assert found == media_type
    assert content


@pytest.mark.parametrize("name", ["", "__init__.py", "../load_test.py", "/etc/passwd", "nothing.html"])
def test_nothing_else_is_served(name: str) -> None:
    with pytest.raises(KeyError):
        load_page(name)


def test_every_file_of_the_package_is_listed() -> None:
    files = {entry.name for entry in resources.files("acked_gateway.pages").iterdir() if entry.is_file()}
    assert {name for name in files if not name.endswith(".py")} == {*PAGES, *ASSETS}


@pytest.mark.parametrize("name", PAGES)
def test_a_page_obeys_its_content_security_policy(name: str) -> None:
    tags = Tags(text_of(name))
    assert tags.inline == ""
    for tag, attributes in tags.found:
        assert tag != "style"
        assert not [key for key in attributes if key == "style" or key.startswith("on")], (tag, attributes)


@pytest.mark.parametrize("name", PAGES)
def test_a_page_asks_only_for_what_is_there(name: str) -> None:
    asked = [
        attributes.get("src") or attributes.get("href") or ""
        for tag, attributes in Tags(text_of(name)).found
        if tag in ("script", "link")
    ]
    assert asked
    assert all(path.removeprefix("/pages/") in ASSETS for path in asked)


@pytest.mark.parametrize("name", [name for name in ASSETS if not name.endswith(".svg")])
def test_assets_ask_for_nothing_from_elsewhere(name: str) -> None:
    text = text_of(name)
    assert "://" not in text
    for imported in re.findall(r'from "([^"]+)"', text):
        assert imported.removeprefix("./") in ASSETS


@pytest.mark.parametrize("name", [name for name in ASSETS if name.endswith(".js")])
def test_scripts_import_what_is_exported(name: str) -> None:
    for names, source in re.findall(r'import \{([^}]+)\} from "\./([^"]+)"', text_of(name)):
        exported = set(re.findall(r"^export (?:async )?(?:class|const|function) (\w+)", text_of(source), re.MULTILINE))
        assert {one.strip() for one in names.split(",")} <= exported, source


def test_the_line_is_named_in_words_for_each_way_it_can_be() -> None:
    ways = re.findall(r"(\w+): \"", re.search(r"const Line = .*", text_of("feed.js"))[0])  # type: ignore[index]
    assert len(ways) == 4
    for way in ways:
        assert re.search(rf"\[Line\.{way}\]: \"[A-Z].+\",", text_of("load_test.js")), way


@pytest.mark.parametrize("name", PAGES)
def test_every_field_has_a_label(name: str) -> None:
    page = text_of(name)
    for field in re.finditer(r"<input\b", page):
        before = page[: field.start()]
        assert before.rfind("<label") > before.rfind("</label>")


@pytest.mark.parametrize("name", ASSETS)
def test_assets_name_no_state(name: str) -> None:
    quoted = set(re.findall(r"""["'`]([\w-]+)["'`]""", text_of(name)))
    assert not quoted & {*State}


def test_the_load_test_page_says_the_states_of_the_lifecycle() -> None:
    body = next(attributes for tag, attributes in Tags(text_of("load_test.html")).found if tag == "body")
    assert (body["data-states"] or "").split() == list(State)
    assert {*(body["data-terminal-states"] or "").split()} == TERMINAL
    assert len(set((body["data-colours"] or "").split())) == len(State)


@pytest.mark.parametrize("name", PAGES)
def test_every_place_is_filled_and_escaped(name: str) -> None:
    page = load_page(name, intake_url="http://localhost:1/<&")[0].decode()
    assert "{{" not in page
    assert "<&" not in page


def test_the_landing_page_shows_where_the_intake_is() -> None:
    assert "http://localhost:18081/process" in load_page("index.html", intake_url="http://localhost:18081/")[0].decode()


def test_scripts_find_every_element_that_they_name() -> None:
    for page, script in (("load_test.html", "load_test.js"), ("index.html", "index.js")):
        ids = set(re.findall(r'\bid="([^"]+)"', text_of(page)))
        named = set(re.findall(r'byId\("([^"]+)"\)', text_of(script) + text_of("shared.js")))
        assert named <= ids, (page, named - ids)


def test_the_load_test_page_runs_by_itself_with_a_value_alone() -> None:
    def told(page: bytes) -> tuple[str | None, str | None]:
        body = next(attributes for tag, attributes in Tags(page.decode()).found if tag == "body")
        return body["data-run-once"], body["data-run-batch"]

    assert told(load_page("load_test.html")[0]) == ("", "")
    assert told(load_page("load_test.html", run_once="1.ab", run_batch="b")[0]) == ("1.ab", "b")


def test_commands_on_pages_name_the_ports_in_use() -> None:
    page = load_page("load_test.html", host="gateway.example:18080")[0].decode()
    assert "'http://gateway.example:18080/load-test?count=1000'" in page
    assert "8080/" not in page.replace("18080/", "")
