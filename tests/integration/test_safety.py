"""A Redis that can lose or evict what it is given is told of, with what to change."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import typer
from redis import Redis

from tests.integration.conftest import Site
from tests.support.programs import run_zdk
from tests.support.waiting import wait_until
from tests.unit.test_compose import redis_settings
from worker.cli.safety import check_safety
from worker.doctor import CHECKS
from worker.doctor import examine as diagnose
from worker.embedded.server import free_port
from worker.embedded.valkey import EmbeddedValkey
from worker.safety.check import Examined, examine
from worker.settings import Settings


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedValkey]:
    """A server for this module alone; each test sets back what it has changed."""
    with EmbeddedValkey(tmp_path_factory.mktemp("safety")) as started:
        yield started


@pytest.fixture
def redis(server: EmbeddedValkey) -> Iterator[Redis]:
    with Redis.from_url(server.url, decode_responses=True) as client:
        before = client.config_get(
            *("appendonly", "appendfsync", "save", "maxmemory", "maxmemory-policy")
        )
        yield client
        client.replicaof("NO", "ONE")
        for name, value in before.items():
            client.config_set(name, value)
        # Until its first append-only file is written, a server does not stop.
        wait_until(
            lambda: client.info("persistence")["aof_rewrite_in_progress"] == 0, "a written file"
        )


def seen(server: EmbeddedValkey) -> dict[str, str]:
    """The risks of a broker, by setting, each with its value."""
    (broker,) = examine(server.url, server.url)
    return {risk.setting: risk.value for risk in broker.risks}


def test_the_embedded_server_is_safe(server: EmbeddedValkey) -> None:
    (broker,) = examine(server.url, server.url)
    assert broker.facts is not None
    assert (broker.risks, broker.unknowns, broker.trouble) == ((), (), "")


def test_no_append_only_file(server: EmbeddedValkey, redis: Redis) -> None:
    redis.config_set("appendonly", "no")
    (broker,) = examine(server.url, server.url)
    (risk,) = broker.risks
    assert (risk.setting, risk.value) == ("appendonly", "no")
    assert "all that waits in its queues" in risk.cost
    assert "redis-cli CONFIG SET appendonly yes" in risk.remedy
    redis.config_set("save", "3600 1")
    (broker,) = examine(server.url, server.url)
    assert "since its last snapshot" in broker.risks[0].cost


def test_the_remedy_works(server: EmbeddedValkey, redis: Redis) -> None:
    redis.config_set("appendonly", "no")
    redis.set("waits", "1")
    (broker,) = examine(server.url, server.url)
    command = broker.risks[0].remedy.split("redis-cli ")[1].removesuffix(", then ")
    assert command.startswith("CONFIG SET ")
    _, _, name, value = command.split(" ")
    redis.config_set(name, value)
    assert seen(server) == {}
    assert redis.get("waits") == "1"


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"appendfsync": "no"}, {"appendfsync": "no"}),
        ({"appendfsync": "always"}, {}),
        (
            {"maxmemory": "100mb", "maxmemory-policy": "allkeys-lru"},
            {"maxmemory-policy": "allkeys-lru"},
        ),
        (
            {"maxmemory": "100mb", "maxmemory-policy": "volatile-ttl"},
            {"maxmemory-policy": "volatile-ttl"},
        ),
        # Without a limit nothing is ever evicted.
        ({"maxmemory-policy": "allkeys-lru"}, {}),
        ({"maxmemory": "100mb"}, {}),
    ],
)
def test_settings(
    server: EmbeddedValkey, redis: Redis, settings: dict[str, str], expected: dict[str, str]
) -> None:
    for name, value in settings.items():
        redis.config_set(name, value)
    assert seen(server) == expected


def test_a_replica(server: EmbeddedValkey, redis: Redis) -> None:
    redis.replicaof("127.0.0.1", str(free_port()))
    assert seen(server) == {"role": "replica"}


def test_a_snapshot_that_fails_stops_all_writes(server: EmbeddedValkey, redis: Redis) -> None:
    redis.config_set("save", "3600 1")
    # A snapshot is written beside its place and then renamed, which a folder there prevents.
    folder = Path(str(redis.config_get("dir")["dir"]))
    (folder / "dump.rdb" / "in-the-way").mkdir(parents=True)
    try:
        redis.bgsave()
        wait_until(
            lambda: redis.info("persistence")["rdb_last_bgsave_status"] != "ok", "a failed snapshot"
        )
        assert seen(server) == {"rdb_last_bgsave_status": "err"}
    finally:
        (folder / "dump.rdb" / "in-the-way").rmdir()
        (folder / "dump.rdb").rmdir()
        redis.bgsave()
        wait_until(
            lambda: redis.info("persistence")["rdb_last_bgsave_status"] == "ok", "a snapshot"
        )


def test_a_part_of_a_cluster(tmp_path: Path) -> None:
    # Started by hand, because this project's own server has no such setting.
    own = EmbeddedValkey(tmp_path)
    port = free_port()
    # Its port for other servers would be 10,000 more, which is none for a port above 55,535.
    cluster = ["--cluster-enabled", "yes", "--cluster-port", str(free_port())]
    command = [*own._command(port), *cluster]
    process = subprocess.Popen(command, cwd=tmp_path)
    try:
        url = f"redis://127.0.0.1:{port}/0"
        broker = wait_until(
            lambda: next((found for found in examine(url, url) if found.facts), None), "a server"
        )
        assert broker is not None
        assert [risk.setting for risk in broker.risks] == ["cluster-enabled"]
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def limited(server: EmbeddedValkey, redis: Redis) -> Iterator[Callable[[str], str]]:
    """Makes a user without a command, and gives the URL it uses."""

    def make(command: str) -> str:
        redis.acl_setuser(
            "limited",
            enabled=True,
            reset=True,
            passwords=["+a-secret"],
            keys=["*"],
            categories=["+@all"],
            commands=[f"-{command}"],
        )
        return server.url.replace("redis://", "redis://limited:a-secret@")

    yield make
    redis.acl_deluser("limited")


def test_what_a_managed_service_does_not_tell(limited: Callable[[str], str], redis: Redis) -> None:
    url = limited("config")
    (broker,) = examine(url, url)
    assert (broker.risks, broker.unknowns) == ((), ("appendfsync",))
    redis.config_set("appendonly", "no")
    (broker,) = examine(url, url)
    assert [risk.setting for risk in broker.risks] == ["appendonly"]


def test_a_server_that_tells_nothing(limited: Callable[[str], str]) -> None:
    url = limited("info")
    (broker,) = examine(url, url)
    assert broker.facts is None
    assert "info" in broker.trouble
    assert "a-secret" not in broker.trouble


def test_results_need_not_be_kept(server: EmbeddedValkey, redis: Redis, tmp_path: Path) -> None:
    redis.config_set("appendonly", "no")
    with EmbeddedValkey(tmp_path) as broker:
        found = examine(broker.url, server.url)
        assert [(part.part, part.risks) for part in found] == [("broker", ()), ("results", ())]
        redis.config_set("maxmemory", "100mb")
        redis.config_set("maxmemory-policy", "allkeys-lru")
        _, results = examine(broker.url, server.url)
    (risk,) = results.risks
    assert "results and staged bytes" in risk.cost
    assert "queues" not in risk.cost


def test_two_databases_of_one_server_are_looked_at_once(server: EmbeddedValkey) -> None:
    assert [part.part for part in examine(server.url, f"{server.url[:-1]}1")] == ["broker"]


def test_other_brokers_are_not_asked(server: EmbeddedValkey) -> None:
    assert examine("amqp://nowhere.invalid//", server.url)[0] == Examined("broker")


def test_the_compose_file_makes_it_safe(server: EmbeddedValkey, redis: Redis) -> None:
    redis.config_set("appendonly", "no")
    redis.config_set("maxmemory-policy", "allkeys-lru")
    for name, value in redis_settings().items():
        # These say where it is and who may use it.
        if name not in ("dir", "requirepass"):
            redis.config_set(name, value.strip('"'))
    assert seen(server) == {}


def test_a_worker_warns(
    server: EmbeddedValkey, redis: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    check_safety(Settings(broker_url=server.url), strict=True)
    redis.config_set("appendfsync", "no")
    check_safety(Settings(broker_url=server.url), strict=False)
    (line,) = caplog.messages
    assert line.startswith("the Redis of the broker is not safe: appendfsync is no")
    assert "redis-cli CONFIG SET appendfsync everysec" in line


def test_a_worker_tells_what_it_could_not_check(
    limited: Callable[[str], str], caplog: pytest.LogCaptureFixture
) -> None:
    # That much is not known of any managed Redis, so it may start all the same.
    check_safety(Settings(broker_url=limited("config")), strict=True)
    assert "does not tell appendfsync" in caplog.text


@pytest.mark.parametrize("strict", [True, False])
def test_a_strict_worker_must_see_its_broker(
    strict: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = Settings(broker_url=f"redis://:a-secret@127.0.0.1:{free_port()}/0")
    if not strict:
        # Workers outlive an outage of their broker, so one may start during it.
        check_safety(settings, strict=False)
        return
    with pytest.raises(typer.Exit) as ended:
        check_safety(settings, strict=True)
    assert ended.value.exit_code == 5
    (line,) = capsys.readouterr().err.splitlines()
    assert "cannot be asked" in line
    assert "a-secret" not in line


def test_a_strict_worker_does_not_start_on_what_the_doctor_warns_of(site: Site) -> None:
    with Redis.from_url(site.broker_url) as redis:
        redis.config_set("appendonly", "no")
    done = run_zdk("doctor", "--skip=round-trip", environment=site.environment, cwd=site.folder)
    assert done.returncode == 0
    assert "warning  safety" in done.stdout
    assert "-> redis-cli CONFIG SET appendonly yes" in done.stdout
    done = run_zdk(
        *("worker", "--require-safe-broker"), environment=site.environment, cwd=site.folder
    )
    assert done.returncode == 5
    (line,) = done.stderr.splitlines()
    assert line.startswith("zdk: a safe broker is required")
    assert "redis-cli CONFIG SET appendonly yes" in line


def test_a_strict_doctor_fails(server: EmbeddedValkey, redis: Redis) -> None:
    redis.config_set("appendonly", "no")
    others = frozenset(CHECKS) - {"broker", "results", "safety"}
    settings = Settings(broker_url=server.url)
    *_, warned = [f for f in diagnose(settings, timeout=5, skip=others) if f.ok is not None]
    assert (warned.name, warned.ok) == ("safety", True)
    found = diagnose(settings, timeout=5, skip=others, strict=True)
    *_, failed = [f for f in found if f.ok is not None]
    assert (failed.name, failed.ok) == ("safety", False)
    assert [risk.setting for risk in failed.risks] == ["appendonly"]
