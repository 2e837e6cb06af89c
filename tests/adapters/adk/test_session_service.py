"""How the session service is made, imported and closed; its page and its example."""

from __future__ import annotations

import asyncio
import re
import runpy
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest
from google.adk.models import BaseLlm, LlmResponse
from google.adk.models.registry import LLMRegistry
from google.genai import types

from api_client import InvalidRequest, StorageClient, Unavailable
from api_client.adapters.adk import ZdkSessionService
from tests.adapters.adk.conftest import over_celery, over_one_stack
from tests.adapters.adk.session_contract import Desk, event
from tests.support.documents import ROOT, python_blocks
from tests.support.programs import run_python
from tests.support.workers import Stack

_PAGE = "docs/adk.md"


class TestClients:
    @over_celery
    async def test_a_broker_url(self, stack: Stack, app: str, tmp_path: Path) -> None:
        assert stack.broker_url is not None
        outbox = tmp_path / "outbox.db"
        async with ZdkSessionService(stack.broker_url, ack="accepted", outbox=outbox) as service:
            session = await Desk(service, app).create("s")
            await Desk(service, app).append(session, event())
            with pytest.raises(Unavailable):
                ZdkSessionService(stack.broker_url, outbox=outbox)
        with pytest.raises(Unavailable):
            await Desk(service, app).append(session, event())
        async with ZdkSessionService(stack.broker_url, outbox=outbox) as service:
            assert len((await Desk(service, app).got("s")).events) == 1

    @over_one_stack
    async def test_a_client_stays_the_callers(self, client: StorageClient, app: str) -> None:
        async with ZdkSessionService(client) as service:
            await Desk(service, app).create("s")
        assert await Desk(ZdkSessionService(client), app).got("s")

    def test_wrong_arguments(self) -> None:
        with StorageClient.local() as client:
            wrong: list[tuple[Any, dict[str, Any], str]] = [
                (client, {"ack": "sometime"}, "ack"),
                (client, {"outbox": "outbox.db"}, "client"),
                (None, {}, "client"),
                ("not a url", {}, "broker_url"),
            ]
            for given, options, field in wrong:
                with pytest.raises(InvalidRequest) as refused:
                    ZdkSessionService(given, **options)
                assert refused.value.field == field


class TestState:
    @over_one_stack
    async def test_nesting_that_nobody_follows(self, service: ZdkSessionService, app: str) -> None:
        deep: list[Any] = []
        for _ in range(1_000):
            deep = [deep]
        endless: list[Any] = []
        endless.append(endless)
        for value in (deep, endless):
            with pytest.raises(InvalidRequest) as refused:
                await Desk(service, app).create("s", state={"k": value})
            assert refused.value.field == "state"


class TestImports:
    def run(self, program: str) -> str:
        done = run_python(["-c", program], environment={}, cwd=ROOT)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def test_without_the_framework(self) -> None:
        program = (
            "import sys; sys.modules['google.adk'] = None\n"
            "try: import api_client.adapters.adk\n"
            "except ImportError as error: print(error)"
        )
        assert "pip install 'zdk-storage[adk]'" in self.run(program)

    def test_lazily(self) -> None:
        program = (
            "import sys, api_client, api_client.cli.main\n"
            "assert not any(name.startswith('google.adk') for name in sys.modules)\n"
            "import api_client.adapters.adk\n"
            "assert 'google.adk.sessions' not in sys.modules\n"
            "from api_client.adapters.adk import ZdkSessionService\n"
            "assert 'api_client.adapters.adk.artifacts' not in sys.modules\n"
            "assert not hasattr(api_client.adapters.adk, 'nothing')"
        )
        self.run(program)


class OneAnswer(BaseLlm):  # type: ignore[misc]
    """Says how many contents it was given."""

    async def generate_content_async(
        self, llm_request: Any, stream: bool = False
    ) -> AsyncGenerator[LlmResponse, None]:
        part = types.Part(text=f"{len(llm_request.contents)} contents")
        yield LlmResponse(content=types.Content(role="model", parts=[part]))


class TestDocuments:
    def programs(self) -> list[str]:
        """Those of the page that are about sessions."""
        about_sessions = (ROOT / _PAGE).read_text().partition("\n## Artifacts\n")[0]
        return [one for one in python_blocks(_PAGE) if one in about_sessions]

    def test_programs(
        self,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        # The page's model is Google's; here it is one in this process.
        monkeypatch.setattr(LLMRegistry, "new_llm", lambda model: OneAnswer(model=model))
        monkeypatch.chdir(tmp_path)
        quickstart, ways_to_write = self.programs()
        exec(quickstart, {})
        assert capsys.readouterr().out == "1 contents\n"
        variables: dict[str, Any] = {}
        exec(ways_to_write, variables)
        with variables["client"]:
            stored = asyncio.run(Desk(variables["session_service"], "weather_app").list("user_1"))
        assert [one.state for one in stored] == [{"last_report": "1 contents"}]

    def test_example(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        example = runpy.run_path(str(ROOT / "examples" / "adk_agent.py"))
        for cities in (["Paris", "Rome"], ["Paris", "Rome"] * 2):
            asyncio.run(example["main"](f"sqlite:///{tmp_path}/s.db"))
            printed = capsys.readouterr().out
            assert "It is sunny in Rome." in printed
            assert "9 events" in printed
            assert "'last_report': 'It is sunny in Paris.'" in printed
            assert f"user state {{'cities': {cities}}}" in printed

    def test_the_page_names_tests_that_there_are(self) -> None:
        named = set(re.findall(r"`(test_\w+)`", (ROOT / _PAGE).read_text()))
        defined = {
            name
            for file in (ROOT / "tests").rglob("test_*.py")
            for name in [file.stem, *re.findall(r"def (test_\w+)", file.read_text())]
        }
        contracts = (ROOT / "tests" / "adapters" / "adk").glob("*_contract.py")
        for file in contracts:
            defined |= set(re.findall(r"def (test_\w+)", file.read_text()))
        assert named
        assert named <= defined
