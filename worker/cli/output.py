"""What the operator's verbs share: settings, JSON, errors and exit codes."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from typing import Any, NoReturn

import typer
from pydantic import ValidationError
from sqlalchemy.exc import DBAPIError

from api_client.contract.codec import encode
from api_client.contract.errors import InvalidRequest, NotFound, StorageError
from worker.database.errors import in_words
from worker.settings import Settings


class Exit(IntEnum):
    """Exit codes; the client's verbs use the same ones."""

    OK = 0
    UNEXPECTED = 1
    USAGE = 2
    NOT_FOUND = 3
    UNAVAILABLE = 5


def load_settings() -> Settings:
    """The settings; one that is malformed ends the command with a line that names it."""
    try:
        return Settings()
    except ValidationError as error:
        problems = "; ".join(_told(problem["loc"], problem["msg"]) for problem in error.errors())
        fail(f"the environment is not right: {problems}", Exit.USAGE)


def _told(place: tuple[int | str, ...], message: str) -> str:
    """The message with the variable's name; one about several settings names them itself."""
    message = message.removeprefix("Value error, ")
    return f"ZDK_{'_'.join(map(str, place)).upper()}: {message}" if place else message


@contextmanager
def errors_explained() -> Iterator[None]:
    """End the command with one clear line on an error of the contract, the database or a disk."""
    try:
        yield
    except DBAPIError as error:
        fail(in_words(error), Exit.UNAVAILABLE)
    except OSError as error:
        fail(str(error), Exit.UNAVAILABLE)
    except NotFound as error:
        fail(error.message, Exit.NOT_FOUND)
    except InvalidRequest as error:
        fail(error.message, Exit.USAGE)
    except StorageError as error:
        fail(error.message, Exit.UNAVAILABLE)


def fail(message: str, code: Exit) -> NoReturn:
    """Print ``message`` to the standard error and exit with ``code``."""
    print(f"zdk: {message}", file=sys.stderr)
    raise typer.Exit(code)


def print_json(value: Any) -> None:
    """Print one JSON document on a line of its own."""
    sys.stdout.write(encode(value).decode() + "\n")
    sys.stdout.flush()
