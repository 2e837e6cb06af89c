"""The in-process object: applies messages exactly once, answers queries, keeps what failed."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from typing import TypeVar

import msgspec
from sqlalchemy.exc import DBAPIError

from api_client.contract import codec
from api_client.contract.codec import Message
from api_client.contract.errors import StorageError, to_record
from api_client.contract.operations import Query, SaveArtifact
from api_client.contract.outcomes import Outcome, QueryReply, WriteReply
from worker import dead_letters, ledger, transaction
from worker.artifacts.blobs.base import BlobStore
from worker.artifacts.intake import Intake, Missing
from worker.artifacts.staging import NoStaging, Staging
from worker.database import Database
from worker.dead_letters import Failure, Limits, Refused
from worker.ledger import Entry
from worker.queries import answer
from worker.retry import is_transient, with_retries
from worker.steps import step
from worker.tracing import spans
from worker.transaction import Way
from worker.watch import Watch
from worker.work import Work, unexpected, unique

log = logging.getLogger(__name__)

T = TypeVar("T")


class Storage:
    """Sessions, artifacts, ledger and dead letters over one database and one blob store.

    Thread-safe.

    Parameters:
        database: the pool.
        blobs: where artifact bytes go.
        staging: where bytes too large for a message come from.
        patience: seconds for which passing trouble (a deadlock, a restart) is tried again
            before it is raised.
        limits: how many dead letters are kept for one app.
        watch: told what is done; nobody, if not given.
    """

    def __init__(
        self,
        database: Database,
        blobs: BlobStore,
        staging: Staging | None = None,
        *,
        patience: float = 20.0,
        limits: Limits | None = None,
        watch: Watch | None = None,
    ):
        self.database = database
        self.blobs = blobs
        self.intake = Intake(blobs, staging or NoStaging())
        self.patience = patience
        self._limits = limits or Limits()
        self._watch = watch or Watch()

    def apply(
        self,
        messages: Sequence[Message],
        on_trouble: Callable[[], None] | None = None,
        *,
        first: bool = False,
        traces: Sequence[str] = (),
    ) -> list[WriteReply]:
        """Apply messages in order in one transaction; return one reply each.

        A message applied before gets its recorded outcomes. An operation that fails gets its
        error as its outcome and is kept as a dead letter, and the others are applied. A message
        whose staged bytes have expired is not applied, and its reply names them.

        Parameters:
            messages: in order; two with the same id are one.
            on_trouble: called when passing trouble is met for the first time.
            first: they have hardly been delivered before, so do not look for them first. Should
                they have been, that is noticed all the same, and they are applied once.
            traces: those that their operations belong to; see `worker.tracing.spans`.

        Raises:
            sqlalchemy.exc.DBAPIError, OSError: the database or the blob store is in trouble for
                longer than ``patience``; nothing was applied, and the messages may be applied
                again.
        """
        begun = time.perf_counter()
        with spans.processing(messages, traces) as processing:
            replies = self._with_retries(lambda: self._apply(messages, first), on_trouble)
            processing.finish(messages, replies)
        self._watch.applied(time.perf_counter() - begun)
        return replies

    def give_up(self, message: Message, error: StorageError, attempts: int) -> WriteReply:
        """Have all operations of a message fail with ``error``, unless it was applied before.

        Its operations become dead letters, and a copy that comes later gets the same outcomes.
        Raises as `apply` does.
        """
        reply = self._with_retries(lambda: self._give_up(message, error, attempts))
        self._watch.gave_up(len(message.operations))
        return reply

    def keep_refused(self, refused: Refused) -> None:
        """Keep a message that is none of ours as a dead letter, once. Raises as `apply` does."""

        def keep() -> None:
            with self.database.write.begin() as connection:
                dead_letters.keep_refused(connection, refused, _now())
            self._trim([""])

        self._with_retries(keep)
        self._watch.refused()

    def query(self, query: Query) -> QueryReply:
        """Answer one query; an error of the contract becomes the reply.

        Raises:
            sqlalchemy.exc.DBAPIError, OSError: as in `apply`.
        """
        try:
            found = self._with_retries(lambda: answer(self.database, self.intake, query))
        except StorageError as error:
            record = to_record(error)
            self._watch.answered(record)
            return QueryReply(error=record)
        self._watch.answered(None)
        return QueryReply(ok=msgspec.Raw(codec.encode(found)))

    def close(self) -> None:
        """Close the pooled connections."""
        self.database.close()

    def take_bytes(self, work: Work) -> None:
        """Replace the saves of ``work`` by saves of stored blobs, or note what is missing."""
        with self.blobs.batch() as batch:
            for position, operation in enumerate(work.decoded):
                if isinstance(operation, SaveArtifact):
                    try:
                        work.decoded[position] = self.intake.take(operation, batch)
                    except Missing as error:
                        work.missing.append(error.sha256)
                    except Exception as error:
                        if is_transient(error):
                            raise
                        work.decoded[position] = unexpected(error)

    def _with_retries(
        self, work: Callable[[], T], on_trouble: Callable[[], None] | None = None
    ) -> T:
        return with_retries(
            work,
            patience=self.patience,
            on_trouble=on_trouble,
            on_retry=self._watch.tries_again,
        )

    def _apply(self, messages: Sequence[Message], first: bool) -> list[WriteReply]:
        works = unique(messages)
        entries = self._applied_before([work for work in works.values() if work.saves])
        for work in works.values():
            if work.message.id not in entries:
                self.take_bytes(work)
        pending = [work for id_, work in works.items() if id_ not in entries and not work.missing]
        ways = [*Way] if first else [Way.ALL_AT_ONCE, Way.ONE_BY_ONE]
        known = [works[id_] for id_ in entries]
        entries |= self._commit(pending, ways)
        if known:
            self._watch.known(known)
        if missing := sum(bool(work.missing) for work in works.values()):
            self._watch.missing(missing)
        self.intake.discard_staged(save for work in pending for save in work.saves)
        return [_reply(message, works[message.id], entries) for message in messages]

    def _applied_before(self, works: Sequence[Work]) -> dict[str, Entry]:
        """What the ledger knows. The staged bytes of such a message may be gone by now, and are
        not needed."""
        if not works:
            return {}
        with self.database.read.connect() as connection:
            return ledger.find(connection, [work.message.id for work in works])

    def _commit(self, works: Sequence[Work], ways: Sequence[Way]) -> dict[str, Entry]:
        entries, failures = self._transact(works, ways)
        self._trim({dead_letters.app_of(failure.body) for failure in failures})
        return entries

    def _transact(
        self, works: Sequence[Work], ways: Sequence[Way]
    ) -> tuple[dict[str, Entry], list[Failure]]:
        """Commit in the first of ``ways`` that the database does not refuse."""
        try:
            with self.database.write.connect() as connection, connection.begin() as opened:
                with step("apply", self.database.dialect):
                    done = transaction.commit(connection, self.intake, works, _now(), ways[0])
                begun = time.perf_counter()
                with step("commit", self.database.dialect):
                    opened.commit()
            self._watch.committed(works, *done, time.perf_counter() - begun)
            return done
        except Exception as error:
            if is_transient(error) or len(ways) == 1:
                raise
            # That an event was stored before is nothing special.
            level = logging.WARNING if ways[1] is Way.ONE_BY_ONE else logging.DEBUG
            log.log(level, "applied in another way", extra={"way": ways[1].value, "error": error})
        return self._transact(works, ways[1:])

    def _give_up(self, message: Message, error: StorageError, attempts: int) -> WriteReply:
        now = _now()
        with self.database.write.begin() as connection:
            entries = ledger.claim(connection, {message.id: message}, now)
            if not entries:
                outcomes = [Outcome(error=to_record(error)) for _ in message.operations]
                entries = {message.id: Entry(ledger.digest(message), outcomes)}
                ledger.record(connection, entries)
                failures = transaction.failures_of(Work(message), entries, attempts)
                dead_letters.keep_failures(connection, failures, now)
        return entries[message.id].reply(message)

    def _trim(self, apps: Sequence[str] | set[str]) -> None:
        """Keep the dead letters of each app within its limits."""
        for app in apps:
            try:
                with self.database.write.begin() as connection:
                    dropped = dead_letters.trim(connection, app, self._limits)
            except DBAPIError as error:
                # The next failure tries again.
                log.warning("dead letters could not be counted", extra={"error": error})
            else:
                if dropped:
                    fields = {"count": dropped, "app": app}
                    log.warning("the oldest dead letters of an app are dropped", extra=fields)


def _reply(message: Message, work: Work, entries: dict[str, Entry]) -> WriteReply:
    if message.id in entries:
        return entries[message.id].reply(message)
    if ledger.digest(message) == ledger.digest(work.message):
        return WriteReply(missing=work.missing)
    return ledger.used_twice()


def _now() -> datetime:
    return datetime.now(timezone.utc)
