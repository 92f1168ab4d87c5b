"""Each problem type of the services has its class, and each class its problem type."""

import inspect

from acked_client import AccessDenied, AckedError, Conflict, InvalidRequest, LimitReached, ProblemError, Unavailable
from acked_client import problems as public
from acked_client.core.failures import error_of
from acked_client.core.retry import REPEATED
from acked_client.model import problems
from acked_common.http.problem_catalogue import CATALOGUE
from support.client_flows import refused

SORTS = {
    400: InvalidRequest,
    401: AccessDenied,
    403: AccessDenied,
    409: Conflict,
    413: InvalidRequest,
    415: InvalidRequest,
    422: InvalidRequest,
    429: LimitReached,
    408: Unavailable,
    503: Unavailable,
}


def test_each_problem_type_has_its_class() -> None:
    assert problems.BY_NAME.keys() == CATALOGUE.keys()
    for name, entry in CATALOGUE.items():
        kind = problems.BY_NAME[name]
        assert kind.__name__ == "".join(word.capitalize() for word in name.split("-"))
        assert kind.__doc__ == f"{entry.title}."
        assert issubclass(kind, SORTS.get(entry.status, ProblemError))
        assert type(error_of(refused(name, entry.status))) is kind


def test_each_class_is_public() -> None:
    classes = [found for _, found in inspect.getmembers(problems, inspect.isclass) if issubclass(found, AckedError)]
    assert {kind.__name__ for kind in classes} - {"Problem"} <= set(public.__all__)
    assert all(getattr(public, name) for name in public.__all__)


def test_repeated_statuses_are_those_that_a_later_request_may_not_get() -> None:
    repeated = {entry.status for name, entry in CATALOGUE.items() if issubclass(problems.BY_NAME[name], Unavailable)}
    repeated |= {entry.status for name, entry in CATALOGUE.items() if issubclass(problems.BY_NAME[name], LimitReached)}
    # 502 and 504 come from proxies.
    assert repeated | {502, 504} == REPEATED
