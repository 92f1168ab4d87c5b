"""Our own scripts: what they may not do, and that each import exists."""

import re

import pytest

from acked_common.model.lifecycle import State
from acked_gateway.pages.assets import assets, static

OWN = sorted(name for name in assets() if name.endswith(".js") and name != "uplot.js")
TEXTS = {name: static(name).decode() for name in OWN}
FORBIDDEN = re.compile(
    r"innerHTML|outerHTML|insertAdjacentHTML|createContextualFragment|\bDOMParser\b|\beval\b|document\.write"
    r"|new Function|\bsetTimeout\(\s*[\"'`]|\bsrcdoc\b|javascript:"
)
MODULE_LINES = 250


def code_of(name: str) -> str:
    """Return a script without its comments, which may name what the code must not use."""
    return re.sub(r"(?m)^\s*//.*$", "", TEXTS[name])


@pytest.mark.parametrize("name", OWN)
def test_script_never_reads_text_as_html_or_code(name: str) -> None:
    # `dom.js` names the attributes that it refuses.
    found = {match[0] for match in FORBIDDEN.finditer(code_of(name))} - ({"srcdoc"} if name == "dom.js" else set())
    assert not found


@pytest.mark.parametrize("name", OWN)
def test_script_names_no_state(name: str) -> None:
    # The outcomes of attempts are words of their own; a failed attempt need not be a failed job.
    code = re.sub(r"(?m)^const OUTCOMES = .*$", "", code_of(name))
    quoted = set(re.findall(r"""["'`]([\w-]+)["'`]""", code))
    assert not quoted & {*State}


@pytest.mark.parametrize("name", OWN)
def test_script_loads_nothing_from_elsewhere(name: str) -> None:
    addresses = set(re.findall(r"\w+://[\w.]+", code_of(name)))
    # The name of a format, which nothing loads.
    assert addresses <= {"http://www.w3.org"}
    for imported in re.findall(r"""(?m)(?:^import .*from |^import |\bimport\()["']([^"']+)["']""", TEXTS[name]):
        assert imported.removeprefix("./") in assets(), imported


@pytest.mark.parametrize("name", OWN)
def test_script_imports_what_is_exported(name: str) -> None:
    for names, source in re.findall(r'import \{([^}]+)\} from "\./([^"]+)"', TEXTS[name]):
        exported = set(
            re.findall(r"^export (?:async )?(?:class|const|function) (\w+)", TEXTS[source], re.MULTILINE),
        )
        assert {one.strip() for one in names.split(",")} <= exported, source


@pytest.mark.parametrize("name", OWN)
def test_script_uses_what_it_imports(name: str) -> None:
    text = TEXTS[name]
    body = re.sub(r"(?m)^import .*$", "", text)
    for names in re.findall(r"import \{([^}]+)\} from", text):
        for one in names.split(","):
            assert re.search(rf"\b{one.strip()}\b", body), one


def test_each_view_is_shown_by_the_table_of_addresses() -> None:
    views = {name for name in OWN if re.search(r"^export (?:async )?function show\(page\)", TEXTS[name], re.MULTILINE)}
    assert views == set(re.findall(r'import\("\./(\w+\.js)"\)', TEXTS["main.js"]))


@pytest.mark.parametrize("name", OWN)
def test_script_keeps_strings_on_one_line(name: str) -> None:
    # Comments and indentation are dropped from what is served: within a string they would be content.
    for line in code_of(name).splitlines():
        assert line.count("`") % 2 == 0, line
    assert "/*" not in code_of(name)


@pytest.mark.parametrize("name", OWN)
def test_served_script_is_the_code_alone(name: str) -> None:
    served = assets()[name].body.decode()
    plain = re.sub(r"\.[0-9a-f]{10}\.js", ".js", served)
    assert [line.strip() for line in code_of(name).splitlines() if line.strip()] == [
        line for line in plain.splitlines() if line.strip()
    ]


@pytest.mark.parametrize("name", OWN)
def test_script_is_a_small_module(name: str) -> None:
    assert len(TEXTS[name].splitlines()) <= MODULE_LINES


def test_the_line_is_named_in_words_for_each_way_it_can_be() -> None:
    ways = re.findall(r"(\w+): \"", re.search(r"const Line = .*", TEXTS["feed.js"])[0])  # type: ignore[index]
    assert len(ways) == 4
    for way in ways:
        assert re.search(rf"\[Line\.{way}\]: \"[A-Z].+\",", TEXTS["load_test.js"]), way
