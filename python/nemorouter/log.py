"""Write structured logs: one JSON object a line on stderr.

Keys are cut out of every event, in whatever field they stand.
"""

import logging
import re
import sys
from typing import Any, Final

import msgspec
import structlog
import structlog.tracebacks
from structlog.typing import EventDict, WrappedLogger

_SECRET: Final = re.compile(r"(sk|mk)-nemo-[A-Za-z0-9]{8,}")


STANDARD_LOGGING: Final = {
    "handlers": {"events": {"class": "nemorouter.log.EventHandler"}},
    "loggers": {
        name: {"handlers": ["events"], "propagate": False}
        for name in ("_granian", "granian.access")
    },
}
"""Configuration of Python's ``logging`` under which Granian's lines are events like all others."""


def redact(text: str) -> str:
    """``text`` with every key replaced by its kind and dots."""
    return _SECRET.sub(r"\1-nemo-...", text)


def configure(level: str = "info") -> None:
    """Set up structlog for this process. Call once, at the start."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            # Values of variables are never logged: passwords and keys are among them.
            structlog.processors.ExceptionRenderer(
                structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
            ),
            _redacted,
            structlog.processors.JSONRenderer(serializer=_to_json),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )


class EventHandler(logging.Handler):
    """Writes what a library logs by Python's ``logging`` as an event of ours."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write ``record``, with its traceback if it has one."""
        logger = structlog.get_logger(module=record.name.lstrip("_"))
        logger.log(record.levelno, record.getMessage(), exc_info=record.exc_info or None)


def get_logger(name: str) -> structlog.typing.FilteringBoundLogger:
    """Make a logger whose events carry ``module=name``."""
    logger: structlog.typing.FilteringBoundLogger = structlog.get_logger(module=name)
    return logger


def _redacted(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    return {redact(str(key)): _clean(value) for key, value in event.items()}


def _clean(value: Any) -> Any:  # noqa: ANN401 - an event holds anything
    match value:
        case str():
            return redact(value)
        case bool() | int() | float() | None:
            return value
        case bytes():
            return redact(value.decode("utf-8", "backslashreplace"))
        case dict():
            return {redact(str(key)): _clean(item) for key, item in value.items()}
        case list() | tuple() | set() | frozenset():
            return [_clean(item) for item in value]
        case _:
            return redact(repr(value))


def _to_json(event: EventDict, **_: object) -> str:
    return msgspec.json.encode(event).decode()
