"""The programs of docs/openai-agents.md and the example run as they stand, without a key."""

from __future__ import annotations

import asyncio
import re
import runpy
from pathlib import Path
from typing import Any

import pytest
from agents import set_tracing_disabled
from agents.models.multi_provider import MultiProvider

from tests.adapters.openai.model import PlayedModel, says
from tests.support.documents import ROOT, python_blocks

_PAGE = "docs/openai-agents.md"


class CountingModel(PlayedModel):
    """Says how many items it was given."""

    async def get_response(
        self, system_instructions: str | None, input: Any, *settings: Any, **more: Any
    ) -> Any:
        self._outputs = [says(f"{len(input)} items")]
        return await super().get_response(system_instructions, input)


@pytest.fixture
def in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page's model is OpenAI's; here it is one in this process."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(MultiProvider, "get_model", lambda *_: CountingModel())
    set_tracing_disabled(True)


@pytest.mark.usefixtures("in_a_folder")
def test_programs(capsys: pytest.CaptureFixture[str]) -> None:
    quickstart, *others = python_blocks(_PAGE)
    # The second run finds what the first has stored.
    for counts in ("1 items\n3 items\n", "5 items\n7 items\n"):
        exec(quickstart, {})
        assert capsys.readouterr().out == counts
    for program in others:
        exec(program, {})


def test_example(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    example = runpy.run_path(str(ROOT / "examples" / "openai_agent.py"))
    for items in (4, 8):
        asyncio.run(example["main"](f"sqlite:///{tmp_path}/s.db"))
        printed = capsys.readouterr().out
        assert f"{items} items in the conversation" in printed
        assert "red hats, green gloves" in printed


def test_the_table_names_tests_that_there_are() -> None:
    named = set(re.findall(r"`(test_\w+)`", (ROOT / _PAGE).read_text()))
    defined = {
        name
        for file in Path(__file__).parent.glob("*.py")
        for name in re.findall(r"def (test_\w+)", file.read_text())
    }
    assert named
    assert named <= defined
