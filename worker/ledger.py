"""The ledger: which messages have been applied, and with what outcomes.

A message's row is inserted in the same transaction as its effects. A second copy finds it, or waits
on its primary key until the first has committed or failed. Of a message that is taken for new, the
row comes last, which saves writing it twice; should it be there already, nothing is committed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, bindparam, delete, select, update

from api_client.contract import codec
from api_client.contract.codec import Message
from api_client.contract.errors import Conflict, to_record
from api_client.contract.outcomes import Outcome, WriteReply
from worker.database.rows import insert_missing
from worker.retry import TryAgain
from worker.schema import ledger
from worker.writes import Writes

_COLUMNS = (ledger.c.message_id, ledger.c.digest, ledger.c.outcomes, ledger.c.applied_at)


@dataclass(frozen=True)
class Entry:
    """A recorded message.

    Attributes:
        digest: what its operations were.
        outcomes: what became of them.
        known: whether it was applied before this time.
    """

    digest: str
    outcomes: list[Outcome]
    known: bool = False

    def reply(self, message: Message) -> WriteReply:
        """The recorded outcomes; a `Conflict` if the id had been used for something else."""
        same = self.digest == digest(message)
        return WriteReply(outcomes=self.outcomes) if same else used_twice()


def used_twice() -> WriteReply:
    """The reply to a message whose id stands for other operations."""
    conflict = Conflict("this message id was used before with different operations", field="id")
    return WriteReply(error=to_record(conflict))


def digest(message: Message) -> str:
    """SHA-256 over the operations of ``message``, as they were sent."""
    content = hashlib.sha256()
    for operation in message.operations:
        content.update(operation)
        content.update(b"\n")
    return content.hexdigest()


def find(connection: Connection, message_ids: Iterable[str]) -> dict[str, Entry]:
    """The entries of those messages that have been applied, by message id."""
    wanted = list(message_ids)
    if not wanted:
        return {}
    rows = connection.execute(select(ledger).where(ledger.c.message_id.in_(wanted)))
    return {
        row.message_id: Entry(row.digest, codec.decode(row.outcomes, list[Outcome]), known=True)
        for row in rows
    }


def claim(
    connection: Connection, messages: Mapping[str, Message], now: datetime
) -> dict[str, Entry]:
    """Insert a row for each message; return the entries of those that were there already.

    Waits while another transaction is applying one of them.

    Raises:
        TryAgain: a row that was in the way has vanished meanwhile.
    """
    rows = [
        {
            "message_id": message_id,
            "digest": digest(messages[message_id]),
            "outcomes": "",
            "applied_at": now,
        }
        # Sorted, so that two workers holding the same messages cannot deadlock.
        for message_id in sorted(messages)
    ]
    claimed = insert_missing(connection, ledger, rows, ledger.c.message_id)
    found = find(connection, messages.keys() - claimed)
    if len(claimed) + len(found) < len(messages):
        raise TryAgain("a ledger row was swept while it was being read")
    return found


def insert(writes: Writes, entries: Mapping[str, Entry], now: datetime) -> None:
    """Insert the rows of messages that were not claimed, at the end of their transaction.

    Waits, when ``writes`` are executed, while another transaction is applying one of them.

    Raises, then:
        sqlalchemy.exc.IntegrityError: one of them was applied before.
    """
    rows = [
        (id_, entry.digest, codec.encode(entry.outcomes).decode(), now)
        for id_, entry in sorted(entries.items(), key=lambda item: item[0])
    ]
    writes.insert_new(_COLUMNS, rows)


def record(connection: Connection, entries: Mapping[str, Entry]) -> None:
    """Store the outcomes of claimed messages in their rows."""
    if not entries:
        return
    statement = (
        update(ledger)
        .where(ledger.c.message_id == bindparam("id"))
        .values(outcomes=bindparam("encoded"))
    )
    connection.execute(
        statement,
        [
            {"id": message_id, "encoded": codec.encode(entry.outcomes).decode()}
            for message_id, entry in entries.items()
        ],
    )


def sweep(connection: Connection, before: datetime, at_most: int) -> int:
    """Forget messages applied before a point in time, the oldest first; return how many."""
    old = (
        select(ledger.c.message_id)
        .where(ledger.c.applied_at < before)
        .order_by(ledger.c.applied_at)
        .limit(at_most)
    )
    return connection.execute(delete(ledger).where(ledger.c.message_id.in_(old))).rowcount
