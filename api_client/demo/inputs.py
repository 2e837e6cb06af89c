"""What the demonstration stores: the files and the history of a repository, or of any folder."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from api_client.contract.errors import InvalidRequest
from api_client.contract.records import Event

_GIT_SECONDS = 60
#: Fields of one commit, ended by NUL (``-z``), apart by the unit separator.
_FORMAT = "%H%x1f%an%x1f%aI%x1f%s"


@dataclass(frozen=True)
class Inputs:
    """Attributes: files by the name they will be stored under, and events, oldest first."""

    kind: str
    files: dict[str, Path]
    events: list[Event]


def read_inputs(folder: Path) -> Inputs:
    """The tracked files and the log of a git repository; else the files of ``folder``, and one
    event for each.

    Raises:
        InvalidRequest: it is no folder, or holds no file.
    """
    if not folder.is_dir():
        raise InvalidRequest(f"{folder} is not a folder", field="folder")
    tracked = _git(folder, "ls-files", "-z")
    paths = tracked.split("\0") if tracked else list(_walk(folder))
    files = {name: folder / name for name in paths if _storable(folder, name)}
    if not files:
        raise InvalidRequest(f"{folder} holds no file", field="folder")
    if tracked:
        return Inputs("git repository", files, list(_commits(folder)))
    return Inputs("folder", files, [_file_event(name, path) for name, path in files.items()])


def _git(folder: Path, *arguments: str) -> str:
    """The output of git; empty if it is not installed or the folder is no repository."""
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            capture_output=True,
            timeout=_GIT_SECONDS,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.decode(errors="surrogateescape")


def _walk(folder: Path) -> Iterator[str]:
    return (p.relative_to(folder).as_posix() for p in sorted(folder.rglob("*")) if p.is_file())


def _storable(folder: Path, name: str) -> bool:
    # A name that is not UTF-8 cannot be an artifact's; a submodule or a dangling link is no file.
    return bool(name) and name.isprintable() and (folder / name).is_file()


def _commits(folder: Path) -> Iterator[Event]:
    for record in _git(folder, "log", "--reverse", "-z", f"--format={_FORMAT}").split("\0"):
        commit, _, rest = record.strip().partition("\x1f")
        if not commit:
            continue
        author, time, subject = rest.encode(errors="replace").decode().split("\x1f", 2)
        yield Event(
            id=commit,
            author=author or "unknown",
            content={"commit": commit, "subject": subject},
            timestamp=datetime.fromisoformat(time),
            state_delta={"head": commit},
        )


def _file_event(name: str, path: Path) -> Event:
    found = path.stat()
    return Event(
        author="demo",
        content={"file": name, "bytes": found.st_size},
        timestamp=datetime.fromtimestamp(found.st_mtime, timezone.utc),
        state_delta={"last_file": name},
    )
