"""What the verbs say of themselves, and the numbers that they do not take."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
import typer

from api_client.cli.main import build_app

COMMAND: Any = typer.main.get_command(build_app())
#: The command, where it is one and not the end of a path.
_COMMAND_WORD = re.compile(r"(?<![/\w])zdk ")
_CHAINED = re.compile(r"&&|\|")


def verbs(command: Any, *words: str) -> Iterator[tuple[str, str]]:
    """All verbs and groups, each with its help."""
    yield " ".join(words), command.help or ""
    for name, inner in getattr(command, "commands", {}).items():
        yield from verbs(inner, *words, name)


def test_each_example_stands_on_a_line_of_its_own() -> None:
    found = dict(verbs(COMMAND))
    assert found.keys() > {"top", "sessions append", "dead-letters replay", "health live"}
    # The terminal joins the lines of a paragraph.
    for name, text in found.items():
        for paragraph in text.split("\n\n"):
            assert "Example:" not in paragraph.removeprefix("Example:"), name
            if paragraph.startswith("Example:"):
                parts = _CHAINED.split(paragraph)
                assert all(len(_COMMAND_WORD.findall(part)) <= 1 for part in parts), name


def test_the_terminal_breaks_the_lines_of_all_verbs() -> None:
    for name, text in verbs(COMMAND):
        assert "\n" not in text.replace("\n\n", ""), name


def test_nothing_is_cut_at_eighty_columns(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    for name, _ in verbs(COMMAND):
        COMMAND.main([*name.split(), "--help"], prog_name="zdk", standalone_mode=False)
        shown = capsys.readouterr().out
        assert "Usage: zdk" in shown
        assert "…" not in shown, name
        assert max(map(len, shown.splitlines())) == 80, name


@pytest.mark.parametrize("number", ["nan", "inf", "-1"])
@pytest.mark.parametrize(
    "words",
    [
        "top --once --interval",
        "doctor --timeout",
        "sweep --grace",
        "up --grace",
    ],
)
def test_what_is_no_time_is_refused(words: str, number: str) -> None:
    with pytest.raises(Exception, match="Input should be") as found:
        COMMAND.main([*words.split(), number], standalone_mode=False)
    refusal: Any = found.value
    assert refusal.format_message().startswith(f"Invalid value for '{words.split()[-1]}': ")
