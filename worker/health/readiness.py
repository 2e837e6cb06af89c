"""Whether all that a worker needs answers: broker, results, database, schema, blob store."""

from __future__ import annotations

import time
from collections.abc import Mapping

from worker.doctor import Finding, Probe
from worker.health.asking import Asked, left_until

#: Seconds that all checks together get. They run side by side.
SECONDS = 4.0


class Readiness:
    """The doctor's checks, asked again and again.

    Parameters:
        probes: by name.
        seconds: that they get together.
    """

    def __init__(self, probes: Mapping[str, Probe], seconds: float = SECONDS):
        self._seconds = seconds
        self._asked = {name: Asked(probe) for name, probe in probes.items()}

    def findings(self) -> list[Finding]:
        """What each check has found, at most five seconds ago."""
        answers = {name: asked.begin() for name, asked in self._asked.items()}
        deadline = time.monotonic() + self._seconds
        found = []
        for name, answer in answers.items():
            try:
                found.append(answer.result(left_until(deadline)))
            except TimeoutError:
                detail = f"no answer within {self._seconds:g} s"
                found.append(Finding(name, False, detail))
        return found
