"""Where an artifact's bytes come from: bytes, text, a path, an open file."""

from __future__ import annotations

import io
import mimetypes
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from api_client import signatures
from api_client.contract.checks import check_size, utf8_length
from api_client.contract.errors import InvalidRequest
from api_client.contract.limits import MAX_ARTIFACT_BYTES, MAX_INLINE_BYTES

#: What `ArtifactSource` accepts. A str is text, never a path.
Data = bytes | bytearray | memoryview | str | os.PathLike[str] | IO[bytes]

_CHUNK_BYTES = 256 * 1024
#: Enough of the beginning for every signature that puremagic knows.
_HEAD_BYTES = 8192
_TEXT = "text/plain; charset=utf-8"
_BINARY = "application/octet-stream"


@dataclass
class ArtifactSource:
    """Bytes to be saved: in memory if they are few, else in an open file of our own.

    Attributes:
        data: the bytes, or None if they are in a file.
        text: whether they were given as text.
    """

    data: bytes | None
    text: bool = False
    _descriptor: int = -1
    _offset: int = 0

    def fits(self, size: int) -> bool:
        """Whether there are at most ``size`` bytes, at most `MAX_INLINE_BYTES`, all in memory."""
        return self.data is not None and len(self.data) <= min(size, MAX_INLINE_BYTES)

    @property
    def held(self) -> int:
        """Bytes of memory that it takes."""
        return 0 if self.data is None else len(self.data)

    @property
    def head(self) -> bytes:
        """The first bytes, to guess a type by."""
        if self.data is not None:
            return self.data[:_HEAD_BYTES]
        return os.pread(self._descriptor, _HEAD_BYTES, self._offset)

    def chunks(self) -> Iterator[bytes | memoryview]:
        """The bytes in order, once; each chunk only until the next is asked for."""
        if self.data is not None:
            yield self.data
            return
        # The same memory again and again: new pages for each chunk take longer than its copy.
        buffer = memoryview(bytearray(_CHUNK_BYTES))
        offset = self._offset
        while count := os.preadv(self._descriptor, [buffer], offset):
            offset += count
            yield buffer[:count]

    def close(self) -> None:
        """Close the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def mime_type(self, name: str) -> str:
        """The type by the name's ending, else by the first bytes, else text or binary."""
        # Only the ending: a whole name may look like a URL to mimetypes.
        by_name, encoding = mimetypes.guess_type("name" + os.path.splitext(name)[1])
        if by_name is not None and encoding is None:
            return by_name
        if self.text:
            return _TEXT
        return _by_signature(self.head)


def open_source(data: Data) -> ArtifactSource:
    """The source for what a caller gave to ``save``.

    A file is read from its present position to its end, through a descriptor of our own: the
    caller may close it at once. A stream that is no file on disk is read here and now.

    Raises:
        InvalidRequest: the type is unsupported, a path cannot be read, or a file is in text mode.
        TooLarge: it is larger than `MAX_ARTIFACT_BYTES`.
    """
    if isinstance(data, str):
        utf8_length(data, "data")
        return ArtifactSource(data.encode(), text=True)
    if isinstance(data, (bytes, bytearray, memoryview)):
        return ArtifactSource(bytes(data))
    if isinstance(data, os.PathLike):
        return _from_path(Path(data))
    if hasattr(data, "read"):
        return _from_file(data)
    raise InvalidRequest(
        f"data must be bytes, str, a path (pathlib.Path) or an open file, "
        f"not {type(data).__name__}",
        field="data",
    )


def _from_path(path: Path) -> ArtifactSource:
    try:
        # Opening a named pipe would otherwise wait for somebody to write to it.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except (OSError, ValueError) as error:
        raise InvalidRequest(f"data: {path} cannot be read: {error}", field="data") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise InvalidRequest(f"data: {path} is not a regular file", field="data")
    return _from_descriptor(descriptor, 0)


def _from_file(file: Any) -> ArtifactSource:
    try:
        if isinstance(file.read(0), str):
            raise InvalidRequest("data is a file in text mode; open it with 'rb'", field="data")
        if _is_plain_file(file):
            file.flush()
            return _from_descriptor(os.dup(file.fileno()), file.tell())
        with tempfile.TemporaryFile() as copy:
            shutil.copyfileobj(file, copy, _CHUNK_BYTES)
            copy.flush()
            return _from_descriptor(os.dup(copy.fileno()), 0)
    except (OSError, ValueError) as error:
        raise InvalidRequest(f"data cannot be read: {error}", field="data") from error


def _is_plain_file(file: Any) -> bool:
    """Whether the descriptor gives what reading the object gives. A compressed file's does not."""
    plain = getattr(file, "file", file)
    raw = getattr(plain, "raw", plain)
    return isinstance(raw, io.FileIO) and stat.S_ISREG(os.fstat(raw.fileno()).st_mode)


def _from_descriptor(descriptor: int, offset: int) -> ArtifactSource:
    size = max(0, os.fstat(descriptor).st_size - offset)
    try:
        check_size(size, "data", MAX_ARTIFACT_BYTES)
        if size <= MAX_INLINE_BYTES:
            data = os.pread(descriptor, MAX_INLINE_BYTES + 1, offset)
            if len(data) <= MAX_INLINE_BYTES:
                os.close(descriptor)
                return ArtifactSource(data)
    except BaseException:
        os.close(descriptor)
        raise
    return ArtifactSource(None, False, descriptor, offset)


def _by_signature(head: bytes) -> str:
    found = signatures.mime_type(head)
    if found:
        return found
    try:
        head.decode()
    except UnicodeDecodeError as error:
        # A character cut in half by the end of the head is still text.
        cut = len(head) == _HEAD_BYTES and error.start >= len(head) - 3
        return _TEXT if cut and b"\x00" not in head else _BINARY
    return _BINARY if b"\x00" in head or not head else _TEXT
