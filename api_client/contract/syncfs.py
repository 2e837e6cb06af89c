"""Linux's syncfs(2), where it does for all files at once what fsync does for one."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence
from functools import cache

#: ext2, ext3 and ext4; XFS; Btrfs; F2FS (statfs(2), f_type). Their syncfs writes all data, commits
#: the journal and empties the disk's own cache. Network, stacked and user-space file systems are
#: free to do less.
_FILE_SYSTEMS = (0xEF53, 0x58465342, 0x9123683E, 0xF2F52010)
#: More than struct statfs has on any machine.
_STATFS_BYTES = 512
#: Wait for what is being written, start nothing, and tell this file's error if it has had one.
_WAIT_BEFORE = 1


def is_enough(descriptor: int) -> bool:
    """Whether `sync` can do instead of an fsync of each file, where the open file is."""
    functions = _functions()
    buffer = ctypes.create_string_buffer(_STATFS_BYTES)
    if functions is None or functions.fstatfs(descriptor, buffer) != 0:
        return False
    # The first field, a long.
    return ctypes.c_long.from_buffer(buffer).value in _FILE_SYSTEMS


def sync(descriptors: Sequence[int]) -> None:
    """Make open files or folders of one such file system survive a crash.

    syncfs tells an error of any file to whoever asks first. So each file is asked for its own,
    through the descriptor by which it was written.

    Raises:
        OSError: one of them could not be written.
    """
    functions = _functions()
    assert functions is not None
    _check(functions.syncfs(descriptors[0]))
    nothing = ctypes.c_int64(0)
    for descriptor in descriptors:
        _check(functions.sync_file_range(descriptor, nothing, nothing, _WAIT_BEFORE))
    # A journal that has failed tells it to fsync on every system, to syncfs only on newer ones.
    os.fsync(descriptors[-1])


def _check(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


@cache
def _functions() -> ctypes.CDLL | None:
    try:
        library = ctypes.CDLL(None, use_errno=True)
        found = (library.syncfs, library.sync_file_range, library.fstatfs)
    except (AttributeError, OSError, TypeError):
        return None
    return library if all(found) else None
