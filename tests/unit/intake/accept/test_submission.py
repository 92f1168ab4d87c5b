"""What `POST /process` asks for: what is accepted, what comes back unchanged, and how mistakes are named."""

import json
from operator import attrgetter
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acked_common.http.problems import Problem, ProblemError
from acked_common.model.options import OPTION_NAMES, JobOptions
from acked_intake.accept.submission import KNOWN_FIELDS, Submission, parse_submission
from acked_intake.request.operations import PROCESS, ProcessRequest
from support.fields import fields_of, walked

YEAR_S = 31_536_000

SOURCE = "01a20d05-adf2-7315-9ee6-8162dae54aa3"


def submitted(**members: Any) -> Submission:
    return parse_submission(json.dumps({"kind": "demo", **members}).encode())


def refusal(body: bytes) -> Problem:
    with pytest.raises(ProblemError) as caught:
        parse_submission(body)
    return caught.value.problem


def errors_of(members: Any) -> dict[str, str]:
    """The pointers and details of a 422 for a wrong field."""
    problem = refusal(json.dumps(members).encode())
    assert (problem.name, problem.status) == ("invalid-field", 422)
    assert problem.detail
    return {error["pointer"]: error["detail"] for error in problem.errors}


@pytest.mark.parametrize("body", [b" ", b"\r\n\t "])
def test_a_blank_body_is_no_json(body: bytes) -> None:
    assert refusal(body).name == "bad-json"


def test_an_empty_body_asks_for_a_demo() -> None:
    assert parse_submission(b"") == Submission(
        kind="demo",
        payload=b"{}",
        delay_s=0.0,
        options=JobOptions(batch=None, tags=(), max_attempts=None, timeout_s=None, expires_in_s=None),
    )


def test_all_fields_are_read() -> None:
    assert submitted(
        kind="mail.send-1_x",
        payload={"to": "someone"},
        delay_s=1,
        batch="Batch-1._",
        tags=["blue", "größer als 5 €"],
        max_attempts=3,
        timeout_s=2.5,
        expires_in_s=60,
        edited_from=SOURCE.upper(),
    ) == Submission(
        kind="mail.send-1_x",
        payload=b'{"to": "someone"}',
        delay_s=1.0,
        options=JobOptions(
            batch="Batch-1._",
            tags=("blue", "größer als 5 €"),
            max_attempts=3,
            timeout_s=2.5,
            expires_in_s=60.0,
        ),
        edited_from=UUID(SOURCE),
    )


def test_a_submission_is_frozen() -> None:
    with pytest.raises(AttributeError):
        submitted().kind = "other"  # type: ignore[misc]


def test_null_means_absent_but_for_the_payload() -> None:
    options = ("delay_s", "batch", "tags", "max_attempts", "timeout_s", "expires_in_s", "edited_from")
    nothing = dict.fromkeys(options)
    assert submitted(**nothing) == Submission("demo")
    assert submitted(payload=None).payload == b"null"
    assert submitted().payload == b"{}"


@pytest.mark.parametrize(
    "payload",
    [
        b'{ "$ne" : 1,"a.b":{"":[ ]}, "$where": "x", "__proto__": null }',
        b"[1.50, 1e2,\n\t-0, 12345678901234567]",
        b'"\\u00e9 \\ud83d\\ude00 \\/"',
        '"é 😀"'.encode(),
        b"null",
        b"false",
        b"0.10",
        b'{"payload": {"kind": 1}, "unknown": "field"}',
    ],
)
def test_a_payload_comes_back_byte_for_byte(payload: bytes) -> None:
    for before, after in ((b'{"kind":"demo","payload":', b"}"), (b'{"payload" : \n', b' ,"kind":"demo" }')):
        assert parse_submission(before + payload + after).payload == payload
    # The key may be written with escapes.
    assert parse_submission(b'{"kind":"demo","pay\\u006coad":' + payload + b"}").payload == payload


KEYS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=6)
SCALARS = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | KEYS
PAYLOADS = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(KEYS, inner), max_leaves=15)


@given(payload=PAYLOADS, ascii_only=st.booleans(), indent=st.none() | st.just(1))
def test_any_payload_comes_back_byte_for_byte(payload: Any, ascii_only: bool, indent: int | None) -> None:
    text = json.dumps(payload, ensure_ascii=ascii_only, indent=indent).encode()
    body = b'{"tags": ["a"], "payload": ' + text + b', "kind": "demo"}'
    assert parse_submission(body) == Submission("demo", payload=text, options=JobOptions(tags=("a",)))


@given(st.dictionaries(st.sampled_from([*KNOWN_FIELDS, "delay", "", "a/b~c", "$ne"]), PAYLOADS | st.floats(0, 9)))
def test_any_object_is_read_or_refused_as_a_whole(members: dict[str, Any]) -> None:
    body = json.dumps(members).encode()
    try:
        submission = parse_submission(body)
    except ProblemError as error:
        problem = error.problem
        assert problem.name in ("invalid-field", "unknown-field")
        assert problem.errors
        problem.to_bytes()
    else:
        assert members.keys() <= set(KNOWN_FIELDS)
        assert submission.kind == members["kind"]


WRONG: dict[str, list[Any]] = {
    "/kind": [None, True, 1, {"$ne": 1}, ["demo"], "", "Demo", ".demo", "-demo", "a b", "démo", "a" * 65, "demo\n"],
    "/delay_s": [-1, -0.001, YEAR_S + 1, 1e300, "5", True, {"$gt": 0}, [1]],
    "/batch": ["", "a b", "a/b", "é", "a" * 65, "a\n", ".", "..", ".\n", 5, False, {"$ne": ""}],
    "/tags": ["blue", {"$in": []}, [f"t{i}" for i in range(17)], 1, True],
    "/tags/1": [["ok", tag] for tag in ("", "a" * 65, "a\0b", "a\nb", "\x7f", "\x85", 1, None, ["a"])],
    "/tags/2": [["a", "b", "a"]],
    "/max_attempts": [0, -1, 1001, 1.0, 2.5, "3", True, {"$gt": 0}],
    "/timeout_s": [0, -0.0, -1, YEAR_S + 0.5, "5", False, []],
    "/expires_in_s": [0, -1, YEAR_S + 1, "1h", True],
    "/edited_from": [1, {}, "", "x" * 36, SOURCE[:-1], f"{{{SOURCE[:-2]}}}", SOURCE.replace("-", "")],
}


@pytest.mark.parametrize(("pointer", "value"), [(pointer, value) for pointer in WRONG for value in WRONG[pointer]])
def test_a_wrong_value_is_refused_at_its_place(pointer: str, value: Any) -> None:
    assert errors_of({"kind": "demo", pointer.split("/")[1]: value}).keys() == {pointer}


@pytest.mark.parametrize("members", [{}, {"payload": {}}])
def test_a_body_must_name_its_kind(members: dict[str, Any]) -> None:
    assert "is missing" in errors_of(members)["/kind"]


@pytest.mark.parametrize(
    "members",
    [
        {"kind": "a"},
        {"kind": "0" * 64},
        {"delay_s": 0},
        {"delay_s": YEAR_S},
        {"delay_s": 1e-9},
        {"batch": "a" * 64},
        {"batch": "..."},
        {"batch": ".a"},
        {"batch": "a."},
        {"tags": []},
        {"tags": ["😀" * 64, *(f"t{i}" for i in range(15))]},
        {"tags": ["a", "A", " ", "$a.b", "a/b"]},
        {"max_attempts": 1},
        {"max_attempts": 1000},
        {"timeout_s": 0.001},
        {"timeout_s": YEAR_S},
        {"expires_in_s": YEAR_S},
        {"edited_from": SOURCE},
    ],
)
def test_values_at_the_border_are_accepted(members: dict[str, Any]) -> None:
    (name, value) = next(iter(members.items()))
    found = submitted(**members)
    accepted = getattr(found.options if name in OPTION_NAMES else found, name)
    assert (str(accepted) if name == "edited_from" else accepted) == (
        tuple(value) if isinstance(value, list) else value
    )


def test_a_negative_zero_is_zero() -> None:
    assert str(parse_submission(b'{"kind":"demo","delay_s":-0.0}').delay_s) == "0.0"


def test_all_mistakes_are_named_at_once() -> None:
    problem = refusal(b'{"kind": 1, "tags": ["a", "a"], "timeout": 5, "delay_s": true, "payload": {}}')
    assert problem.name == "invalid-field"
    assert [error["pointer"] for error in problem.errors] == ["/kind", "/tags/1", "/delay_s", "/timeout"]
    assert problem.detail.startswith("4 fields can't be used; the first: kind must be a text")


def test_unknown_fields_are_refused_with_a_hint() -> None:
    problem = refusal(b'{"kind": "demo", "delay": 5, "Tags": [], "colour": "blue"}')
    assert (problem.name, problem.status) == ("unknown-field", 422)
    assert [error["pointer"] for error in problem.errors] == ["/delay", "/Tags", "/colour"]
    details = [error["detail"] for error in problem.errors]
    assert "did you mean 'delay_s'?" in details[0]
    assert "did you mean 'tags'?" in details[1]
    assert "inside payload" in details[2]
    assert json.loads(problem.to_bytes())["known_fields"] == list(KNOWN_FIELDS)


@pytest.mark.parametrize("field", ["state", "attempt", "_id", "tenant", "rev", "wake", "$set", "lifecycle"])
def test_what_belongs_to_the_server_can_not_be_set(field: str) -> None:
    assert refusal(json.dumps({"kind": "demo", field: 1}).encode()).name == "unknown-field"


def test_strange_names_of_fields_are_pointed_at_safely() -> None:
    problem = refusal(json.dumps({"kind": "demo", "a/b~c": 1, "": 2, "k" * 5000: 3}).encode())
    assert [error["pointer"] for error in problem.errors] == ["/a~1b~0c", "/", ""]
    assert len(problem.to_bytes()) < 2000


def test_thousands_of_unknown_fields_give_a_short_answer() -> None:
    problem = refusal(json.dumps({f"field-{i}": i for i in range(10_000)}).encode())
    assert "10,001 fields" in problem.detail
    assert len(problem.errors) == 20
    assert len(problem.to_bytes()) < 5000


@pytest.mark.parametrize("body", [b"null", b"[]", b'[{"kind": "demo"}]', b'"demo"', b"5", b"true"])
def test_what_is_no_object_is_refused_as_a_whole(body: bytes) -> None:
    problem = refusal(body)
    assert (problem.name, problem.status) == ("invalid-field", 422)
    assert problem.errors[0]["pointer"] == ""
    assert "must be an object" in problem.detail


@pytest.mark.parametrize(
    ("body", "name", "pointer"),
    [
        (b'{"kind": "demo"', "bad-json", ""),
        (b"kind=demo", "bad-json", ""),
        (b"\xef\xbb\xbf{}", "bad-encoding", ""),
        (b'{"kind": "demo", "payload": {"a": "\xff"}}', "bad-encoding", "/payload/a"),
        (b'{"kind": "demo", "payload": {"a": 1, "a": 2}}', "duplicate-key", "/payload/a"),
        (b'{"kind": "demo", "kind": "noop"}', "duplicate-key", "/kind"),
        (b'{"kind": "demo", "payload": [1e999]}', "bad-number", "/payload/0"),
        (b'{"kind": "demo", "delay_s": NaN}', "bad-json", "/delay_s"),
        (b'{"kind": "demo", "payload": {"a\\u0000": 1}}', "bad-text", "/payload"),
        (b'{"kind": "demo", "payload": ' + b"[" * 32 + b"]" * 32 + b"}", "too-deep", "/payload" + "/0" * 31),
    ],
)
def test_what_is_not_strict_json_is_a_400_that_tells_where(body: bytes, name: str, pointer: str) -> None:
    problem = refusal(body)
    assert (problem.name, problem.status) == (name, 400)
    assert problem.errors[0]["pointer"] == pointer


def test_the_limit_of_bytes_is_kept() -> None:
    with pytest.raises(ProblemError) as caught:
        parse_submission(b'{"kind": "demo"}', max_bytes=10)
    assert caught.value.problem.status == 413


def test_parser_and_document_know_each_field_of_a_submission() -> None:
    assert PROCESS.body is not None
    sent = {name.removeprefix("options.").partition(".")[0] for name in walked(Submission)}
    assert set(KNOWN_FIELDS) == sent == set(fields_of(ProcessRequest))
    assert set(PROCESS.body.examples["all"]) == set(KNOWN_FIELDS)


@pytest.mark.parametrize("name", walked(Submission))
def test_parser_keeps_each_field_that_was_sent(name: str) -> None:
    assert PROCESS.body is not None
    everything = PROCESS.body.examples["all"]
    sent = name.removeprefix("options.")
    with_field = parse_submission(json.dumps({"kind": "demo", sent: everything[sent]}).encode())
    assert attrgetter(name)(with_field) != attrgetter(name)(Submission("demo"))
