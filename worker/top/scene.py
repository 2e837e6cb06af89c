"""Everything that is watched, and pictures of it."""

from __future__ import annotations

import time
from datetime import datetime, timezone

from worker.settings import Settings
from worker.top.looks import broker_looks, database_looks, worker_looks
from worker.top.states import Picture
from worker.top.totals import look_of, totals_of
from worker.top.watcher import Watcher

#: Seconds within which each part answers, or is said not to.
PATIENCE = 5.0


class Scene:
    """Broker, workers and database, watched from now until the process ends.

    Parameters:
        settings: where they are.
        interval: seconds between two looks at each.
    """

    def __init__(self, settings: Settings, interval: float):
        self._broker = Watcher(lambda: broker_looks(settings.broker_url), interval)
        self._workers = Watcher(lambda: worker_looks(settings.results), interval)
        self._database = Watcher(lambda: database_looks(settings.database), interval)

    def wait(self) -> None:
        """Wait until each part has answered, or `PATIENCE` is at its end."""
        deadline = time.monotonic() + PATIENCE
        for watcher in (self._broker, self._workers, self._database):
            watcher.wait(max(0.0, deadline - time.monotonic()))

    def close(self) -> None:
        """Watch no more."""
        for watcher in (self._broker, self._workers, self._database):
            watcher.close()

    def picture(self) -> Picture:
        """What there is to see now; does not wait."""
        broker, broker_trouble = self._broker.latest(PATIENCE)
        workers, worker_trouble = self._workers.latest(PATIENCE)
        database, database_trouble = self._database.latest(PATIENCE)
        trouble = {
            "broker": broker_trouble,
            "workers": worker_trouble,
            "database": database_trouble,
        }
        return Picture(
            at=datetime.now(timezone.utc),
            broker=broker,
            workers=None if workers is None else [look_of(worker) for worker in workers],
            totals=None if workers is None else totals_of(workers),
            database=database,
            trouble={part: why for part, why in trouble.items() if why},
        )
