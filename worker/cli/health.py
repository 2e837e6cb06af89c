"""``zdk health``."""

from __future__ import annotations

import http.client
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.text import Text

from worker.cli.output import Exit, fail, load_settings

health = typer.Typer(help="Whether a worker lives, and can work.", no_args_is_help=True)

#: Beyond what the endpoint itself takes at most.
_SECONDS = 8.0

PortOption = Annotated[
    int | None,
    typer.Option(min=1, max=65535, help="The worker's --http-port; ZDK_HTTP_PORT if not given."),
]
HostOption = Annotated[
    str | None, typer.Option(help="The worker's address; this machine if not given.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


class _Check(msgspec.Struct):
    name: str
    ok: bool | None
    detail: str
    advice: str = ""


class _Answer(msgspec.Struct):
    """Of either endpoint; whatever a later release adds is passed over."""

    ok: bool
    detail: str = ""
    checks: list[_Check] = msgspec.field(default_factory=list)


@health.command()
def live(port: PortOption = None, host: HostOption = None, as_json: JsonOption = False) -> None:
    """Ask a worker whether its loop turns and its pool takes work.

    Exits with 1 if not, or if nothing answers: then it should be started again. An outage of the
    broker or the database does not make a worker dead; zdk health ready tells of those.

    Example: zdk health live --port 9464
    """
    _tell("/live", port, host, as_json)


@health.command()
def ready(port: PortOption = None, host: HostOption = None, as_json: JsonOption = False) -> None:
    """Ask a worker whether it can work now: broker, results, database, schema, blob store.

    Exits with 1 if not, or if nothing answers. A worker that is ending is live and not ready.
    zdk doctor asks the same without a worker, from where it is run.

    Example: zdk health ready --json
    """
    _tell("/ready", port, host, as_json)


def _tell(path: str, port: int | None, host: str | None, as_json: bool) -> None:
    settings = load_settings()
    if (port := port or settings.http_port) is None:
        fail("no port: give --port, or set ZDK_HTTP_PORT as the worker has it", Exit.USAGE)
    answer = _ask(host or _own(settings.http_host), port, path)
    if as_json:
        typer.echo(msgspec.json.encode(answer))
    else:
        _print(answer, path.strip("/"))
    if not answer.ok:
        raise typer.Exit(Exit.UNEXPECTED)


def _own(host: str) -> str:
    """Where to reach a worker on this machine that listens at ``host``."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)


def _ask(host: str, port: int, path: str) -> _Answer:
    connection = http.client.HTTPConnection(host, port, timeout=_SECONDS)
    try:
        connection.request("GET", path)
        return msgspec.json.decode(connection.getresponse().read(), type=_Answer)
    except (OSError, http.client.HTTPException) as error:
        return _Answer(False, f"nothing answers at {host} port {port}: {error}")
    except msgspec.MsgspecError:
        return _Answer(False, f"what answers at {host} port {port} is no worker of this project")
    finally:
        connection.close()


def _print(answer: _Answer, word: str) -> None:
    console = Console(highlight=False)
    said = (word, "green") if answer.ok else (answer.detail, "bold red")
    console.print(Text.assemble(said), soft_wrap=True)
    for check in answer.checks:
        mark = ("ok", "green") if check.ok else ("FAILED", "bold red")
        line = Text.assemble((f"{mark[0]:>7}", mark[1]), f"  {check.name:<11} {check.detail}")
        console.print(line, soft_wrap=True)
        if check.advice:
            console.print(Text(f"{'':9}{'':<12}-> {check.advice}"), soft_wrap=True)
