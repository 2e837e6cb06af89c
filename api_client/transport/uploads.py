"""Brings bytes through Redis to workers, without filling it.

Bytes of up to one part are staged whole. More go part by part: each is staged, taken into the blob
store by whichever worker gets the query, and only then makes room for another one.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import BinaryIO

import msgspec

from api_client.contract import codec
from api_client.contract.errors import Unavailable
from api_client.contract.limits import MAX_BLOBS_PER_QUERY
from api_client.contract.operations import BlobReference, FindBlobs, PutPart
from api_client.contract.outcomes import BlobsFound, PartPut
from api_client.contract.staging import CHUNK_BYTES, PART_BYTES, part_count, part_size
from api_client.transport.base import BlobFile
from api_client.transport.questions import Question, Questions
from api_client.transport.staging import RedisStager, check

#: Parts of one file in Redis at a time.
_WINDOW = 4
#: Seconds to wait for a word on small files before they are staged without asking, and seconds for
#: which workers are not asked again then.
_SHORT_WAIT = 0.5
_QUIET = 10.0
#: Seconds without an answer after which a query is sent again, and after which no worker is there.
_REPEAT_AFTER = 5.0
_GIVE_UP_AFTER = 30.0


@dataclass(frozen=True)
class _Sent:
    """A part that is on its way."""

    index: int
    question: Question


class Uploads:
    """Stages files through Redis. Several threads may do that at once.

    Parameters:
        stager: puts chunks there.
        questions: asks workers.
    """

    def __init__(self, stager: RedisStager, questions: Questions):
        self._stager = stager
        self._questions = questions
        self._quiet_until = float("-inf")

    def stage(self, blobs: Sequence[BlobFile], *, missed: bool) -> None:
        """Make bytes reachable, those that workers have already excepted.

        Parameters:
            missed: a worker did not find them where they had been staged before.

        Raises:
            Unavailable: no worker takes the parts of a large file now, or a file is damaged.
            redis.exceptions.RedisError: Redis cannot be reached.
        """
        small = [blob for blob in blobs if blob.reference.size <= PART_BYTES]
        if small and not missed:
            small = self._unknown(small)
        self._stager.stage(small, anew=missed)
        for blob in blobs:
            if blob.reference.size > PART_BYTES:
                self._upload(blob, missed=missed)

    def _unknown(self, blobs: Sequence[BlobFile]) -> list[BlobFile]:
        """Those that the workers do not have, or all if no worker says so at once."""
        if time.monotonic() < self._quiet_until:
            return [*blobs]
        missing: set[str] = set()
        for start in range(0, len(blobs), MAX_BLOBS_PER_QUERY):
            references = [blob.reference for blob in blobs[start : start + MAX_BLOBS_PER_QUERY]]
            found = self._find(references, _SHORT_WAIT)
            if found is None:
                self._quiet_until = time.monotonic() + _QUIET
                return [*blobs]
            missing.update(one.sha256 for one in found.missing)
        return [blob for blob in blobs if blob.reference.sha256 in missing]

    def _upload(self, blob: BlobFile, *, missed: bool) -> None:
        found = self._find([blob.reference], _GIVE_UP_AFTER)
        if found is None:
            raise Unavailable(
                "no worker answers, and a large artifact needs one to take it; zdk doctor tells"
            )
        if not found.missing:
            return
        if missed:
            # Or the worker would go on refusing what the client goes on sending.
            check(blob)
        there = set(found.missing[0].parts)
        indexes = [n for n in range(part_count(blob.reference.size)) if n not in there]
        with open(blob.path, "rb") as file:
            self._put_parts(blob.reference, indexes, file)

    def _put_parts(self, blob: BlobReference, indexes: Iterable[int], file: BinaryIO) -> None:
        on_way: deque[_Sent] = deque()
        try:
            for index in indexes:
                if len(on_way) == _WINDOW:
                    self._finish(blob, on_way.popleft(), file)
                on_way.append(self._put_part(blob, index, file))
            while on_way:
                self._finish(blob, on_way.popleft(), file)
        finally:
            for sent in on_way:
                self._questions.drop(sent.question)

    def _put_part(self, blob: BlobReference, index: int, file: BinaryIO) -> _Sent:
        chunks = _read_part(file, blob.size, index)
        digest = hashlib.sha256()
        for chunk in chunks:
            digest.update(chunk)
        part = BlobReference(digest.hexdigest(), sum(map(len, chunks)))
        self._stager.stage_part(part, chunks)
        query = PutPart(blob=blob, index=index, part=part)
        return _Sent(index, self._questions.ask(query, _GIVE_UP_AFTER))

    def _finish(self, blob: BlobReference, sent: _Sent, file: BinaryIO) -> None:
        """See a part into the blob store, staging it again as often as it is lost on the way."""
        ends = time.monotonic() + _GIVE_UP_AFTER
        while not self._is_stored(sent.question, ends):
            if time.monotonic() >= ends:
                raise Unavailable(f"part {sent.index} of {blob.sha256} does not reach a worker")
            sent = self._put_part(blob, sent.index, file)

    def _is_stored(self, question: Question, ends: float) -> bool:
        raw = self._answer(question, ends - time.monotonic())
        return raw is not None and codec.decode(raw, PartPut).stored

    def _find(self, blobs: Sequence[BlobReference], patience: float) -> BlobsFound | None:
        """What workers have of ``blobs``; None if none of them tells within ``patience``."""
        question = self._questions.ask(FindBlobs(blobs=[*blobs]), patience)
        raw = self._answer(question, patience)
        return None if raw is None else codec.decode(raw, BlobsFound)

    def _answer(self, question: Question, patience: float) -> msgspec.Raw | None:
        """The answer, after repeating the question as long as none comes within ``patience``."""
        ends = time.monotonic() + patience
        try:
            while (left := ends - time.monotonic()) > 0:
                raw = self._questions.wait(question, min(left, _REPEAT_AFTER))
                if raw is not None:
                    return raw
                if left > _REPEAT_AFTER:
                    self._questions.repeat(question, left)
            return None
        finally:
            self._questions.drop(question)


def _read_part(file: BinaryIO, size: int, index: int) -> list[bytes]:
    length = part_size(size, index)
    offset = index * PART_BYTES
    starts = range(offset, offset + length, CHUNK_BYTES)
    return [
        os.pread(file.fileno(), min(CHUNK_BYTES, offset + length - start), start)
        for start in starts
    ]
