"""No container engine runs where this project is built, so the container files are checked as text.

The compose schema knows the shape of the file; the rest of this module checks what a schema
cannot: that every name refers to something, and that the promises of docs hold in the settings.
"""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pytest
from ruamel.yaml import YAML
from ruamel.yaml.events import AliasEvent

REPOSITORY = Path(__file__).resolve().parents[2]
COMPOSE_FILE = REPOSITORY / "docker-compose.yml"
COMPOSE_TEXT = COMPOSE_FILE.read_text(encoding="utf-8")
DOCKERFILE_TEXT = (REPOSITORY / "Dockerfile").read_text(encoding="utf-8")
ENV_EXAMPLE_TEXT = (REPOSITORY / ".env.example").read_text(encoding="utf-8")

ZDK_IMAGE = "zdk-storage:local"
ZDK_VERBS = {"worker", "migrate", "doctor"}

# What Compose replaces; `$$` is a plain dollar sign, left for the container's own shell.
INTERPOLATION = re.compile(r"(?<!\$)\$\{(?P<name>\w+)(?P<rest>[^}]*)\}")
REQUIRED_SECRET = re.compile(r"\$\{ZDK_\w*PASSWORD:\?[^}]+\}")


def load_compose(text: str) -> dict[str, Any]:
    document = YAML(typ="safe").load(text)
    assert isinstance(document, dict)
    return document


COMPOSE = load_compose(COMPOSE_TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
ZDK_SERVICES = {
    name: service for name, service in SERVICES.items() if service["image"] == ZDK_IMAGE
}


def is_one_shot(service: dict[str, Any]) -> bool:
    return bool(service.get("restart") == "no")


def volume_mounts(service: dict[str, Any]) -> dict[str, str]:
    """Target folder to volume, from the short form `volume:/folder`."""
    return {
        target: volume
        for volume, target in (mount.split(":", 1) for mount in service.get("volumes", []))
    }


def with_defaults(value: str) -> str:
    """The value as Compose makes it from an empty environment, secrets as `secret`."""

    def replace(match: re.Match[str]) -> str:
        rest = match["rest"]
        return rest.removeprefix(":-") if rest.startswith(":-") else "secret"

    return INTERPOLATION.sub(replace, value)


def redis_settings() -> dict[str, str]:
    lines = (line.strip() for line in COMPOSE["configs"]["redis"]["content"].splitlines())
    pairs = (line.split(maxsplit=1) for line in lines if line and not line.startswith("#"))
    return {name: with_defaults(value) for name, value in pairs}


class Instruction(NamedTuple):
    stage: int
    name: str
    argument: str


def dockerfile_instructions() -> Iterator[Instruction]:
    stage = -1
    text = re.sub(r"^\s*#.*\n", "", DOCKERFILE_TEXT, flags=re.MULTILINE).replace("\\\n", " ")
    for line in filter(None, map(str.strip, text.splitlines())):
        name, argument = line.split(maxsplit=1)
        if name == "FROM":
            stage += 1
        yield Instruction(stage, name, " ".join(argument.split()))


INSTRUCTIONS = list(dockerfile_instructions())
FINAL_STAGE = [each for each in INSTRUCTIONS if each.stage == INSTRUCTIONS[-1].stage]


def final(name: str) -> list[str]:
    return [each.argument for each in FINAL_STAGE if each.name == name]


def repository_copies() -> list[str]:
    """Every path the Dockerfile takes from the repository, rather than from another stage."""
    return [
        source
        for each in INSTRUCTIONS
        if each.name in {"COPY", "ADD"} and "--from=" not in each.argument
        for source in each.argument.split()[:-1]
    ]


# The compose file


def check_against_schema(path: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            sys.executable,
            "-m",
            "check_jsonschema",
            "--builtin-schema",
            "vendor.compose-spec",
            str(path),
        ],
        capture_output=True,
        text=True,
        check=False,
    )


def test_compose_file_follows_the_compose_schema() -> None:
    checked = check_against_schema(COMPOSE_FILE)

    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_schema_check_refuses_a_wrong_file(tmp_path: Path) -> None:
    wrong = tmp_path / "docker-compose.yml"
    wrong.write_text(COMPOSE_TEXT.replace("healthcheck:", "health_check:"), encoding="utf-8")

    assert check_against_schema(wrong).returncode == 1


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


@pytest.mark.parametrize("kind", ["volumes", "configs"])
def test_every_named_volume_and_config_is_declared_and_used(kind: str) -> None:
    if kind == "volumes":
        used = {name for each in SERVICES.values() for name in volume_mounts(each).values()}
    else:
        used = {each["source"] for service in SERVICES.values() for each in service.get(kind, [])}

    assert used == COMPOSE[kind].keys()


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


def test_data_survives_its_container() -> None:
    assert volume_mounts(SERVICES["postgres"]) == {"/var/lib/postgresql/data": "database"}
    assert volume_mounts(SERVICES["redis"]) == {redis_settings()["dir"]: "broker"}
    assert "blobs" in volume_mounts(SERVICES["worker"]).values()


def test_zdk_commands_are_known() -> None:
    verbs = [service["command"][0] for service in ZDK_SERVICES.values()]
    for service in SERVICES.values():
        words = service.get("healthcheck", {}).get("test", [])
        verbs += [verb for word, verb in pairwise(words) if word == "zdk"]

    assert sorted(verbs) == ["doctor", "migrate", "worker"]
    assert set(verbs) <= ZDK_VERBS


def test_services_are_found_where_the_urls_point() -> None:
    ports = {"redis": 6379, "postgres": 5432}
    for name, service in ZDK_SERVICES.items():
        environment = service["environment"]
        broker = urlsplit(with_defaults(environment["ZDK_BROKER_URL"]))
        database = urlsplit(with_defaults(environment["ZDK_DATABASE_URL"]))
        postgres = SERVICES["postgres"]["environment"]

        assert (broker.scheme, broker.hostname, broker.port) == ("redis", "redis", 6379), name
        assert database.scheme == "postgresql+psycopg2", name
        assert (database.hostname, database.port) == ("postgres", ports["postgres"]), name
        assert database.username == postgres["POSTGRES_USER"], name
        assert database.path == f"/{postgres['POSTGRES_DB']}", name
    for name, port in ports.items():
        assert [with_defaults(each).split(":")[2] for each in SERVICES[name]["ports"]] == [
            str(port)
        ]


def test_passwords_are_the_same_at_both_ends() -> None:
    environment = SERVICES["worker"]["environment"]
    postgres = SERVICES["postgres"]["environment"]["POSTGRES_PASSWORD"]
    redis = SERVICES["redis"]["environment"]["REDISCLI_AUTH"]

    assert f"zdk:{postgres}@postgres" in environment["ZDK_DATABASE_URL"]
    assert f":{redis}@redis" in environment["ZDK_BROKER_URL"]
    assert f'requirepass "{redis}"' in COMPOSE["configs"]["redis"]["content"]
    assert postgres != redis


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
    assert re.fullmatch(r"[1-9]\d*(mb|gb)", settings["maxmemory"])
    assert redis["command"] == ["redis-server", redis["configs"][0]["target"]]


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
        found += re.findall(r"requirepass\s+\"?(\$\{[^}]*\}|[^\s\"]+)", text)
        found += re.findall(r"://[^/\s:]*:((?:\$\{[^}]*\}|[^@\s])+)@", text)
    return found


def test_compose_file_holds_no_password() -> None:
    secrets = secrets_in(COMPOSE)

    # Two services carry two URLs each, besides what PostgreSQL and Redis themselves are given.
    assert len(secrets) >= 7
    assert [secret for secret in secrets if not REQUIRED_SECRET.fullmatch(secret)] == []


@pytest.mark.parametrize(
    "line",
    [
        "POSTGRES_PASSWORD: hunter2",
        "POSTGRES_PASSWORD: ${ZDK_POSTGRES_PASSWORD:-hunter2}",
        "POSTGRES_PASSWORD: ${ZDK_POSTGRES_PASSWORD}",
        "REDISCLI_AUTH: hunter2",
        "content: requirepass hunter2",
        "command: [redis-server, --requirepass, hunter2]",
        "ZDK_BROKER_URL: redis://:hunter2@redis:6379/0",
        "ZDK_DATABASE_URL: postgresql+psycopg2://zdk:hunter2@postgres:5432/zdk",
    ],
)
def test_a_literal_password_would_be_found(line: str) -> None:
    (secret,) = secrets_in(load_compose(line))

    assert not REQUIRED_SECRET.fullmatch(secret)


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


def test_health_checks_use_variables_their_container_has() -> None:
    for name, service in SERVICES.items():
        test = " ".join(service.get("healthcheck", {}).get("test", []))
        for variable in re.findall(r"\$\$\{?(\w+)", test):
            assert variable in service["environment"], (name, variable)


def test_worker_scales() -> None:
    worker = SERVICES["worker"]

    assert worker.keys().isdisjoint({"container_name", "ports", "hostname", "network_mode"})
    assert worker["init"] is True


def test_ports_are_published_to_this_host_only() -> None:
    published = [each for service in SERVICES.values() for each in service.get("ports", [])]

    assert published
    for port in published:
        assert re.fullmatch(r"127\.0\.0\.1:\d+:\d+", with_defaults(port)), port


def test_images_are_pinned_to_a_minor_release() -> None:
    for name, service in SERVICES.items():
        if name not in ZDK_SERVICES:
            assert re.search(r":\d+\.\d+", service["image"]), name


def test_our_image_is_built_once() -> None:
    assert [name for name, service in SERVICES.items() if "build" in service] == ["migrate"]
    assert ZDK_SERVICES.keys() == {"migrate", "worker"}


def test_env_example_explains_every_variable_and_holds_no_secret() -> None:
    used = {match["name"] for match in INTERPOLATION.finditer(COMPOSE_TEXT)}
    for service in SERVICES.values():
        used |= {name for name, value in service.get("environment", {}).items() if value is None}
    example = dict(re.findall(r"^#?(\w+)=(.*)$", ENV_EXAMPLE_TEXT, flags=re.MULTILINE))

    assert example.keys() == used
    for name, value in example.items():
        assert not ("PASSWORD" in name and value), f"{name} has a value in .env.example"


def test_env_example_shows_the_defaults() -> None:
    defaults = {
        match["name"]: match["rest"].removeprefix(":-")
        for match in INTERPOLATION.finditer(COMPOSE_TEXT)
        if match["rest"].startswith(":-")
    }
    shown = dict(re.findall(r"^#(\w+)=(.*)$", ENV_EXAMPLE_TEXT, flags=re.MULTILINE))

    assert defaults
    assert defaults.items() <= shown.items()


# The Dockerfile


def test_dockerfile_copies_only_what_the_repository_has() -> None:
    copies = repository_copies()

    assert copies
    assert [path for path in copies if not (REPOSITORY / path).exists()] == []


def test_dockerignore_lets_in_exactly_what_is_copied() -> None:
    text = (REPOSITORY / ".dockerignore").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]

    assert lines[0] == "*", "whatever is not named stays out, a .env with passwords above all"
    assert {line[1:] for line in lines if line.startswith("!")} == set(repository_copies())


def test_image_runs_zdk_worker() -> None:
    assert [json.loads(each) for each in final("ENTRYPOINT")] == [["zdk"]]
    assert [json.loads(each) for each in final("CMD")] == [["worker"]]
    assert final("STOPSIGNAL") == ["SIGTERM"]


def test_image_runs_as_a_fixed_user_who_is_not_root() -> None:
    (user,) = final("USER")
    uid, gid = user.split(":")

    assert uid.isdecimal(), "Kubernetes can see that a number is not root; a name it cannot"
    assert int(uid) >= 1000
    assert any(f"useradd --uid {uid} --gid {gid} " in each for each in final("RUN"))


def test_data_folder_is_one_and_the_same_and_belongs_to_the_user() -> None:
    worker = SERVICES["worker"]
    folder = urlsplit(worker["environment"]["ZDK_ARTIFACTS_URL"]).path
    (user,) = final("USER")
    uid, gid = user.split(":")
    made = [each for each in final("RUN") if f"--owner {uid} --group {gid}" in each]

    assert volume_mounts(worker)[folder] == "blobs"
    assert any(folder in each.split() for each in made)
    assert any(f"ZDK_ARTIFACTS_URL=file://{folder}" in each for each in final("ENV"))


def test_image_installs_what_the_lock_file_says() -> None:
    commands = [
        command
        for each in INSTRUCTIONS
        if each.name == "RUN"
        for command in each.argument.split("&&")
        if re.search(r"\bpip\b.*\b(install|wheel)\b", command)
    ]
    locked = [each for each in commands if "requirements-worker.lock" in each]

    assert len(locked) == 1
    assert "--require-hashes" in locked[0]
    assert all("--no-deps" in each for each in commands if each not in locked)
    assert len(commands) > len(locked), "the project itself is installed too"


def test_final_image_has_no_build_tools() -> None:
    (base,) = final("FROM")

    assert INSTRUCTIONS[-1].stage >= 1
    assert "-slim" in DOCKERFILE_TEXT.split("ARG PYTHON=")[1].splitlines()[0]
    assert base == "${PYTHON}"
    for command in final("RUN"):
        assert not re.search(r"\b(apt|apt-get|pip|gcc|make|build-essential)\b", command), command
