"""A picture as people see it, in 80 columns or more."""

from __future__ import annotations

from datetime import datetime

from rich.console import Group, RenderableType
from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from worker.top.states import BrokerLook, DatabaseLook, Picture
from worker.top.totals import Totals, WorkerLook

#: Lines beside those of the workers.
_OTHER_LINES = 17
#: Seconds of lag from which it is marked.
_LAG = 60.0
#: Shares of connections and of memory from which they are marked.
_NEARLY = 0.9

_UNITS = (("d", 86_400), ("h", 3_600), ("min", 60))

_BAD, _DIM, _GOOD = "bold red", "dim", "green"


def screen(picture: Picture, *, interval: float, height: int | None = None) -> RenderableType:
    """The whole picture.

    Parameters:
        interval: seconds until the next one, for the title; 0 for a single one.
        height: lines to stay within; workers that do not fit are counted. None for any.
    """
    most = None if height is None else max(1, height - _OTHER_LINES)
    return Group(
        _title(picture, interval),
        Text(),
        _queues(picture),
        Text(),
        _facts(picture),
        Text(),
        _workers(picture, most),
    )


def _title(picture: Picture, interval: float) -> Text:
    moment = picture.at.astimezone().strftime("%Y-%m-%d %H:%M:%S")
    title = Text.assemble(("zdk top", "bold"), f"  {moment}")
    if interval:
        title.append(f"  every {interval:g} s  q quits", style=_DIM)
    return title


def _queues(picture: Picture) -> RenderableType:
    if picture.broker is None:
        return _trouble("broker", picture)
    table = _table("Queue", ">Waiting", ">Oldest", ">Unacknowledged", ">Oldest")
    for number, queue in enumerate(picture.broker.queues):
        cells = [queue.name, f"{queue.depth:,}", _span(queue.oldest)]
        taken = picture.broker.unacknowledged
        # Only writes are recorded when they are taken.
        if taken is not None and number == 0:
            cells += [f"{taken.count:,}", _span(taken.oldest)]
        table.add_row(*cells)
    return table


def _facts(picture: Picture) -> RenderableType:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    if picture.totals is not None:
        table.add_row("Rates", _rates(picture.totals))
        table.add_row("Latency", _latency(picture.totals))
    if picture.broker is not None:
        table.add_row("Lag", _lag(picture.broker))
        table.add_row("Redis", _memory(picture.broker))
    if picture.database is None:
        table.add_row("Database", _trouble("", picture, "database"))
    else:
        table.add_row("Dead letters", _dead_letters(picture.database, picture.at))
        table.add_row("Database", _database(picture.database))
    return table


def _workers(picture: Picture, most: int | None) -> RenderableType:
    if picture.workers is None or picture.totals is None:
        return _trouble("workers", picture)
    if not picture.workers:
        return Text("no workers: start one with zdk worker", style=_BAD)
    table = _table("Host", ">Pid", ">Busy", ">Msg/s", ">Ops/s", ">Fail/s", ">Up", ">Seen")
    # Long names are cut before numbers are.
    table.columns[0].no_wrap = False
    # Those that are missing first: they are what is to be seen.
    ordered = sorted(picture.workers, key=lambda worker: (worker.alive, worker.host, worker.pid))
    for worker in ordered[:most]:
        _add_worker(table, worker)
    if most is not None and len(ordered) > most:
        return Group(table, Text(f"and {len(ordered) - most} more", style=_DIM))
    return table


def _add_worker(table: Table, worker: WorkerLook) -> None:
    rates = worker.rates
    numbers = (rates.messages, rates.operations, rates.failures)
    table.add_row(
        Text(worker.host, no_wrap=True, overflow="ellipsis"),
        str(worker.pid),
        _busy(worker),
        *(_rate(number) if worker.alive else "-" for number in numbers),
        _span(worker.uptime),
        Text(_span(worker.silent), style="" if worker.alive else _BAD),
    )


def _busy(worker: WorkerLook) -> Text:
    if not worker.alive:
        return Text("gone", style=_BAD)
    if worker.stopping:
        return Text("stopping", style="yellow")
    return Text(f"{worker.busy}/{worker.processes}")


def _rates(totals: Totals) -> str:
    rates = totals.rates
    return (
        f"{_rate(rates.messages)} messages/s, {_rate(rates.operations)} operations/s, "
        f"{_rate(rates.failures)} failures/s, {_rate(rates.queries)} queries/s"
    )


def _latency(totals: Totals) -> str:
    wait = f"commit {_up_to(totals.wait_p50)}, p95 {_up_to(totals.wait_p95)}"
    return f"{wait}; apply {_up_to(totals.apply_p50)}, p95 {_up_to(totals.apply_p95)}"


def _lag(look: BrokerLook) -> Text:
    if look.lag is None:
        return Text("not told by this broker", style=_DIM)
    return Text(_span(look.lag), style=_BAD if look.lag > _LAG else "")


def _memory(look: BrokerLook) -> Text:
    found = look.memory
    if found is None:
        return Text("the broker is another one", style=_DIM)
    if not found.most:
        return Text(f"{decimal(found.used)}, no limit")
    share = found.used / found.most
    text = f"{decimal(found.used)} of {decimal(found.most)} ({share:.0%}), {found.policy}"
    return Text(text, style=_BAD if share > _NEARLY else "")


def _dead_letters(look: DatabaseLook, now: datetime) -> Text:
    if look.newest is None:
        return Text("none", style=_GOOD)
    age = _span(max(0.0, (now - look.newest.failed_at).total_seconds()))
    return Text(f"{look.dead_letters:,}, newest {age} ago: {look.newest.code}", style=_BAD)


def _database(look: DatabaseLook) -> Text:
    text = Text(f"{look.dialect}, {decimal(look.size)}")
    if look.connections is not None and look.most_connections is not None:
        nearly = look.connections > look.most_connections * _NEARLY
        taken = f", {look.connections} of {look.most_connections} connections"
        text.append(taken, style=_BAD if nearly else "")
    return text


def _trouble(label: str, picture: Picture, part: str = "") -> Text:
    why = picture.trouble.get(part or label, "")
    return Text(f"{label}: {why}" if label else why, style=_BAD)


def _table(*titles: str) -> Table:
    """Without lines; a title with ``>`` stands over numbers."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for title in titles:
        right = title.startswith(">")
        table.add_column(
            title.removeprefix(">"),
            justify="right" if right else "left",
            no_wrap=True,
            overflow="ellipsis",
        )
    return table


def _rate(number: float) -> str:
    return f"{number:,.0f}" if number >= 10 or not number else f"{number:.1f}"


def _up_to(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    return f"<= {seconds * 1000:.0f} ms" if seconds < 1 else f"<= {_span(seconds)}"


def _span(seconds: float | None) -> str:
    """A time such as 40 s, 12 min, 3 h or 5 d."""
    if seconds is None:
        return "-"
    for unit, size in _UNITS:
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
