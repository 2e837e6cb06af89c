"""Content by which the worker of `tests.support.deadly_worker` is killed, or hangs."""

from __future__ import annotations

KILLS = "this kills"
HANGS = "this hangs"
#: The environment variable with the path of a file that gets a line each time.
TALLY_VARIABLE = "ZDK_TEST_TALLY"
#: The module with that worker's app. Importing it patches the process.
APP = "tests.support.deadly_worker"
