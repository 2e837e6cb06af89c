"""The in-process object: applies messages exactly once, answers queries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

import msgspec
from sqlalchemy import Connection

from api_client.contract import codec
from api_client.contract.checks import check_count
from api_client.contract.codec import Message
from api_client.contract.errors import StorageError, to_record
from api_client.contract.limits import MAX_STATUS_IDS
from api_client.contract.operations import (
    DeleteArtifact,
    ListArtifacts,
    ListSessions,
    ListVersions,
    LoadArtifact,
    LoadSession,
    MessageStatus,
    Query,
    SaveArtifact,
    WriteOperation,
)
from api_client.contract.outcomes import MessageState, Outcome, QueryReply, WriteReply
from worker import ledger
from worker.artifacts import evaluate as artifact_rules
from worker.artifacts import index as artifact_index
from worker.artifacts import reads as artifact_reads
from worker.artifacts.blobs.base import BlobStore
from worker.artifacts.evaluate import DecodedSave
from worker.artifacts.intake import Intake, Missing
from worker.artifacts.staging import NoStaging, Staging
from worker.database import Database
from worker.ledger import Entry
from worker.retry import TryAgain, with_retries
from worker.sessions import evaluate as session_rules
from worker.sessions import reads as session_reads
from worker.sessions import store as session_store

Decoded = session_rules.Decoded | artifact_rules.Decoded | StorageError


@dataclass
class _Work:
    """A message on its way.

    Attributes:
        decoded: its operations, each a `SaveArtifact`, something `Decoded`, or its error.
        saves: those that bring bytes.
        missing: hashes of staged bytes that are not there.
    """

    message: Message
    decoded: list[Any] = field(default_factory=list)
    saves: list[SaveArtifact] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)


class Storage:
    """Sessions, artifacts and ledger over one database and one blob store. Thread-safe.

    Parameters:
        database: the pool.
        blobs: where artifact bytes go.
        staging: where bytes too large for a message come from.
        patience: seconds for which passing trouble (a deadlock, a restart) is tried again
            before it is raised.
    """

    def __init__(
        self,
        database: Database,
        blobs: BlobStore,
        staging: Staging | None = None,
        *,
        patience: float = 20.0,
    ):
        self.database = database
        self.blobs = blobs
        self._intake = Intake(blobs, staging or NoStaging())
        self._patience = patience

    def apply(self, messages: Sequence[Message]) -> list[WriteReply]:
        """Apply messages in order in one transaction; return one reply each.

        A message applied before gets its recorded outcomes. An operation that fails gets its
        error as its outcome, and the others are applied. A message whose staged bytes have
        expired is not applied, and its reply names them.

        Raises:
            sqlalchemy.exc.DBAPIError, OSError: the database or the blob store is down for longer
                than ``patience``; nothing was applied, and the messages may be applied again.
        """
        return with_retries(lambda: self._apply(messages), patience=self._patience)

    def query(self, query: Query) -> QueryReply:
        """Answer one query; an error of the contract becomes the reply.

        Raises:
            sqlalchemy.exc.DBAPIError, OSError: as in `apply`.
        """
        try:
            found = with_retries(lambda: self._query(query), patience=self._patience)
        except StorageError as error:
            return QueryReply(error=to_record(error))
        return QueryReply(ok=msgspec.Raw(codec.encode(found)))

    def close(self) -> None:
        """Close the pooled connections."""
        self.database.close()

    def _apply(self, messages: Sequence[Message]) -> list[WriteReply]:
        # Of two messages with one id the first counts; the other is judged by what it left.
        works: dict[str, _Work] = {}
        for message in messages:
            works.setdefault(message.id, _Work(message))
        entries: dict[str, Entry] = {}
        for work in works.values():
            _decode(work)
            if work.saves:
                self._take_bytes(work, entries)
        pending = [work for id_, work in works.items() if id_ not in entries and not work.missing]
        with self.database.write.begin() as connection:
            entries |= self._commit(connection, pending)
        for work in pending:
            for save in work.saves:
                self._intake.discard_staged(save)
        return [_reply(message, works[message.id], entries) for message in messages]

    def _take_bytes(self, work: _Work, entries: dict[str, Entry]) -> None:
        """Replace the saves of ``work`` by saves of stored blobs, or note what is missing."""
        with self.database.read.connect() as connection:
            known = ledger.find(connection, [work.message.id])
        if known:
            # Applied before: its staged bytes may be gone, and are not needed.
            entries |= known
            return
        for position, operation in enumerate(work.decoded):
            if isinstance(operation, SaveArtifact):
                try:
                    work.decoded[position] = self._intake.take(operation)
                except Missing as error:
                    work.missing.append(error.sha256)

    def _commit(self, connection: Connection, works: Sequence[_Work]) -> dict[str, Entry]:
        now = datetime.now(timezone.utc)
        known = ledger.claim(connection, {w.message.id: w.message for w in works}, now)
        fresh = [work for work in works if work.message.id not in known]
        results = self._apply_decoded(connection, [op for w in fresh for op in w.decoded], now)
        entries: dict[str, Entry] = {}
        for work in fresh:
            own, results = results[: len(work.decoded)], results[len(work.decoded) :]
            outcomes = [_outcome(result) for result in own]
            entries[work.message.id] = Entry(ledger.digest(work.message), outcomes)
        ledger.record(connection, entries)
        return known | entries

    def _apply_decoded(
        self, connection: Connection, operations: Sequence[Decoded], now: datetime
    ) -> list[Any]:
        """Apply sessions, then artifacts; the two share nothing that orders them."""
        results: list[Any] = list(operations)
        on_artifacts = [
            i for i, op in enumerate(operations) if isinstance(op, (DecodedSave, DeleteArtifact))
        ]
        chosen = set(on_artifacts)
        on_sessions = [i for i in range(len(operations)) if i not in chosen]
        session_operations: list[Any] = [operations[i] for i in on_sessions]
        artifact_operations: list[Any] = [operations[i] for i in on_artifacts]
        self._hold_blobs(connection, artifact_operations)
        found: list[Any] = session_store.apply(connection, session_operations, now)
        found += artifact_index.apply(connection, artifact_operations, now)
        for position, result in zip([*on_sessions, *on_artifacts], found, strict=True):
            results[position] = result
        return results

    def _hold_blobs(self, connection: Connection, operations: Sequence[object]) -> None:
        blobs = [op.blob for op in operations if isinstance(op, DecodedSave)]
        artifact_index.lock_blobs(connection, blobs)
        if not all(self._intake.present(blob) for blob in blobs):
            raise TryAgain("the sweep removed a blob between its save's put and its commit")

    def _query(self, query: Query) -> Any:
        with self.database.read.begin() as connection:
            match query:
                case LoadSession():
                    return session_reads.load(connection, query)
                case ListSessions():
                    return session_reads.list_sessions(connection, query)
                case ListArtifacts():
                    return artifact_reads.list_artifacts(connection, query)
                case ListVersions():
                    return artifact_reads.list_versions(connection, query)
                case MessageStatus(message_ids=message_ids):
                    return _status(connection, message_ids)
                case LoadArtifact():
                    found = artifact_reads.find_version(connection, query)
        return artifact_reads.load(self.blobs, found, query)


def _decode(work: _Work) -> None:
    for raw in work.message.operations:
        try:
            operation = _decode_operation(codec.decode_operation(raw))
        except StorageError as error:
            operation = error
        if isinstance(operation, SaveArtifact):
            work.saves.append(operation)
        work.decoded.append(operation)


def _decode_operation(operation: WriteOperation) -> Any:
    if isinstance(operation, (SaveArtifact, DeleteArtifact)):
        artifact_rules.check(operation)
        return operation
    return session_rules.decode(operation)


def _outcome(result: Any) -> Outcome:
    if isinstance(result, StorageError):
        return Outcome(error=to_record(result))
    return Outcome(ok=msgspec.Raw(codec.encode(result)))


def _reply(message: Message, work: _Work, entries: dict[str, Entry]) -> WriteReply:
    if message.id in entries:
        return entries[message.id].reply(message)
    if ledger.digest(message) == ledger.digest(work.message):
        return WriteReply(missing=work.missing)
    return ledger.used_twice()


def _status(connection: Connection, message_ids: list[str]) -> list[MessageState]:
    check_count(len(message_ids), "message_ids", most=MAX_STATUS_IDS)
    for message_id in message_ids:
        codec.check_message_id(message_id)
    known = ledger.find(connection, message_ids)
    return [
        MessageState(id_, True, known[id_].outcomes)
        if id_ in known
        else MessageState(id_, False, [])
        for id_ in message_ids
    ]
