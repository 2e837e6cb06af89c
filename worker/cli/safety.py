"""What a worker says of its Redis before it starts."""

from __future__ import annotations

import logging

from worker.cli.output import Exit, fail
from worker.safety.check import Examined, examine
from worker.settings import Settings

log = logging.getLogger(__name__)


def check_safety(settings: Settings, *, strict: bool) -> None:
    """Warn of what endangers what the broker is given; end the command, if ``strict``.

    A Redis that cannot be asked ends it, too, if ``strict``. Otherwise a worker may start during
    an outage.
    """
    for found in examine(settings.broker_url, settings.results):
        if strict:
            _insist(found)
        for risk in found.risks:
            log.warning("the Redis of the %s is not safe: %s", found.part, risk)
        for setting in found.unknowns:
            log.warning(
                "the Redis of the %s does not tell %s, so it was not checked", found.part, setting
            )


def _insist(found: Examined) -> None:
    if found.trouble:
        fail(
            f"a safe broker is required, and the Redis of the {found.part} cannot be asked: "
            f"{found.trouble}",
            Exit.UNAVAILABLE,
        )
    if found.risks:
        reasons = "; ".join(map(str, found.risks))
        fail(
            f"a safe broker is required, and the Redis of the {found.part} is not: {reasons}",
            Exit.UNAVAILABLE,
        )
