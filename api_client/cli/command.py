"""What all verbs of the client have in common: their last options, and how their errors end."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, TypeVar

import typer
from rich.console import RenderableType

from api_client.cli.connect import Connection, Target, connect
from api_client.cli.options import (
    ArtifactsOption,
    BrokerOption,
    DatabaseOption,
    JsonOption,
    LocalOption,
    OutboxOption,
    ResultsOption,
    TimeoutOption,
)
from api_client.cli.output import errors_explained, show
from api_client.contract.errors import InvalidRequest

T = TypeVar("T")
Verb = TypeVar("Verb", bound=Callable[..., None])


@dataclass(frozen=True)
class Run:
    """One run of a verb.

    Attributes:
        as_json: whether machines read the output.
        target: which storage to use.
    """

    as_json: bool
    target: Target

    def connect(self) -> AbstractContextManager[Connection]:
        """Reach the storage."""
        return connect(self.target)

    def show(self, value: T, readable: Callable[[T], RenderableType]) -> None:
        """Print the verb's result; see `output.show`."""
        show(value, self.as_json, readable)


def verb(
    app: typer.Typer, name: str, *, without: Collection[str] = (), panel: str | None = None
) -> Callable[[Verb], Verb]:
    """Make a verb of a function that takes a `Run`: its further parameters and those of `_common`,
    ``without`` some, become arguments and options, its docstring the help. In the help of ``app``
    it stands in the ``panel``."""

    def register(function: Verb) -> Verb:
        _run, *own = inspect.signature(function, eval_str=True).parameters.values()
        every = inspect.signature(_common, eval_str=True).parameters
        common = {option: kind for option, kind in every.items() if option not in without}

        def invoke(**given: Any) -> None:
            options = {option: given.pop(option) for option in common}
            with errors_explained(options["as_json"]):
                function(_common(**options), **given)

        # Typer reads the command line's shape from here.
        parameters = [p.replace(kind=p.KEYWORD_ONLY) for p in (*own, *common.values())]
        invoke.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        invoke.__annotations__ = {p.name: p.annotation for p in parameters}
        invoke.__doc__ = function.__doc__
        app.command(name, rich_help_panel=panel)(invoke)
        return function

    return register


def _common(
    context: typer.Context,
    as_json: JsonOption = False,
    broker: BrokerOption = None,
    results: ResultsOption = None,
    outbox: OutboxOption = None,
    local: LocalOption = False,
    database: DatabaseOption = None,
    artifacts: ArtifactsOption = None,
    timeout: TimeoutOption = 30.0,
) -> Run:
    """The run that these options ask for.

    Raises:
        InvalidRequest: options of the two ways, by broker and local, are mixed.
    """
    for option in ("broker", "results") if local else ("database",):
        source = context.get_parameter_source(option)
        # The environment may well name both ways; only what was typed is contradictory.
        if source is not None and source.name == "COMMANDLINE":
            word = "cannot go with" if local else "is only for"
            raise InvalidRequest(f"--{option} {word} --local", field=option)
    return Run(as_json, Target(broker, results, outbox, local, database, artifacts, timeout))
