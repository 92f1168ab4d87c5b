"""Parse a body of `PUT /callback-endpoints/{name}`: strictly, reporting all faults at once. Pure."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from acked_common.http.problems import ErrorAt, ProblemError, json_problem, problem
from acked_common.model import strict_json
from acked_common.model.call_targets import AllowedHosts, check_target, target_of
from acked_common.model.callback_endpoints import EndpointOrder
from acked_common.model.callback_fields import read_events, read_headers, read_kinds, read_url
from acked_common.model.callbacks import EVENTS
from acked_common.model.job_fields import FieldFault, type_of
from acked_common.model.strict_json import StrictJsonError

MAX_BODY_BYTES = 32 * 1024
_EXAMPLE = '{"url": "https://example.com/hook", "events": ["job.failed"]}'


@dataclass(frozen=True, slots=True)
class EndpointWish:
    """The content of a body; omitted `headers` and `enabled` are None."""

    url: str
    events: tuple[str, ...]
    kinds: tuple[str, ...]
    headers: tuple[tuple[str, str], ...] | None
    enabled: bool | None

    def order(self, before: EndpointOrder | None) -> EndpointOrder:
        """Return the definition. Without `headers` those of the earlier one stay, since no response shows them."""
        headers = self.headers
        if headers is None:
            headers = () if before is None else before.headers
        return EndpointOrder(self.url, self.events, self.kinds, headers)


def parse_endpoint(body: bytes, *, allowed: AllowedHosts, may_scan: bool = True) -> EndpointWish:
    """Return the content of the body. Raise `ProblemError`, and `NeedsScan` unless `may_scan`."""
    try:
        members = strict_json.parse(body, max_bytes=MAX_BODY_BYTES, may_scan=may_scan)
    except StrictJsonError as error:
        raise ProblemError(json_problem(error)) from None
    if not isinstance(members, dict):
        raise _refusal([{"pointer": "", "detail": f"must be an object such as {_EXAMPLE}"}])
    errors: list[ErrorAt] = []
    fields: dict[str, Any] = {}
    for name, read in _FIELDS.items():
        try:
            if members.get(name) is not None or name == "url":
                fields[name] = read(members.get(name))
        except FieldFault as fault:
            errors.append({"pointer": f"/{name}{fault.pointer}", "detail": fault.detail})
    if "url" in fields:
        try:
            check_target(target_of(fields["url"]), allowed)
        except ValueError as error:
            errors.append({"pointer": "/url", "detail": str(error)})
    unknown: list[ErrorAt] = [
        {"pointer": f"/{name[:100]}", "detail": "is not a known field"} for name in members if name not in KNOWN_FIELDS
    ]
    if errors or unknown:
        raise _refusal([*errors, *unknown], is_unknown=not errors)
    return EndpointWish(
        fields["url"],
        fields.get("events", EVENTS),
        fields.get("kinds", ()),
        fields.get("headers"),
        fields.get("enabled"),
    )


def _enabled(value: Any) -> bool:
    if type(value) is not bool:
        raise FieldFault(f"must be true or false, not {type_of(value)}")
    return value


_FIELDS: dict[str, Callable[[Any], Any]] = {
    "url": read_url,
    "events": read_events,
    "kinds": read_kinds,
    "headers": read_headers,
    "enabled": _enabled,
}
KNOWN_FIELDS = tuple(_FIELDS)


def _refusal(errors: list[ErrorAt], *, is_unknown: bool = False) -> ProblemError:
    first = errors[0]
    detail = f"{first['pointer'][1:] or 'the body'} {first['detail']}"
    if len(errors) > 1:
        detail = f"{len(errors)} fields can't be used; the first: {detail}"
    extra = {"known_fields": KNOWN_FIELDS} if is_unknown else None
    name = "unknown-field" if is_unknown else "invalid-field"
    return ProblemError(problem(name, f"{detail}. Nothing was changed", errors=errors[:20], extra=extra))
