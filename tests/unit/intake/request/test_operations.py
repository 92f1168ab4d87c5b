"""What the API document says of `POST /process` against what the parser takes."""

import json
from typing import Any

import jsonschema_rs
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acked_common.http.problems import ProblemError
from acked_common.model.job_fields import MAX_TAG_CHARS, MAX_TAGS
from acked_intake.accept.submission import (
    KNOWN_FIELDS,
    MAX_ATTEMPTS,
    YEAR_S,
    parse_submission,
)
from acked_intake.request.operations import PROCESS, ProcessRequest

SCHEMA = msgspec.json.schema(ProcessRequest)
SOURCE = "01a20d05-adf2-7315-9ee6-8162dae54aa3"
VALIDATOR = jsonschema_rs.validator_for(SCHEMA)


def is_taken(body: dict[str, Any]) -> bool:
    try:
        parse_submission(json.dumps(body).encode())
    except ProblemError as error:
        assert error.problem.status == 422, error
        return False
    return True


def test_the_document_names_the_fields_of_the_parser() -> None:
    assert set(ProcessRequest.__struct_fields__) == set(KNOWN_FIELDS)


VALUES: dict[str, list[Any]] = {
    "kind": ["demo", "a", "0.b_c-d", "a" * 64, "a" * 65, "", "A", ".a", "a\n", "ä", None, 1, ["a"]],
    "payload": [None, {}, [1], "x", 0],
    "delay_s": [None, 0, -0.0, 0.5, YEAR_S, YEAR_S + 1, -1, True, "1", []],
    "batch": [None, "b", "B.c_d-9", "b" * 64, "b" * 65, "", "b c", "b\n", 7],
    "tags": [
        *(None, [], ["a", "b"], ["a", "a"], ["a"] * 2, [""], ["x" * MAX_TAG_CHARS], ["x" * (MAX_TAG_CHARS + 1)]),
        *([str(n) for n in range(MAX_TAGS)], [str(n) for n in range(MAX_TAGS + 1)], [1], "a", [None]),
        *(["a\x00"], ["a\n"], ["\x85"], ["\u2028"], ["\u2029"], ["é ✓ 😀"], ["😀" * MAX_TAG_CHARS]),
    ],
    "max_attempts": [None, 0, 1, MAX_ATTEMPTS, MAX_ATTEMPTS + 1, True, "1"],
    "timeout_s": [None, 0, 0.001, YEAR_S, YEAR_S + 1, -1, False, "1"],
    "expires_in_s": [None, 0, 0.001, YEAR_S, YEAR_S + 1, {}],
    "edited_from": [None, SOURCE, SOURCE.upper(), SOURCE[:-1], f"{SOURCE}\n", SOURCE.replace("-", ""), "", 7],
    "callback": [
        *(None, {"url": "https://example.com/hook"}, {"url": "http://example.com"}, {}, [], "https://example.com", 1),
        *({"url": 1}, {"url": "ftp://example.com"}, {"url": "https://e/" + "x" * 2048}, {"url": "https://e", "x": 1}),
        *({"url": "https://e", "events": events} for events in (None, [], ["job.failed"], ["job.failed"] * 2, ["x"])),
        {"url": "https://e", "events": "job.failed"},
    ],
    "unknown": [1],
}


@pytest.mark.parametrize(("field", "value"), [(field, value) for field, values in VALUES.items() for value in values])
def test_at_every_limit_the_document_and_the_parser_agree(field: str, value: Any) -> None:
    body = {"kind": "demo", field: value}
    assert VALIDATOR.is_valid(body) == is_taken(body)


def test_the_kind_is_required_in_both() -> None:
    assert not VALIDATOR.is_valid({}) and not is_taken({})


@settings(max_examples=50)
@given(st.dictionaries(st.sampled_from(KNOWN_FIELDS), st.sampled_from([v for vs in VALUES.values() for v in vs])))
def test_any_mix_is_judged_alike(body: dict[str, Any]) -> None:
    assert VALIDATOR.is_valid(body) == is_taken(body)


def test_the_examples_of_the_document_are_taken() -> None:
    assert PROCESS.body is not None
    for example in PROCESS.body.examples.values():
        assert VALIDATOR.is_valid(example) and is_taken(example)
