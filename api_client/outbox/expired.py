"""Messages that were on their way for so long that they must not be sent again.

A worker recognises a copy of a message by the ledger, which does not remember for ever. Beyond
`MAX_MESSAGE_AGE_DAYS` nobody can tell whether a message was applied, and a person has to decide.
"""

from __future__ import annotations

import json
import os
from datetime import datetime, timezone
from itertools import groupby
from pathlib import Path

from api_client.contract.errors import Unavailable
from api_client.contract.limits import MAX_MESSAGE_AGE_DAYS
from api_client.outbox.age import created_at
from api_client.outbox.changes import Changes
from api_client.outbox.entries import Dispatch, Entry
from api_client.outbox.journal import FileJournal, StoredOperation


def refuse_expired(journal: FileJournal) -> None:
    """Refuse an outbox that holds such messages.

    Raises:
        Unavailable: there are some; it says how many, and what to do.
    """
    operations, messages, oldest = 0, set(), ""
    for stored in journal.expired():
        operations += 1
        oldest = oldest or str(stored.message_id)
        messages.add(stored.message_id)
    if not operations:
        return
    raise Unavailable(
        f"the outbox {journal.path} holds {operations:,} operations in {len(messages):,} messages "
        f"without an outcome that were made more than {MAX_MESSAGE_AGE_DAYS} days ago, the first "
        f"on {created_at(oldest):%Y-%m-%d %H:%M} UTC. Workers may have applied them and forgotten "
        "it, and to apply them twice would be worse than to ask. "
        f"`zdk outbox status {journal.path}` shows what is there; "
        f"`zdk outbox drain {journal.path} --drop-expired` moves them into a file beside the "
        "outbox and sends the rest",
        field="outbox",
    )


def drop_expired(path: Path) -> Path | None:
    """Move the operations of such messages from the outbox at ``path`` into a file of JSON lines
    beside it, and the bytes they refer to into a folder of the same name.

    Returns that file; None if there is no such message.

    Raises:
        Unavailable: the outbox is in use, is damaged, or cannot be opened.
        OSError: the file cannot be written; nothing was removed then.
    """
    journal = FileJournal(path)
    try:
        stored = [*journal.expired()]
        if not stored:
            return None
        kept = Path(f"{path}.expired-{datetime.now(timezone.utc):%Y%m%dT%H%M%S.%fZ}.jsonl")
        _write(kept, stored)
        _move_bytes(Path(f"{path}.spool"), kept.with_suffix(".spool"), stored)
        # They are as good as confirmed: nothing will be sent.
        journal.commit(Changes(confirmed=_messages(stored)))
        return kept
    finally:
        journal.close()


def _messages(stored: list[StoredOperation]) -> list[Dispatch]:
    return [
        Dispatch(str(message_id), [Entry(one.id, frozenset(), one.body) for one in group])
        for message_id, group in groupby(stored, lambda one: one.message_id)
    ]


def _write(path: Path, stored: list[StoredOperation]) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "wb") as file:
        for one in stored:
            place = json.dumps(one.message_id), one.id, one.body
            file.write(
                b'{"message_id":%b,"row":%d,"operation":%b}\n' % (place[0].encode(), *place[1:])
            )
        file.flush()
        os.fsync(file.fileno())


def _move_bytes(spool: Path, folder: Path, stored: list[StoredOperation]) -> None:
    for one in stored:
        file = spool / str(one.id)
        if file.is_file():
            folder.mkdir(mode=0o700, exist_ok=True)
            file.rename(folder / file.name)
