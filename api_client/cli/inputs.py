"""What verbs take in: JSON on the command line, files, and a person's yes."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

import typer

from api_client.cli.output import visible
from api_client.contract.checks import decode_json, utf8_length
from api_client.contract.errors import InvalidRequest

#: Stands for the standard input or output where a file is named.
STANDARD = "-"


def parse_json(text: str, field: str) -> Any:
    """The value of JSON given on the command line.

    Raises:
        InvalidRequest: it is not JSON.
    """
    utf8_length(text, field)
    return decode_json(text, field)


def parse_object(text: str | None, field: str) -> dict[str, Any]:
    """Likewise, of a JSON object; an empty one for None."""
    if text is None:
        return {}
    value = parse_json(text, field)
    if not isinstance(value, dict):
        raise InvalidRequest(
            f"""{field} must be a JSON object, such as '{{"lang": "en"}}'""", field=field
        )
    return value


def parse_assignments(assignments: list[str], field: str) -> dict[str, Any]:
    """The state keys and values of ``KEY=JSON`` arguments.

    Raises:
        InvalidRequest: one is not of that form, or a key comes twice.
    """
    found: dict[str, Any] = {}
    for assignment in assignments:
        key, sign, text = assignment.partition("=")
        if not sign or not key:
            raise InvalidRequest(f"{field} must be KEY=JSON, not {assignment!r}", field=field)
        if key in found:
            raise InvalidRequest(f"{field} names {key!r} twice", field=field)
        try:
            found[key] = parse_json(text, f"{field} {key}")
        except InvalidRequest as error:
            hint = f"""; a text needs quotes: '{key}="{text}"'"""
            raise InvalidRequest(error.message + hint, field=field) from None
    return found


@contextmanager
def opened(name: str, field: str) -> Iterator[IO[bytes]]:
    """A file open for reading bytes; the standard input for ``-``.

    Raises:
        InvalidRequest: it cannot be opened.
    """
    if name == STANDARD:
        yield sys.stdin.buffer
        return
    with _open(name, field) as file:
        yield file


def _open(name: str, field: str) -> IO[bytes]:
    try:
        return open(name, "rb")
    except OSError as error:
        raise InvalidRequest(
            f"{field}: {name} cannot be read: {error.strerror}", field=field
        ) from None


def confirm(question: str, yes: bool) -> None:
    """Ask before something that cannot be undone; without a terminal, insist on ``--yes``.

    Raises:
        InvalidRequest: there is nobody to ask.
        typer.Abort: the answer was no.
    """
    if yes:
        return
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise InvalidRequest("this cannot be undone; say --yes to do it unasked", field="yes")
    typer.confirm(visible(question), abort=True, err=True)
