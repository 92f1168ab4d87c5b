"""Frames of the worker channel: what is taken, what is refused and with which close code."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from acked_common.channel import frames
from acked_common.channel.commands import (
    MAX_COMMAND_BYTES,
    CancelCommand,
    Command,
    DrainCommand,
    SignalledCommand,
    decode_command,
    encode_command,
)
from acked_common.channel.frames import (
    Ack,
    Cancel,
    CloseCode,
    Drain,
    Events,
    Hello,
    JobAttempt,
    ProtocolFault,
    Signalled,
    Welcome,
)
from acked_common.channel.worker_end import hello_of
from acked_common.model.bundle import WireError
from acked_common.model.events import JobEvent, ProgressEvent
from acked_common.model.lifecycle import State

ID = "0190a5d2-1111-7000-8000-000000000000"
EVENT = {
    "id": ID,
    "rev": 2,
    "state": State.RUNNING,
    "reason": "claimed",
    "attempt": 1,
    "at": "2026-01-02T03:04:05.678Z",
}
PROGRESS = {"id": ID, "attempt": 1, "progress": {"value": 0.5}}
HELLO = {"type": "hello", "protocol": 1, "boot": "b", "worker": "w", "kinds": ["demo"], "version": "1", "slots": 8}

events = st.builds(
    JobEvent,
    id=st.uuids(),
    rev=st.integers(1, 2**53),
    state=st.sampled_from(State),
    reason=st.text(min_size=1, max_size=64).filter(lambda text: text.isprintable()),
    attempt=st.integers(0, 2**53),
    at=st.datetimes(timezones=st.just(UTC)),
)
reports = st.builds(
    ProgressEvent,
    id=st.uuids(),
    attempt=st.integers(1, 2**53),
    progress=st.dictionaries(st.sampled_from("abc"), st.text(alphabet="xyz€", max_size=9) | st.integers(0, 9)).map(
        msgspec.json.encode
    ),
)


def text(frame: Any) -> str:
    return msgspec.json.encode(frame).decode()


def refused(frame: Any, code: CloseCode, says: str = "", *, by: Any = frames.parse_from_worker) -> None:
    with pytest.raises(ProtocolFault) as caught:
        by(frame if isinstance(frame, str) else text(frame))
    assert caught.value.code is code, caught.value
    assert says in caught.value.reason
    assert len(caught.value.reason.encode()) <= frames.MAX_REASON_BYTES


@given(st.integers(1, 2**53), st.lists(events, max_size=5), st.lists(reports, max_size=5))
def test_reports_arrive_as_they_were_sent(seq: int, some: list[JobEvent], progress: list[ProgressEvent]) -> None:
    sent = frames.events_frame(seq, [*map(frames.event_part, some)], [*map(frames.progress_part, progress)])
    assert frames.parse_from_worker(sent) == Events(seq, tuple(some), tuple(progress))


def test_each_frame_arrives_as_it_was_sent() -> None:
    hello = hello_of(boot="b", worker="w", kinds=["demo"], version="1", slots=8, stream=3)
    assert frames.parse_from_worker(frames.encode(hello)) == hello
    attempt = JobAttempt(frames.UUID(ID), 2)
    for frame in (Welcome(1, "g", 0), Ack(7), Cancel([attempt]), Signalled([attempt]), Drain()):
        assert frames.parse_from_gateway(frames.encode(frame)) == frame


def test_a_worker_of_an_earlier_version_accepts_no_further_frames() -> None:
    found = frames.parse_from_worker(text(HELLO))
    assert isinstance(found, Hello) and found.accepts == []
    assert hello_of(boot="b", worker="w", kinds=[], version="1", slots=1).accepts == [frames.SIGNALLED]
    refused({**HELLO, "accepts": ["x"] * (frames.MAX_ACCEPTS + 1)}, CloseCode.BAD_FRAME)


def test_unknown_fields_are_ignored() -> None:
    assert isinstance(frames.parse_from_worker(text({**HELLO, "colour": {"deep": [1]}})), Hello)
    more = {"type": "events", "seq": 1, "events": [{**EVENT, "kind": "demo"}], "extra": None}
    found = frames.parse_from_worker(text(more))
    assert isinstance(found, Events)
    assert found.events[0].rev == 2
    assert frames.parse_from_gateway('{"type":"ack","seq":3,"load":0.5}') == Ack(3)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("boot", value) for value in ("", "x" * 65, None, 1)),
        *(("worker", value) for value in ("", "x" * 201, [])),
        *(("kinds", value) for value in ("demo", [""], [1], ["k"] * 1001, None)),
        *(("slots", value) for value in (-1, 1.5, 2**70, "8")),
        ("protocol", "1"),
        ("stream", -1),
    ],
)
def test_a_wrong_field_of_hello_is_refused(field: str, value: Any) -> None:
    refused({**HELLO, field: value}, CloseCode.BAD_FRAME)


@pytest.mark.parametrize("field", ["protocol", "boot", "worker", "kinds", "version", "slots"])
def test_a_missing_field_of_hello_is_refused(field: str) -> None:
    refused({name: value for name, value in HELLO.items() if name != field}, CloseCode.BAD_FRAME, field)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("id", value) for value in ("", "x", 1, ID[:-1])),
        *(("rev", value) for value in (0, -1, 2**70, 1.5, "2")),
        *(("state", value) for value in ("", "flying", None)),
        *(("reason", value) for value in ("", "x" * 65, None)),
        *(("attempt", value) for value in (-1, 2**54, True)),
        *(("at", value) for value in ("", "now", "2026-01-02T03:04:05", 1767323045, "2026-13-02T03:04:05Z")),
    ],
)
def test_a_wrong_field_of_a_transition_is_refused(field: str, value: Any) -> None:
    refused({"type": "events", "seq": 1, "events": [{**EVENT, field: value}]}, CloseCode.BAD_FRAME)


@pytest.mark.parametrize("seq", [0, -1, None, "1", 1.5, 2**70])
def test_a_wrong_seq_is_refused(seq: Any) -> None:
    refused({"type": "events", "seq": seq, "events": []}, CloseCode.BAD_FRAME)


@pytest.mark.parametrize(
    "progress",
    [
        *("1", "null", "[]", '"half"'),
        *('{"a":1,"a":2}', '{"a":1e999}', f'{{"a":{2**70}}}', r'{"\u0000":1}', r'{"a":"\ud800"}'),
        '{"a":' * 40 + "1" + "}" * 40,
        '{"a":"' + "x" * frames.MAX_PROGRESS_BYTES + '"}',
    ],
)
def test_progress_is_an_object_of_strict_bounded_json(progress: str) -> None:
    refused(
        f'{{"type":"events","seq":1,"progress":[{{"id":"{ID}","attempt":1,"progress":{progress}}}]}}',
        CloseCode.BAD_FRAME,
    )


def test_a_frame_holds_only_so_much() -> None:
    refused({"type": "events", "seq": 1, "events": [EVENT] * (frames.MAX_EVENTS + 1)}, CloseCode.BAD_FRAME)
    refused({"type": "events", "seq": 1, "progress": [PROGRESS] * (frames.MAX_PROGRESS + 1)}, CloseCode.BAD_FRAME)
    refused({**HELLO, "extra": "x" * frames.MAX_FRAME_BYTES}, CloseCode.BAD_FRAME, "bytes")
    attempts = [{"id": ID, "attempt": 1}] * (frames.MAX_CANCELS + 1)
    refused({"type": "cancel", "jobs": attempts}, CloseCode.BAD_FRAME, by=frames.parse_from_gateway)


@pytest.mark.parametrize("by", [frames.parse_from_worker, frames.parse_from_gateway])
@pytest.mark.parametrize(
    "garbage",
    ["", "x", "{", "[]", "null", "1", "[" * 100_000, '{"a":' * 100_000, '{"type":1}', "{}", '{"type":"\ud800"}', "\0"],
)
def test_what_is_no_frame_is_refused(garbage: str, by: Any) -> None:
    refused(garbage, CloseCode.BAD_FRAME, by=by)


@given(st.text(max_size=200) | st.binary(max_size=200).map(lambda data: data.decode("latin-1")))
def test_no_text_does_more_than_be_refused(garbage: str) -> None:
    for by in (frames.parse_from_worker, frames.parse_from_gateway):
        with pytest.raises(ProtocolFault):
            by(garbage)


def test_an_unknown_type_has_its_own_code() -> None:
    refused({"type": "signal"}, CloseCode.UNKNOWN_TYPE, "hello, events")
    refused({"type": "welcome", "protocol": 1, "boot": "g", "last_seq": 0}, CloseCode.UNKNOWN_TYPE)
    refused(
        {"type": "pause"}, CloseCode.UNKNOWN_TYPE, "welcome, ack, cancel, drain, listen", by=frames.parse_from_gateway
    )
    refused(HELLO, CloseCode.UNKNOWN_TYPE, by=frames.parse_from_gateway)


def test_another_version_is_told_which_one_is_spoken() -> None:
    refused({**HELLO, "protocol": 2}, CloseCode.UNKNOWN_PROTOCOL, "protocol 1")
    refused({"type": "hello", "protocol": 2, "new": []}, CloseCode.UNKNOWN_PROTOCOL, "protocol 1")
    welcome = {"type": "welcome", "protocol": 9, "boot": "g", "last_seq": 0}
    refused(welcome, CloseCode.UNKNOWN_PROTOCOL, by=frames.parse_from_gateway)


def test_instants_may_come_with_any_offset() -> None:
    event = {**EVENT, "at": "2026-01-02T04:04:05.678+01:00"}
    found = frames.parse_from_worker(text({"type": "events", "seq": 1, "events": [event]}))
    assert isinstance(found, Events)
    assert found.events[0].at == datetime(2026, 1, 2, 3, 4, 5, 678_000, timezone(timedelta(0)))


def test_a_reason_is_cut_between_characters() -> None:
    assert frames.close_reason("€" * 100) == "€" * 40
    assert frames.close_reason("short") == "short"


# Commands between gateways.


@pytest.mark.parametrize(
    "command",
    [
        CancelCommand("b", [JobAttempt(frames.UUID(ID), 1), JobAttempt(frames.UUID(ID), 2)]),
        SignalledCommand("b", [JobAttempt(frames.UUID(ID), 1)]),
        DrainCommand("b"),
    ],
)
def test_a_command_arrives_as_it_was_sent(command: Command) -> None:
    assert decode_command(encode_command(command)) == command


@pytest.mark.parametrize(
    "command",
    [
        *({}, [], None, {"type": "kill", "boot": "b"}, {"type": "drain"}, {"type": "drain", "boot": ""}),
        *({"type": "cancel", "boot": "b"}, {"type": "cancel", "boot": "b", "jobs": []}),
        {"type": "cancel", "boot": "b", "jobs": [{"id": ID}]},
        {"type": "cancel", "boot": "b", "jobs": [{"id": "x", "attempt": 1}]},
        {"type": "cancel", "boot": "b", "jobs": [{"id": ID, "attempt": 1}] * (frames.MAX_CANCELS + 1)},
    ],
)
def test_what_is_no_command_is_refused(command: Any) -> None:
    with pytest.raises(WireError):
        decode_command(msgspec.msgpack.encode(command))


@given(st.binary(max_size=200))
def test_no_bytes_do_more_than_be_refused(data: bytes) -> None:
    with pytest.raises(WireError):
        decode_command(data)


def test_a_huge_command_is_not_even_read() -> None:
    with pytest.raises(WireError, match="bytes"):
        decode_command(b"\x81" * (MAX_COMMAND_BYTES + 1))
