"""Translation of the driver's errors into those of the store."""

from collections.abc import Iterator
from contextlib import contextmanager

from pymongo.errors import (
    AutoReconnect,
    BulkWriteError,
    ConnectionFailure,
    ExecutionTimeout,
    OperationFailure,
    PyMongoError,
    ServerSelectionTimeoutError,
    WriteConcernError,
    WTimeoutError,
)

from acked_common.store.errors import OutcomeUnknown, StoreError, StoreForbidden, StoreUnavailable

_UNAUTHORIZED = 13


@contextmanager
def store_errors(doing: str) -> Iterator[None]:
    """Translate the driver's errors into those of the port. No message or traceback may contain a document. Rejections
    quote one, so these errors are not chained as the cause."""
    try:
        yield
    except ServerSelectionTimeoutError as error:
        raise StoreUnavailable(f"{doing}: no MongoDB server responds") from error
    except (AutoReconnect, ConnectionFailure) as error:
        raise OutcomeUnknown(f"{doing}: MongoDB did not confirm ({type(error).__name__})") from error
    except (ExecutionTimeout, WTimeoutError, WriteConcernError) as error:
        raise OutcomeUnknown(f"{doing}: MongoDB did not confirm ({type(error).__name__})") from None
    except BulkWriteError as error:
        codes = sorted({e.get("code", 0) for e in error.details.get("writeErrors", [])})
        if error.details.get("writeConcernErrors"):
            raise OutcomeUnknown(f"{doing}: MongoDB did not confirm (write concern)") from None
        raise StoreError(f"{doing}: MongoDB refused (codes {codes})") from None
    except OperationFailure as error:
        if error.has_error_label("RetryableWriteError"):
            raise OutcomeUnknown(f"{doing}: MongoDB did not confirm (code {error.code})") from None
        refusal = StoreForbidden if error.code == _UNAUTHORIZED else StoreError
        raise refusal(f"{doing}: MongoDB refused (code {error.code})") from None
    except PyMongoError as error:
        raise StoreError(f"{doing}: {type(error).__name__}") from None
