"""The body of an edit."""

import json

import jsonschema_rs
import msgspec
import pytest

from acked_common.http.problems import ProblemError
from acked_gateway.jobs.edits import parse_edit
from acked_gateway.jobs.operations import Edit


class TestParsing:
    """The body of an edit."""

    @pytest.mark.parametrize("payload", [b"{}", b"null", b"[1, 2.50]", b'"\\u00e4"', b"-0.0"])
    def test_a_payload_stays_as_it_was_sent(self, payload: bytes) -> None:
        assert parse_edit(b'{ "payload" : ' + payload + b" }") == payload

    @pytest.mark.parametrize(
        ("body", "name", "pointer"),
        [
            (b"[]", "invalid-field", ""),
            (b"{}", "invalid-field", "/payload"),
            (b'{"payload": 1, "kind": "demo"}', "unknown-field", "/kind"),
            (b'{"payloads": 1}', "unknown-field", "/payloads"),
            (b"", "bad-json", ""),
            (b'{"payload": 1, "payload": 1}', "duplicate-key", ""),
            (b'{"payload": 12345678901234567890}', "bad-number", "/payload"),
            (b'{"payload": "\\ud800"}', "bad-text", "/payload"),
        ],
    )
    def test_what_can_not_be_used_is_named(self, body: bytes, name: str, pointer: str) -> None:
        with pytest.raises(ProblemError) as caught:
            parse_edit(body)
        found = caught.value.problem
        assert found.name == name
        if pointer:
            assert found.errors[0]["pointer"] == pointer

    @pytest.mark.parametrize(
        "members", [{"payload": None}, {"payload": {"a": 1}}, {}, {"payload": 1, "tags": []}, {"Payload": 1}]
    )
    def test_the_document_and_the_parser_agree(self, members: dict[str, object]) -> None:
        is_described = jsonschema_rs.is_valid(msgspec.json.schema(Edit), members)
        try:
            parse_edit(json.dumps(members).encode())
            is_taken = True
        except ProblemError:
            is_taken = False
        assert is_described == is_taken
