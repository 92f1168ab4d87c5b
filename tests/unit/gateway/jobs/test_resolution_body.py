"""The body of a resolve."""

import json

import jsonschema_rs
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from acked_common.http.problems import Problem, ProblemError
from acked_common.model.lifecycle import State
from acked_gateway.jobs import commands as module
from acked_gateway.jobs.acts import Resolution
from acked_gateway.jobs.commands import MAX_NOTE_CHARS, MAX_RESULT_BYTES, parse_resolution
from acked_gateway.jobs.operations import Resolve


class TestParsing:
    """The body of a resolve."""

    def refusal(self, body: bytes) -> Problem:
        with pytest.raises(ProblemError) as caught:
            parse_resolution(body)
        return caught.value.problem

    def pointers(self, members: object) -> set[str]:
        found = self.refusal(json.dumps(members).encode())
        assert (found.name, found.status) == ("invalid-field", 422)
        return {error["pointer"] for error in found.errors}

    def test_all_parts_are_read(self) -> None:
        body = json.dumps({"state": State.SUCCEEDED.value, "result": {"a": [1, None]}, "note": "n"}).encode()
        assert parse_resolution(body) == Resolution(State.SUCCEEDED, b'{"a":[1,null]}', "n")

    def test_a_result_of_null_is_one(self) -> None:
        end = State.FAILED.value
        assert parse_resolution(json.dumps({"state": end, "result": None}).encode()).result == b"null"
        assert parse_resolution(json.dumps({"state": end}).encode()).result is None

    @pytest.mark.parametrize("state", [None, 7, "", "done", ["x"], State.CANCELLED.value, State.QUEUED.value])
    def test_only_two_ends_can_be_told(self, state: object) -> None:
        assert self.pointers({"state": state}) == {"/state"}

    def test_all_mistakes_are_told_at_once(self) -> None:
        assert self.pointers({"result": "x" * MAX_RESULT_BYTES, "note": "x" * (MAX_NOTE_CHARS + 1), "why": 1}) == {
            "/state",
            "/result",
            "/note",
            "/why",
        }

    @pytest.mark.parametrize("body", [b"[]", b"7", b'"x"', b"null"])
    def test_it_must_be_an_object(self, body: bytes) -> None:
        assert self.refusal(body).status == 422

    @pytest.mark.parametrize("body", [b"", b"{", b'{"state":"x","state":"y"}', b"\xff"])
    def test_it_must_be_sound_json(self, body: bytes) -> None:
        assert self.refusal(body).status == 400

    def test_a_body_may_be_larger_than_its_result(self) -> None:
        result = "x" * (MAX_RESULT_BYTES - 2)
        body = json.dumps({"state": State.FAILED.value, "result": result}).encode()
        assert parse_resolution(body).result == json.dumps(result).encode()
        assert self.refusal(b" " * (module.MAX_BODY_BYTES + 1)).status == 413

    @given(st.binary(max_size=200))
    def test_any_bytes_are_a_resolution_or_a_problem(self, body: bytes) -> None:
        try:
            parse_resolution(body)
        except ProblemError as error:
            assert error.problem.status in (400, 413, 422)

    @pytest.mark.parametrize(
        "members",
        [
            {"state": State.FAILED.value},
            {"state": State.SUCCEEDED.value, "result": None, "note": None},
            {"state": State.SUCCEEDED.value, "note": "x" * MAX_NOTE_CHARS},
            {"state": State.SUCCEEDED.value, "note": "x" * (MAX_NOTE_CHARS + 1)},
            {"state": State.CANCELLED.value},
            {"state": State.FAILED.value, "why": 1},
            {"note": "n"},
            {},
        ],
    )
    def test_the_document_and_the_parser_agree(self, members: dict[str, object]) -> None:
        is_described = jsonschema_rs.is_valid(msgspec.json.schema(Resolve), members)
        try:
            parse_resolution(json.dumps(members).encode())
            is_taken = True
        except ProblemError:
            is_taken = False
        assert is_described == is_taken
