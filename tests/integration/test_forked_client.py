"""A client in a process that forks."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.conftest import Site
from tests.support.programs import run_python

_PROGRAM = """
import os, sys
from api_client import Event, SessionKey, StorageClient, Unavailable

client = StorageClient(os.environ["ZDK_BROKER_URL"], sys.argv[1] or None)
key = SessionKey("app", "user", "session")
client.sessions.create(key).result()
client.sessions.append(key, Event(author="parent", content=1)).result()
child = os.fork()
if child == 0:
    code = 1
    try:
        client.sessions.append(key, Event(author="child", content=2)).result()
        client.close()
        code = 0
    except Unavailable as error:
        print(error, flush=True)
        code = 5
    finally:
        os._exit(code)
code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
client.sessions.append(key, Event(author="parent", content=3)).result()
print([event.content for event in client.sessions.load(key).result().events])
client.close()
sys.exit(code)
"""


@pytest.mark.parametrize("outbox", ["", "outbox/"])
def test_a_forked_child_gets_an_outbox_of_its_own(site: Site, tmp_path: Path, outbox: str) -> None:
    place = f"{tmp_path}/{outbox}" if outbox else ""
    with site.worker():
        done = run_python(["-c", _PROGRAM, place], environment=site.environment, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[1, 2, 3]"


def test_a_forked_child_may_not_use_its_parents_file(site: Site, tmp_path: Path) -> None:
    place = str(tmp_path / "outbox.db")
    with site.worker():
        done = run_python(["-c", _PROGRAM, place], environment=site.environment, cwd=tmp_path)
    assert done.returncode == 5, done.stderr
    assert f"the outbox {place} is in use" in done.stdout
    assert done.stdout.strip().endswith("[1, 3]")
