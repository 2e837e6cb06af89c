"""What the two method groups share: handing operations and queries to the outbox."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import msgspec

from api_client.contract import codec
from api_client.contract.operations import Query, SaveArtifact, WriteOperation
from api_client.contract.ordering import OrderingKey, ordering_keys
from api_client.outbox.outbox import Outbox
from api_client.outbox.spool import Spool
from api_client.outbox.writes import PickWrites
from api_client.receipts import Receipt
from api_client.tracing import producing
from api_client.transport.base import BlobFile

T = TypeVar("T")


class Requests:
    """Makes a receipt for each request and hands the request over.

    Parameters:
        outbox: gives the outbox of the present process.
        wait_timeout: seconds after which a wait without a timeout of its own gives up.
        read_timeout: seconds after which a query without a reply fails.
        block: seconds to wait for room in a full outbox.
    """

    def __init__(
        self,
        outbox: Callable[[], Outbox],
        *,
        wait_timeout: float,
        read_timeout: float,
        block: float,
    ):
        self._outbox = outbox
        self._wait_timeout = wait_timeout
        self._read_timeout = read_timeout
        self._block = block

    def receipt(self, finish: Callable[[msgspec.Raw], T] | None = None) -> Receipt[T]:
        """A receipt that waits as long as this client's receipts do.

        Parameters:
            finish: makes its result of the reply's JSON; None if there will be no reply.
        """
        return self._receipt(self._outbox(), finish)

    def write(
        self,
        operation: WriteOperation,
        finish: Callable[[msgspec.Raw], T],
        state_keys: list[str] | None = None,
    ) -> Receipt[T]:
        """Submit a write operation.

        Parameters:
            finish: makes the receipt's result of the outcome's JSON.
            state_keys: those its events touch.
        """
        outbox = self._outbox()
        receipt = self._receipt(outbox, finish)
        body = codec.encode_operation(operation)
        keys = ordering_keys(operation, state_keys or ())
        with producing(codec.name_of(operation)) as trace:
            outbox.submit(body, keys, receipt, self._block, trace)
        return receipt

    def write_spooled(
        self,
        prepare: Callable[[int, Spool], tuple[bytes, BlobFile]],
        keys: frozenset[OrderingKey],
        finish: Callable[[msgspec.Raw], T],
    ) -> Receipt[T]:
        """Submit a save whose body ``prepare`` makes in another thread."""
        receipt = self.receipt(finish)
        with producing(codec.name_of(SaveArtifact)) as trace:
            self._outbox().submit_spooled(prepare, keys, receipt, self._block, trace)
        return receipt

    def read(
        self,
        query: Query,
        after: PickWrites,
        finish: Callable[[msgspec.Raw], T],
    ) -> Receipt[T]:
        """Send a query once this client's own writes that ``after`` picks are applied."""
        receipt = self.receipt(finish)
        body = codec.encode_query(query)
        self._outbox().ask(body, after, receipt, self._read_timeout)
        return receipt

    def read_on(
        self,
        first: Query,
        after: PickWrites,
        kind: type[Any],
        step: Callable[[Any], Query | None],
        result: Callable[[], T],
    ) -> Receipt[T]:
        """Send queries one after another until ``step`` has no next one.

        Parameters:
            kind: the type of each reply.
            step: takes a reply and returns the next query, or None after the last.
            result: makes the receipt's result after the last reply.
        """
        receipt: Receipt[T] = self.receipt()
        receipt.accept()
        _Series(self, after, kind, step, result, receipt).ask(first)
        return receipt

    def _receipt(self, outbox: Outbox, finish: Callable[[msgspec.Raw], T] | None) -> Receipt[T]:
        return Receipt(self._wait_timeout, finish, outbox.elsewhere)


@dataclass
class _Series(Generic[T]):
    """Queries of which each follows from the reply to the one before; see `Requests.read_on`.

    Nothing that it makes refers back to it once the last reply is there. In a cycle, all that was
    loaded would stay in memory until the garbage collector came by.
    """

    requests: Requests
    after: PickWrites
    kind: type[Any]
    step: Callable[[Any], Query | None]
    result: Callable[[], T]
    receipt: Receipt[T]

    def ask(self, query: Query) -> None:
        """Send a query, and those that follow from its reply."""
        kind = self.kind
        part = self.requests.read(query, self.after, lambda raw: codec.decode(raw, kind))
        part.when_done(self._proceed)

    def _proceed(self, part: concurrent.futures.Future[Any]) -> None:
        try:
            following = self.step(part.result())
            if following is None:
                self.receipt.succeed(self.result())
            else:
                self.ask(following)
        except Exception as error:
            self.receipt.fail(error)


def within(app: str, user: str | None) -> PickWrites:
    """Picks all writes that can matter to a listing of an app or of one of its users."""

    def matters(key: OrderingKey) -> bool:
        return key[1] == app and (user is None or len(key) == 2 or key[2] == user)

    return lambda pending: {key: last for key, last in pending.items() if matters(key)}


def on(*keys: OrderingKey) -> PickWrites:
    """Picks the writes on the given ordering keys."""
    return lambda pending: {key: pending[key] for key in keys if key in pending}
