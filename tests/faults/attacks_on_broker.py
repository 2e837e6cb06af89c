"""Faults of Redis, the broker or beside a RabbitMQ the results, and of the ways to the broker."""

from __future__ import annotations

import contextlib

from redis.exceptions import RedisError

from tests.faults.attack import Steps, fault
from tests.faults.site import Site


@fault("broker-crash", "broker")
def broker_crash(site: Site) -> Steps:
    """SIGKILL of the broker, which comes back with its append-only file."""
    site.valkey.kill()
    try:
        yield site.dice.uniform(0.2, 3.0)
    finally:
        site.valkey.start()


@fault("broker-flush", "broker")
def broker_flush(site: Site) -> Steps:
    """FLUSHALL: queues, unacknowledged messages, results and staged bytes are gone."""
    with contextlib.closing(site.redis()) as redis:
        redis.flushall()
    yield 0


@fault("broker-out-of-memory", "broker")
def broker_out_of_memory(site: Site) -> Steps:
    """The broker refuses to store anything more."""
    with contextlib.closing(site.redis()) as redis:
        redis.config_set("maxmemory", "1")
        try:
            yield site.dice.uniform(1.0, 4.0)
        finally:
            # A broker that has been started again has no limit anyway.
            with contextlib.suppress(RedisError):
                redis.config_set("maxmemory", "0")


@fault("cut-connections", "broker")
def cut_connections(site: Site) -> Steps:
    """The broker ends all connections, those that wait for results too."""
    with contextlib.closing(site.redis()) as redis:
        redis.client_kill_filter(_type="normal", skipme=True)
        redis.client_kill_filter(_type="pubsub")
    yield 0


@fault("drop-connections", "network")
def drop_connections(site: Site) -> Steps:
    """The network cuts connections again and again."""
    for _ in range(site.dice.randint(1, 6)):
        site.dice.choice((site.to_clients, site.to_workers)).cut()
        yield site.dice.uniform(0.05, 0.5)


@fault("blackhole-clients", "network")
def blackhole_clients(site: Site) -> Steps:
    """What clients send to the broker vanishes, and so do the replies."""
    site.to_clients.blackhole()
    try:
        yield site.dice.uniform(2.0, 7.0)
    finally:
        site.to_clients.forward()


@fault("blackhole-workers", "network")
def blackhole_workers(site: Site) -> Steps:
    """Likewise between workers and broker."""
    site.to_workers.blackhole()
    try:
        yield site.dice.uniform(2.0, 7.0)
    finally:
        site.to_workers.forward()
