"""Embedded servers: children that never outlive their parent, and a Valkey that keeps its data."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from tests.support.processes import wait_for_end
from worker.embedded import EmbeddedStartFailed, EmbeddedUnavailable, server
from worker.embedded.child import start_child, stop_child
from worker.embedded.valkey import EmbeddedValkey

ROOT = Path(__file__).parents[2]
NOBODY = 65534
SECONDS = 20.0

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="needs PR_SET_PDEATHSIG")
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root may change user")

# A parent that starts something, tells its process id and waits to be killed.
PARENT_OF_CHILD = """
import sys
from worker.embedded.child import start_child
child = start_child(["sleep", "60"], user=int(sys.argv[1]))
sys.stdout.write(f"{child.pid}\\n")
sys.stdout.flush()
sys.stdin.read()
"""
PARENT_OF_VALKEY = """
import sys
from pathlib import Path
from worker.embedded.valkey import EmbeddedValkey
valkey = EmbeddedValkey(Path(sys.argv[1]))
valkey.start()
sys.stdout.write(f"{valkey.pid}\\n")
sys.stdout.flush()
sys.stdin.read()
"""


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[EmbeddedValkey]:
    with EmbeddedValkey(tmp_path) as running:
        yield running


def python(code: str, *arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )


def read_pid(parent: subprocess.Popen[bytes]) -> int:
    assert parent.stdout is not None
    ready, _, _ = select.select([parent.stdout], [], [], SECONDS)
    assert ready, "the parent did not start its child in time"
    return int(parent.stdout.readline())


def assert_dies_with_parent(code: str, argument: str) -> None:
    with python(code, argument) as parent:
        try:
            child = read_pid(parent)
            os.kill(child, 0)
        finally:
            parent.kill()
        wait_for_end([child], timeout=SECONDS)


def output_of(
    *argv: str,
    env: dict[str, str] | None = None,
    cwd: Path | None = None,
    user: int | None = None,
) -> bytes:
    child = start_child(argv, env=env, cwd=cwd, user=user, stdout=subprocess.PIPE)
    output, _ = child.communicate(timeout=SECONDS)
    assert child.returncode == 0
    return output


class TestStartChild:
    @linux_only
    @pytest.mark.parametrize(
        "user", [os.geteuid(), pytest.param(NOBODY, marks=root_only)], ids=["same", "other"]
    )
    def test_dies_with_a_killed_parent(self, user: int) -> None:
        assert_dies_with_parent(PARENT_OF_CHILD, str(user))

    @linux_only
    def test_dies_with_the_thread_that_started_it(self) -> None:
        children: list[subprocess.Popen[bytes]] = []
        thread = threading.Thread(target=lambda: children.append(start_child(["sleep", "60"])))
        thread.start()
        thread.join(SECONDS)
        assert children[0].wait(SECONDS) == -signal.SIGKILL

    @linux_only
    def test_a_parent_that_died_before_is_noticed(self) -> None:
        code = "from worker.embedded.child import die_with_parent; die_with_parent(0)"
        with python(code) as process:
            assert process.wait(SECONDS) == -signal.SIGKILL

    @pytest.mark.parametrize("program", ["no-such-program", "/no/such/program"])
    def test_a_missing_program_is_told_at_once(self, program: str) -> None:
        with pytest.raises(FileNotFoundError, match=program):
            start_child([program])

    def test_a_program_that_cannot_be_executed_is_told_at_once(self, tmp_path: Path) -> None:
        (tmp_path / "program").touch(mode=0o644)
        with pytest.raises(PermissionError):
            start_child([str(tmp_path / "program")])

    def test_a_missing_folder_is_told_at_once(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError, match="nowhere"):
            start_child(["true"], cwd=tmp_path / "nowhere")

    def test_the_environment_is_the_one_given(self) -> None:
        assert output_of("/usr/bin/env", env={"ONLY": "this"}) == b"ONLY=this\n"

    def test_the_folder_is_the_one_given(self, tmp_path: Path) -> None:
        assert output_of("pwd", cwd=tmp_path).strip() == os.fsencode(tmp_path.resolve())

    @root_only
    def test_another_user_has_none_of_roots_groups(self) -> None:
        assert output_of("id", "-u", user=NOBODY) == b"65534\n"
        assert output_of("id", "-G", user=NOBODY) == b"65534\n"

    def test_ignored_signals_are_not_inherited_from_python(self) -> None:
        child = start_child(["sh", "-c", "kill -PIPE $$; exit 0"])
        assert child.wait(SECONDS) == -signal.SIGPIPE

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGQUIT])
    def test_nor_are_those_that_a_script_ignores_for_its_background(
        self, number: signal.Signals
    ) -> None:
        before = signal.signal(number, signal.SIG_IGN)
        try:
            child = start_child(["sleep", "60"])
        finally:
            signal.signal(number, before)
        assert stop_child(child, grace=SECONDS, signal_number=number) == -number


class TestStopChild:
    def test_a_willing_child_ends_by_the_signal(self) -> None:
        child = start_child(["sleep", "60"])
        assert stop_child(child, grace=SECONDS) == -signal.SIGTERM

    def test_an_unwilling_child_is_killed(self) -> None:
        unwilling = 'trap "" TERM; echo $$; exec sleep 60'
        with start_child(["sh", "-c", unwilling], stdout=subprocess.PIPE) as child:
            assert read_pid(child) == child.pid
            assert stop_child(child, grace=0.05) == -signal.SIGKILL

    def test_a_child_that_has_ended_tells_its_code(self) -> None:
        child = start_child(["sh", "-c", "exit 7"])
        child.wait(SECONDS)
        assert stop_child(child, grace=SECONDS) == 7


class TestEmbeddedValkey:
    def test_data_survives_a_crash(self, valkey: EmbeddedValkey) -> None:
        url = valkey.url
        with redis.Redis.from_url(url) as client:
            client.set("key", "value")
        valkey.kill()
        valkey.start()
        assert valkey.url == url
        with redis.Redis.from_url(url) as client:
            assert client.get("key") == b"value"

    def test_data_survives_a_stop_and_another_port(self, tmp_path: Path) -> None:
        with EmbeddedValkey(tmp_path) as first, redis.Redis.from_url(first.url) as client:
            client.set("key", "value")
        with EmbeddedValkey(tmp_path) as second, redis.Redis.from_url(second.url) as client:
            assert client.get("key") == b"value"

    def test_stop_leaves_no_process(self, valkey: EmbeddedValkey) -> None:
        pid = valkey.pid
        valkey.stop()
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
        with pytest.raises(RuntimeError, match="not running"):
            _ = valkey.pid
        valkey.stop()

    def test_it_evicts_nothing_and_listens_on_loopback_only(self, tmp_path: Path) -> None:
        with (
            EmbeddedValkey(tmp_path, maxmemory="64mb", appendfsync="always") as valkey,
            redis.Redis.from_url(valkey.url) as client,
        ):
            settings = client.config_get("*")
        wanted = {
            "appendonly": "yes",
            "appendfsync": "always",
            "maxmemory": str(64 * 1024**2),
            "maxmemory-policy": "noeviction",
            "save": "",
            "bind": "127.0.0.1",
            "protected-mode": "yes",
        }
        assert wanted.items() <= settings.items()

    @linux_only
    def test_dies_with_a_killed_parent(self, tmp_path: Path) -> None:
        assert_dies_with_parent(PARENT_OF_VALKEY, str(tmp_path))

    def test_a_wrong_option_is_explained(self, tmp_path: Path) -> None:
        valkey = EmbeddedValkey(tmp_path, appendfsync="sometimes")
        with pytest.raises(EmbeddedStartFailed) as caught:
            valkey.start()
        assert str(tmp_path / "valkey.log") in str(caught.value)
        assert "argument(s) must be one of the following: everysec" in str(caught.value)

    def test_a_taken_port_is_refused_if_it_was_asked_for(
        self, valkey: EmbeddedValkey, tmp_path: Path
    ) -> None:
        port = int(valkey.url.split(":")[2].split("/")[0])
        with pytest.raises(EmbeddedStartFailed, match="Address already in use"):
            EmbeddedValkey(tmp_path / "other", port=port).start()

    def test_a_free_port_lost_to_somebody_else_is_replaced(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with socket.create_server(("127.0.0.1", 0)) as somebody:
            taken = somebody.getsockname()[1]
            offers = iter([taken, server.free_port()])
            monkeypatch.setattr(server, "free_port", lambda: next(offers))
            with EmbeddedValkey(tmp_path) as valkey:
                assert f":{taken}/" not in valkey.url

    def test_two_servers_never_share_a_folder(
        self, valkey: EmbeddedValkey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("worker.embedded.valkey._LOCK_SECONDS", 0.05)
        with pytest.raises(EmbeddedStartFailed, match="another server has used"):
            EmbeddedValkey(tmp_path).start()
        assert valkey.pid

    def test_starting_twice_is_refused(self, valkey: EmbeddedValkey) -> None:
        with pytest.raises(RuntimeError, match="running already"):
            valkey.start()

    def test_a_program_that_cannot_run_here_is_explained(self, tmp_path: Path) -> None:
        with pytest.raises(EmbeddedUnavailable, match="cannot be executed here"):
            EmbeddedValkey(tmp_path, binary=tmp_path / "redis-server").start()

    def test_a_platform_without_a_bundled_server_is_told_what_to_do(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("platform.system", lambda: "Plan9")
        with pytest.raises(EmbeddedUnavailable, match=r"zdk-storage\[embedded\]"):
            EmbeddedValkey(tmp_path)
