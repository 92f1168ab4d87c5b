"""A job that a page sends: its members reach intake as they were written, beside the kind of the path."""

import json

import pytest

from acked_common.http.problems import ProblemError
from acked_gateway.kinds.submissions import idempotency_key, parse_submission


@pytest.mark.parametrize(
    ("body", "sent"),
    [
        (b"", b'{"kind":"mail"}'),
        (b"{}", b'{"kind":"mail"}'),
        (b'{"payload": {"a": 1.50, "b": [1e3]}}', b'{"kind":"mail","payload":{"a": 1.50, "b": [1e3]}}'),
        (b'{"delay_s": 5, "payload": "\\u00e9"}', b'{"kind":"mail","delay_s":5,"payload":"\\u00e9"}'),
    ],
)
def test_the_members_stay_as_they_were_sent(body: bytes, sent: bytes) -> None:
    assert parse_submission(body, "mail") == sent
    assert json.loads(sent)["kind"] == "mail"


@pytest.mark.parametrize(
    ("body", "name"),
    [
        (b"{", "bad-json"),
        (b"[]", "invalid-field"),
        (b'{"kind": "other"}', "invalid-field"),
        (b'{"payload": 1, "payload": 2}', "duplicate-key"),
    ],
)
def test_a_body_that_means_nothing_is_refused(body: bytes, name: str) -> None:
    with pytest.raises(ProblemError) as refused:
        parse_submission(body, "mail")
    assert refused.value.problem.name == name


def test_a_request_without_a_key_gets_a_new_one() -> None:
    assert idempotency_key("a:1") == "a:1"
    made = {idempotency_key(None) for _ in range(2)}
    assert len(made) == 2
    assert all(idempotency_key(key) == key for key in made)


@pytest.mark.parametrize("key", ["", "a b", "é", "x" * 256])
def test_a_key_of_other_characters_is_refused(key: str) -> None:
    with pytest.raises(ProblemError) as refused:
        idempotency_key(key)
    assert refused.value.problem.name == "bad-idempotency-key"
