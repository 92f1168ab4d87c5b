"""The errors that every verb of a store may raise. Pure."""


class StoreError(Exception):
    """The store could not answer; the caller may try again."""


class StoreUnavailable(StoreError):
    """No server could be reached in time: nothing was written."""


class OutcomeUnknown(StoreError):
    """The connection broke while a write was under way: it may or may not have happened."""


class SchemaMismatch(StoreError):
    """The database was made by another version, or `init` has not run yet."""


class HistoryLost(StoreError):
    """The server no longer has the changes since the last answer: look anew."""
