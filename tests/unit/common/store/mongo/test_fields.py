"""No field of a record is lost, shared or hidden on its way. Every test walks the fields, so a new one is covered."""

from collections.abc import Callable, Mapping
from datetime import datetime
from operator import attrgetter
from typing import Any

import bson
import msgspec
import pytest
from bson.binary import UuidRepresentation
from bson.codec_options import CodecOptions

from acked_common.api.representations import job_fields
from acked_common.api.status_route import kind_fields
from acked_common.channel.frames import Hello, event_part, events_frame, parse_from_worker, progress_part
from acked_common.channel.worker_end import hello_of
from acked_common.http.responses import encode
from acked_common.http.settings import HttpLimits, read_http_limits
from acked_common.model import lifecycle
from acked_common.model.attempts import EndedAttempt
from acked_common.model.events import JobEvent, JobUpdate, ProgressEvent
from acked_common.model.lifecycle import HistoryEntry, Move, Owner, Seen, State, Transition
from acked_common.model.limits import KindLimit
from acked_common.model.options import JobOptions
from acked_common.model.pauses import CountedPauses, KindPauses, PastPause, Pause
from acked_common.model.principal import LOCAL, Principal
from acked_common.model.tokens import TokenRecord, token_document, token_from
from acked_common.model.topics import ALL, IDS, NAMED, Origin, Topic, topics_of
from acked_common.runtime.env import Env
from acked_common.store.mongo import documents as stored
from acked_common.store.mongo.change_events import GLIMPSE, origin_of, read_change, topic_fields, update_from_document
from acked_common.store.mongo.field_names import HELD, stored_fields, stored_name
from acked_common.store.mongo.list_filters import filter_fields, id_bounds
from acked_common.store.mongo.moves import claim_pipeline, extension_update, move_updates, reservation_update
from acked_common.store.records import (
    ClaimedJob,
    Job,
    JobFilter,
    KeyHolder,
    KindRecord,
    NewJob,
    Reservation,
    WaitExtension,
    WorkerRecord,
)
from support.fields import changed, fields_of, filled, two_of, variants, walked

OPTIONS: CodecOptions[dict[str, Any]] = CodecOptions(tz_aware=True, uuid_representation=UuidRepresentation.STANDARD)
AT, LATER = two_of(datetime)


def through_bson(document: Mapping[str, Any]) -> dict[str, Any]:
    return bson.decode(bson.encode(document, codec_options=OPTIONS), OPTIONS)


def names(record_type: type, *, but: frozenset[str] | set[str] = frozenset()) -> list[str]:
    return [name for name in walked(record_type) if name not in but]


def new_job() -> NewJob:
    return filled(NewJob, lifecycle=lifecycle.accept_fields(at=AT, delay_s=0.0, grace_s=1.0, expires_in_s=9.0))


@pytest.mark.parametrize("name", names(NewJob, but={"lifecycle"}))
def test_each_field_of_a_new_job_is_stored(name: str) -> None:
    other = dict(variants(new_job(), but={"lifecycle"}))[name]
    assert stored.job_document(other) != stored.job_document(new_job()), f"job_document leaves {name} out"


@pytest.mark.parametrize("name", sorted(set(names(NewJob)) & set(names(Job))))
def test_each_field_of_a_new_job_is_read_back(name: str) -> None:
    job = stored.job_from(through_bson(stored.job_document(new_job())))
    assert attrgetter(name)(job) == attrgetter(name)(new_job())


def test_what_a_new_job_leaves_out_is_read_as_left_out() -> None:
    given = {name: getattr(new_job(), name) for name in ("id", "kind", "payload", "accepted_at", "lifecycle")}
    least = NewJob(**given)
    job = stored.job_from(through_bson(stored.job_document(least)))
    for name in set(names(NewJob)) & set(names(Job)):
        assert attrgetter(name)(job) == attrgetter(name)(least), name


READERS: dict[type, tuple[Callable[[Mapping[str, Any]], Any], Mapping[str, str], set[str]]] = {
    # The reader, the names in the document beyond `STORED_NAMES`, and what is not read from it.
    Job: (stored.job_from, {"cancel_requested": "cancel_requested_at", "is_held": "reserved_by"}, set()),
    ClaimedJob: (lambda document: stored.claimed_job_from(document, "nonce"), {}, {"nonce"}),
    KeyHolder: (
        lambda document: stored.key_holder_from(
            {name: value for name, value in document.items() if name in (*stored.KEY_HOLDER_FIELDS, "_id")}
        ),
        {"state": "first_state", "fingerprint": "key_fingerprint"},
        set(),
    ),
    JobUpdate: (
        update_from_document,
        {"origin": "tenant", "event": "history", "nonce": "owner"},
        set(),
    ),
}


def job_documents() -> tuple[dict[str, Any], dict[str, Any]]:
    """Two documents of jobs with all that one may have, different in everything."""
    found = []
    for which in (0, 1):
        values = {name: two_of(hint)[which] for name, hint in fields_of(Job).items()}
        values |= {name: two_of(hint)[which] for name, hint in fields_of(NewJob).items() if name != "lifecycle"}
        values |= {name: two_of(hint)[which] for name, hint in fields_of(JobOptions).items()}
        del values["options"]
        values["history"] = (two_of(HistoryEntry)[which],)
        document = msgspec.to_builtins(values, builtin_types=(datetime, bytes, type(values["id"])))
        document = stored_fields(document) | {"key": "k", "key_fingerprint": b"%d" % which}
        document["callback_ends"] = {str(number): end for number, end in enumerate(document["callback_ends"])}
        document["owner"] = {name: f"{name} {which}" for name in Owner.__struct_fields__}
        if document.pop("cancel_requested"):
            document["cancel_requested_at"] = AT
        if document.pop("is_held"):
            document["reserved_by"] = HELD
        found.append(document)
    return found[0], found[1]


@pytest.mark.parametrize(
    ("record_type", "name"),
    [(record_type, name) for record_type, (_, _, but) in READERS.items() for name in names(record_type, but=but)],
)
def test_each_field_is_read_from_the_document(record_type: type, name: str) -> None:
    read, named, _ = READERS[record_type]
    one, other = job_documents()
    if name == "waits":
        # Left by a version that does not know it, it says nothing of a job that no longer waits.
        one = {**one, "state": State.WAITING.value}
    place = named.get(name, stored_name(name.removeprefix("options.")))
    mixed = {key: value for key, value in one.items() if key != place}
    if place in other:
        mixed[place] = other[place]
    assert attrgetter(name)(read(mixed)) != attrgetter(name)(read(one)), f"{record_type.__name__}: {name} is not read"


def test_a_claim_reads_all_that_its_record_has() -> None:
    read = {name.removeprefix("options.") for name in names(ClaimedJob)} - {"id", "nonce"}
    # A claim adds the tenant where clients show tokens.
    assert set(stored.CLAIMED_FIELDS) == read - {"tenant"}


def test_a_glimpse_has_all_that_news_are_made_of() -> None:
    for document in job_documents():
        read = {name.partition(".")[0] for name in GLIMPSE} | {"_id"}
        assert update_from_document({key: document[key] for key in read if key in document}) == (
            update_from_document(document)
        )


@pytest.mark.parametrize("name", names(JobUpdate))
def test_a_replaced_document_tells_each_field_of_its_news(name: str) -> None:
    document = job_documents()[0]
    change = {"operationType": "replace", "documentKey": {"_id": document["_id"]}, "fullDocument": document}
    assert getattr(read_change(change), name) == getattr(update_from_document(document), name)


@pytest.mark.parametrize("record", [pytest.param(one, id=name) for name, one in variants(filled(KindRecord))])
def test_a_kind_keeps_each_field(record: KindRecord) -> None:
    assert stored.kind_from(through_bson({"_id": record.name, **stored.kind_document(record)})) == record


@pytest.mark.parametrize("record", [pytest.param(one, id=name) for name, one in variants(filled(WorkerRecord))])
def test_a_worker_keeps_each_field(record: WorkerRecord) -> None:
    document = through_bson({"_id": record.boot, **stored.worker_document(record)})
    # The worker writes its document without the operator's request, which stands beside it.
    assert "drain_requested" not in document
    assert stored.worker_from(document | {"drain_requested": record.drain_requested}) == record


def token_records() -> dict[str, TokenRecord]:
    token = filled(TokenRecord)
    return dict(variants(token)) | {
        f"principal.{name}": changed(token, principal=principal) for name, principal in variants(token.principal)
    }


@pytest.mark.parametrize("name", [*names(TokenRecord), *(f"principal.{name}" for name in names(Principal))])
def test_a_token_keeps_each_field(name: str) -> None:
    record = token_records()[name]
    assert token_from(through_bson(token_document(record))) == record


@pytest.mark.parametrize("entry", [pytest.param(one, id=name) for name, one in variants(filled(HistoryEntry))])
def test_a_history_keeps_each_field(entry: HistoryEntry) -> None:
    document = {**job_documents()[0], "history": [stored.history_document(entry)]}
    assert stored.job_from(through_bson(document)).history[-1] == entry


@pytest.mark.parametrize("name", names(JobFilter))
def test_each_field_of_a_filter_filters(name: str) -> None:
    one = filled(JobFilter)
    other = dict(variants(one))[name]
    assert (filter_fields(other), id_bounds(other)) != (filter_fields(one), id_bounds(one))


@pytest.mark.parametrize("name", names(Origin))
def test_each_property_of_an_origin_is_read(name: str) -> None:
    one, other = (getattr(origin_of(document), name) for document in job_documents())
    assert one and other and one != other
    assert not getattr(origin_of({}), name)


def test_the_filter_of_a_topic_finds_the_jobs_of_that_topic_and_no_others() -> None:
    one, other = job_documents()
    for document in (one, other):
        topics = [*topics_of(origin_of(document)), Topic(document["tenant"], IDS, frozenset({document["_id"]}))]
        assert {topic.name for topic in topics} == {ALL, IDS, *NAMED}
        for topic in topics:
            fields = topic_fields(topic)
            assert fields.pop("_id", None) == ({"$in": [document["_id"]]} if topic.name == IDS else None)
            for name, value in fields.items():
                held = document[name]
                assert value in held if isinstance(held, list | tuple) else value == held
            assert (len(fields) == 2) is (topic.name in NAMED)


SEEN = filled(Seen)
TRANSITION = filled(
    Transition,
    leaves=frozenset(State),
    to=State.SCHEDULED,
    sets={"next_check_at": AT, "due_at": AT},
    adds={"failures": 1},
    ended=None,
)
OTHER_TRANSITIONS = {
    **dict(variants(TRANSITION, but={"leaves", "to", "sets", "adds", "ended"})),
    "ended": changed(TRANSITION, ended=filled(EndedAttempt)),
    "to": changed(TRANSITION, to=State.QUEUED),
    "sets": changed(TRANSITION, sets={"next_check_at": AT, "due_at": LATER}),
    "adds": changed(TRANSITION, adds={"failures": 2}),
}
"""But for `leaves`: what a transition may leave is checked when the move is made, and not written."""


def test_every_field_of_a_transition_is_walked() -> None:
    assert set(OTHER_TRANSITIONS) == set(names(Transition)) - {"leaves"}


# Whose job it is counts alone: the id says which one is moved.
@pytest.mark.parametrize("name", names(Seen, but={"id", "tenant"}))
def test_moves_of_jobs_seen_otherwise_are_written_apart(name: str) -> None:
    other = changed(dict(variants(SEEN))[name], id=two_of(type(SEEN.id))[1])
    assert len(move_updates([Move(SEEN, TRANSITION), Move(other, TRANSITION)])) == 2


@pytest.mark.parametrize("name", OTHER_TRANSITIONS)
def test_moves_that_write_something_else_are_written_apart(name: str) -> None:
    other = changed(SEEN, id=two_of(type(SEEN.id))[1])
    assert len(move_updates([Move(SEEN, TRANSITION), Move(other, OTHER_TRANSITIONS[name])])) == 2
    assert len(move_updates([Move(SEEN, TRANSITION), Move(other, changed(TRANSITION))])) == 1


@pytest.mark.parametrize("name", names(Seen, but={"tenant"}))
def test_each_field_that_was_seen_has_to_stand(name: str) -> None:
    other = dict(variants(SEEN))[name]
    assert repr(move_updates([Move(other, TRANSITION)])) != repr(move_updates([Move(SEEN, TRANSITION)]))


@pytest.mark.parametrize("name", OTHER_TRANSITIONS)
def test_each_field_of_a_transition_is_written(name: str) -> None:
    assert repr(move_updates([Move(SEEN, OTHER_TRANSITIONS[name])])) != repr(move_updates([Move(SEEN, TRANSITION)]))


def test_a_claim_writes_each_field_of_a_history_entry() -> None:
    owner = filled(Owner)
    fields = claim_pipeline(lifecycle.claim(at=AT, owner=owner, lease_s=1.0), 1.0)[0]["$set"]
    (entry,) = fields["history"]["$slice"][0]["$concatArrays"][1]
    # No operator claims.
    assert set(entry) | {"by"} == set(names(HistoryEntry)) == set(stored.history_document(filled(HistoryEntry)))
    assert set(fields["owner"]["$literal"]) == set(names(Owner))


@pytest.mark.parametrize("name", names(Reservation))
def test_each_field_of_a_reservation_is_written(name: str) -> None:
    one = filled(Reservation)
    assert repr(reservation_update(dict(variants(one))[name], "n")) != repr(reservation_update(one, "n"))


@pytest.mark.parametrize("event", [pytest.param(one, id=name) for name, one in variants(filled(JobEvent))])
def test_a_report_carries_each_field_of_an_event(event: JobEvent) -> None:
    frame = parse_from_worker(events_frame(1, [event_part(event)], []))
    assert not isinstance(frame, Hello) and frame.events == (event,)


@pytest.mark.parametrize("report", [pytest.param(one, id=name) for name, one in variants(filled(ProgressEvent))])
def test_a_report_carries_each_field_of_a_progress(report: ProgressEvent) -> None:
    frame = parse_from_worker(events_frame(1, [], [progress_part(report)]))
    assert not isinstance(frame, Hello) and frame.progress == (report,)


def test_a_worker_says_each_field_of_its_hello() -> None:
    given = {name: two_of(hint)[0] for name, hint in fields_of(Hello).items() if name not in ("protocol", "accepts")}
    hello = hello_of(**given)
    assert {name: getattr(hello, name) for name in given} == given


NOT_SHOWN = {
    # What the request asked for beside its payload, and what the machinery keeps for itself.
    *("options.max_attempts", "options.timeout_s", "options.expires_in_s", "first_state", "crashes", "suspect"),
    *("next_check_at", "queued_at", "expires_at", "republished", "counted_pauses", "signals", "is_held", "tenant"),
    # Shown as the state of its callback, which also needs the newest delivery.
    *("callback", "callback_endpoints", "callback_open", "callback_ends"),
}


@pytest.mark.parametrize("name", names(Job))
def test_each_field_of_a_job_is_shown_or_named_as_hidden(name: str) -> None:
    job = filled(Job, error={"type": "Boom"})
    other = changed(job, error={"type": "Bang"}) if name == "error" else dict(variants(job))[name]
    is_shown = encode(job_fields(other)) != encode(job_fields(job))
    assert is_shown != (name in NOT_SHOWN), f"show {name} in representations.py, or name it in NOT_SHOWN"


# The details of a kind show those of its schemas that count.
@pytest.mark.parametrize("name", names(KindRecord, but={"schemas"}))
def test_each_field_of_a_kind_is_shown(name: str) -> None:
    kind = filled(KindRecord)
    pause = KindPauses(filled(Pause))
    assert kind_fields(dict(variants(kind))[name], pause, LOCAL) != kind_fields(kind, pause, LOCAL)


@pytest.mark.parametrize("name", names(Pause))
def test_each_field_of_a_pause_is_shown(name: str) -> None:
    kind, pause = filled(KindRecord), filled(Pause)
    other = KindPauses(dict(variants(pause))[name])
    assert kind_fields(kind, other, LOCAL) != kind_fields(kind, KindPauses(pause), LOCAL)
    assert kind_fields(kind, KindPauses(), LOCAL)["paused"] is None


@pytest.mark.parametrize("name", names(KindLimit))
def test_each_field_of_a_limit_is_shown(name: str) -> None:
    kind, limit = filled(KindRecord), filled(KindLimit)
    other = KindPauses(limit=dict(variants(limit))[name])
    assert kind_fields(kind, other, LOCAL) != kind_fields(kind, KindPauses(limit=limit), LOCAL)
    assert kind_fields(kind, KindPauses(), LOCAL)["limit"] is None


def test_a_token_is_named_to_its_own_tenant_alone() -> None:
    kind, pauses = filled(KindRecord), KindPauses(filled(Pause), limit=filled(KindLimit))
    shown = kind_fields(kind, pauses, LOCAL)
    assert shown["paused"] is not None and shown["limit"] is not None and pauses.current is not None
    assert shown["paused"]["token_id"] == shown["limit"]["token_id"] == pauses.current.token_id
    to_others = kind_fields(kind, pauses, Principal("acme", "them", LOCAL.permissions))
    assert to_others["paused"] == {**shown["paused"], "token_id": None}
    assert to_others["limit"] == {**shown["limit"], "token_id": None}


@pytest.mark.parametrize("pause", [pytest.param(one, id=name) for name, one in variants(filled(Pause))])
def test_a_kind_keeps_each_field_of_a_pause(pause: Pause) -> None:
    pauses = KindPauses(pause, (filled(PastPause), PastPause(LATER, LATER)))
    past = [{name: getattr(one, name) for name in names(PastPause)} for one in pauses.past]
    document = through_bson({"_id": "k", "paused": {**stored.pause_document(pause), "newer": 1}, "pauses": past})
    assert stored.pauses_from(document) == pauses
    assert stored.pauses_from({"_id": "k"}) == KindPauses()


@pytest.mark.parametrize("name", names(CountedPauses))
def test_each_field_of_counted_pauses_is_written(name: str) -> None:
    one = filled(WaitExtension)
    assert one.wait.counted is not None
    other = changed(one.wait, counted=dict(variants(one.wait.counted))[name])
    assert repr(extension_update(changed(one, wait=other))) != repr(extension_update(one))


def test_an_extension_writes_the_expiry_and_with_nothing_counted_that_alone() -> None:
    one = filled(WaitExtension)
    later = changed(one.wait, expires_at=LATER)
    assert repr(extension_update(changed(one, wait=later))) != repr(extension_update(one))
    assert "counted_pauses" not in repr(extension_update(changed(one, wait=changed(later, counted=None))))


@pytest.mark.parametrize("name", names(WaitExtension, but={"wait"}))
def test_each_field_of_an_extension_that_was_seen_has_to_stand(name: str) -> None:
    one = filled(WaitExtension)
    assert repr(extension_update(dict(variants(one))[name])) != repr(extension_update(one))


class OtherValues(Env):
    """An environment in which every number is set, and to another value than the default."""

    def __init__(self) -> None:
        super().__init__({})

    def whole(self, name: str, default: int, **bounds: Any) -> int:
        return default + 1

    def seconds(self, name: str, default: float, **bounds: Any) -> float:
        return default + 1


@pytest.mark.parametrize("name", names(HttpLimits))
def test_each_limit_of_http_is_a_setting(name: str) -> None:
    assert getattr(read_http_limits(OtherValues()), name) != getattr(HttpLimits(), name)
