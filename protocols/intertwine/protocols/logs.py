"""Logs of processes that serve: one line an event, as text or as a JSON object.

Whoever logs says what an event belongs to in `extra`, under the names in `CONTEXT`. No message holds a key,
seed, nonce, token or data value.
"""

import logging
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, TypeAlias, get_args

from intertwine.protocols.errors import InputError, missing_package
from intertwine.protocols.files import append_private

LogFormat: TypeAlias = Literal["text", "json"]
CONTEXT = ("run", "round", "participant", "slot", "task")
"""What an event may belong to."""
_INHERITED = "INTERTWINE_LOG_FORMAT"
_FILE_LIMIT = 16 << 20
_FOREIGN = ("color_message", "websocket")
"""Attributes that uvicorn adds to its records."""


def configure_logging(style: str | None = None, file: Path | None = None) -> None:
    """Log to standard error, or to the end of a private file, from now on.

    style: text or json; None for what the process that started this one uses. Nothing changes if logging is
    configured already. InputError for another style, or if the package for JSON lines is not installed.
    """
    style = style or os.environ.get(_INHERITED, "text")
    stream = os.fdopen(append_private(file, _FILE_LIMIT), "a") if file else None
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter(style))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    for talkative in ("httpx", "flwr"):
        logging.getLogger(talkative).setLevel(logging.WARNING)
    os.environ[_INHERITED] = style


def formatter(style: str) -> logging.Formatter:
    """What makes lines of one style; InputError as above."""
    if style not in get_args(LogFormat):
        raise InputError(f"The log format {style!r} is not known.", "Use text or json.")
    return _json() if style == "json" else _TextFormatter()


def _json() -> logging.Formatter:
    try:
        from pythonjsonlogger.core import RESERVED_ATTRS  # noqa: PLC0415 - auditors need no such package
        from pythonjsonlogger.json import JsonFormatter  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise missing_package("JSON logs need the package python-json-logger.", "service") from error
    return JsonFormatter(
        ["levelname", "name", "message"],
        rename_fields={"levelname": "level", "name": "logger", "exc_info": "exception"},
        reserved_attrs=[*RESERVED_ATTRS, *_FOREIGN],
        timestamp="time",
    )


class _TextFormatter(logging.Formatter):
    """Time in UTC, level and message, and then what the event belongs to."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(message)s")

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802
        return datetime.fromtimestamp(record.created, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        known = [f"{name}={value}" for name in CONTEXT if (value := getattr(record, name, None)) is not None]
        return " ".join([super().formatMessage(record), *known])
