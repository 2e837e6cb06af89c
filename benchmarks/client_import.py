"""What it costs to import the client, in fresh interpreters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import psutil  # type: ignore[import-untyped, unused-ignore]

from benchmarks.bench import Bench
from benchmarks.helper import Helper

_PROCESSES = 5
_PROGRAM = """
import sys, time
begin = time.perf_counter()
{work}
print(time.perf_counter() - begin, flush=True)
sys.stdin.read()
"""
_IMPORT = "import api_client"
#: No broker answers there; a client needs none to be opened.
_OPEN = "import api_client; c = api_client.StorageClient('redis://127.0.0.1:1/0')"


def run(bench: Bench) -> None:
    """Measure the import, and for the reader's information an import with a client opened."""
    bench.compare(
        {
            "zdk": partial(_turn, bench.folder / "import.log", _IMPORT),
            "zdk, a client opened": partial(_turn, bench.folder / "import.log", _OPEN),
        }
    )


def _turn(log: Path, work: str) -> Mapping[str, Sequence[float]]:
    """The best of several processes, beside as many that import nothing."""
    bare = [_measure(log, "pass") for _ in range(_PROCESSES)]
    full = [_measure(log, work) for _ in range(_PROCESSES)]
    seconds = min(seconds for seconds, _ in full)
    memory = min(size for _, size in full) - min(size for _, size in bare)
    return {"import time": [seconds], "import memory": [float(memory)]}


def _measure(log: Path, work: str) -> tuple[float, int]:
    """Seconds that the work took, and the process's resident bytes after it."""
    with Helper(["-c", _PROGRAM.format(work=work)], log) as process:
        seconds = float(process.hear())
        return seconds, int(psutil.Process(process.pid).memory_info().rss)
