"""The Dockerfile, checked as text: no container engine runs where this project is built."""

import json
import re
from collections.abc import Iterator
from typing import NamedTuple
from urllib.parse import urlsplit

from tests.support.containers import REPOSITORY, load_compose, volume_mounts

DOCKERFILE_TEXT = (REPOSITORY / "Dockerfile").read_text(encoding="utf-8")
SERVICES = load_compose()["services"]
WORKER = SERVICES["worker"]


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
    worker = WORKER
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
        assert not re.search(r"\b(pip|gcc|make|build-essential)\b", command), command
        packages = re.findall(r"apt-get install --yes --no-install-recommends ([^&]*)", command)
        assert all(name.startswith(("lib", "zlib")) for each in packages for name in each.split())
        assert ("apt-get" in command) == bool(packages), command


def test_backups_are_made_with_the_programs_of_the_database() -> None:
    # Later ones make what the server cannot restore, and earlier ones refuse it.
    assert f"ARG POSTGRES={SERVICES['postgres']['image']}\n" in DOCKERFILE_TEXT
    (copied,) = [each for each in final("COPY") if each.startswith("--from=postgres ")]
    assert copied.split()[1:-1] == [
        f"/usr/lib/postgresql/*/bin/{name}" for name in ("pg_dump", "pg_restore")
    ]
    assert copied.split()[-1] == "/usr/local/bin/"


def test_the_folder_of_backups_belongs_to_the_user() -> None:
    (user,) = final("USER")
    uid, gid = user.split(":")
    (made,) = [each for each in final("RUN") if f"--owner {uid} --group {gid}" in each]

    assert volume_mounts(SERVICES["backup"]).keys() <= set(made.split())
