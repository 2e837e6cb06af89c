"""Counts what becomes of files."""

from __future__ import annotations

from api_client.contract.errors import StorageError
from api_client.ingest.count import Total
from api_client.ingest.flight import Outcome
from api_client.ingest.join import Candidate
from api_client.ingest.summary import (
    MAX_FAILURES,
    Failure,
    OnFailure,
    OnProgress,
    Progress,
    Summary,
)


class Tally:
    """Counts what becomes of files, and tells of it.

    Parameters:
        total: what there is to do; None if nobody wants to know.
        on_failure, on_progress: whom to tell.

    Attributes:
        summary: what was counted.
    """

    def __init__(
        self, total: Total | None, on_failure: OnFailure | None, on_progress: OnProgress | None
    ):
        self._total = total
        self._on_failure = on_failure
        self._on_progress = on_progress
        self._bytes = 0
        self.summary = Summary()

    def settled(self, candidate: Candidate, outcome: Outcome) -> None:
        """Count a file that was stored, or not, or could not be."""
        size = candidate.file.size
        self._bytes += size
        if isinstance(outcome, (OSError, StorageError)):
            self.failed(candidate.file.name, outcome)
        elif not outcome:
            self.summary.unchanged += 1
        else:
            self.summary.bytes += size
            if candidate.stored is None:
                self.summary.new += 1
            else:
                self.summary.changed += 1
        if self._on_progress is not None and self._total is not None:
            self._on_progress(Progress(self.summary, self._bytes, self._total))

    def failed(self, name: bytes, error: OSError | StorageError) -> None:
        """Count a file or folder that cannot be stored."""
        failure = Failure(
            name.decode(errors="backslashreplace") or ".",
            error.code if isinstance(error, StorageError) else "os_error",
            error.message if isinstance(error, StorageError) else error.strerror or str(error),
        )
        self.summary.failed += 1
        if len(self.summary.failures) < MAX_FAILURES:
            self.summary.failures.append(failure)
        if self._on_failure is not None:
            self._on_failure(failure)
