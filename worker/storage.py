"""The in-process object: applies messages exactly once, answers queries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
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
from worker.retry import TryAgain, with_retries
from worker.sessions import evaluate as session_rules
from worker.sessions import reads as session_reads
from worker.sessions import store as session_store

Decoded = session_rules.Decoded | artifact_rules.Decoded | StorageError


@dataclass
class _Work:
    """A message on its way: its operations as decoded, and where their bytes came from."""

    message: Message
    decoded: list[Decoded]
    saves: list[SaveArtifact]


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
        works: dict[str, _Work] = {}
        replies: dict[str, WriteReply] = {}
        for message in messages:
            if message.id in works:
                continue
            work = _decode(message)
            works[message.id] = work
            if work.saves:
                self._take_bytes(work, replies)
        pending = {id_: work for id_, work in works.items() if id_ not in replies}
        with self.database.write.begin() as connection:
            replies |= self._commit(connection, pending)
        for work in pending.values():
            for save in work.saves:
                self._intake.discard_staged(save)
        return [_reply_to(message, works, replies) for message in messages]

    def _take_bytes(self, work: _Work, replies: dict[str, WriteReply]) -> None:
        """Replace the saves of ``work`` by saves of stored blobs, or note what is missing."""
        with self.database.read.connect() as connection:
            known = ledger.find(connection, [work.message.id])
        if known:
            # Applied before: its staged bytes may be gone, and are not needed.
            replies[work.message.id] = known[work.message.id].reply(work.message)
            return
        missing: list[str] = []
        for position, operation in enumerate(work.decoded):
            if isinstance(operation, SaveArtifact):
                try:
                    work.decoded[position] = self._intake.take(operation)
                except Missing as error:
                    missing.append(error.sha256)
        if missing:
            replies[work.message.id] = WriteReply(missing=missing)

    def _commit(self, connection: Connection, works: dict[str, _Work]) -> dict[str, WriteReply]:
        now = datetime.now(timezone.utc)
        messages = {id_: work.message for id_, work in works.items()}
        known = ledger.claim(connection, messages, now)
        replies = {id_: entry.reply(messages[id_]) for id_, entry in known.items()}
        fresh = [work for id_, work in works.items() if id_ not in known]
        results = self._apply_decoded(connection, [op for w in fresh for op in w.decoded], now)
        outcomes: dict[str, list[Outcome]] = {}
        for work in fresh:
            own, results = results[: len(work.decoded)], results[len(work.decoded) :]
            outcomes[work.message.id] = [_outcome(result) for result in own]
        ledger.record(connection, outcomes)
        return replies | {id_: WriteReply(outcomes=found) for id_, found in outcomes.items()}

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


def _decode(message: Message) -> _Work:
    decoded: list[Any] = []
    saves: list[SaveArtifact] = []
    for raw in message.operations:
        try:
            operation = _decode_operation(codec.decode_operation(raw))
        except StorageError as error:
            operation = error
        if isinstance(operation, SaveArtifact):
            saves.append(operation)
        decoded.append(operation)
    return _Work(message, decoded, saves)


def _decode_operation(operation: WriteOperation) -> Any:
    if isinstance(operation, (SaveArtifact, DeleteArtifact)):
        artifact_rules.check(operation)
        return operation
    return session_rules.decode(operation)


def _outcome(result: Any) -> Outcome:
    if isinstance(result, StorageError):
        return Outcome(error=to_record(result))
    return Outcome(ok=msgspec.Raw(codec.encode(result)))


def _reply_to(
    message: Message, works: dict[str, _Work], replies: dict[str, WriteReply]
) -> WriteReply:
    """The reply to ``message``; a second one with the same id must be the same message."""
    reply = replies[message.id]
    if reply.error is None and ledger.digest(message) != ledger.digest(works[message.id].message):
        return ledger.Entry("", []).reply(message)
    return reply


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
