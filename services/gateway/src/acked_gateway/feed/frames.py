"""OWNER of the feed's frames in both directions, and of their limits. Pure.

Frames are JSON texts with a `type`; docs/feed.md says what each means.
"""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

import msgspec

from acked_common.api.representations import waits_fields
from acked_common.http.problems import Problem, problem
from acked_common.model import strict_json
from acked_common.model.events import JobEvent, JobUpdate
from acked_common.model.ids import parse_id
from acked_common.model.instants import rfc3339
from acked_common.model.lifecycle import State
from acked_common.model.lifecycle_waits import Waits
from acked_common.model.strict_json import StrictJsonError
from acked_common.model.topics import ALL, IDS, NAMED, Topic

PROTOCOL = 1
MAX_IDS = 1000
MAX_NAME_CHARS = 64
MAX_FRAME_CHARS = 64 * 1024
"""Of one frame from a client; a subscription to 1,000 ids takes 40,000."""
MAX_FRAME_BYTES = 96 * 1024
"""Of one message from a client; a larger one ends the connection before it is read."""

SNAPSHOT_PROGRESS_BYTES = 256 * 1024
"""Of progress and waits in one snapshot; those of further jobs arrive with the next change. 1,000 jobs may have
64 KiB of progress each."""

MAX_FIRST_FRAME_CHARS = 1024
"""Of the frame that carries a token."""

Sub = str | int
"""The client's own name for a subscription."""


class Subscribe(msgspec.Struct, frozen=True):
    """Subscribe to a topic."""

    sub: Sub
    topic: Topic


class Unsubscribe(msgspec.Struct, frozen=True):
    """End a subscription."""

    sub: Sub


class Authenticate(msgspec.Struct, frozen=True):
    """Authenticate with a token; valid only as the first frame of a connection."""


class FeedError(Exception):
    """A frame that can't be served; `problem` goes to the client."""

    def __init__(self, detail: str, sub: Sub | None = None, name: str = "bad-message") -> None:
        super().__init__(detail)
        self.problem = problem(name, detail)
        self.sub = sub

    @classmethod
    def of(cls, found: Problem, sub: Sub) -> "FeedError":
        """Wrap an existing problem."""
        made = cls(found.detail, sub)
        made.problem = found
        return made


_TYPE = '{"type":"'

_EXAMPLE = '{"type": "subscribe", "sub": "a", "scope": {"all": true}}'

_MEMBERS = {
    "subscribe": ("type", "sub", "scope"),
    "unsubscribe": ("type", "sub"),
    "authenticate": ("type", "token"),
}
"""The members of each client frame. Others are refused: a misspelt scope would subscribe to something else."""

_encode = msgspec.json.Encoder().encode


def parse_authenticate(text: str | None) -> bytes:
    """Read the token from the first frame of an unauthenticated connection. Raises `FeedError`."""
    detail = 'the first frame must be {"type": "authenticate", "token": "…"}'
    if text is None or len(text) > MAX_FIRST_FRAME_CHARS:
        raise FeedError(detail, name="no-token")
    try:
        members = _members(text, may_scan=True)
    except StrictJsonError:
        raise FeedError(detail, name="no-token") from None
    token = members.get("token")
    has_unknown = not members.keys() <= {*_MEMBERS["authenticate"]}
    if members.get("type") != "authenticate" or not isinstance(token, str) or has_unknown:
        raise FeedError(detail, name="no-token")
    return token.encode("utf-8", "replace")


def parse_frame(text: str, *, tenant: str, may_scan: bool = True) -> Subscribe | Unsubscribe | Authenticate:
    """Parse a frame of a client of this tenant. Raises `FeedError`, and `NeedsScan` unless `may_scan`."""
    if len(text) > MAX_FRAME_CHARS:
        raise FeedError(f"a frame may have {MAX_FRAME_CHARS:,} characters; follow more with several subscriptions")
    try:
        members = _members(text, may_scan=may_scan)
    except StrictJsonError as error:
        raise FeedError(
            f"a frame is a JSON object such as {_EXAMPLE}; this one can't be read: {error.detail}"
        ) from None
    kind = members.get("type")
    known = _MEMBERS.get(kind) if isinstance(kind, str) else None
    if known is None:
        raise FeedError("type must be subscribe or unsubscribe")
    if unknown := [name for name in members if name not in known]:
        close = difflib.get_close_matches(unknown[0], known, n=1)
        meant = f"did you mean {close[0]!r}? " if close else ""
        raise FeedError(
            f"{unknown[0][:MAX_NAME_CHARS]!r} means nothing in {kind}; {meant}Known: {', '.join(known)}",
            _sub_or_none(members.get("sub")),
        )
    if kind == "authenticate":
        return Authenticate()
    sub = _sub(members.get("sub"))
    if kind == "unsubscribe":
        return Unsubscribe(sub)
    return Subscribe(sub, topic_of(members.get("scope"), sub, tenant))


def _members(text: str, *, may_scan: bool) -> dict[str, Any]:
    """Parse the members of a frame: strict JSON, because a repeated key would silently override the first."""
    members = strict_json.parse(text.encode("utf-8", "surrogatepass"), may_scan=may_scan)
    if type(members) is not dict:
        raise StrictJsonError("bad-json", "it is no object", "", 0)
    return members


def _sub_or_none(value: Any) -> Sub | None:
    try:
        return _sub(value)
    except FeedError:
        return None


def _sub(value: Any) -> Sub:
    if isinstance(value, str) and 1 <= len(value) <= MAX_NAME_CHARS:
        return value
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) <= 2**53:
        return value
    raise FeedError(f"sub must be a text of 1 to {MAX_NAME_CHARS} characters, or a whole number")


def topic_of(value: Any, sub: Sub, tenant: str) -> Topic:
    """Return the topic of a scope, of jobs of this tenant. Raises `FeedError`."""
    if not isinstance(value, dict) or len(value) != 1:
        named = "".join(f'{{"{name}": …}}, ' for name in NAMED)
        raise FeedError(f'scope must be one of {{"ids": […]}}, {named}{{"all": true}}', sub)
    ((name, wanted),) = value.items()
    if name == ALL and wanted is True:
        return Topic(tenant=tenant, name=ALL)
    if name in NAMED and isinstance(wanted, str) and 1 <= len(wanted) <= MAX_NAME_CHARS:
        return Topic(tenant=tenant, name=name, value=wanted)
    if name == IDS and isinstance(wanted, list) and 1 <= len(wanted) <= MAX_IDS:
        ids = [parse_id(text) if isinstance(text, str) else None for text in wanted]
        if None in ids:
            raise FeedError(f"not an id: {str(wanted[ids.index(None)])[:64]!r}", sub)
        return Topic(tenant=tenant, name=IDS, value=frozenset(job_id for job_id in ids if job_id is not None))
    named = "".join(f"{{{name}: name}}, " for name in NAMED)
    raise FeedError(f"scope must be one of {{ids: 1 to {MAX_IDS} ids}}, {named}{{all: true}}", sub)


def event_text(event: JobEvent, progress: bytes | None = None, waits: Waits | None = None) -> str:
    """Encode one transition with why it parked the job, or the progress after it."""
    # By hand: every event of every job passes here, and no part but the reason could need escaping.
    text = (
        f'{{"id":"{event.id}","rev":{event.rev},"state":"{event.state.value}",'
        f'"reason":{_text(event.reason)},"attempt":{event.attempt},"at":"{rfc3339(event.at)}"'
    )
    if waits is not None:
        text = f'{text},"waits":{waits_text(waits)}'
    return text + "}" if progress is None else f'{text},"progress":{progress.decode()}}}'


def waits_text(waits: Waits) -> str:
    """Encode why a job is parked, as its status has it."""
    return _text(cast(Mapping[str, Any], waits_fields(waits)))


def events_frame(sub: Sub, seq: int, texts: str) -> str:
    """Make a frame of events in order; `texts` are joined by commas."""
    return f'{{"type":"events","sub":{_text(sub)},"seq":{seq},"events":[{texts}]}}'


def jobs_snapshot_text(updates: Iterable[JobUpdate]) -> str:
    """Encode the state of each job, for `snapshot_frame`."""
    texts = []
    progress_bytes = 0
    for job in updates:
        if job.event is not None:
            progress_bytes += len(job.progress or b"") + (0 if job.waits is None else len(waits_text(job.waits)))
            has_room = progress_bytes <= SNAPSHOT_PROGRESS_BYTES
            progress, waits = (job.progress, job.waits) if has_room else (None, None)
            origin = f',"kind":{_text(job.origin.kind)},"batch":{_text(job.origin.batch)}}}'
            texts.append(event_text(job.event, progress, waits)[:-1] + origin)
    return f'"jobs":[{",".join(texts)}]'


def counts_snapshot_text(counts: Mapping[State, int], at_most: int | None) -> str:
    """Encode the number of jobs in each state, for `snapshot_frame`; `at_most` if counts are bounded."""
    text = f'"counts":{_text({state.value: counts[state] for state in State if state in counts})}'
    return text if at_most is None else f'{text},"counted_at_most":{at_most}'


def snapshot_frame(sub: Sub, text: str) -> str:
    """Make a frame of a snapshot; later events of the subscription build on it."""
    return f'{{"type":"snapshot","sub":{_text(sub)},{text}}}'


def resync_frame(sub: Sub) -> str:
    """Make the frame that announces a new snapshot, because events were dropped."""
    return f'{{"type":"resync","sub":{_text(sub)}}}'


def hello_frame(boot: str) -> str:
    """Make the first frame of a connection."""
    return f'{{"type":"hello","protocol":{PROTOCOL},"boot":{_text(boot)}}}'


def ping_frame(at: str) -> str:
    """Make a heartbeat; it needs no response."""
    return f'{{"type":"ping","at":{_text(at)}}}'


def type_of(frame: str) -> str:
    """Return the type of a frame that was made here: it is the first member."""
    return frame[len(_TYPE) : frame.index('"', len(_TYPE))]


def error_frame(found: Problem, sub: Sub | None) -> str:
    """Make the frame that reports an invalid frame of the client."""
    named = "" if sub is None else f'"sub":{_text(sub)},'
    return f'{{"type":"error",{named}"problem":{found.to_bytes().decode()}}}'


def _text(value: Sequence[Any] | Mapping[str, Any] | Sub | None) -> str:
    return _encode(value).decode()
