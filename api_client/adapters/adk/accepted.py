"""Events that were accepted and have no outcome yet, and those that have failed since."""

from __future__ import annotations

import concurrent.futures
import logging
import threading
from dataclasses import dataclass
from functools import partial
from typing import Any

from google.adk.errors.session_not_found_error import SessionNotFoundError

from api_client.contract.errors import NotFound, StorageError
from api_client.contract.keys import SessionKey
from api_client.receipts import Receipt

log = logging.getLogger(__name__)

#: Sessions whose failures are remembered; of more, the oldest are forgotten here. All are in the
#: log, and what a worker has refused is a dead letter.
_MOST_SESSIONS = 1000


@dataclass
class Failures:
    """What has failed of a session: how many events, which was the first, and why."""

    event_id: str
    error: BaseException
    count: int = 0

    def as_error(self, key: SessionKey) -> Exception:
        """The error that tells of them, of the type that a caller expects."""
        text = (
            f"{self.count} accepted event(s) of session {key.session!r} could not be applied; "
            f"the first is {self.event_id!r}: {self.error}"
        )
        if isinstance(self.error, NotFound):
            return SessionNotFoundError(text)  # type: ignore[no-any-return]
        kind = type(self.error) if isinstance(self.error, StorageError) else StorageError
        return kind(text)


class AcceptedEvents:
    """Watches receipts that nobody waits for. Serves all threads and event loops."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: set[Receipt[Any]] = set()
        self._failed: dict[SessionKey, Failures] = {}

    def watch(self, key: SessionKey, event_id: str, receipt: Receipt[Any]) -> None:
        """Note what becomes of an accepted event. A failure is logged at once."""
        with self._lock:
            self._open.add(receipt)
        receipt.when_done(partial(self._decided, key, event_id, receipt))

    def raise_for(self, key: SessionKey) -> None:
        """Raise, once, for the events of a session that have failed since this was last asked."""
        if self._failed:
            with self._lock:
                failures = self._failed.pop(key, None)
            if failures is not None:
                raise failures.as_error(key) from failures.error

    def raise_for_all(self) -> None:
        """Raise, once, for all that have failed; for the first session, with notes on others."""
        with self._lock:
            failed, self._failed = self._failed, {}
        errors = [failures.as_error(key) for key, failures in failed.items()]
        if errors:
            for other in errors[1:]:
                errors[0].add_note(str(other))
            raise errors[0]

    async def settled(self) -> None:
        """Wait, without a bound, until all that were accepted before have an outcome."""
        with self._lock:
            waited_for = [*self._open]
        for receipt in waited_for:
            await receipt.settled()

    def __len__(self) -> int:
        return len(self._open)

    def _decided(
        self,
        key: SessionKey,
        event_id: str,
        receipt: Receipt[Any],
        _: concurrent.futures.Future[Any],
    ) -> None:
        # Not `exception`: whoever has seen an error is not kept a dead letter for.
        error = receipt.failure
        with self._lock:
            self._open.discard(receipt)
            if error is not None:
                self._failed.setdefault(key, Failures(event_id, error)).count += 1
                if len(self._failed) > _MOST_SESSIONS:
                    del self._failed[next(iter(self._failed))]
        if error is not None:
            log.error("accepted event %s of %s could not be applied: %s", event_id, key, error)
