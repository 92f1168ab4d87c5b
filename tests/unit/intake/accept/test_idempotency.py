"""Which keys are taken, and which requests are the same one."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acked_common.http.fair_thread import ON_LOOP_BYTES
from acked_common.http.idempotency_key import key_in
from acked_common.http.problems import ProblemError
from acked_common.model.names import IDEMPOTENCY_KEY
from acked_common.model.options import JobOptions
from acked_intake.accept.acceptance import fingerprint_of
from acked_intake.accept.idempotency import fingerprint
from acked_intake.accept.submission import Submission, parse_submission
from support.fields import filled, variants, walked

OTHERS = [(b"host", b"localhost"), (b"content-type", b"application/json"), (b"x-idempotency-key", b"x")]


def of(*values: bytes) -> str | None:
    return key_in([*OTHERS, *((b"idempotency-key", value) for value in values)])


def test_without_the_header_there_is_no_key() -> None:
    assert of() is None


@pytest.mark.parametrize(
    ("value", "key"),
    [
        (b"a", "a"),
        (b"8e03978e-40d5-43dd-bc93-6894a57f9324", "8e03978e-40d5-43dd-bc93-6894a57f9324"),
        (b'"8e03978e-40d5-43dd-bc93-6894a57f9324"', "8e03978e-40d5-43dd-bc93-6894a57f9324"),
        (b"Order:7_a.B-c", "Order:7_a.B-c"),
        (b" \ta\t ", "a"),
        (b"k" * 255, "k" * 255),
        (b'"' + b"k" * 255 + b'"', "k" * 255),
    ],
)
def test_a_key_is_taken_with_and_without_quotes(value: bytes, key: str) -> None:
    assert of(value) == key


@pytest.mark.parametrize(
    "value",
    [
        *(b"", b" ", b'"', b'""', b'"a', b'a"', b"a b", b"a,b", b"a/b", b"a\x00", b"a\n", b"\xc3\xa4", b"\xff", b"'a'"),
        *(b"k" * 256, b'"' + b"k" * 256 + b'"', b'""a""', b"a;b=c"),
    ],
)
def test_other_values_are_refused(value: bytes) -> None:
    with pytest.raises(ProblemError) as caught:
        of(value)
    found = caught.value.problem
    assert (found.name, found.status) == ("bad-idempotency-key", 400)
    assert "1 to 255" in found.detail


def test_two_keys_are_refused_even_where_they_are_equal() -> None:
    with pytest.raises(ProblemError, match="more than one"):
        of(b"a", b"a")


@given(st.binary(max_size=260))
def test_whatever_is_taken_is_a_key(value: bytes) -> None:
    try:
        found = of(value)
    except ProblemError as error:
        assert error.problem.name == "bad-idempotency-key"
    else:
        assert found is not None and IDEMPOTENCY_KEY.fullmatch(found)


def print_of(body: bytes | dict[str, Any]) -> bytes:
    return fingerprint(parse_submission(body if isinstance(body, bytes) else json.dumps(body).encode()))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (b"", b'{"kind": "demo"}'),
        (b'{"kind": "demo"}', b' {\n"kind":"demo" ,"payload":{ } }'),
        (b'{"kind": "a", "batch": "b", "delay_s": 1}', b'{"delay_s": 1.0, "batch": "b", "kind": "a"}'),
        (b'{"kind": "a", "delay_s": 0}', b'{"kind": "a"}'),
        (b'{"kind": "a", "batch": null, "tags": [], "timeout_s": null}', b'{"kind": "a"}'),
        (b'{"kind": "a", "tags": ["x", "y"]}', b'{"kind": "a", "tags": ["y", "x"]}'),
        (b'{"kind": "a", "payload": {"x": 1, "y": [1, {"b": 2, "a": 1}]}}',) * 2,
        (
            b'{"kind": "a", "payload": {"x": 1, "y": [1, {"b": 2, "a": 1}]}}',
            b'{"kind": "a", "payload": {"y":[1,{"a":1,"b":2}],"x":1}}',
        ),
        (b'{"kind": "a", "payload": "\\u00e4"}', '{"kind": "a", "payload": "ä"}'.encode()),
        (b'{"kind": "a", "payload": 1.10}', b'{"kind": "a", "payload": 11e-1}'),
    ],
)
def test_requests_that_say_the_same_are_the_same(one: bytes, other: bytes) -> None:
    assert print_of(one) == print_of(other)


DIFFERENT = [
    {"kind": "a"},
    {"kind": "b"},
    {"kind": "a", "payload": None},
    {"kind": "a", "payload": []},
    {"kind": "a", "payload": [1, 2]},
    {"kind": "a", "payload": [2, 1]},
    {"kind": "a", "payload": 1},
    {"kind": "a", "payload": 1.5},
    {"kind": "a", "payload": "1"},
    {"kind": "a", "payload": {"x": 1}},
    {"kind": "a", "payload": {"x": "1"}},
    {"kind": "a", "payload": {"batch": "b"}},
    {"kind": "a", "batch": "b"},
    {"kind": "a", "tags": ["b"]},
    {"kind": "a", "tags": ["b", "c"]},
    {"kind": "a", "delay_s": 1},
    {"kind": "a", "timeout_s": 1},
    {"kind": "a", "expires_in_s": 1},
    {"kind": "a", "max_attempts": 1},
    {"kind": "a", "max_attempts": 2},
    {"kind": "a", "edited_from": "01a20d05-adf2-7315-9ee6-8162dae54aa3"},
    {"kind": "a", "edited_from": "01a20d05-adf2-7315-9ee6-8162dae54aa4"},
]


def test_requests_that_say_something_else_differ() -> None:
    assert len({print_of(body) for body in DIFFERENT}) == len(DIFFERENT)


def test_a_fingerprint_stays_as_it_is() -> None:
    body = {
        "kind": "a",
        "payload": {"é": [1, 2.5, None, 1e300]},
        "delay_s": 0.5,
        "batch": "b",
        "tags": ["y", "x"],
        "max_attempts": 3,
        "timeout_s": 30,
        "expires_in_s": 60,
    }
    # Jobs that were kept by earlier versions hold such ones.
    assert print_of(body).hex() == "224517b5057d421814ea782a01ec2b62aace2faddcf176b33e4fc6a11719d167"
    assert print_of({"kind": "demo"}).hex() == "31aa00b3939b668f80f3f4467f773b13330d4753f61ddc9599305cc135a738ce"


KEPT_BY_EARLIER_VERSIONS = {
    b'{"kind":"demo"}': "31aa00b3939b668f80f3f4467f773b13330d4753f61ddc9599305cc135a738ce",
    b'{"kind":"demo","payload":{"seconds":0.1}}': "73b77a00af10aecabae15cc81c467cf6e8d1eb6b49d8f293ae4e5776a456cc5d",
    b'{"kind":"noop","payload":null}': "4d270e38010d6ec8ad672ac2067808c3c2e7021be5fe9c4b7bb84bb43d80bdee",
    b'{"kind":"noop","delay_s":0}': "60af6c49dbcf8378f1d1afc186ef300435fd24a0b863584daa70cda5a3073902",
    b'{"kind":"noop","delay_s":0.5}': "34cbf6b87f25d34ed1f17d2558caa2a4a187c624ece062c5ba8ed9f5372d2804",
    b'{"kind":"noop","batch":"nightly"}': "5ecfc262369c377aa6827739890ab2aab9f4238675206222066fded2847898ca",
    b'{"kind":"noop","tags":["b","a"]}': "2fca38b4d331d55191aeb20c4bbff4830fc10f094734c0c28321d635fcf64482",
    b'{"kind":"noop","tags":[]}': "60af6c49dbcf8378f1d1afc186ef300435fd24a0b863584daa70cda5a3073902",
    b'{"kind":"noop","max_attempts":3}': "b8a51c0ec97fe6c29c8f8f944b4faf0ceb85506c75d4a42dc28a3f9e82bc0359",
    b'{"kind":"noop","timeout_s":30}': "da9aafc9b87219f013ad7fc43a2606ec4c0eae4eef1b5ddb85274f886c5025b7",
    b'{"kind":"noop","expires_in_s":60}': "830fc7defc967b1f2321e3ca721315ad65e6b3abeb2833529d268105f93b1054",
}


@pytest.mark.parametrize("body", KEPT_BY_EARLIER_VERSIONS)
def test_fingerprint_of_an_earlier_version_is_equal(body: bytes) -> None:
    assert print_of(body).hex() == KEPT_BY_EARLIER_VERSIONS[body]


@pytest.mark.parametrize("name", walked(Submission))
def test_fingerprint_differs_with_each_field(name: str) -> None:
    asked = filled(Submission)
    assert fingerprint(dict(variants(asked))[name]) != fingerprint(asked)


def test_fingerprint_leaves_out_what_is_at_its_default() -> None:
    assert fingerprint(Submission("demo", b"{}", 0.0, JobOptions(None, (), None))) == fingerprint(Submission("demo"))


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    # Half of a pair and NUL in a key are refused before.
    | st.text(st.characters(codec="utf-8"), max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=4), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(json_values)
def test_how_a_payload_is_written_does_not_matter(value: Any) -> None:
    compact = json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
    spread = json.dumps(value, indent=2, sort_keys=True).encode()
    assert print_of(b'{"kind":"a","payload":%s}' % compact) == print_of(b'{"payload":%s,"kind":"a"}' % spread)


async def test_a_large_payload_has_the_same_fingerprint_off_the_loop() -> None:
    large = Submission("a", json.dumps("x" * ON_LOOP_BYTES * 2).encode())
    assert await fingerprint_of(large) == fingerprint(large)
    assert len(fingerprint(large)) == 32
