"""Queue, workers, ledger and replies: at least once, at most now and then, in any order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone

import msgspec

from api_client.contract import codec
from api_client.contract.codec import Message
from api_client.contract.errors import StorageError, Unavailable
from api_client.contract.keys import SessionKey
from api_client.contract.operations import CreateSession, LoadSession
from api_client.contract.outcomes import Outcome, QueryReply, WriteReply
from api_client.transport.base import BlobFile, OnQueryReply, OnWriteReply
from worker import ledger
from worker.sessions.evaluate import DecodedAppend, NewEvent, SessionRow, Snapshot, evaluate
from worker.work import Work, outcome

_NOW = datetime(2026, 1, 1, tzinfo=timezone.utc)


@dataclass(frozen=True)
class Applied:
    """An event in the store: whose it is, its number, where, and whether it set app state."""

    client: str
    number: int
    key: SessionKey
    app_state: bool


@dataclass
class Store:
    """What is committed.

    Attributes:
        entries: the ledger: digest and outcomes by message id.
        rows, events: sessions and their events.
        applied: what the events say, in the order of commit.
        failed: appends that have failed: client and number.
    """

    entries: dict[str, tuple[str, list[Outcome]]] = field(default_factory=dict)
    rows: dict[SessionKey, SessionRow] = field(default_factory=dict)
    events: list[NewEvent] = field(default_factory=list)
    applied: list[Applied] = field(default_factory=list)
    failed: set[tuple[str, int]] = field(default_factory=set)

    def apply(self, message: Message) -> WriteReply:
        """What a worker does in one transaction."""
        digest = ledger.digest(message)
        known = self.entries.get(message.id)
        if known is None:
            known = self.entries[message.id] = (digest, self._outcomes(message))
        return WriteReply(outcomes=known[1]) if known[0] == digest else ledger.used_twice()

    def contents(self, key: SessionKey) -> list[tuple[str, int]]:
        """A session's events in their order: client and number."""
        return [(one.client, one.number) for one in self.applied if one.key == key]

    def _outcomes(self, message: Message) -> list[Outcome]:
        work = Work.of(message)
        for operation in work.decoded:
            if isinstance(operation, CreateSession) and operation.key not in self.rows:
                pk = len(self.rows) + 1
                row = SessionRow(pk, operation.key, False, 0, 0, _NOW, _NOW)
                self.rows[operation.key] = row
        seen = {(event.session_pk, event.event_id): event.seq for event in self.events}
        plan = evaluate(work.decoded, Snapshot(self.rows, seen), _NOW)
        self._keep(plan.events)
        for operation, result in zip(work.decoded, plan.results, strict=True):
            if isinstance(operation, DecodedAppend) and isinstance(result, StorageError):
                self.failed |= {_name(one.envelope.id) for one in operation.events}
        return [*map(outcome, plan.results)]

    def _keep(self, events: Sequence[NewEvent]) -> None:
        keys = {row.pk: key for key, row in self.rows.items()}
        for event in events:
            client, number = _name(event.event_id)
            app_state = "app:" in event.payload
            self.events.append(event)
            self.applied.append(Applied(client, number, keys[event.session_pk], app_state))


def _name(event_id: str) -> tuple[str, int]:
    client, _, number = event_id.partition("-")
    return client, int(number)


@dataclass
class Broker:
    """What all clients share.

    Attributes:
        queue: messages sent: which client's, the id, the bytes.
        queries: likewise.
        down: whether nothing can be sent now.
    """

    store: Store = field(default_factory=Store)
    queue: list[tuple[SimulatedTransport, str, bytes]] = field(default_factory=list)
    queries: list[tuple[SimulatedTransport, str, bytes]] = field(default_factory=list)
    replies: list[tuple[SimulatedTransport, str, WriteReply]] = field(default_factory=list)
    down: bool = False

    def work(self, place: int, *, again: bool) -> None:
        """Have a worker take the message at ``place``; ``again``: and leave it there too."""
        owner, message_id, body = self.queue[place]
        if not again:
            del self.queue[place]
        reply = self.store.apply(codec.decode_message(body))
        self.replies.append((owner, message_id, reply))

    def answer(self, place: int) -> None:
        """Have a worker answer the query at ``place``."""
        owner, query_id, body = self.queries.pop(place)
        query = codec.decode_query(body)
        assert isinstance(query, LoadSession)
        contents = msgspec.Raw(msgspec.json.encode(self.store.contents(query.key)))
        owner.on_query(query_id, QueryReply(ok=contents))

    def hand_out(self, place: int, *, again: bool) -> None:
        """Let the reply at ``place`` arrive; ``again``: and arrive once more later."""
        owner, message_id, reply = self.replies[place]
        if not again:
            del self.replies[place]
        owner.on_write(message_id, reply)


class SimulatedTransport:
    """A `Transport` to a `Broker`."""

    durable = True

    def __init__(self, broker: Broker):
        self._broker = broker

    def start(self, on_write: OnWriteReply, on_query: OnQueryReply) -> None:
        """See `Transport.start`."""
        self.on_write, self.on_query = on_write, on_query

    def stage_early(self, blob: BlobFile) -> None:
        pass

    def stage(self, blobs: Sequence[BlobFile], *, missed: bool) -> None:
        """See `Transport.stage`. No operation here has large bytes."""

    def send_message(self, message_id: str, body: bytes, traces: Sequence[str] = ()) -> None:
        """See `Transport.send_message`."""
        self._refuse_if_down()
        self._broker.queue.append((self, message_id, body))

    def send_query(self, query_id: str, body: bytes, expires: float) -> None:
        """See `Transport.send_query`."""
        self._refuse_if_down()
        self._broker.queries.append((self, query_id, body))

    def forget(self, request_id: str) -> None:
        """See `Transport.forget`. Late replies still come here."""

    def close(self) -> None:
        """See `Transport.close`."""

    def _refuse_if_down(self) -> None:
        if self._broker.down:
            raise Unavailable("the broker is down")
