"""No container engine runs where this project is built, so the compose file is checked as text.

The compose schema knows the shape of the file; the rest of this module checks what a schema
cannot: that every name refers to something, and that the promises of docs hold in the settings.
tests/integration/test_containers.py runs the commands.
"""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from ruamel.yaml import YAML
from ruamel.yaml.events import AliasEvent

from api_client.contract import codec
from tests.support.containers import (
    COMPOSE_FILE,
    INTERPOLATION,
    REPOSITORY,
    ZDK_IMAGE,
    environment_of,
    interpolated,
    load_compose,
    load_yaml,
    volume_mounts,
)
from worker.settings import Settings
from worker.shutdown import _LAST_SECONDS, _POOL_SECONDS

COMPOSE_TEXT = COMPOSE_FILE.read_text(encoding="utf-8")
ENV_EXAMPLE_TEXT = (REPOSITORY / ".env.example").read_text(encoding="utf-8")
COMPOSE = load_compose()
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
ZDK_SERVICES = {
    name: service for name, service in SERVICES.items() if service["image"] == ZDK_IMAGE
}
WATCHING = {"flower", "prometheus", "grafana"}
ZDK_VERBS = {"worker", "migrate", "doctor", "health", "backup"}


def is_one_shot(service: dict[str, Any]) -> bool:
    return bool(service.get("restart") == "no")


def redis_settings() -> dict[str, str]:
    lines = (line.strip() for line in COMPOSE["configs"]["redis"]["content"].splitlines())
    pairs = (line.split(maxsplit=1) for line in lines if line and not line.startswith("#"))
    return {name: interpolated(value) for name, value in pairs}


def seconds(duration: str) -> int:
    unit = {"s": 1, "m": 60}[duration[-1]]
    return int(duration[:-1]) * unit


def mebibytes(size: str) -> int:
    number, unit = re.fullmatch(r"(\d+)([mg])b?", interpolated(size)).groups()  # type: ignore[union-attr]
    return int(number) * {"m": 1, "g": 1024}[unit]


def check_against_schema(path: Path) -> subprocess.CompletedProcess[str]:
    check = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    return subprocess.run([*check, str(path)], capture_output=True, text=True, check=False)


def test_compose_file_follows_the_compose_schema() -> None:
    checked = check_against_schema(COMPOSE_FILE)

    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_schema_check_refuses_a_wrong_file(tmp_path: Path) -> None:
    wrong = tmp_path / "docker-compose.yml"
    wrong.write_text(COMPOSE_TEXT.replace("healthcheck:", "health_check:"), encoding="utf-8")

    assert check_against_schema(wrong).returncode == 1


# Names that refer to something


def test_depends_on_names_services_and_waits_for_the_right_thing() -> None:
    for name, service in SERVICES.items():
        for needed, how in service.get("depends_on", {}).items():
            assert needed in SERVICES, f"{name} depends on {needed}, which does not exist"
            condition = how["condition"]
            if is_one_shot(SERVICES[needed]):
                assert condition == "service_completed_successfully", (name, needed)
            else:
                assert condition == "service_healthy", (name, needed)


def test_worker_starts_after_everything_it_needs() -> None:
    assert SERVICES["worker"]["depends_on"].keys() == {"migrate", "postgres", "redis"}
    assert SERVICES["migrate"]["depends_on"].keys() == {"postgres"}


def test_what_only_watches_or_backs_up_has_a_profile() -> None:
    profiles = {name: service.get("profiles") for name, service in SERVICES.items()}

    assert {name for name, profile in profiles.items() if profile == ["watch"]} == WATCHING
    assert profiles["backup"] == ["backup"]
    assert all(profiles[name] is None for name in SERVICES.keys() - WATCHING - {"backup"})


@pytest.mark.parametrize("kind", ["volumes", "configs", "secrets"])
def test_everything_declared_is_used_and_the_other_way_round(kind: str) -> None:
    used: set[str] = set()
    for service in SERVICES.values():
        if kind == "volumes":
            used |= {name for name in volume_mounts(service).values() if name[0] != "."}
        else:
            names = service.get(kind, [])
            used |= {each if isinstance(each, str) else each["source"] for each in names}

    assert used == COMPOSE[kind].keys()


def test_folders_of_the_repository_that_are_mounted_are_there() -> None:
    mounted = {
        source: target
        for service in SERVICES.values()
        for target, source in volume_mounts(service).items()
        if source.startswith("./")
    }

    assert set(mounted) >= {"./deploy/prometheus", "./deploy/grafana/provisioning"}
    missing = [source for source in mounted if not (REPOSITORY / source).is_dir()]
    assert missing == []
    for service in SERVICES.values():
        for mount in service.get("volumes", []):
            assert mount.startswith("./") == mount.endswith(":ro"), mount


def test_every_anchor_is_used_and_every_alias_resolves() -> None:
    # Loading has resolved the aliases already: an unknown one is an error of the parser.
    events = list(YAML(typ="safe").parse(COMPOSE_TEXT))
    aliases = {event.anchor for event in events if isinstance(event, AliasEvent)}
    anchors = {
        event.anchor
        for event in events
        if not isinstance(event, AliasEvent) and getattr(event, "anchor", None)
    }

    assert aliases == anchors
    assert anchors, "the shared settings are meant to be written once"


def test_zdk_commands_are_known() -> None:
    verbs = [service["command"][0] for service in ZDK_SERVICES.values()]
    for service in SERVICES.values():
        words = service.get("healthcheck", {}).get("test", [])
        verbs += [verb for word, verb in pairwise(words) if word == "zdk"]

    assert len(verbs) == 4
    assert set(verbs) <= ZDK_VERBS


def test_our_variables_are_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    fields = {f"ZDK_{name.upper()}" for name in Settings.model_fields}
    for service in ZDK_SERVICES.values():
        names = {name.removesuffix("_FILE") for name in service["environment"]}
        assert names <= fields
    environment = environment_of(SERVICES["worker"])
    for name, value in environment.items():
        if not name.endswith("_FILE"):
            monkeypatch.setenv(name, value)
    settings = Settings()
    assert settings.migrate_on_start is False
    assert settings.task_events is False


def test_services_are_found_where_the_urls_point() -> None:
    ports = {"redis": 6379, "postgres": 5432}
    for name, service in ZDK_SERVICES.items():
        environment = service["environment"]
        broker = urlsplit(environment["ZDK_BROKER_URL"])
        database = urlsplit(environment["ZDK_DATABASE_URL"])
        postgres = SERVICES["postgres"]["environment"]

        assert (broker.scheme, broker.hostname, broker.port) == ("redis", "redis", 6379), name
        assert database.scheme == "postgresql+psycopg2", name
        assert (database.hostname, database.port) == ("postgres", ports["postgres"]), name
        assert database.username == postgres["POSTGRES_USER"], name
        assert database.path == f"/{postgres['POSTGRES_DB']}", name
    published = ports | {"flower": 5555, "prometheus": 9090, "grafana": 3000}
    for name, port in published.items():
        assert [interpolated(each) for each in SERVICES[name]["ports"]] == [
            f"127.0.0.1:{port}:{port}"
        ]


def test_flower_looks_at_our_queues() -> None:
    text = (REPOSITORY / "deploy/flower/celeryconfig.py").read_text(encoding="utf-8")
    calls = [each for each in ast.walk(ast.parse(text)) if isinstance(each, ast.Call)]
    queues = [
        ast.literal_eval(call.args[0])
        for call in calls
        if isinstance(call.func, ast.Name) and call.func.id == "Queue"
    ]

    assert queues == [codec.WRITE_QUEUE, codec.READ_QUEUE]
    assert f'task_default_queue = "{codec.WRITE_QUEUE}"' in text
    # The file can be imported by its name from the folder that it is mounted in.
    flower = SERVICES["flower"]
    folder = flower["environment"]["PYTHONPATH"]
    assert volume_mounts(flower)[folder] == "./deploy/flower"
    assert "celeryconfig" in flower["command"]
    assert "--read_only=True" in flower["command"], "it shows, and changes nothing"


def test_prometheus_finds_every_worker() -> None:
    environment = environment_of(SERVICES["worker"])

    # A name has the addresses of all containers of its service; the port must be open in each.
    assert environment["ZDK_HTTP_HOST"] == "0.0.0.0"
    assert SERVICES["worker"]["expose"] == [environment["ZDK_HTTP_PORT"]] == ["9464"]


# Secrets


def secret_paths(service: dict[str, Any]) -> set[str]:
    return {f"/run/secrets/{name}" for name in service.get("secrets", [])}


def test_every_secret_is_a_file_that_its_service_has() -> None:
    for name, service in SERVICES.items():
        text = " ".join(text for _, text in texts(service))
        if name == "flower":
            text += (REPOSITORY / "deploy/flower/celeryconfig.py").read_text(encoding="utf-8")
        named = set(re.findall(r"/run/secrets/\w+", text))

        wanted = secret_paths(service)
        if name == "migrate":
            # It has the whole environment of a worker.
            assert named == wanted
        assert named == wanted, name


def test_a_read_only_container_gets_files_from_the_host_only() -> None:
    # Compose copies any other secret or config into the container, which it then cannot.
    read_only = [service for service in SERVICES.values() if service.get("read_only")]

    assert {each["image"] for each in read_only} == {ZDK_IMAGE}
    for service in read_only:
        assert "configs" not in service
        for name in service["secrets"]:
            assert COMPOSE["secrets"][name].keys() == {"file"}


def test_secrets_are_the_files_that_make_writes_and_git_ignores(tmp_path: Path) -> None:
    files = {Path(secret["file"]) for secret in COMPOSE["secrets"].values()}
    makefile = REPOSITORY / "Makefile"
    make = ["make", "--silent", "--file", str(makefile), "secrets", f"PYTHON={sys.executable}"]
    subprocess.run(make, cwd=tmp_path, check=True)
    first = {path: (tmp_path / path).read_text() for path in files}
    subprocess.run(make, cwd=tmp_path, check=True)

    # Without a newline: workers leave it out, but KEDA hands Redis a Secret as it is.
    assert all(re.fullmatch(r"[0-9a-f]{64}", text) for text in first.values())
    assert len(set(first.values())) == len(files)
    assert {path: (tmp_path / path).read_text() for path in files} == first, "they stay"
    assert {path.name for path in (tmp_path / "secrets").iterdir()} == {p.name for p in files}
    # The folder keeps others out; the files must be readable for the containers' users.
    assert (tmp_path / "secrets").stat().st_mode & 0o777 == 0o700
    assert all((tmp_path / path).stat().st_mode & 0o777 == 0o644 for path in files)
    assert "/secrets/" in (REPOSITORY / ".gitignore").read_text(encoding="utf-8").splitlines()


def texts(node: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Every text below the node, with the key it stands under; a list of words is one text."""
    if isinstance(node, dict):
        for name, value in node.items():
            yield from texts(value, str(name))
    elif isinstance(node, list):
        yield key, " ".join(each for each in node if isinstance(each, str))
        for each in node:
            if isinstance(each, dict):
                yield from texts(each)
    elif isinstance(node, str):
        yield key, node


def secrets_in(document: Any) -> list[str]:
    found = []
    for key, text in texts(document):
        if re.search(r"(password|passwd|secret|token|auth)$", key, re.IGNORECASE):
            found.append(text)
        found += re.findall(r"requirepass\s+\"?([^\s\"]+)", text)
        found += re.findall(r"://[^/\s:]*:([^@/\s]+)@", text)
    return found


def test_compose_file_holds_no_password() -> None:
    # What is left is the shell's own variable, which holds what it has read from the file.
    assert [each for each in secrets_in(COMPOSE) if not each.startswith("$${password:?")] == []


@pytest.mark.parametrize(
    "line",
    [
        "POSTGRES_PASSWORD: hunter2",
        "POSTGRES_PASSWORD: ${ZDK_POSTGRES_PASSWORD:-hunter2}",
        "REDISCLI_AUTH: hunter2",
        "content: requirepass hunter2",
        "command: [redis-server, --requirepass, hunter2]",
        "ZDK_BROKER_URL: redis://:hunter2@redis:6379/0",
        "ZDK_DATABASE_URL: postgresql+psycopg2://zdk:hunter2@postgres:5432/zdk",
    ],
)
def test_a_literal_password_would_be_found(line: str) -> None:
    assert len(secrets_in(load_yaml(line))) == 1


# Data


def test_data_survives_its_container() -> None:
    assert volume_mounts(SERVICES["postgres"]) == {"/var/lib/postgresql/data": "database"}
    assert volume_mounts(SERVICES["redis"]) == {redis_settings()["dir"]: "broker"}
    assert "blobs" in volume_mounts(SERVICES["worker"]).values()
    path = "--storage.tsdb.path=/prometheus"
    assert path in SERVICES["prometheus"]["command"]
    assert volume_mounts(SERVICES["prometheus"])["/prometheus"] == "metrics"
    assert volume_mounts(SERVICES["grafana"])["/var/lib/grafana"] == "dashboards"


def test_a_backup_sees_the_blobs_and_has_a_place_of_its_own() -> None:
    backup = SERVICES["backup"]

    assert backup["command"] == ["backup", "/backups"]
    assert volume_mounts(backup) == {"/data/artifacts": "blobs", "/backups": "backups"}
    assert is_one_shot(backup)


def test_only_the_migrate_job_migrates() -> None:
    assert SERVICES["migrate"]["command"] == ["migrate"]
    assert is_one_shot(SERVICES["migrate"])
    assert SERVICES["worker"]["environment"]["ZDK_MIGRATE_ON_START"] == "false"


def test_redis_keeps_what_it_accepted() -> None:
    settings = redis_settings()
    redis = SERVICES["redis"]

    assert settings["appendonly"] == "yes"
    assert settings["appendfsync"] in {"everysec", "always"}
    assert settings["maxmemory-policy"] == "noeviction"
    assert f"cat {redis['configs'][0]['target']}" in redis["command"][-1]
    memory = redis["deploy"]["resources"]["limits"]["memory"]
    assert mebibytes(memory) >= 2 * mebibytes(settings["maxmemory"])


# Containers


def test_every_service_is_watched_or_ends_by_itself() -> None:
    for name, service in SERVICES.items():
        if is_one_shot(service):
            assert "healthcheck" not in service, f"{name} ends, nothing would look at its health"
        else:
            check = service["healthcheck"]
            assert check["test"][0] in {"CMD", "CMD-SHELL"}, name
            assert check.keys() >= {"interval", "timeout", "retries", "start_period"}, name
            assert service["restart"] == "unless-stopped", name
            assert "stop_grace_period" in service, name


def test_every_service_has_limits() -> None:
    for name, service in SERVICES.items():
        limits = service["deploy"]["resources"]["limits"]
        assert float(interpolated(limits["cpus"])) > 0, name
        assert mebibytes(limits["memory"]) >= 256, name
        assert service["logging"]["options"].keys() >= {"max-size", "max-file"}, name


def test_a_worker_may_finish_before_it_is_killed() -> None:
    worker = SERVICES["worker"]
    grace = float(worker["environment"]["ZDK_SHUTDOWN_GRACE"])

    # What worker.shutdown takes at most, once the grace is over.
    assert seconds(worker["stop_grace_period"]) > grace + _POOL_SECONDS + _LAST_SECONDS


def test_health_checks_use_variables_their_container_has() -> None:
    for name, service in SERVICES.items():
        test = " ".join(service.get("healthcheck", {}).get("test", []))
        for variable in re.findall(r"\$\$\{?(\w+)", test):
            assert variable in service["environment"], (name, variable)


def test_worker_scales() -> None:
    worker = SERVICES["worker"]

    assert worker.keys().isdisjoint({"container_name", "ports", "hostname", "network_mode"})
    assert worker["init"] is True


def test_our_containers_can_change_nothing_but_their_data() -> None:
    for name, service in ZDK_SERVICES.items():
        assert service["read_only"] is True, name
        assert service["tmpfs"], name
    for name in SERVICES.keys() - {"postgres"}:
        # PostgreSQL's image begins as root, and gives its folder to its user.
        assert SERVICES[name]["cap_drop"] == ["ALL"], name
        assert SERVICES[name]["security_opt"] == ["no-new-privileges:true"], name


def test_ports_are_published_to_this_host_only() -> None:
    published = [each for service in SERVICES.values() for each in service.get("ports", [])]

    assert published
    for port in published:
        assert re.fullmatch(r"127\.0\.0\.1:\d+:\d+", interpolated(port)), port


def test_images_are_pinned_to_a_minor_release() -> None:
    for name, service in SERVICES.items():
        if name not in ZDK_SERVICES:
            assert re.search(r":v?\d+\.\d+\.\d+|:\d+\.\d+-", service["image"]), name


def test_our_image_is_built_once() -> None:
    assert [name for name, service in SERVICES.items() if "build" in service] == ["migrate"]
    assert ZDK_SERVICES.keys() == {"migrate", "worker", "backup"}


# .env.example


def test_env_example_explains_every_variable_and_holds_no_secret() -> None:
    used = {match["name"] for match in INTERPOLATION.finditer(COMPOSE_TEXT)}
    for service in SERVICES.values():
        used |= {name for name, value in service.get("environment", {}).items() if value is None}
    example = dict(re.findall(r"^#?(\w+)=(.*)$", ENV_EXAMPLE_TEXT, flags=re.MULTILINE))

    assert example.keys() == used
    assert not [name for name in example if "PASSWORD" in name]


def test_env_example_shows_the_defaults() -> None:
    defaults = {
        match["name"]: match["rest"].removeprefix(":-")
        for match in INTERPOLATION.finditer(COMPOSE_TEXT)
        if match["rest"].startswith(":-")
    }
    shown = dict(re.findall(r"^#(\w+)=(.*)$", ENV_EXAMPLE_TEXT, flags=re.MULTILINE))

    assert defaults
    assert defaults.items() <= shown.items()
