"""What every command prints: something readable for people, or JSON, and errors as one line."""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import IntEnum
from typing import Any, NoReturn, TextIO, TypeVar

import msgspec
import typer
from rich.console import Console, RenderableType

from api_client.cli.extras import is_missing_extra, missing_extra_message
from api_client.contract.codec import encode
from api_client.contract.errors import StorageError

T = TypeVar("T")

#: Columns for output that goes into a file or a pipe: as many as the text needs.
_UNBOUNDED = 100_000
#: Joiners inside emoji and several scripts; all other invisible characters are escaped.
_JOINERS = "\u200c\u200d"


class ExitCode(IntEnum):
    """How a command ends."""

    OK = 0
    UNEXPECTED = 1
    USAGE = 2
    NOT_FOUND = 3
    CONFLICT = 4
    UNAVAILABLE = 5
    FORBIDDEN = 6


#: By the error's code; one that this release does not know is unexpected.
EXIT_CODES = {
    "invalid_request": ExitCode.USAGE,
    "too_large": ExitCode.USAGE,
    "not_found": ExitCode.NOT_FOUND,
    "already_exists": ExitCode.CONFLICT,
    "conflict": ExitCode.CONFLICT,
    "outbox_full": ExitCode.UNAVAILABLE,
    "unavailable": ExitCode.UNAVAILABLE,
    "timeout": ExitCode.UNAVAILABLE,
    "forbidden": ExitCode.FORBIDDEN,
}

EXIT_CODES_HELP = (
    "Exit codes: 0 done, 1 unexpected, 2 wrong usage or input, 3 not found, "
    "4 exists already or conflicts, 5 unavailable or not in time, 6 forbidden."
)


@contextmanager
def errors_explained(as_json: bool) -> Iterator[None]:
    """End the command with one line on the standard error, and an exit code, on any error.

    Parameters:
        as_json: print ``{"error": {"code", "message", "field", "limit"}}`` instead of text.
    """
    try:
        yield
    except (typer.Exit, typer.Abort, BrokenPipeError):
        raise
    except StorageError as error:
        _fail(as_json, error.code, error.message, error.field, error.limit)
    except TimeoutError as error:
        _fail(as_json, "timeout", str(error))
    except ImportError as error:
        if not is_missing_extra(error):
            raise
        _fail(as_json, "invalid_request", missing_extra_message())
    except OSError as error:
        _fail(as_json, "os_error", _os_message(error))
    except Exception as error:
        # People get the traceback, which is what a report of a bug needs.
        if not as_json:
            raise
        _fail(as_json, "unexpected", f"{type(error).__name__}: {error}")


def print_json(value: Any) -> None:
    """Print one JSON document: on one line, or indented on a terminal."""
    encoded = encode(value)
    if sys.stdout.isatty():
        encoded = msgspec.json.format(encoded, indent=2)
    typer.echo(encoded)


def show(value: T, as_json: bool, readable: Callable[[T], RenderableType]) -> None:
    """Print a result.

    Parameters:
        readable: makes of it what people read: a line of text, or what rich can draw.
    """
    if as_json:
        print_json(value)
        return
    drawn = readable(value)
    if isinstance(drawn, str):
        typer.echo(visible(drawn))
    else:
        console(sys.stdout).print(drawn)


def note(text: str) -> None:
    """Print a line on the standard error that is no error."""
    typer.echo(f"zdk: {visible(text)}", err=True)


def console(stream: TextIO) -> Console:
    """A rich console that draws and colours only on a terminal, and never interprets markup."""
    terminal = stream.isatty()
    return Console(
        file=stream,
        force_terminal=terminal,
        width=None if terminal else _UNBOUNDED,
        markup=False,
        emoji=False,
        highlight=False,
    )


def visible(text: str) -> str:
    """``text`` on one line, with everything that could steer a terminal escaped."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(map(_visible_character, text))


def _visible_character(character: str) -> str:
    hidden = unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp")
    if not hidden or character in _JOINERS:
        return character
    return character.encode("unicode_escape").decode()


def _fail(
    as_json: bool, code: str, message: str, field: str | None = None, limit: int | None = None
) -> NoReturn:
    # Messages of databases and brokers span lines.
    line = visible(" ".join(message.split()))
    if as_json:
        error = {"code": code, "message": line, "field": field, "limit": limit}
        typer.echo(encode({"error": error}), err=True)
    else:
        typer.echo(f"zdk: {line}", err=True)
    raise SystemExit(EXIT_CODES.get(code, ExitCode.UNEXPECTED))


def _os_message(error: OSError) -> str:
    if error.filename is None:
        return error.strerror or str(error)
    return f"{error.filename}: {error.strerror}"
