"""What happens inside the transaction that applies messages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from enum import Enum
from functools import partial
from typing import Any

from sqlalchemy import Connection

from api_client.contract.errors import StorageError
from api_client.contract.operations import DeleteArtifact, DiscardDeadLetter
from api_client.contract.outcomes import DeadLetterDiscarded
from worker import dead_letters, ledger
from worker.artifacts import index as artifact_index
from worker.artifacts.evaluate import DecodedSave
from worker.artifacts.intake import Intake
from worker.dead_letters import Failure
from worker.ledger import Entry
from worker.retry import TryAgain, is_transient
from worker.sessions import store as session_store
from worker.work import Decoded, Work, outcome, unexpected
from worker.writes import Writes

#: Applies some of the operations and returns a result or an error for each.
_Apply = Callable[[Sequence[Any]], Sequence[Any]]


class Way(Enum):
    """How much is taken for granted, which is faster, or looked at one by one."""

    #: No message was applied, and no event stored, before. Where that is wrong, the database
    #: refuses the batch.
    AS_NEW = "as new"
    #: Each message and each event is looked for.
    ALL_AT_ONCE = "all at once"
    #: Each operation is applied by itself, so that one which the database refuses does not spoil
    #: its neighbours.
    ONE_BY_ONE = "one by one"


def commit(
    connection: Connection,
    intake: Intake,
    works: Sequence[Work],
    now: datetime,
    way: Way = Way.ALL_AT_ONCE,
) -> tuple[dict[str, Entry], list[Failure]]:
    """Apply the messages that are new, and record outcomes and failures.

    Returns the ledger's entries of all messages, and what has failed in the new ones.

    Raises:
        sqlalchemy.exc.IntegrityError: something is not new although taken for that.
        TryAgain: a row that was in the way has vanished meanwhile.
    """
    as_new = way is Way.AS_NEW
    writes = Writes(connection)
    known: dict[str, Entry] = {}
    if not as_new:
        known = ledger.claim(connection, {w.message.id: w.message for w in works}, now)
    fresh = [work for work in works if work.message.id not in known]
    operations = [operation for work in fresh for operation in work.decoded]
    if way is Way.ONE_BY_ONE:
        results = [apply_alone(connection, intake, op, now) for op in operations]
    else:
        results = apply(connection, writes, intake, operations, now, way)
    entries: dict[str, Entry] = {}
    for work in fresh:
        own, results = results[: len(work.decoded)], results[len(work.decoded) :]
        entries[work.message.id] = Entry(ledger.digest(work.message), [*map(outcome, own)])
    if as_new:
        ledger.insert(writes, entries, now)
    else:
        ledger.record(connection, entries)
    writes.execute()
    failures = [failure for work in fresh for failure in failures_of(work, entries)]
    dead_letters.keep_failures(connection, failures, now)
    return known | entries, failures


def failures_of(work: Work, entries: dict[str, Entry], attempts: int = 1) -> list[Failure]:
    """The failed operations of one message."""
    message = work.message
    return [
        Failure(message.id, position, bytes(raw), found.error, attempts)
        for position, (raw, found) in enumerate(
            zip(message.operations, entries[message.id].outcomes, strict=True)
        )
        if found.error is not None
    ]


def apply(
    connection: Connection,
    writes: Writes,
    intake: Intake,
    operations: Sequence[Decoded],
    now: datetime,
    way: Way = Way.ALL_AT_ONCE,
) -> list[Any]:
    """Apply sessions, then artifacts, then the rest; they share nothing that orders them. What is
    left in ``writes`` is for the caller to execute."""
    results: list[Any] = list(operations)

    def take(kinds: tuple[type, ...], apply_chosen: _Apply) -> None:
        positions = [i for i, op in enumerate(operations) if isinstance(op, kinds)]
        found = apply_chosen([operations[i] for i in positions])
        for position, result in zip(positions, found, strict=True):
            results[position] = result

    def apply_sessions(chosen: Sequence[Any]) -> Sequence[Any]:
        as_new = way is Way.AS_NEW
        return session_store.apply(connection, writes, chosen, now, as_new=as_new)

    def apply_artifacts(chosen: Sequence[Any]) -> Sequence[Any]:
        _hold_blobs(connection, intake, chosen)
        return artifact_index.apply(connection, writes, chosen, now)

    take(session_store.OPERATIONS, apply_sessions)
    take((DecodedSave, DeleteArtifact), apply_artifacts)
    take((DiscardDeadLetter,), partial(_discard, connection))
    return results


def apply_alone(connection: Connection, intake: Intake, operation: Decoded, now: datetime) -> Any:
    """Apply one operation; what the database refuses of it is undone, and is its error."""
    try:
        with connection.begin_nested():
            writes = Writes(connection)
            (result,) = apply(connection, writes, intake, [operation], now)
            writes.execute()
            return result
    except Exception as error:
        if is_transient(error):
            raise
        return unexpected(error)


def _discard(
    connection: Connection, operations: Sequence[DiscardDeadLetter]
) -> list[DeadLetterDiscarded | StorageError]:
    return [
        DeadLetterDiscarded(dead_letters.forget(connection, op.message_id, op.position))
        for op in operations
    ]


def _hold_blobs(connection: Connection, intake: Intake, operations: Sequence[object]) -> None:
    blobs = [op.blob for op in operations if isinstance(op, DecodedSave)]
    artifact_index.lock_blobs(connection, blobs)
    if not all(intake.present(blob) for blob in blobs):
        raise TryAgain("the sweep removed a blob between its save's put and its commit")
