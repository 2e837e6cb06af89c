"""Where a worker's log goes, and in which form."""

from __future__ import annotations

import logging
import sys
from typing import Any

import celery.apps.worker
from celery.signals import setup_logging
from celery.utils.log import get_multiprocessing_logger

from worker.logs.format import LineFormatter, LogFormat


def configure(log_format: LogFormat, level: int, file: str | None = None) -> None:
    """Have everything that is logged in this process written in one form.

    Parameters:
        log_format: ``console`` or ``json``.
        level: of `logging`; what is below is not written.
        file: its path; the standard error if None.
    """
    handler = logging.FileHandler(file) if file else logging.StreamHandler(sys.stderr)
    colors = file is None and sys.stderr.isatty()
    handler.setFormatter(LineFormatter(log_format, colors=colors))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    pool: Any = get_multiprocessing_logger()
    # It hands nothing on to the root.
    pool.handlers = [handler]
    # Both tell at the level INFO of each step that they take.
    pool.setLevel(max(level, logging.WARNING))
    logging.getLogger("alembic").setLevel(max(level, logging.WARNING))
    # At the level DEBUG it shows whole messages.
    logging.getLogger("celery.pool").setLevel(logging.INFO)
    logging.captureWarnings(True)


def install(log_format: LogFormat) -> None:
    """Have Celery's worker, once it sets up its log, do that by `configure`, with the level and
    the file of its own options."""

    def set_up(loglevel: int | None = None, logfile: str | None = None, **_: object) -> None:
        configure(log_format, loglevel or logging.INFO, logfile)
        patched: Any = celery.apps.worker
        patched.safe_say = _say

    setup_logging.connect(set_up, weak=False)


def _say(text: str, *_: object) -> None:
    """Write a line of Celery's that it does not log, because it is told in a signal's handler. So
    no lock of a log may be waited for here either."""
    record = logging.LogRecord(
        celery.apps.worker.__name__, logging.WARNING, "", 0, text, None, None
    )
    for handler in logging.getLogger().handlers:
        print(handler.format(record), file=sys.__stderr__, flush=True)
