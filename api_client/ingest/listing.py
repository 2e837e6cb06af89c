"""What is stored already, read page by page while the files are walked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

from api_client.client import StorageClient
from api_client.contract.errors import Unavailable
from api_client.contract.keys import USER_SCOPE_PREFIX, SessionKey
from api_client.contract.limits import MAX_PAGE_SIZE
from api_client.contract.records import ArtifactVersion, Page
from api_client.receipts import Receipt

T = TypeVar("T")


def latest_versions(
    client: StorageClient,
    key: SessionKey,
    prefix: str,
    allowance: Callable[[], float],
    drain: Callable[[], None],
) -> Iterator[ArtifactVersion]:
    """The latest versions of the artifacts whose names begin with ``prefix``, by name.

    Each page is asked for when the one before it has come: it waits for the writes that are under
    way then, and those that the page in hand gives rise to need not wait for it.

    Parameters:
        key: the session; its user's artifacts are among them only if ``prefix`` says so.
        allowance: how many seconds a page may take.
        drain: waits for the writes that are under way.

    Raises:
        Unavailable: no answer came in time, or names did not come in order.
    """

    def ask(cursor: str | None) -> Receipt[Page[ArtifactVersion]]:
        return client.artifacts.list(key, limit=MAX_PAGE_SIZE, cursor=cursor)

    def wait(receipt: Receipt[Page[ArtifactVersion]], cursor: str | None) -> Page[ArtifactVersion]:
        try:
            return _within(allowance(), receipt)
        except Unavailable:
            if cursor is None:
                raise
            # It waits for the writes before it, which may take longer than a read may.
            drain()
            return _within(allowance(), ask(cursor))

    of_user = prefix.startswith(USER_SCOPE_PREFIX)
    cursor: str | None = None
    last = ""
    receipt: Receipt[Page[ArtifactVersion]] | None = ask(None)
    while receipt is not None:
        page = wait(receipt, cursor)
        cursor = page.next_cursor
        receipt = None if cursor is None else ask(cursor)
        for version in page:
            _check_order(last, version.name)
            last = version.name
            if version.name.startswith(prefix):
                if of_user or not version.name.startswith(USER_SCOPE_PREFIX):
                    yield version
            elif version.name > prefix:
                return


def _within(seconds: float, receipt: Receipt[T]) -> T:
    try:
        return receipt.result(seconds)
    except TimeoutError:
        raise Unavailable(
            f"the storage has not listed what it holds within {seconds:.0f} s; is a worker running?"
            " zdk doctor tells"
        ) from None


def _check_order(last: str, name: str) -> None:
    # Going on would store every file again.
    if name <= last:
        raise Unavailable(
            f"the storage lists {name!r} after {last!r}, which is not the order of their bytes; "
            'do the columns of its database have the collation "C"?'
        )
