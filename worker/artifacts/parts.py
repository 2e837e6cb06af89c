"""Takes large blobs in, part by part, while their bytes are in staging only for a moment."""

from __future__ import annotations

from collections.abc import Sequence

from api_client.contract.checks import check_count
from api_client.contract.errors import InvalidRequest
from api_client.contract.limits import MAX_BLOBS_PER_QUERY
from api_client.contract.operations import BlobReference, PutPart
from api_client.contract.outcomes import BlobsFound, MissingBlob, PartPut
from api_client.contract.staging import PART_BYTES, part_count, part_size
from worker.artifacts.blobs.base import BlobMismatch, checked
from worker.artifacts.evaluate import check_blob
from worker.artifacts.intake import Intake


def find_blobs(intake: Intake, blobs: Sequence[BlobReference]) -> BlobsFound:
    """Which of ``blobs`` are not in the blob store, and what there is of them.

    Raises:
        InvalidRequest: a reference cannot name a blob, or there are too many.
        OSError: the blob store cannot be reached.
    """
    check_count(len(blobs), "blobs", most=MAX_BLOBS_PER_QUERY)
    for blob in blobs:
        check_blob(blob)
    with intake.blobs.batch() as batch:
        missing = [blob for blob in blobs if not batch.contains(blob.sha256, blob.size)]
    return BlobsFound([MissingBlob(blob.sha256, _parts(intake, blob)) for blob in missing])


def put_part(intake: Intake, query: PutPart) -> PartPut:
    """Take a part out of staging into the blob store. Doing it again changes nothing.

    Raises:
        InvalidRequest: there is no such part of the blob, or it has another size.
        OSError: the blob store cannot be written now.
    """
    blob, part = query.blob, query.part
    check_blob(blob)
    check_blob(part)
    check_count(query.index, "index", most=max(0, part_count(blob.size) - 1))
    expected = part_size(blob.size, query.index)
    if part.size != expected:
        raise InvalidRequest(
            f"part.size is {part.size}; part {query.index} of {blob.size} bytes has {expected}",
            field="part.size",
            limit=expected,
        )
    if not intake.blobs.contains(blob.sha256, blob.size):
        try:
            chunks = [*checked(part.sha256, part.size, intake.staging.read(part.sha256, part.size))]
        except BlobMismatch:
            # Another copy of this query may have taken them.
            return PartPut(query.index in intake.blobs.uploads.parts(blob))
        intake.blobs.uploads.put(blob, query.index, chunks)
    intake.staging.discard([part])
    return PartPut(stored=True)


def _parts(intake: Intake, blob: BlobReference) -> list[int]:
    return intake.blobs.uploads.parts(blob) if blob.size > PART_BYTES else []
