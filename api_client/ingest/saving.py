"""Stores one file, if its artifact does not hold the same bytes already."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from api_client.client import StorageClient
from api_client.contract.errors import InvalidRequest, OutboxFull
from api_client.ingest.flight import Begun
from api_client.ingest.join import Candidate
from api_client.receipts import Receipt


class Saver:
    """Begins to store files; several threads may call it.

    Parameters:
        client: where to.
        root: the folder that the files' names are relative to.
        dry_run: only say whether a file would be stored.
        patience: seconds to wait for room in a full outbox.
    """

    def __init__(self, client: StorageClient, root: str, *, dry_run: bool, patience: float):
        self._client = client
        self._root = root
        self._dry_run = dry_run
        self._patience = patience

    def begin(self, candidate: Candidate) -> Begun:
        """Begin to store a file.

        Raises:
            Unavailable: the client takes no operation any more.
            OutboxFull: it has had no room for too long.
        """
        path = Path(self._root, os.fsdecode(candidate.file.name))
        try:
            if _is_stored(path, candidate):
                return False
            return True if self._dry_run else self._save(path, candidate)
        except InvalidRequest as error:
            # What the operating system says is shorter, and does not name the path once more.
            cause = error.__cause__
            return cause if isinstance(cause, OSError) else error
        except OSError as error:
            return error

    def _save(self, path: Path, candidate: Candidate) -> Receipt[int]:
        metadata = {"mtime": candidate.file.mtime}
        while True:
            try:
                return self._client.artifacts.save(candidate.key, path, metadata=metadata)
            except OutboxFull:
                if self._client.flush(self._patience):
                    raise


def _is_stored(path: Path, candidate: Candidate) -> bool:
    stored = candidate.stored
    if stored is None or stored.size != candidate.file.size:
        return False
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == stored.sha256
