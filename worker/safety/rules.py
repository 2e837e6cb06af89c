"""Which facts about a Redis endanger what it is given, what they cost, and what to change. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from worker.safety.facts import RedisFacts

#: CLIENT LIST ID, with which tries are counted (`worker.broker.attempts`), came with it.
OLDEST_VERSION = (6, 2)
#: The part of a machine's memory that a server without a limit may use. While it rewrites its
#: append-only file it can need twice as much as it holds.
_MOST_OF_MACHINE = 0.5

_SENT_AGAIN = (
    "clients with an outbox file send it again; what plain Celery publishers sent, and clients "
    "without an outbox file that have ended since, is lost"
)


@dataclass(frozen=True)
class Risk:
    """A setting or a state that endangers what is given to a Redis.

    Attributes:
        setting: its name, as Redis has it.
        value: what it is.
        cost: what can happen.
        remedy: what to do.
    """

    setting: str
    value: str
    cost: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.setting} is {self.value}: {self.cost}. To change it: {self.remedy}"


def risks(facts: RedisFacts, *, holds_queues: bool) -> list[Risk]:
    """What endangers what a server with these ``facts`` is given.

    Parameters:
        holds_queues: it is the broker. Otherwise it only holds results and staged bytes, which are
            made or brought again when they are lost, so it need not keep them over a restart.
    """
    found = [*_unfit(facts), *_refusing(facts), *_memory(facts, holds_queues)]
    return [*found, *_forgetting(facts)] if holds_queues else found


def unknowns(facts: RedisFacts, *, holds_queues: bool) -> list[str]:
    """Settings that endanger it as well, and that the server does not tell. Parameters as above."""
    return ["appendfsync"] if holds_queues and facts.aof and facts.appendfsync is None else []


def _unfit(facts: RedisFacts) -> Iterator[Risk]:
    if facts.cluster:
        yield Risk(
            "cluster-enabled",
            "yes",
            "a Redis Cluster is not supported: commands that name several keys fail",
            "use a single server",
        )
    if facts.replica:
        yield Risk(
            "role",
            "replica",
            "a replica refuses writes, so nothing can be taken from its queues, or it forgets them "
            "when it next copies its primary",
            "name the primary in the URL, or make it one: redis-cli REPLICAOF NO ONE",
        )
    if facts.version and facts.version < OLDEST_VERSION:
        oldest = ".".join(map(str, OLDEST_VERSION))
        yield Risk(
            "redis_version",
            ".".join(map(str, facts.version)),
            "it cannot list connections by id, so a message that two workers try at the same time "
            "may be given up although neither has failed",
            f"upgrade it to {oldest} or later",
        )


def _refusing(facts: RedisFacts) -> Iterator[Risk]:
    if facts.aof and facts.aof_failing:
        yield Risk(
            "aof_last_write_status",
            "err",
            "it cannot write its append-only file, and refuses all writes until it can",
            "look at its log; mostly its disk is full",
        )
    if facts.save_failing and facts.saves != "" and facts.stops_on_failed_save is not False:
        yield Risk(
            "rdb_last_bgsave_status",
            "err",
            "its last snapshot failed, and it refuses all writes until one succeeds",
            "look at its log, give it disk and memory, then redis-cli BGSAVE; with an append-only "
            'file no snapshots are needed: redis-cli CONFIG SET save ""',
        )


def _memory(facts: RedisFacts, holds_queues: bool) -> Iterator[Risk]:
    if facts.most and facts.policy != "noeviction":
        yield Risk(
            "maxmemory-policy",
            facts.policy,
            _cost_of_eviction(facts.policy, holds_queues),
            _change("maxmemory-policy", "noeviction"),
        )
    if not facts.most and facts.machine and facts.used > facts.machine * _MOST_OF_MACHINE:
        yield Risk(
            "maxmemory",
            "0 (no limit)",
            f"it uses {facts.used / facts.machine:.0%} of its machine's memory, and the system may "
            "kill it instead of its refusing new messages",
            _change("maxmemory", f"{facts.machine // 2 >> 20}mb"),
        )


def _cost_of_eviction(policy: str, holds_queues: bool) -> str:
    if holds_queues and policy.startswith("allkeys"):
        return f"when its memory is full, it drops whole queues; {_SENT_AGAIN}"
    # Queues have no expiry, so the policies for volatile keys spare them.
    return (
        "when its memory is full, it drops results and staged bytes before they are read; clients "
        "wait for them in vain, and send again"
    )


def _forgetting(facts: RedisFacts) -> Iterator[Risk]:
    if not facts.aof:
        lost = "all" if facts.saves == "" else "all since its last snapshot"
        yield Risk(
            "appendonly",
            "no",
            f"when it stops or crashes, {lost} that waits in its queues is gone; {_SENT_AGAIN}",
            _change("appendonly", "yes"),
        )
    elif facts.appendfsync == "no":
        yield Risk(
            "appendfsync",
            "no",
            "when its machine fails, what came to its queues in the last half minute or so is "
            f"gone; {_SENT_AGAIN}",
            _change("appendfsync", "everysec"),
        )


def _change(setting: str, value: str) -> str:
    return (
        f"redis-cli CONFIG SET {setting} {value}, then redis-cli CONFIG REWRITE, or "
        f'"{setting} {value}" in its configuration file'
    )
