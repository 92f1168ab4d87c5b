"""Logs: one JSON object a line on standard error, for every service alike."""

import logging
import sys
from typing import Any

import structlog

_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}


def set_up_logs(service: str, level: str) -> None:
    """Routes structlog and the standard library's loggers into one stream of JSON lines."""
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
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                lambda _logger, _name, event: {"service": service, **event},
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(_LEVELS[level])
    # The libraries tell each reconnection attempt with a traceback; our own lines tell it once.
    for noisy in ("aio_pika", "aiormq", "pymongo", "asyncio", "httpx", "uvicorn.error", "uvicorn.access"):
        logging.getLogger(noisy).setLevel(max(_LEVELS[level], logging.WARNING))
    logging.getLogger("aiormq.connection").setLevel(logging.CRITICAL)
    logging.captureWarnings(True)


def get_log(name: str) -> Any:
    """A logger that takes key-value pairs."""
    return structlog.stdlib.get_logger(name)
