"""Logs: one JSON object a line on standard error, for every service alike.

Where user code runs, standard error is its own, and the lines of Acked and of its libraries go to a stream apart.
"""

import logging
import sys
from typing import Any, TextIO

import structlog

_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}
_OWN = ("acked_common", "acked_worker", "aio_pika", "aiormq", "pymongo", "uvicorn")
"""Loggers that user code does not write to."""

_own: TextIO | None = None


def say_now(text: str) -> None:
    """Write a line where the log goes, past the logging: that may be stuck, or the process may be gone at once."""
    stream = _own or sys.stderr
    stream.write(text)
    stream.flush()


def log_fd() -> int:
    """Return the descriptor of the log."""
    return (_own or sys.__stderr__ or sys.stderr).fileno()


def set_up_logs(service: str, level: str, *, own: TextIO | None = None) -> None:
    """Route structlog and the standard library's loggers into one stream of JSON lines.

    With `own`, the lines of Acked and its libraries go there, regardless of user code that changes the root logger. All
    others stay on standard error.
    """
    global _own
    _own = own
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            lambda _logger, _name, event: {"service": service, **event},
            structlog.processors.JSONRenderer(),
        ],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    if own is not None:
        own_handler = logging.StreamHandler(own)
        own_handler.setFormatter(formatter)
        for name in _OWN:
            logging.getLogger(name).handlers[:] = [own_handler]
            logging.getLogger(name).propagate = False
            logging.getLogger(name).setLevel(_LEVELS[level])
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(_LEVELS[level])
    # The libraries log each reconnection attempt with a traceback; Acked logs a lost connection once.
    for noisy in ("aio_pika", "aiormq", "pymongo", "asyncio", "httpx", "uvicorn.error", "uvicorn.access"):
        logging.getLogger(noisy).setLevel(max(_LEVELS[level], logging.WARNING))
    logging.getLogger("aiormq.connection").setLevel(logging.CRITICAL)
    logging.captureWarnings(True)


def get_log(name: str) -> Any:
    """Return a logger that takes key-value pairs."""
    return structlog.stdlib.get_logger(name)
