"""Ingestion: walk, compare with what is stored, store what differs."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack

from api_client.client import StorageClient
from api_client.contract.checks import check_text
from api_client.contract.errors import InvalidRequest, StorageError, Unavailable
from api_client.contract.keys import USER_SCOPE_PREFIX, ArtifactKey, SessionKey, check_session_key
from api_client.contract.limits import MAX_NAME_BYTES
from api_client.ingest.count import counting
from api_client.ingest.flight import Flight
from api_client.ingest.join import join
from api_client.ingest.listing import latest_versions
from api_client.ingest.patterns import Selection
from api_client.ingest.saving import Saver
from api_client.ingest.summary import OnFailure, OnProgress, Summary
from api_client.ingest.tally import Tally
from api_client.ingest.walk import File, OnTrouble, Walk

#: Seconds that files under way get to be applied after an interruption.
_LAST_SECONDS = 10.0


def ingest(
    client: StorageClient,
    folder: str | os.PathLike[str],
    key: SessionKey,
    *,
    prefix: str = "",
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    follow_links: bool = False,
    dry_run: bool = False,
    patience: float = 30.0,
    on_failure: OnFailure | None = None,
    on_progress: OnProgress | None = None,
) -> Summary:
    """Store the files of a folder as artifacts, each under its relative name with ``/`` between
    its parts. Blocks until all of them are applied.

    A file whose artifact's latest version has the same size and hash is left alone, so that a
    second run stores only what has changed. Nothing is deleted. What the client finds in its
    outbox, perhaps of a run that was killed, is waited for first. Two runs at the same time on
    the same names may both store a file.

    A file that cannot be stored is a failure in the summary, and the rest go on: it cannot be
    read, its name is not UTF-8 or longer than `MAX_NAME_BYTES`, or begins with ``user:`` although
    ``prefix`` does not. Of a file that changes while it is read, what was read is stored. The
    time of its last change is kept in the metadata as ``mtime``, in seconds since 1970; it is not
    compared.

    Parameters:
        client: where to.
        folder: the folder; a symbolic link to one is followed.
        key: the session to which the artifacts belong; it need not exist.
        prefix: put before each name, as in ``docs/``. With one that begins with ``user:`` they
            belong to the user, and are the same in all the user's sessions.
        include, exclude: patterns of `Selection`, for names without ``prefix``.
        follow_links: store what symbolic links lead to; otherwise they are skipped.
        dry_run: store nothing; the summary says what would be stored.
        patience: seconds without any outcome after which the storage counts as down. One more is
            allowed for every MiB under way.
        on_failure: told of every failure when it happens.
        on_progress: told again and again how far it is; what there is to do is then counted in a
            thread of its own.

    Raises:
        InvalidRequest: an argument is wrong, or ``folder`` is not a folder that can be listed.
        Unavailable: the storage does not answer. Run it again: what was stored is left alone.
        OutboxFull: the client's outbox is full of other operations, and stays so.
    """
    began = time.monotonic()
    check_session_key(key)
    if prefix:
        check_text(prefix, "prefix", MAX_NAME_BYTES)
    root = _checked(folder)
    selection = Selection(include, exclude)

    def walk(on_trouble: OnTrouble) -> Walk:
        return Walk(root, selection, follow_links=follow_links, on_trouble=on_trouble)

    with ExitStack() as running:
        total = None
        if on_progress is not None:
            total = running.enter_context(counting(walk(lambda name, error: None)))
        tally = Tally(total, on_failure, on_progress)
        files = walk(tally.failed)
        tally.summary.skipped = files.skipped
        _await_earlier(client, patience)
        saver = Saver(client, root, dry_run=dry_run, patience=patience)
        inline_bytes = client.artifacts.inline_bytes
        flight = running.enter_context(Flight(saver.begin, tally.settled, patience, inline_bytes))
        stored = latest_versions(client, key, prefix, flight.allowance, flight.drain)
        try:
            for candidate in join(_named(files, key, prefix, tally.failed), stored):
                flight.add(candidate)
            flight.drain()
        except KeyboardInterrupt:
            # Without an outbox file, a next run could not know of what is still under way.
            flight.close()
            client.flush(_LAST_SECONDS)
            raise
    tally.summary.seconds = time.monotonic() - began
    return tally.summary


def _checked(folder: str | os.PathLike[str]) -> str:
    if not isinstance(folder, (str, os.PathLike)):
        raise InvalidRequest("folder must be the path of a folder", field="folder")
    try:
        os.scandir(folder).close()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise InvalidRequest(
            f"folder: {os.fspath(folder)!r} cannot be listed: {reason}", field="folder"
        ) from error
    return os.fsdecode(folder)


def _await_earlier(client: StorageClient, patience: float) -> None:
    """Wait until what the client has taken before has its outcome, so that it is in the listing."""
    pending = client.pending
    while pending:
        left = client.flush(patience)
        if left >= pending:
            raise Unavailable(
                f"{left:,} earlier operations in the outbox have no outcome, and none came within "
                f"{patience:g} s; is a worker running? zdk doctor tells"
            )
        pending = left


def _named(
    files: Iterable[File],
    session: SessionKey,
    prefix: str,
    failed: Callable[[bytes, StorageError], None],
) -> Iterator[tuple[File, ArtifactKey]]:
    """Files with the keys of their artifacts; those that can have none are ``failed``."""
    for file in files:
        try:
            key = _artifact_key(file, session, prefix)
        except InvalidRequest as error:
            failed(file.name, error)
        else:
            yield file, key


def _artifact_key(file: File, session: SessionKey, prefix: str) -> ArtifactKey:
    try:
        name = prefix + file.name.decode()
    except UnicodeDecodeError:
        raise InvalidRequest("its name is not UTF-8", field="name") from None
    key = ArtifactKey(session.app, session.user, session.session, name)
    if key.user_scoped and not prefix.startswith(USER_SCOPE_PREFIX):
        raise InvalidRequest(
            f"its name begins with {USER_SCOPE_PREFIX}, so it would be the user's in all sessions; "
            f"if you mean that, use a prefix that begins with {USER_SCOPE_PREFIX}",
            field="name",
        )
    return key
