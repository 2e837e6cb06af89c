"""``zdk dead-letters``."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Annotated, Any

import msgspec
import typer
from redis.exceptions import RedisError
from rich.console import Console
from rich.table import Table
from rich.text import Text
from sqlalchemy import Row

from api_client.contract.errors import InvalidRequest, StorageError, to_record
from api_client.contract.outcomes import Outcome
from worker import dead_letters as store
from worker.cli.output import Exit, errors_explained, fail, load_settings, print_json
from worker.process import open_redis, open_storage
from worker.replay import replay as replay_one
from worker.storage import Storage

dead_letters = typer.Typer(
    name="dead-letters",
    no_args_is_help=True,
    help="See, replay and discard what failed and nobody waited for.\n\n"
    "Failed operations, messages that could not be read, and messages given up. The database is "
    "the one in ZDK_DATABASE_URL.",
)

_PAGE = 500

Ids = Annotated[list[int] | None, typer.Argument(help="Their numbers, as `list` shows them.")]
App = Annotated[
    str | None, typer.Option(help='Only those of this app; "" for those of no known app.')
]
All = Annotated[bool, typer.Option("--all", help="All there are.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@dead_letters.command("list")
def list_(
    app: App = None,
    after: Annotated[int, typer.Option(help="Only those with a greater number.")] = 0,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most so many.")] = 100,
    as_json: Json = False,
) -> None:
    """List dead letters, oldest first.

    Example: zdk dead-letters list --app shop
    """
    with _storage() as storage, storage.database.read.connect() as connection:
        rows = store.page(connection, app=app, after=after, limit=limit + 1)
    more, rows = len(rows) > limit, rows[:limit]
    if as_json:
        print_json({"items": [*map(_summary, rows)], "next": rows[-1].pk if more else None})
        return
    if not rows:
        print("no dead letters")
        return
    _console().print(_table(rows))
    if more:
        print(f"more with --after {rows[-1].pk}")


@dead_letters.command()
def show(
    id: Annotated[int, typer.Argument(help="Its number.")],
    raw: Annotated[bool, typer.Option("--raw", help="Only its bytes, as they came.")] = False,
    as_json: Json = False,
) -> None:
    """Show one dead letter whole: why it failed, when, how often, and its bytes.

    Example: zdk dead-letters show 17
    """
    with _storage() as storage, storage.database.read.connect() as connection:
        row = store.find(connection, id)
    if row is None:
        fail(f"there is no dead letter {id} (any more)", Exit.NOT_FOUND)
    if raw:
        sys.stdout.buffer.write(row.body)
        sys.stdout.buffer.flush()
    elif as_json:
        print_json(_summary(row) | {"headers": row.headers, "body": bytes(row.body)})
    else:
        _print_whole(row)


@dead_letters.command()
def replay(ids: Ids = None, app: App = None, all_: All = False, as_json: Json = False) -> None:
    """Try dead letters again, in the order in which they failed.

    Those that succeed are gone; the others stay. Each has its effect at most once, however often
    it is replayed. Exits with 1 if any fails again.

    Example: zdk dead-letters replay 17 18

    Example: zdk dead-letters replay --app shop
    """
    memory = timedelta(days=load_settings().ledger_days)
    report = []
    with _storage() as storage:
        for pk in _chosen(storage, ids, app, all_):
            report.append(item := _replayed(storage, pk, memory))
            if not as_json:
                print(_visible(f"{pk}: {'applied' if item['ok'] else item['error']}"))
    failed = sum(not item["ok"] for item in report)
    if as_json:
        print_json({"replayed": len(report) - failed, "failed": failed, "items": report})
    else:
        print(f"{len(report) - failed} applied, {failed} failed again")
    if failed:
        raise typer.Exit(Exit.UNEXPECTED)


@dead_letters.command()
def discard(ids: Ids = None, app: App = None, all_: All = False, as_json: Json = False) -> None:
    """Drop dead letters for good.

    Example: zdk dead-letters discard 17

    Example: zdk dead-letters discard --app shop
    """
    gone = 0
    with _storage() as storage:
        for pk in _chosen(storage, ids, app, all_):
            with storage.database.write.begin() as connection:
                gone += store.discard(connection, pk)
    if as_json:
        print_json({"discarded": gone})
    else:
        print(f"{gone} discarded")


@contextmanager
def _storage() -> Iterator[Storage]:
    settings = load_settings()
    with errors_explained():
        storage = open_storage(settings, open_redis(settings))
        try:
            yield storage
        except RedisError as error:
            fail(f"staged bytes cannot be read: {error}", Exit.UNAVAILABLE)
        finally:
            storage.close()


def _chosen(
    storage: Storage, ids: list[int] | None, app: str | None, everything: bool
) -> Iterator[int]:
    if sum((bool(ids), app is not None, everything)) != 1:
        raise InvalidRequest("give numbers, or --app, or --all", field="ids")
    if ids:
        yield from ids
        return
    after = 0
    while True:
        with storage.database.read.connect() as connection:
            rows = store.page(connection, app=app, after=after, limit=_PAGE)
        if not rows:
            return
        yield from (row.pk for row in rows)
        after = rows[-1].pk


def _replayed(storage: Storage, pk: int, memory: timedelta) -> dict[str, Any]:
    try:
        outcomes = replay_one(storage, pk, memory)
    except StorageError as error:
        return _item(pk, [Outcome(error=to_record(error))])
    return _item(pk, outcomes)


def _item(pk: int, outcomes: Iterable[Outcome]) -> dict[str, Any]:
    errors = [found.error for found in outcomes if found.error is not None]
    return {
        "id": pk,
        "ok": not errors,
        "code": errors[0].code if errors else None,
        "error": errors[0].message if errors else None,
    }


def _summary(row: Row[Any]) -> dict[str, Any]:
    return {
        "id": row.pk,
        "message_id": row.message_id,
        "position": row.position,
        "app": row.app,
        "user": row.user_id,
        "session": row.session_id,
        "operation": row.operation,
        "code": row.code,
        "error": row.error,
        "size": row.size,
        "attempts": row.attempts,
        "issued_at": row.issued_at,
        "failed_at": row.failed_at,
    }


def _table(rows: Iterable[Row[Any]]) -> Table:
    table = Table(box=None)
    for title in ("id", "failed at", "session", "operation"):
        # Nothing is cut: a session's id is what people copy.
        table.add_column(title, no_wrap=title != "session", overflow="fold")
    table.add_column("error", ratio=1, overflow="fold")
    for row in rows:
        whose = "/".join(part for part in (row.app, row.user_id, row.session_id) if part)
        failed_at = f"{row.failed_at:%Y-%m-%d %H:%M:%S}"
        error = f"{row.code}: {row.error}"
        cells = (str(row.pk), failed_at, whose or "-", row.operation or "-", error)
        table.add_row(*map(_plain, cells))
    return table


def _print_whole(row: Row[Any]) -> None:
    console = _console()
    for name, value in _summary(row).items():
        console.print(_plain(f"{name:<11} {value}"), soft_wrap=True)
    if row.headers:
        console.print(_plain(f"{'headers':<11} {row.headers}"), soft_wrap=True)
    if row.size > len(row.body):
        console.print(f"only the first {len(row.body):,} bytes were kept")
    console.print(_plain(_readable(bytes(row.body))), soft_wrap=True)


def _readable(body: bytes) -> str:
    """Indented JSON, or else the bytes with escapes."""
    try:
        return msgspec.json.format(body, indent=2).decode()
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return repr(body)[2:-1]


def _plain(text: str) -> Text:
    return Text(_visible(text))


def _visible(text: str) -> str:
    """What failed may hold anything, also control characters that a terminal would obey."""
    return "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in text)


def _console() -> Console:
    return Console(highlight=False, emoji=False, markup=False)
