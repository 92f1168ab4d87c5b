"""Problem documents, and that each of them has a page that helps."""

import base64
import json
import re
from hashlib import sha256
from html.parser import HTMLParser
from http import HTTPStatus

import pytest

from acked_common.http.problem_catalogue import CATALOGUE
from acked_common.http.problems import PAGE_POLICY, Problem, ProblemError, json_problem, problem, render_catalogue_page
from acked_common.model import strict_json


def test_a_problem_is_a_document_of_rfc_9457() -> None:
    found = problem(
        "invalid-field",
        "delay_s can't be used",
        errors=[{"pointer": "/delay_s", "detail": "must be a number"}],
        extra={"known_fields": ["delay_s"]},
        headers={"X-Hint": "1"},
    )
    assert json.loads(found.to_bytes()) == {
        "type": "/problems/invalid-field",
        "title": "A field is invalid",
        "status": 422,
        "detail": "delay_s can't be used",
        "errors": [{"pointer": "/delay_s", "detail": "must be a number"}],
        "known_fields": ["delay_s"],
    }
    assert found.headers == {"X-Hint": "1"}


def test_members_without_a_value_are_left_away() -> None:
    assert json.loads(problem("not-found", "no job has this id").to_bytes()).keys() == {
        "type",
        "title",
        "status",
        "detail",
    }


def test_headers_of_the_catalogue_are_added_and_can_be_replaced() -> None:
    assert problem("busy", "").headers == {"Retry-After": "1"}
    assert problem("busy", "", headers={"Retry-After": "7"}).headers == {"Retry-After": "7"}
    assert problem("slow-body", "", headers={"Retry-After": "7"}).headers == {
        "Connection": "close",
        "Retry-After": "7",
    }


def test_an_unknown_name_or_a_standard_member_as_extra_is_a_fault_of_the_caller() -> None:
    with pytest.raises(KeyError):
        problem("no-such-problem", "")
    with pytest.raises(ValueError, match="status"):
        problem("busy", "", extra={"status": 200})


def test_what_the_client_sent_is_only_ever_text_in_the_document() -> None:
    hostile = '</script>"\n\x00\x1b[31m{"$ne": 1}'
    assert json.loads(problem("not-found", hostile).to_bytes())["detail"] == hostile


def test_an_error_carries_its_problem() -> None:
    error = ProblemError(problem("not-found", "no job has this id"))
    assert error.problem.status == 404
    assert str(error) == "not-found: no job has this id"


@pytest.mark.parametrize(
    "data",
    [b"{", b'"\xff"', b"[" * 40 + b"]" * 40, b"1e999", b'{"a":1,"a":2}', b'"\\ud800"', b'"' + b"a" * 300_000 + b'"'],
)
def test_each_refusal_of_strict_json_is_in_the_catalogue_and_tells_where(data: bytes) -> None:
    with pytest.raises(strict_json.StrictJsonError) as caught:
        strict_json.parse(data)
    error = caught.value
    found = json_problem(error)
    assert found.name == error.name
    assert found.status in (400, 413)
    document = json.loads(found.to_bytes())
    assert document["errors"] == [{"pointer": error.pointer, "detail": error.detail}]
    assert document["offset"] == error.offset
    assert f"(byte {error.offset})" in document["detail"]


class _Text(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.parametrize("name", CATALOGUE)
def test_each_problem_has_a_page_that_says_what_happened_and_what_to_do(name: str) -> None:
    entry = CATALOGUE[name]
    HTTPStatus(entry.status)
    page = render_catalogue_page(name)
    assert page is not None
    reader = _Text()
    reader.feed(page)
    assert {"h1", "main", "title"} <= reader.tags
    assert "script" not in reader.tags
    (style,) = re.findall("<style>(.*?)</style>", page)
    assert f"'sha256-{base64.b64encode(sha256(style.encode()).digest()).decode()}'" in PAGE_POLICY
    assert "style=" not in page
    for part in (f"/problems/{name}", str(entry.status), entry.title, entry.text, entry.advice):
        assert part in reader.text
    assert all(sentence.endswith(".") for sentence in (entry.text, entry.advice))


@pytest.mark.parametrize("name", ["", "nothing", "../busy", "<script>", "BUSY"])
def test_other_names_have_no_page(name: str) -> None:
    assert render_catalogue_page(name) is None


def test_a_problem_says_whether_to_come_back() -> None:
    for name, entry in CATALOGUE.items():
        assert ("Retry-After" in entry.headers) == (entry.status in (429, 503)), name
        assert isinstance(problem(name, ""), Problem)
