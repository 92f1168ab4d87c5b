"""The errors that every verb of a store may raise. Pure."""


class StoreError(Exception):
    """The store could not complete the call; the caller may retry."""


class StoreUnavailable(StoreError):
    """No server could be reached in time: nothing was written."""


class OutcomeUnknown(StoreError):
    """The connection broke during a write, which may have taken effect."""


class StoreForbidden(StoreError):
    """The account of this service may not do so. Grants are those of the version that started last: an older one, which
    services are rolled back to, takes away those of its successor's collections."""


class SchemaMismatch(StoreError):
    """Another version created the database, or `init` has not run yet."""


class HistoryLost(StoreError):
    """The server no longer has the changes since the last read; the caller must read snapshots again."""
