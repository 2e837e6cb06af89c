"""The operator's page works as it stands: each command, in its order, over real servers."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from api_client import ArtifactKey, Event, NotFound, SessionKey
from tests.integration.conftest import Site, open_site
from tests.support.documents import ROOT, anchors, commands
from tests.support.programs import clean_environment, invoke_zdk, run_zdk
from tests.support.waiting import wait_until
from worker.embedded.server import free_port

PAGE = "docs/operations.md"
KEY = SessionKey("shop", "ada", "s-1")
LATER = SessionKey("shop", "ada", "created-after-its-first-event")
PATIENCE = 30.0


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A site whose Redis is as the page asks for, with the endpoint's port in its environment."""
    with open_site(tmp_path, f"sqlite:///{tmp_path / 'zdk.db'}") as opened:
        opened.environment["ZDK_HTTP_PORT"] = str(free_port())
        yield opened


def fill(site: Site, outbox: Path) -> None:
    """A session, an artifact, and two dead letters, of which the first can be replayed."""
    with site.client(outbox / "agent.db") as client:
        for key in (LATER, SessionKey("shop", "ada", "never-created")):
            client.sessions.append(key, Event(author="agent")).accepted.result(timeout=PATIENCE)
            assert client.flush(timeout=PATIENCE) == 0
        for key in (KEY, LATER):
            client.sessions.create(key).result(timeout=PATIENCE)
        name = ArtifactKey("shop", "ada", "s-1", "report.pdf")
        assert client.artifacts.save(name, b"%PDF").result(timeout=PATIENCE) == 1


def test_every_command(site: Site, tmp_path: Path) -> None:
    outbox = tmp_path / "outbox"
    outbox.mkdir()
    places = {"/mnt/backups/zdk": f"{tmp_path}/backups", "/var/lib/agent/outbox": f"{outbox}"}
    (start,) = [line for line in commands(PAGE) if line.startswith("zdk worker")]
    with ExitStack() as workers:
        workers.enter_context(running(site, shlex.split(start)[1:]))
        fill(site, outbox)
        for command in commands(PAGE):
            program, *words = shlex.split(command)
            assert program == "zdk"
            if command == start:
                continue
            words = [places.get(word, word) for word in words]
            if words[0] == "restore":
                workers.close()
                site.environment["ZDK_DATABASE_URL"] = f"sqlite:///{tmp_path / 'restored.db'}"
            code, said = run(site, words)
            assert code == 0, (command, said)
    with site.worker(), site.client() as client:
        assert client.sessions.load(KEY).result(timeout=PATIENCE).key == KEY
        # It was replayed after the backup, so it is as it was before: the session without it.
        assert client.sessions.load(LATER).result(timeout=PATIENCE).revision == 0
        with pytest.raises(NotFound):
            client.sessions.load(SessionKey("shop", "ada", "never-created")).result(PATIENCE)


def run(site: Site, words: list[str]) -> tuple[int, str]:
    """Run the ``zdk`` command; its exit code and what it said."""
    # It makes a Celery app, which changes how this process reads messages.
    if words[0] == "doctor":
        done = run_zdk(*words, environment=site.environment, cwd=site.folder)
        return done.returncode, done.stdout + done.stderr
    result = invoke_zdk(*words, environment=site.environment)
    return result.exit_code, result.output


@contextmanager
def running(site: Site, words: list[str]) -> Iterator[None]:
    """The page's worker until it has ended, once it is ready; with the port of this site."""
    port = site.environment["ZDK_HTTP_PORT"]
    words = [port if word == "9464" else word for word in words]
    with (site.folder / "worker.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "api_client", *words],
            env=clean_environment(site.environment),
            cwd=site.folder,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        ask = ("health", "ready")
        wait_until(
            lambda: invoke_zdk(*ask, environment=site.environment).exit_code == 0,
            "the worker is ready",
        )
        yield
    finally:
        process.terminate()
        process.wait(PATIENCE)


def test_every_alert_has_its_place_in_the_page() -> None:
    rules = (ROOT / "deploy/prometheus/alerts.yml").read_text()
    named = re.findall(r"runbook_url: (\S+?)#(\S+)", rules)
    assert len(named) > 8
    assert {page for page, _ in named} == {PAGE}
    assert {anchor for _, anchor in named} <= anchors(PAGE)


def test_links_into_other_pages_lead_somewhere() -> None:
    links = re.findall(r"\]\(([\w./-]+\.md)?(?:#([\w-]+))?\)", (ROOT / PAGE).read_text())
    assert len(links) > 10
    for page, anchor in links:
        target = ROOT / "docs" / page if page else ROOT / PAGE
        assert target.exists(), page
        if anchor:
            assert anchor in anchors(str(target.resolve().relative_to(ROOT))), (page, anchor)
