"""Log lines on stderr, which never stop the node: one that cannot be written, when its disk is full too, is lost and told of."""

import logging
import os
import sys
from typing import Final

import structlog
from structlog.typing import EventDict, WrappedLogger


def set_up_logging(level: str, form: str) -> None:
    """Send log lines to stderr, as JSON or for people; those of libraries as well."""
    lines = Lines(sys.stderr.fileno())
    renderer = (
        structlog.processors.JSONRenderer() if form == "json" else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            lines.add_lost,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=lambda *_: lines,
    )
    logging.basicConfig(handlers=[_FromLibraries()], level=logging.WARNING, force=True)


class Lines:
    """Writes lines to a file descriptor, unbuffered: a line kept back would fail the interpreter when it ends."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor: Final = descriptor
        self._lost = 0
        self._torn = False

    def msg(self, line: str) -> None:
        """Write a line. One that does not go out whole is lost."""
        data = ("\n" * self._torn + line + "\n").encode(errors="backslashreplace")
        try:
            while data:
                data = data[os.write(self._descriptor, data) :]
                self._torn = bool(data)
        except OSError:
            self._lost += 1
        else:
            self._lost = 0

    log = debug = info = warning = error = critical = exception = msg

    def add_lost(self, _logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        """A structlog processor: the first line that goes out again says how many did not."""
        if self._lost:
            event["lines_lost"] = self._lost
        return event


class _FromLibraries(logging.Handler):
    """Takes what libraries log (asyncio its callbacks' errors, aiohttp its handlers') to the node's own log."""

    def emit(self, record: logging.LogRecord) -> None:
        """Log a record in our way."""
        logger = structlog.get_logger("libraries")
        logger.log(record.levelno, record.getMessage(), library=record.name, exc_info=record.exc_info)
