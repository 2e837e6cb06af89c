"""What may be told of errors and URLs."""

from __future__ import annotations

import json
import logging
import sqlite3

import pytest
from redis.exceptions import ResponseError
from sqlalchemy.exc import IntegrityError

from api_client.contract.errors import NotFound
from worker.logs.format import LineFormatter
from worker.logs.masking import describe, describe_with_stack, mask

MARK = "mArk5ecret"


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("redis://:mArk5ecret@host:6379/0", "redis://***@host:6379/0"),
        ("at rediss://user:mArk5ecret@host/0, again", "at rediss://***@host/0, again"),
        ("redis://:mArk5ecret/with@signs?@host/0", "redis://***@host/0"),
        (
            f"postgresql+psycopg2://u:{MARK}@h/db?sslkey={MARK}",
            "postgresql+psycopg2://***@h/db?***",
        ),
        (f"s3://bucket/prefix?secret_access_key={MARK}&x=1", "s3://bucket/prefix?***"),
        ("'sqlite:////var/zdk.db'", "'sqlite:////var/zdk.db'"),
        (f"host=h user=u password={MARK} dbname=d", "host=h user=u password=*** dbname=d"),
        (f"{{'password': '{MARK} x', 'port': 1}}", "{'password': ***, 'port': 1}"),
        (f"AWS_SECRET_ACCESS_KEY={MARK}", "AWS_SECRET_ACCESS_KEY=***"),
        ('password authentication failed for user "u"',) * 2,
    ],
)
def test_secrets_in_text(text: str, masked: str) -> None:
    assert mask(text) == masked


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ValueError(MARK), "ValueError"),
        (KeyError(MARK), "KeyError"),
        (OSError(28, "No space left on device"), "OSError: [Errno 28] No space left on device"),
        (NotFound("there is no such session"), "NotFound: there is no such session"),
        (
            ResponseError(f"unknown command `X`, with args beginning with: `{MARK}`"),
            "ResponseError: unknown command `X`, with args beginning with: ***",
        ),
        (
            IntegrityError(f"INSERT '{MARK}'", {"a": MARK}, sqlite3.IntegrityError("UNIQUE: a.b")),
            "IntegrityError: UNIQUE: a.b",
        ),
    ],
)
def test_errors(error: BaseException, told: str) -> None:
    assert describe(error) == told


def failed() -> BaseException:
    try:
        try:
            raise KeyError(MARK)
        except KeyError as error:
            raise ValueError(MARK) from error
    except ValueError as error:
        return error


def test_a_stack_tells_places_and_kinds() -> None:
    told = describe_with_stack(failed())
    assert told.count('test_logs_masking.py", line') == 2
    assert told.endswith("\nValueError")
    assert "\nKeyError\n\nand then:\n" in told
    assert MARK not in told


def test_an_error_that_the_pool_has_brought() -> None:
    class Brought(Exception):
        exc = OSError(28, "No space left on device")

    # Its text is the stack, as text.
    assert describe(Brought(MARK)) == "OSError: [Errno 28] No space left on device"


def test_a_long_text_is_cut() -> None:
    assert len(describe(NotFound("x" * 5000))) == 1000


def test_a_cause_that_is_suppressed_is_not_told() -> None:
    error = NotFound("it is not there")
    error.__context__ = KeyError(MARK)
    assert describe_with_stack(error).startswith("KeyError\n")
    error.__suppress_context__ = True
    assert describe_with_stack(error) == "NotFound: it is not there"


@pytest.mark.parametrize("log_format", ["console", "json"])
def test_what_is_written_beside_words_is_masked(log_format: str) -> None:
    arguments = (f"redis://:{MARK}@host/0", {"args": MARK}, OSError(MARK))
    record = logging.LogRecord("kombu", logging.INFO, "", 0, "at %s: %r, %s", arguments, None)
    vars(record)["broker"] = f"redis://:{MARK}@host/0"
    vars(record)["error"] = ValueError(MARK)
    line = LineFormatter("json" if log_format == "json" else "console").format(record)
    assert "at redis://***@host/0: '<dict>', OSError: " in line
    assert "ValueError" in line
    assert MARK not in line.replace(f"OSError: {MARK}", "")


@pytest.mark.parametrize("log_format", ["console", "json"])
def test_a_line_of_a_library(log_format: str) -> None:
    error = failed()
    record = logging.LogRecord(
        "celery.app.trace",
        logging.ERROR,
        "",
        0,
        "\nTask %(name)s raised unexpected: %(exc)s\n%(traceback)s\n",
        ({"name": "storage.write", "exc": MARK, "traceback": MARK, "args": MARK},),
        (type(error), error, error.__traceback__),
    )
    vars(record)["data"] = {"args": MARK}
    line = LineFormatter("json" if log_format == "json" else "console").format(record)
    assert "Task storage.write raised unexpected: ***" in line
    assert MARK not in line
    # The record itself is as it was, for other handlers.
    assert MARK in record.getMessage()


def test_forms_of_a_line() -> None:
    record = logging.LogRecord("worker.x", logging.INFO, "", 0, "done %s", ("with\nit",), None)
    vars(record).update(message_id="1", failed=0, reason="two words", nothing_we_know=MARK)
    found = json.loads(LineFormatter("json").format(record))
    assert found.pop("timestamp").endswith("Z")
    assert found.pop("process") > 0
    assert found == {
        "level": "info",
        "logger": "worker.x",
        "event": "done with it",
        "message_id": "1",
        "failed": 0,
        "reason": "two words",
    }
    line = LineFormatter("console").format(record)
    assert line.endswith("worker.x done with it failed=0 message_id=1 reason='two words'")
    record = logging.LogRecord("celery.apps.worker", logging.INFO, "", 0, "%s ready.", ("x",), None)
    assert LineFormatter("console").format(record).endswith(" x ready.")
