"""What becomes of one delivery of a message: applied, handed back to the queue, or given up."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from api_client.contract.codec import Message
from api_client.contract.errors import Unavailable
from api_client.contract.outcomes import WriteReply
from worker.broker.attempts import Attempts
from worker.logs.lines import tell_applied
from worker.origin import Origin
from worker.retry import is_transient
from worker.steps import timed
from worker.storage import Storage

log = logging.getLogger(__name__)


class HandBack(Exception):
    """Passing trouble has lasted too long for this try; the message goes back to the queue."""


class Deliveries:
    """Applies messages as they are delivered.

    Parameters:
        storage: applies them.
        attempts: counts the tries of those that come again.
        max_tries: a message that so often ended its process, or failed unexpectedly, is given up.
        give_up_after: a message that has been handed back so often is given up; None: never.
    """

    def __init__(
        self, storage: Storage, attempts: Attempts, *, max_tries: int, give_up_after: int | None
    ):
        self._storage = storage
        self._attempts = attempts
        self._max_tries = max_tries
        self._give_up_after = give_up_after

    def apply(self, message: Message, origin: Origin, *, again: bool) -> WriteReply:
        """Apply one message.

        Parameters:
            origin: where it came from.
            again: it may have been delivered before.

        Raises:
            HandBack: not now; nothing was applied.
        """
        with timed() as durations:
            reply = self._apply(message, origin, again=again)
        tell_applied([message], [origin], [reply], durations)
        return reply

    def apply_together(
        self, messages: Sequence[Message], origins: Sequence[Origin]
    ) -> list[WriteReply]:
        """Apply several messages that are delivered for the first time, in one transaction.

        Parameters:
            origins: where each came from.

        Raises:
            HandBack: not now; nothing was applied. When they come again, each is tried by itself.
        """
        traces = [trace for origin in origins for trace in origin.traces]
        try:
            with timed() as durations:
                replies = self._storage.apply(messages, first=True, traces=traces)
        except Exception as error:
            if not is_transient(error):
                fields = {"count": len(messages), "error": error}
                log.warning("messages are tried one by one", extra=fields)
            raise HandBack(str(error)) from error
        tell_applied(messages, origins, replies, durations)
        return replies

    def _apply(self, message: Message, origin: Origin, *, again: bool) -> WriteReply:
        if again:
            # The first try of a message that comes again was not noted.
            died = self._attempts.begin(message.id)
            if died >= self._max_tries:
                return self._give_up_deadly(message, died)

        def survived() -> None:
            if again:
                self._attempts.survived(message.id)

        try:
            # Who meets trouble is alive, and may be killed for another reason while it lasts.
            (reply,) = self._storage.apply(
                [message], on_trouble=survived, first=not again, traces=origin.traces
            )
        except Exception as error:
            if not is_transient(error):
                # A fault of ours; it counts as a try, and the message comes again.
                log.exception("a message cannot be applied", extra={"message_id": message.id})
                if again:
                    self._attempts.failed(message.id)
                raise HandBack(str(error)) from error
            reply = self._in_trouble(message, error)
        survived()
        return reply

    def _give_up_deadly(self, message: Message, tries: int) -> WriteReply:
        log.error(
            "a message is given up: its tries failed or ended with their process",
            extra={"message_id": message.id, "attempts": tries},
        )
        error = Unavailable(
            f"given up: each of {tries} tries failed unexpectedly or killed its worker process; "
            "zdk dead-letters replay tries again"
        )
        # Its count stays, so that copies which are still on their way are not tried either.
        try:
            return self._storage.give_up(message, error, tries)
        except Exception as trouble:
            raise HandBack(str(trouble)) from trouble

    def _in_trouble(self, message: Message, error: Exception) -> WriteReply:
        if self._give_up_after is None:
            raise HandBack(str(error)) from error
        times = self._attempts.handed_back(message.id)
        if times < self._give_up_after:
            raise HandBack(str(error)) from error
        fields = {"message_id": message.id, "attempts": times, "error": error}
        log.error("a message is given up after lasting trouble", extra=fields)
        reason = Unavailable(f"given up after {times} tries in lasting trouble: {error}")
        try:
            return self._storage.give_up(message, reason, times)
        except Exception as lasting:
            # What cannot be recorded must not be forgotten either.
            raise HandBack(str(lasting)) from lasting
