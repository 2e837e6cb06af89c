"""Where loaded bytes go, so that a load that fails leaves nothing half-written."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from api_client.cli.inputs import STANDARD
from api_client.contract.errors import InvalidRequest
from api_client.contract.records import new_id

#: Bytes kept in memory on their way to a stream; more wait in a temporary file.
_IN_MEMORY = 16 * 1024 * 1024


def check_destination(output: str) -> None:
    """Refuse a file that cannot be written.

    Raises:
        InvalidRequest: it is a folder, or its folder does not exist.
    """
    if output == STANDARD:
        return
    if os.path.isdir(output):
        raise InvalidRequest(f"--output {output} is a folder; name a file in it", field="output")
    folder = os.path.dirname(output) or os.curdir
    if not os.path.isdir(folder):
        raise InvalidRequest(
            f"--output: the folder {folder} does not exist; create it first", field="output"
        )


@contextmanager
def destination(output: str) -> Iterator[IO[bytes]]:
    """A file to write to; its bytes reach ``output`` only if the block ends well.

    Parameters:
        output: a file, which is replaced, or ``-`` for the standard output.
    """
    if output == STANDARD:
        with _held_back(sys.stdout.buffer) as file:
            yield file
    elif os.path.exists(output) and not os.path.isfile(output):
        # A device or a pipe is written to; to put a file in its place would break it.
        with open(output, "wb") as stream, _held_back(stream) as file:
            yield file
    else:
        with _beside(os.path.realpath(output)) as file:
            yield file


@contextmanager
def _held_back(stream: IO[bytes]) -> Iterator[IO[bytes]]:
    with tempfile.SpooledTemporaryFile(_IN_MEMORY) as file:
        yield file
        file.seek(0)
        shutil.copyfileobj(file, stream)
        stream.flush()


@contextmanager
def _beside(path: str) -> Iterator[IO[bytes]]:
    # Not made by tempfile: the new file should get the permissions that any new file gets.
    temporary = os.path.join(os.path.dirname(path), f".zdk-{new_id()}.part")
    try:
        with open(temporary, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
