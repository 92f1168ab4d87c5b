"""Both ends of the worker channel over a line that keeps the order and may be cut anywhere."""

from collections import deque
from datetime import UTC, datetime
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acked_common.channel import frames
from acked_common.channel.frames import Cancel, CloseCode, Drain, Events, JobAttempt, ProtocolFault
from acked_common.channel.gateway_end import GatewayEnd, Streams, cancel_frames, drain_frame, listen_frame
from acked_common.channel.worker_end import EVENT_BYTES, WorkerEnd, hello_of
from acked_common.model.events import JobEvent, ProgressEvent
from acked_common.model.lifecycle import State

AT = datetime(2026, 1, 2, tzinfo=UTC)
HELLO = hello_of(boot="boot-1", worker="w", kinds=["demo"], version="1", slots=8)


def event(n: int, *, state: State = State.RUNNING, attempt: int = 1, job: int | None = None) -> JobEvent:
    return JobEvent(UUID(int=n if job is None else job), n + 1, state, "claimed", attempt, AT)


def report(n: int, value: int = 0, *, attempt: int = 1, size: int = 0) -> ProgressEvent:
    return ProgressEvent(UUID(int=n), attempt, b'{"value":%d,"text":"%s"}' % (value, b"x" * size))


class Line:
    """One connection after another between a worker's end and gateways; `cut` loses what is under way."""

    def __init__(self, **limits: int) -> None:
        self.worker = WorkerEnd(HELLO, **limits)
        self.streams = [Streams(), Streams()]
        self.handed: list[list[JobEvent]] = [[], []]
        self.progress: list[ProgressEvent] = []
        self.frames = 0
        self.up: deque[str] = deque()
        self.down: deque[str] = deque()
        self.gateway: GatewayEnd | None = None
        self.at = 0

    def connect(self, gateway: int = 0) -> None:
        self.cut()
        self.at = gateway
        self.gateway = GatewayEnd(f"gateway-{gateway}", self.streams[gateway])
        self.up.append(self.worker.connected())

    def cut(self) -> None:
        if self.gateway is not None:
            self.gateway = None
            self.up.clear()
            self.down.clear()
            self.worker.disconnected()

    def worker_sends(self) -> None:
        while self.gateway is not None and (text := self.worker.next_frame()) is not None:
            self.up.append(text)

    def gateway_takes(self) -> None:
        if self.gateway is not None and self.up:
            found, reply = self.gateway.received(frames.parse_from_worker(self.up.popleft()))
            if found is not None:
                self.frames += 1
                self.handed[self.at] += found.events
                self.progress += found.progress
            self.down.append(reply)

    def worker_takes(self) -> None:
        if self.gateway is not None and self.down:
            assert self.worker.received(self.down.popleft()) is None

    def settle(self) -> None:
        for _ in range(1000):
            self.worker_sends()
            if not self.up and not self.down:
                return
            self.gateway_takes()
            self.worker_takes()
        raise AssertionError("the ends never come to rest")


def connected() -> Line:
    line = Line()
    line.connect()
    line.settle()
    return line


steps = st.lists(
    st.one_of(
        st.tuples(st.just("report"), st.integers(1, 12)),
        st.tuples(st.sampled_from(["send", "up", "down", "cut", "connect"]), st.just(0)),
    ),
    max_size=120,
)


@given(steps, st.integers(1, 5), st.integers(4, 40))
@settings(max_examples=300)
def test_one_gateway_gets_each_transition_once_and_in_order_or_it_was_counted_as_dropped(
    script: list[tuple[str, int]], per_frame: int, waiting: int
) -> None:
    line = Line(max_waiting_events=waiting, max_frame_events=per_frame)
    made: list[JobEvent] = []
    for step, count in script:
        if step == "report":
            fresh = [event(len(made) + i) for i in range(count)]
            made += fresh
            line.worker.report(fresh)
        elif step == "send":
            line.worker_sends()
        elif step == "up":
            line.gateway_takes()
        elif step == "down":
            line.worker_takes()
        elif step == "cut":
            line.cut()
        else:
            line.connect()
    line.connect()
    line.settle()

    handed = line.handed[0]
    order = [made.index(one) for one in handed]
    assert order == sorted(set(order)), "once each, in order"
    assert len(handed) + line.worker.dropped == len(made)
    assert line.worker.acknowledged == len(handed)
    assert line.worker.is_idle


@given(steps, st.lists(st.integers(0, 1), min_size=120, max_size=120))
@settings(max_examples=200)
def test_with_gateways_that_come_and_go_each_transition_arrives_somewhere(
    script: list[tuple[str, int]], choices: list[int]
) -> None:
    line = Line()
    made: list[JobEvent] = []
    for (step, count), choice in zip(script, choices, strict=False):
        if step == "report":
            fresh = [event(len(made) + i) for i in range(count)]
            made += fresh
            line.worker.report(fresh)
        elif step == "send":
            line.worker_sends()
        elif step == "up":
            line.gateway_takes()
        elif step == "down":
            line.worker_takes()
        elif step == "cut":
            line.cut()
        else:
            line.connect(choice)
    line.connect(1)
    line.settle()

    assert line.worker.dropped == 0
    for handed in line.handed:
        order = [made.index(one) for one in handed]
        assert order == sorted(set(order)), "no gateway hands one out twice"
    assert {*line.handed[0], *line.handed[1]} == set(made)


def test_a_lone_transition_leaves_at_once_and_what_comes_meanwhile_shares_a_frame() -> None:
    line = connected()
    line.worker.report([event(0)])
    line.worker_sends()
    assert len(line.up) == 1
    for n in range(1, 100):
        line.worker.report([event(n)])
        line.worker_sends()
    assert len(line.up) == 1, "one frame is under way at a time"
    line.settle()
    assert line.frames == 2
    assert [one.rev for one in line.handed[0]] == list(range(1, 101))


def test_of_progress_the_newest_of_an_attempt_wins() -> None:
    line = connected()
    line.worker.report([event(0)])
    line.worker_sends()
    line.worker.progress([report(0, 1), report(1, 1)])
    line.worker.progress([report(0, 2), report(0, 7, attempt=2)])
    line.settle()
    assert line.progress == [report(1, 1), report(0, 2), report(0, 7, attempt=2)]


def test_progress_behind_the_end_of_its_attempt_is_not_sent() -> None:
    line = connected()
    line.worker.progress([report(0, 1), report(0, 2, attempt=2)])
    line.worker.report([event(5, job=0, state=State.SUCCEEDED)])
    line.settle()
    assert line.progress == [report(0, 2, attempt=2)]
    assert line.worker.dropped == 0


def test_progress_never_overtakes_the_transition_before_it() -> None:
    line = Line(max_frame_events=3)
    line.connect()
    line.settle()
    line.worker.report([event(n) for n in range(10)])
    line.worker.progress([report(9, 1)])
    for _ in range(3):
        line.worker_sends()
        line.gateway_takes()
        line.worker_takes()
        assert line.progress == []
    line.settle()
    assert line.progress == [report(9, 1)]


def test_large_progress_is_spread_over_frames() -> None:
    line = connected()
    many = [report(n, size=30_000) for n in range(30)]
    line.worker.progress(many)
    line.settle()
    assert line.progress == many
    assert line.frames >= 5


def test_what_waits_is_bounded_in_number_and_in_bytes() -> None:
    worker = WorkerEnd(HELLO, max_waiting_events=10)
    worker.report(event(n) for n in range(25))
    assert worker.dropped == 15

    worker = WorkerEnd(HELLO, max_waiting_bytes=10 * EVENT_BYTES)
    worker.progress([report(1, size=1000), report(2, size=1000)])
    assert worker.dropped == 0
    worker.progress([report(3, size=1000)])
    assert worker.dropped == 1
    worker.report(event(n) for n in range(20))
    assert worker.dropped == 1 + 2 + 10

    worker = WorkerEnd(HELLO)
    worker.progress([report(1, size=frames.MAX_PROGRESS_BYTES)])
    assert worker.dropped == 1
    assert worker.is_idle


def test_progress_room_is_given_back() -> None:
    line = Line(max_waiting_bytes=10 * EVENT_BYTES)
    line.connect()
    line.settle()
    for n in range(50):
        line.worker.progress([report(n, size=2000)])
        line.settle()
    assert line.worker.dropped == 0
    assert len(line.progress) == 50


def test_a_gateway_that_knows_nothing_gets_the_frame_under_way_again() -> None:
    line = connected()
    line.worker.report([event(0)])
    line.worker_sends()
    line.gateway_takes()
    line.connect(1)
    line.settle()
    assert line.handed == [[event(0)], [event(0)]]
    line.connect(0)
    line.worker.report([event(1)])
    line.settle()
    assert line.handed[0] == [event(0), event(1)]


def test_streams_of_one_worker_are_counted_apart() -> None:
    streams = Streams()
    streams.note("boot-1", 0, 7)
    assert (streams.last_seq("boot-1", 0), streams.last_seq("boot-1", 1)) == (7, 0)


def test_only_so_many_streams_are_remembered() -> None:
    streams = Streams(most=2)
    for boot in ("a", "b"):
        streams.note(boot, 0, 1)
    streams.note("a", 0, 2)
    streams.note("c", 0, 1)
    assert [streams.last_seq(boot, 0) for boot in "abc"] == [2, 0, 1]


def test_a_frame_that_was_refused_is_not_sent_again() -> None:
    line = connected()
    line.worker.report([event(0), event(1)])
    line.worker_sends()
    line.worker.disconnected(CloseCode.BAD_FRAME)
    assert line.worker.dropped == 2
    line.worker.report([event(2)])
    line.connect()
    line.settle()
    assert line.handed[0] == [event(2)]


def test_a_line_that_is_given_up_counts_what_is_left() -> None:
    line = connected()
    line.worker.report([event(0)])
    line.worker_sends()
    line.worker.report([event(1)])
    line.worker.progress([report(1)])
    line.worker.abandon()
    assert line.worker.dropped == 3
    assert line.worker.is_idle


def expect_fault(code: CloseCode, end: WorkerEnd | GatewayEnd, text: str) -> None:
    with pytest.raises(ProtocolFault) as caught:
        if isinstance(end, GatewayEnd):
            end.received(frames.parse_from_worker(text))
        else:
            end.received(text)
    assert caught.value.code is code


def test_the_gateway_insists_on_the_order() -> None:
    first = frames.events_frame(1, [], [])
    expect_fault(CloseCode.OUT_OF_ORDER, GatewayEnd("g", Streams()), first)
    end = GatewayEnd("g", Streams())
    end.received(HELLO)
    expect_fault(CloseCode.OUT_OF_ORDER, end, frames.encode(HELLO))
    assert end.received(Events(5, (), ()))[0] == Events(5, (), ())
    for seq in (4, 5, 7):
        expect_fault(CloseCode.OUT_OF_ORDER, end, frames.events_frame(seq, [], []))
    end.close()
    expect_fault(CloseCode.REPLACED, end, frames.events_frame(6, [], []))


def test_the_worker_insists_on_the_order() -> None:
    end = WorkerEnd(HELLO)
    end.connected()
    for text in ('{"type":"ack","seq":1}', '{"type":"drain"}'):
        expect_fault(CloseCode.OUT_OF_ORDER, end, text)
    expect_fault(CloseCode.OUT_OF_ORDER, end, '{"type":"welcome","protocol":1,"boot":"g","last_seq":1}')
    end.received('{"type":"welcome","protocol":1,"boot":"g","last_seq":0}')
    assert end.gateway_boot == "g"
    expect_fault(CloseCode.OUT_OF_ORDER, end, '{"type":"welcome","protocol":1,"boot":"g","last_seq":0}')
    expect_fault(CloseCode.OUT_OF_ORDER, end, '{"type":"ack","seq":1}')


def test_commands_come_down_the_line() -> None:
    line = connected()
    attempts = [JobAttempt(UUID(int=n), 1) for n in range(frames.MAX_CANCELS + 1)]
    first, second = cancel_frames(attempts)
    assert line.worker.received(first) == Cancel(attempts[:-1])
    assert line.worker.received(second) == Cancel(attempts[-1:])
    assert line.worker.received(drain_frame()) == Drain()
    assert cancel_frames([]) == []


def listen(line: Line, *, on: bool) -> None:
    line.down.append(listen_frame(on=on))
    line.worker_takes()


def test_while_nobody_listens_nothing_is_taken_and_what_waits_is_forgotten() -> None:
    line = connected()
    line.worker.report([event(0)])
    line.worker_sends()
    line.worker.report([event(1)])
    line.worker.progress([report(1)])
    listen(line, on=False)
    line.worker.report([event(2)])
    line.worker.progress([report(2)])
    line.settle()
    assert line.handed[0] == [event(0)], "what was under way"
    assert line.progress == []
    assert (line.worker.dropped, line.worker.acknowledged, line.worker.is_idle) == (0, 1, True)

    listen(line, on=True)
    line.worker.report([event(3)])
    line.worker.progress([report(3)])
    line.settle()
    assert line.handed[0] == [event(0), event(3)]
    assert line.progress == [report(3)]


def test_a_new_connection_is_listened_to_until_it_says_otherwise() -> None:
    line = connected()
    listen(line, on=False)
    line.connect(1)
    line.worker.report([event(0)])
    line.settle()
    assert line.handed[1] == [event(0)]


def test_before_the_welcome_nobody_is_told_to_listen() -> None:
    worker = WorkerEnd(HELLO)
    worker.connected()
    with pytest.raises(ProtocolFault):
        worker.received(listen_frame(on=False))
