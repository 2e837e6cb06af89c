"""What leaves, and what never will: lost bytes, and messages that have become too old."""

from __future__ import annotations

import logging
from collections.abc import Callable

from api_client.contract.errors import Unavailable
from api_client.contract.limits import MAX_MESSAGE_AGE_DAYS
from api_client.outbox.age import oldest_id
from api_client.outbox.entries import Dispatch, Entry
from api_client.outbox.recorder import Recorder
from api_client.outbox.runtime import Runtime
from api_client.outbox.schedule import Schedule
from api_client.outbox.sender import Sender

log = logging.getLogger(__name__)


class Departures:
    """Forms messages and sends them again. Used by the pump's turns only.

    Parameters:
        schedule: says what may leave.
        recorder: records what does; a message is sent only after that.
        sender: sends.
        runtime: tells the time.
        refuse: drops entries that wait, and fails their receipts.
    """

    def __init__(
        self,
        schedule: Schedule,
        recorder: Recorder,
        sender: Sender,
        runtime: Runtime,
        refuse: Callable[[list[Entry], Exception], None],
    ):
        self._schedule = schedule
        self._recorder = recorder
        self._sender = sender
        self._runtime = runtime
        self._refuse = refuse

    def pack(self) -> None:
        """Form messages, to be recorded.

        An operation whose bytes have gone from beside the outbox fails: it would hold up what
        comes behind it for ever.
        """
        packed = self._schedule.pack()
        while gone := [entry for dispatch in packed for entry in dispatch.entries if _lost(entry)]:
            self._schedule.unpack(packed)
            self._lose(gone)
            packed = self._schedule.pack()
        self._recorder.changes.packed += packed

    def send_due(self, now: float) -> None:
        """Send again what has had no outcome for a while, and give up what is too old."""
        due = self._schedule.due(now)
        oldest = oldest_id(self._runtime.wall()) if due else ""
        for dispatch in due:
            if dispatch.id < oldest:
                self._expire(dispatch)
            else:
                self._sender.send(dispatch)

    def _lose(self, gone: list[Entry]) -> None:
        changes = self._recorder.changes
        changes.dropped += [entry for entry in gone if entry not in changes.added]
        changes.added = [entry for entry in changes.added if entry not in gone]
        for entry in gone:
            assert entry.spooled is not None
            error = Unavailable(
                f"the artifact's bytes are no longer in {entry.spooled.path}, where the outbox "
                "kept them; it cannot be saved"
            )
            log.error("operation %d fails: %s", entry.row, error)
            self._refuse([entry], error)

    def _expire(self, dispatch: Dispatch) -> None:
        """Give up a message that is too old: the ledger may have forgotten that it was applied.

        It stays in the journal, and what shares an ordering key with it stays behind it: the
        order holds, and the next opening of the file tells a person what to do.
        """
        self._schedule.expire(dispatch)
        error = Unavailable(
            f"no outcome of message {dispatch.id} came within {MAX_MESSAGE_AGE_DAYS} days, and it "
            "is not sent again, because it may have been applied; client.status tells"
        )
        log.error("%d operations are given up: %s", len(dispatch.entries), error)
        for entry in dispatch.entries:
            if entry.receipt is not None:
                entry.receipt.fail(error)


def _lost(entry: Entry) -> bool:
    return entry.spooled is not None and not entry.spooled.path.exists()
