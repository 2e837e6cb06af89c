"""What a Redis server tells of itself."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from redis import Redis
from redis.exceptions import ResponseError

log = logging.getLogger(__name__)

_SECTIONS = ("server", "memory", "persistence", "replication", "cluster")
_SETTINGS = ("appendfsync", "save", "stop-writes-on-bgsave-error")


@dataclass(frozen=True)
class RedisFacts:
    """A server's own word, from INFO and, where the server allows that, CONFIG GET.

    Attributes:
        server: its run id, the same over all addresses and until it is started again.
        version: of Redis' commands that it speaks; Valkey gives one as well.
        cluster: whether it is part of a Redis Cluster.
        replica: whether it follows another server.
        aof: whether it keeps an append-only file.
        aof_failing, save_failing: whether its last write to that file, or snapshot, failed.
        policy: what it evicts when its memory is full.
        used, most, machine: bytes it uses, may use (0: without a limit), and its machine has.
        appendfsync: when it forces that file to the disk; None if it does not say.
        saves: when it takes snapshots, empty for never; None if it does not say.
        stops_on_failed_save: whether it refuses writes after a snapshot failed; None likewise.
    """

    server: str
    version: tuple[int, ...]
    cluster: bool = False
    replica: bool = False
    aof: bool = True
    aof_failing: bool = False
    save_failing: bool = False
    policy: str = "noeviction"
    used: int = 0
    most: int = 0
    machine: int = 0
    appendfsync: str | None = "everysec"
    saves: str | None = ""
    stops_on_failed_save: bool | None = True


def read_facts(redis: Redis) -> RedisFacts:
    """Ask ``redis``.

    Raises:
        redis.exceptions.RedisError: it does not answer, or allows no INFO.
    """
    info: dict[str, Any] = {}
    for section in _SECTIONS:
        info |= redis.info(section)
    return facts_of(info, _settings(redis))


def facts_of(info: Mapping[str, Any], settings: Mapping[str, str] | None) -> RedisFacts:
    """The facts in the answers to INFO and CONFIG GET, the latter None if it was refused."""
    known = settings or {}
    stops = known.get("stop-writes-on-bgsave-error")
    return RedisFacts(
        server=str(info.get("run_id", "")),
        version=_version(str(info.get("redis_version", ""))),
        cluster=bool(info.get("cluster_enabled", 0)),
        replica=info.get("role") == "slave",
        aof=bool(info.get("aof_enabled", 0)),
        aof_failing=info.get("aof_last_write_status", "ok") != "ok",
        save_failing=info.get("rdb_last_bgsave_status", "ok") != "ok",
        policy=str(info.get("maxmemory_policy", "")),
        used=int(info.get("used_memory", 0)),
        most=int(info.get("maxmemory", 0)),
        machine=int(info.get("total_system_memory", 0)),
        appendfsync=known.get("appendfsync"),
        saves=known.get("save"),
        stops_on_failed_save=None if stops is None else stops == "yes",
    )


def _settings(redis: Redis) -> dict[str, str] | None:
    try:
        found = redis.config_get(*_SETTINGS)
    except ResponseError as error:
        # Services that manage a Redis forbid CONFIG; so may the rights of its user.
        log.debug("CONFIG GET is refused: %s", error)
        return None
    return {str(name): str(value) for name, value in found.items()}


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".") if part.isdigit())
