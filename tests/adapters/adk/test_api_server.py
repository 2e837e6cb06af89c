"""ADK's own command line over our services: a real server, a real broker and worker, an HTTP
client, and the agent of docs/adk.md, whose model is a few lines of Python."""

from __future__ import annotations

import asyncio
import base64
import importlib.util
import json
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from google.adk.agents import LlmAgent
from google.adk.runners import Runner

from api_client import StorageClient
from api_client.adapters.adk import ZdkArtifactService, ZdkSessionService
from api_client.contract.records import new_id
from tests.support.documents import python_blocks
from tests.support.programs import clean_environment
from tests.support.workers import Stack
from worker.embedded.child import kill_child, start_child
from worker.embedded.server import LOOPBACK, free_port, wait_until_ready

_ADK = Path(sys.executable).with_name("adk")
_SECONDS = 30.0


@pytest.fixture
def agents(tmp_path: Path) -> Path:
    """A folder with one agent, the one of docs/adk.md."""
    assert importlib.util.find_spec("zdk_storage_startup") is not None, (
        "this environment has another release's startup files: install the project again"
    )
    folder = tmp_path / "agents" / "keeper"
    folder.mkdir(parents=True)
    (program,) = (text for text in python_blocks("docs/adk.md") if "class Scripted" in text)
    (folder / "agent.py").write_text(program)
    return folder.parent


class Server:
    """An HTTP client of one user's part of a running ``adk api_server``."""

    def __init__(self, port: int, user: str):
        self.user = user
        self._root = f"http://{LOOPBACK}:{port}"
        self._place = f"{self._root}/apps/keeper/users/{user}/sessions"

    def is_up(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self._root}/health", timeout=_SECONDS) as reply:
                return bool(reply.status == 200)
        except OSError:
            return False

    def __call__(self, method: str, path: str = "", body: Any = None) -> Any:
        """The JSON of the reply; ``path`` goes on from the user's sessions."""
        return self._ask(method, self._place + path, body)

    def say(self, session: str, text: str) -> list[dict[str, Any]]:
        """Run the agent; the events of the run."""
        message = {"role": "user", "parts": [{"text": text}]}
        body = {
            "appName": "keeper",
            "userId": self.user,
            "sessionId": session,
            "newMessage": message,
        }
        events: list[dict[str, Any]] = self._ask("POST", f"{self._root}/run", body)
        return events

    def _ask(self, method: str, url: str, body: Any) -> Any:
        request = urllib.request.Request(
            url,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"content-type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=_SECONDS) as reply:
            return json.load(reply)


@contextmanager
def api_server(
    agents: Path, uri: str, user: str, environment: Mapping[str, str]
) -> Iterator[Server]:
    """A running server, which is killed afterwards."""
    port = free_port()
    log = agents.parent / f"{port}.log"
    with log.open("wb") as out:
        child = start_child(
            [
                *(str(_ADK), "api_server", f"--port={port}"),
                *(f"--session_service_uri={uri}", f"--artifact_service_uri={uri}", str(agents)),
            ],
            env=clean_environment(environment),
            cwd=agents.parent,
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    try:
        server = Server(port, user)
        wait_until_ready("the server", child, server.is_up, timeout=_SECONDS, log=log)
        yield server
    finally:
        kill_child(child)


@pytest.mark.parametrize("stack", ["postgresql-celery"], indirect=True)
def test_api_server(stack: Stack, agents: Path, tmp_path: Path) -> None:
    user = f"user-{new_id()}"
    assert stack.broker_url is not None
    uri = f"{stack.broker_url.replace('redis', 'zdk', 1)}?outbox={tmp_path / 'outbox'}/"

    with api_server(agents, uri, user, {}) as server:
        created = server("POST", "", {"sessionId": "s-1", "state": {"lang": "en", "app:a": 1}})
        assert (created["id"], created["state"]) == ("s-1", {"lang": "en", "app:a": 1})
        first = server.say("s-1", "milk")
        assert [*map(_kind, first)] == ["functionCall", "functionResponse", "text"]
        assert first[1]["actions"]["artifactDelta"] == {"note.txt": 0}
        assert first[2]["content"]["parts"] == [{"text": "this is version 0"}]
        png = base64.b64encode(b"\x89PNG").decode()
        saved = server(
            "POST",
            "/s-1/artifacts",
            {
                "filename": "user:a/b.png",
                "artifact": {"inlineData": {"mimeType": "image/png", "data": png}},
                "customMetadata": {"n": 1},
            },
        )
        assert (saved["version"], saved["mimeType"]) == (0, "image/png")
        assert saved["canonicalUri"].startswith("zdk://apps/keeper/users/")
        before = server("GET", "/s-1")

    # Killed, as `api_server` does it, and started again elsewhere.
    with api_server(agents, "zdk://", user, {"ZDK_BROKER_URL": stack.broker_url}) as server:
        assert server("GET", "/s-1") == before
        second = server.say("s-1", "bread")
        assert second[2]["content"]["parts"] == [{"text": "this is version 1"}]
        session = server("GET", "/s-1")
        assert session["state"] == {
            "lang": "en",
            "app:a": 1,
            "user:last": "bread",
            "said": "this is version 1",
        }
        assert len(session["events"]) == 8
        assert server("GET", "/s-1/artifacts") == ["note.txt", "user:a/b.png"]
        assert server("GET", "/s-1/artifacts/note.txt/versions") == [0, 1]
        assert server("GET", "/s-1/artifacts/note.txt")["text"] == "bread"
        assert server("GET", "/s-1/artifacts/note.txt?version=0")["text"] == "milk"
        assert server("GET", "/s-1/artifacts/user:a/b.png")["inlineData"]["data"] == png
        known = server("GET", "/s-1/artifacts/user:a/b.png/versions/0/metadata")
        assert known == saved

        # The server has no call for this; the runner of another process has.
        with stack.open() as client:
            asyncio.run(_rewind(client, user, second[0]["invocationId"]))
        session = server("GET", "/s-1")
        assert session["state"]["said"] == "this is version 0"
        assert session["events"][-1]["actions"]["rewindBeforeInvocationId"]
        assert server("GET", "/s-1/artifacts/note.txt")["text"] == "milk"
        assert server("GET", "/s-1/artifacts/note.txt/versions") == [0, 1, 2]

        server("DELETE", "/s-1/artifacts/note.txt")
        assert server("GET", "/s-1/artifacts") == ["user:a/b.png"]
        assert [listed["id"] for listed in server("GET")] == ["s-1"]
        server("DELETE", "/s-1")
        assert server("GET") == []
        with pytest.raises(urllib.error.HTTPError, match="404"):
            server("GET", "/s-1")


def test_run_without_a_broker(agents: Path, tmp_path: Path) -> None:
    store = tmp_path / "a store"
    uri = f"zdk+local://{quote(str(store))}"
    ran = subprocess.run(
        [
            *(str(_ADK), "run"),
            *(f"--session_service_uri={uri}", f"--artifact_service_uri={uri}"),
            *(str(agents / "keeper"), "milk"),
        ],
        env=clean_environment({}),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr

    async def found() -> None:
        owner: dict[str, Any] = {"app_name": "keeper", "user_id": "test_user"}
        (session,) = (await ZdkSessionService(client).list_sessions(**owner)).sessions
        assert session.state["said"] == "this is version 0"
        note = await ZdkArtifactService(client).load_artifact(
            **owner, session_id=session.id, filename="note.txt"
        )
        assert note is not None
        assert note.text == "milk"

    with StorageClient.local(f"sqlite:///{store}/zdk.db", str(store / "artifacts")) as client:
        asyncio.run(asyncio.wait_for(found(), _SECONDS))


async def _rewind(client: StorageClient, user: str, invocation: str) -> None:
    runner = Runner(
        app_name="keeper",
        agent=LlmAgent(name="keeper"),
        session_service=ZdkSessionService(client),
        artifact_service=ZdkArtifactService(client),
    )
    await asyncio.wait_for(
        runner.rewind_async(user_id=user, session_id="s-1", rewind_before_invocation_id=invocation),
        _SECONDS,
    )


def _kind(event: dict[str, Any]) -> str:
    (part,) = event["content"]["parts"]
    (kind,) = part.keys()
    return str(kind)
