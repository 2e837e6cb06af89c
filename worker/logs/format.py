"""How a line of the log looks: a line of text for people, or a JSON document for machines.

The code logs by Python's own `logging`, with a sentence and, as ``extra``, fields. Celery, kombu
and all other libraries log in their way; their lines get the same form, and lose what `worker.
logs_masking` does not let through.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Mapping
from typing import Any, Literal

import msgspec
import structlog
from structlog.stdlib import ExtraAdder, ProcessorFormatter
from structlog.typing import EventDict, Processor

from worker.logs.masking import describe, describe_with_stack, mask

LogFormat = Literal["console", "json"]

#: The fields that a line may have; docs/observability.md says what each means. No other is written:
#: Celery hands the arguments of a task along with its lines.
FIELDS = (
    "app",
    "applied",
    "apply_ms",
    "attempts",
    "broker",
    "bytes",
    "client",
    "code",
    "codes",
    "commit_ms",
    "concurrency",
    "count",
    "error",
    "failed",
    "known",
    "message_id",
    "missing",
    "operation",
    "operations",
    "queue",
    "reason",
    "release",
    "together",
    "total_ms",
    "tries",
    "wait_ms",
    "way",
)

#: What a line of text does not name: all but the last stand first.
_HEAD = ("timestamp", "process", "level", "logger", "event", "exception")

#: What may hold anything.
_CONTAINERS = (bytes, bytearray, memoryview, dict, list, tuple, set, msgspec.Raw)


class LineFormatter(ProcessorFormatter):
    """Formats each record as one line; a stack follows in further lines, or is a field in JSON.

    Parameters:
        log_format: which of the two forms.
        colors: whether a terminal shows it.
    """

    def __init__(self, log_format: LogFormat, *, colors: bool = False):
        as_json = log_format == "json"
        renderer: Processor = structlog.processors.JSONRenderer(serializer=_json)
        super().__init__(
            foreign_pre_chain=[
                structlog.stdlib.add_log_level,
                structlog.stdlib.add_logger_name,
                structlog.processors.TimeStamper(fmt="iso", utc=True),
                ExtraAdder(allow=FIELDS),
            ],
            processors=[
                _add_process,
                ProcessorFormatter.remove_processors_meta,
                _add_stack,
                _mask_values,
                renderer if as_json else _console(colors),
            ],
        )

    def format(self, record: logging.LogRecord) -> str:
        """See `logging.Formatter.format`."""
        # A copy, because other handlers want the record as it is.
        record = copy.copy(record)
        record.args = _harmless(record.args)
        return super().format(record)


def _harmless(arguments: Any) -> Any:
    """What a line is filled in with, errors replaced by what may be told of them."""
    if isinstance(arguments, Mapping):
        return {
            name: "" if name == "traceback" else _told(name, value)
            for name, value in arguments.items()
        }
    if isinstance(arguments, tuple):
        return tuple(_shown(value) for value in arguments)
    return arguments


def _told(name: str, value: object) -> object:
    # Celery's own lines on tasks; `exc` is the error's text, whatever that holds.
    return "***" if name in ("exc", "args", "kwargs", "return_value") else _shown(value)


def _shown(value: object) -> object:
    if isinstance(value, BaseException):
        return describe(value)
    # At the level DEBUG, Celery shows what it hands to its pool.
    return f"<{type(value).__name__}>" if isinstance(value, _CONTAINERS) else value


def _add_process(logger: Any, method: str, line: EventDict) -> EventDict:
    line["process"] = line["_record"].process
    return line


def _add_stack(logger: Any, method: str, line: EventDict) -> EventDict:
    # Not structlog's own, which show texts and variables.
    caught = line.pop("exc_info", None)
    line.pop("stack_info", None)
    if caught and caught[1] is not None:
        line["exception"] = describe_with_stack(caught[1])
    return line


def _mask_values(logger: Any, method: str, line: EventDict) -> EventDict:
    for name, value in line.items():
        shown = describe(value) if isinstance(value, BaseException) else value
        line[name] = mask(shown) if isinstance(shown, str) else shown
    line["event"] = " ".join(str(line["event"]).split())
    return line


def _json(line: Any, **_: Any) -> str:
    return msgspec.json.encode(line, enc_hook=str).decode()


def _console(colors: bool) -> Processor:
    # Not the one of structlog, which takes several times as long: every message has a line.
    dim, bright, reset = ("\x1b[2m", "\x1b[1m", "\x1b[0m") if colors else ("", "", "")

    def render(logger: Any, method: str, line: EventDict) -> str:
        when, process, level, name, event, stack = (line.pop(field, "") for field in _HEAD)
        text = (
            f"{dim}{when} {process}{reset} {bright}{level:8}{reset} "
            f"{dim}{name}{reset} {bright}{event}{reset}"
        )
        for field in sorted(line):
            text += f" {dim}{field}={reset}{_plain(line[field])}"
        return f"{text}\n{stack}" if stack else text

    return render


def _plain(value: object) -> str:
    text = str(value)
    return repr(text) if isinstance(value, str) and (not text or " " in text) else text
