"""The server's log: one JSON object per line on standard error, without any texts, queries or keys."""

from __future__ import annotations

import json
import logging
import traceback
from datetime import UTC, datetime
from typing import Any

FIELDS = "fields"
"""Attribute of a log record that holds the fields logged with its message; see `fields`."""


class JsonLines(logging.Formatter):
    """Formats a record as one JSON object; an exception is logged by its type and stack frames, never its message."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, without its line break."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, FIELDS, {}),
        }
        if record.exc_info and record.exc_info[0]:
            line["error"] = record.exc_info[0].__name__
            line["frames"] = [
                f"{frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(record.exc_info[2])
            ]
        return json.dumps(line, ensure_ascii=False, default=str)


def fields(**values: Any) -> dict[str, Any]:
    """Return fields to log with a message: `log.info("request", extra=fields(status=200))`."""
    return {FIELDS: values}


def config(level: str = "INFO") -> dict[str, Any]:
    """Return the logging configuration, for `logging.config.dictConfig` and uvicorn."""
    quiet = {"handlers": ["lines"], "level": level, "propagate": False}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"json": {"()": JsonLines}},
        "handlers": {"lines": {"class": "logging.StreamHandler", "formatter": "json", "stream": "ext://sys.stderr"}},
        "loggers": {"uvicorn": quiet, "uvicorn.error": quiet, "semsearch": quiet},
    }
