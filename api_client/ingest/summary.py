"""What an ingestion has done, and how far it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from api_client.ingest.count import Total
from api_client.ingest.walk import Skipped

#: Failures that a summary holds; all of them are counted, and told as they happen.
MAX_FAILURES = 1000


@dataclass(frozen=True)
class Failure:
    """A file or folder that could not be stored.

    Attributes:
        file: its name relative to the ingested folder; bytes that are not UTF-8 are escaped.
        code: of the error; ``os_error`` if the operating system has refused it.
        message: the reason, for people.
    """

    file: str
    code: str
    message: str


@dataclass
class Summary:
    """What an ingestion has done; of a dry run, what it would have done.

    Attributes:
        new, changed: files stored as the first version of an artifact, and as a further one.
        unchanged: files whose artifact has the same bytes already.
        failed: files and folders that could not be stored.
        bytes: of the new and changed files, as large as they were when they were found.
        seconds: how long it took.
        skipped: what was passed over.
        failures: the first `MAX_FAILURES` of those that failed.
    """

    new: int = 0
    changed: int = 0
    unchanged: int = 0
    failed: int = 0
    bytes: int = 0
    seconds: float = 0.0
    skipped: Skipped = field(default_factory=Skipped)
    failures: list[Failure] = field(default_factory=list)

    @property
    def stored(self) -> int:
        """New and changed files."""
        return self.new + self.changed

    @property
    def files(self) -> int:
        """Files that are settled, whatever became of them."""
        return self.stored + self.unchanged + self.failed


@dataclass(frozen=True)
class Progress:
    """How far an ingestion is.

    Attributes:
        summary: what it has done.
        bytes: of all files that are settled, those that were not stored included.
        total: what there is to do, so far as it is counted.
    """

    summary: Summary
    bytes: int
    total: Total


OnFailure = Callable[[Failure], None]
OnProgress = Callable[[Progress], None]
