"""What the driver's errors become: none of them, nor its traceback, shows a document."""

import traceback

import pytest
from pymongo.errors import (
    AutoReconnect,
    BulkWriteError,
    InvalidOperation,
    OperationFailure,
    PyMongoError,
    ServerSelectionTimeoutError,
    WriteConcernError,
    WTimeoutError,
)

from acked_common.store.errors import OutcomeUnknown, StoreError, StoreUnavailable
from acked_common.store.mongo.errors import store_errors

PAYLOAD = "what-a-client-sent"
REFUSED = {"index": 0, "code": 121, "errmsg": PAYLOAD, "op": {"payload": PAYLOAD}}
DETAILS = {"errInfo": {"consideredValue": PAYLOAD}, "errmsg": PAYLOAD}


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (BulkWriteError({"writeErrors": [REFUSED]}), StoreError),
        (BulkWriteError({"writeErrors": [REFUSED], "writeConcernErrors": [{"errmsg": PAYLOAD}]}), OutcomeUnknown),
        (OperationFailure(PAYLOAD, 121, DETAILS), StoreError),
        (OperationFailure(PAYLOAD, 91, {**DETAILS, "errorLabels": ["RetryableWriteError"]}), OutcomeUnknown),
        (WriteConcernError(PAYLOAD, 64, DETAILS), OutcomeUnknown),
        (WTimeoutError(PAYLOAD, 64, DETAILS), OutcomeUnknown),
        (InvalidOperation(PAYLOAD), StoreError),
    ],
)
def test_no_document_is_shown(raised: PyMongoError, expected: type[StoreError]) -> None:
    with pytest.raises(expected) as caught, store_errors("moving jobs"):
        raise raised
    # An unknown outcome is a `StoreError` too, and is sent again.
    assert type(caught.value) is expected
    assert "moving jobs" in str(caught.value)
    shown = "".join(traceback.format_exception(caught.value))
    assert PAYLOAD not in shown


@pytest.mark.parametrize(
    ("raised", "expected"),
    [(ServerSelectionTimeoutError("no primary"), StoreUnavailable), (AutoReconnect("closed"), OutcomeUnknown)],
)
def test_what_became_of_the_connection_is_shown(raised: PyMongoError, expected: type[StoreError]) -> None:
    with pytest.raises(expected) as caught, store_errors("moving jobs"):
        raise raised
    assert type(caught.value) is expected
    assert str(raised) in "".join(traceback.format_exception(caught.value))
