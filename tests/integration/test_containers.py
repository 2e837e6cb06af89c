"""What runs in our containers, run outside of one: the commands of docker-compose.yml with the
environment that they have there, against servers with the passwords and settings of there."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg2
import pytest
import redis
from psycopg2 import sql
from redis.backoff import NoBackoff
from redis.retry import Retry

from api_client import Event, SessionKey, StorageClient
from api_client.contract import codec
from tests.support.containers import REPOSITORY, environment_of, interpolated, load_compose
from tests.support.postgres import PostgresServer
from tests.support.postgres_binaries import programs
from tests.support.programs import clean_environment, run_zdk
from tests.support.waiting import wait_until
from worker.embedded.child import start_child, stop_child
from worker.embedded.server import LOOPBACK, free_port, log_tail, wait_until_ready
from worker.embedded.valkey import _bundled_binary

COMPOSE = load_compose()
SERVICES = COMPOSE["services"]
REDIS_PASSWORD = "ab12cd34"
POSTGRES_PASSWORD = "ef56ab78"


@dataclass
class Host:
    """Where containers would run: their files on a disk of this machine, their names as addresses.

    Attributes:
        folder: holds ``secrets`` and the folders that are volumes.
        ports: of each server, by the name of its service.
    """

    folder: Path
    ports: dict[str, int]

    def here(self, text: str) -> str:
        """The text with paths and addresses of a container replaced by those of this machine."""
        for inside, outside in {
            "/run/secrets/": f"{self.folder}/secrets/",
            "/etc/redis.conf": f"{self.folder}/redis.conf",
            "/data/artifacts": f"{self.folder}/artifacts",
            "/backups": f"{self.folder}/backups",
        }.items():
            text = text.replace(inside, outside)
        for name, port in self.ports.items():
            text = re.sub(rf"\b{name}:\d+", f"{LOOPBACK}:{port}", text)
        return text

    def environment(self, service: str) -> dict[str, str]:
        """What the container of a service has."""
        return {name: self.here(value) for name, value in environment_of(SERVICES[service]).items()}

    def command(self, service: str) -> list[str]:
        """What the container of a service runs."""
        return [self.here(interpolated(word)) for word in SERVICES[service]["command"]]

    @property
    def broker_url(self) -> str:
        """The broker, for a client."""
        return f"redis://:{REDIS_PASSWORD}@{LOOPBACK}:{self.ports['redis']}/0"


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """The two servers, as the compose file has them started."""
    folder = tmp_path_factory.mktemp("host")
    (folder / "secrets").mkdir()
    (folder / "secrets/redis_password").write_text(f"{REDIS_PASSWORD}\n")
    (folder / "secrets/postgres_password").write_text(f"{POSTGRES_PASSWORD}\n")
    with PostgresServer(folder / "postgres", fsync=False) as postgres:
        set_up_postgres(postgres, folder / "postgres/data/pg_hba.conf")
        host = Host(folder, {"redis": free_port(), "postgres": postgres.port})
        with redis_of_compose(host):
            yield host


def set_up_postgres(server: PostgresServer, rules: Path) -> None:
    """The user and the database that PostgreSQL's image makes when it first starts, and its rule
    that nobody comes in without a password."""
    made = environment_of(SERVICES["postgres"])
    role, database = made["POSTGRES_USER"], made["POSTGRES_DB"]
    server.create_database(database)
    rules.write_text(
        f"host all postgres {LOOPBACK}/32 trust\nhost all all {LOOPBACK}/32 scram-sha-256\n"
    )
    with admin(server) as execute:
        statement = sql.SQL("CREATE ROLE {} LOGIN SUPERUSER PASSWORD {}")
        execute.execute(statement.format(sql.Identifier(role), sql.Literal(POSTGRES_PASSWORD)))
        execute.execute("SELECT pg_reload_conf()")
    wait_until(lambda: is_refused(server.port, role, database), "a wrong password is refused")


def is_refused(port: int, role: str, database: str) -> bool:
    try:
        psycopg2.connect(
            host=LOOPBACK, port=port, user=role, dbname=database, password="wrong"
        ).close()
    except psycopg2.OperationalError as error:
        return "password authentication failed" in str(error)
    return False


@contextlib.contextmanager
def admin(server: PostgresServer) -> Iterator[psycopg2.extensions.cursor]:
    with contextlib.closing(
        psycopg2.connect(host=LOOPBACK, port=server.port, user="postgres", dbname="postgres")
    ) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            yield cursor


@contextlib.contextmanager
def redis_of_compose(host: Host) -> Iterator[None]:
    """The command of the service redis, with the bundled Valkey in the place of redis-server."""
    programs = host.folder / "bin"
    programs.mkdir()
    (programs / "redis-server").symlink_to(_bundled_binary())
    (host.folder / "broker").mkdir()
    settings = interpolated(COMPOSE["configs"]["redis"]["content"])
    settings = settings.replace("dir /data", f"dir {host.folder}/broker")
    # A container has a port and a loopback interface of its own.
    settings += f"\nport {host.ports['redis']}\nbind {LOOPBACK}\n"
    (host.folder / "redis.conf").write_text(settings)
    log = host.folder / "redis.log"
    with log.open("ab") as output:
        child = start_child(
            host.command("redis"),
            env={**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"},
            stdout=output,
            stderr=output,
        )
    try:
        wait_until_ready("redis", child, lambda: answers(host.broker_url), timeout=30.0, log=log)
        yield
    finally:
        stop_child(child, grace=10.0)


@contextlib.contextmanager
def open_redis(url: str) -> Iterator[redis.Redis]:
    """A connection that does not try again what was refused."""
    retry = Retry(NoBackoff(), 0)
    with contextlib.closing(redis.Redis.from_url(url, socket_timeout=5.0, retry=retry)) as client:
        yield client


def answers(url: str) -> bool:
    with open_redis(url) as client:
        try:
            return bool(client.ping())
        except redis.ConnectionError:
            return False


@pytest.fixture(scope="module")
def migrated(host: Host) -> Host:
    """The host, after the migrate job."""
    done = run_zdk(
        *host.command("migrate"), environment=host.environment("migrate"), cwd=host.folder
    )
    assert done.returncode == 0, done.stderr
    assert "->" in done.stdout
    return host


@contextlib.contextmanager
def running_worker(host: Host) -> Iterator[Path]:
    """A container of the service worker; its log."""
    log = host.folder / "worker.log"
    with log.open("wb") as output:
        child = start_child(
            [sys.executable, "-m", "api_client", *host.command("worker")],
            env=clean_environment(host.environment("worker")),
            cwd=host.folder,
            stdout=output,
            stderr=output,
        )
    try:
        wait_until(lambda: b" ready.\n" in log.read_bytes(), "the worker is ready", timeout=60.0)
        yield log
    finally:
        stop_child(child, grace=30.0)
    assert child.returncode == 0, log_tail(log)


def test_redis_asks_for_the_password_and_has_the_settings(host: Host) -> None:
    stranger = host.broker_url.replace(f":{REDIS_PASSWORD}@", "")
    with pytest.raises(redis.AuthenticationError), open_redis(stranger) as client:
        client.ping()
    with open_redis(host.broker_url) as client:
        assert client.config_get("appendonly") == {"appendonly": "yes"}
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        assert client.config_get("maxmemory") == {"maxmemory": str(512 * 1024**2)}
        pid = int(client.info("server")["process_id"])
    # Nor does the list of processes show the password.
    assert REDIS_PASSWORD.encode() not in Path(f"/proc/{pid}/cmdline").read_bytes()
    assert REDIS_PASSWORD.encode() not in Path(f"/proc/{pid}/environ").read_bytes()


def test_redis_does_not_start_without_a_password(tmp_path: Path) -> None:
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets/redis_password").write_text("\n")
    (tmp_path / "redis.conf").write_text("")
    (tmp_path / "redis-server").symlink_to("/bin/true")
    ended = subprocess.run(
        Host(tmp_path, {}).command("redis"),
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )

    assert ended.returncode != 0
    assert "secrets/redis_password is empty" in ended.stderr


def test_redis_health_check_tells_a_password_from_a_wrong_one(host: Host, tmp_path: Path) -> None:
    # Valkey's wheel has no redis-cli, so the check's shell runs with one that says what it got.
    fake = tmp_path / "redis-cli"
    fake.write_text(f'#!/bin/sh\n[ "$REDISCLI_AUTH" = {REDIS_PASSWORD} ] && echo PONG || echo NO\n')
    fake.chmod(0o755)
    kind, line = SERVICES["redis"]["healthcheck"]["test"]
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}

    def check(place: Host) -> int:
        shell = ["sh", "-c", place.here(interpolated(line))]
        return subprocess.run(shell, env=environment, timeout=30, check=False).returncode

    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets/redis_password").write_text("wrong")
    assert kind == "CMD-SHELL"
    assert check(host) == 0
    assert check(Host(tmp_path, {})) != 0


def test_worker_works_in_its_containers_environment(migrated: Host) -> None:
    kind, *health = SERVICES["worker"]["healthcheck"]["test"]
    assert (kind, health[0]) == ("CMD", "zdk")
    with running_worker(migrated) as log, StorageClient(migrated.broker_url) as client:
        environment = migrated.environment("worker")
        checked = run_zdk(*health[1:], environment=environment, cwd=migrated.folder)
        assert checked.returncode == 0, checked.stdout + checked.stderr
        key = SessionKey("shop", "ada", "s-1")
        client.sessions.create(key).result(timeout=30)
        client.sessions.append(key, Event(author="agent", content="hi")).result(timeout=30)
        assert len(client.sessions.load(key).result(timeout=30).events) == 1
    for password in (REDIS_PASSWORD, POSTGRES_PASSWORD):
        assert password not in log.read_text()
        assert password not in checked.stdout


def test_a_backup_is_made_in_its_containers_environment(migrated: Host) -> None:
    # In the image, too, its programs are of the server's version.
    programs_here = str(programs(16, os.geteuid()))
    environment = {
        **migrated.environment("backup"),
        "PATH": f"{programs_here}:{os.environ['PATH']}",
    }
    for words in (["backup", "/backups"], ["restore", "/backups", "--dry-run", "--force"]):
        words = [migrated.here(word) for word in words]
        done = run_zdk(*words, environment=environment, cwd=migrated.folder)
        assert done.returncode == 0, done.stderr
    assert migrated.command("backup") == ["backup", f"{migrated.folder}/backups"]


def test_flowers_settings_reach_the_broker(host: Host) -> None:
    text = (REPOSITORY / "deploy/flower/celeryconfig.py").read_text("utf-8")
    settings: dict[str, object] = {}
    exec(host.here(text), settings)

    assert answers(str(settings["broker_url"]))
    with open_redis(str(settings["broker_url"])) as client:
        assert client.llen(codec.WRITE_QUEUE) == 0
