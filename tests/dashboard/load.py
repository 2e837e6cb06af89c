"""A load with everything in it that the dashboard shows."""

from __future__ import annotations

import itertools
import random
import time

from api_client import ArtifactKey, Event, SessionKey
from api_client.contract.errors import OutboxFull
from tests.alerts.stage import Stage

#: Seconds for which nothing can be applied, in the middle.
_BLOCKED = 8.0
_SESSIONS = 20


def run_load(stage: Stage, seconds: float) -> None:
    """Appends, loads, artifacts and failures, and trouble in the middle.

    Parameters:
        seconds: how long.
    """
    dice = random.Random(1)
    _create_sessions(stage)
    _until(stage, dice, time.monotonic() + seconds / 2)
    with stage.locked_ledger():
        _until(stage, dice, time.monotonic() + _BLOCKED)
    _until(stage, dice, time.monotonic() + seconds / 2)
    stage.client.flush(60)


def _create_sessions(stage: Stage) -> None:
    for number in range(_SESSIONS):
        stage.client.sessions.create(_session(number)).result(60)


def _until(stage: Stage, dice: random.Random, end: float) -> None:
    client = stage.client
    for step in itertools.count():
        if time.monotonic() >= end:
            return
        key = _session(dice.randrange(_SESSIONS))
        try:
            for _ in range(dice.randrange(1, 30)):
                client.sessions.append(key, Event(author="agent", content={"text": "x" * 200}))
            if step % 10 == 0:
                name = ArtifactKey(key.app, key.user, key.session, f"f-{step % 5}")
                client.artifacts.save(name, dice.randbytes(20_000), mime_type="image/png")
            if step % 40 == 0:
                # It exists, and fails.
                client.sessions.create(key)
            if step % 15 == 0:
                client.sessions.load(key, last=20)
                client.artifacts.load(ArtifactKey(key.app, key.user, key.session, "f-0"))
        except OutboxFull:
            # As an agent would, this waits.
            time.sleep(0.2)
        time.sleep(0.05)


def _session(number: int) -> SessionKey:
    return SessionKey("app", "user", f"s-{number}")
