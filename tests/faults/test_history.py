"""Histories survive the clients that write them, and workloads repeat themselves."""

from __future__ import annotations

from pathlib import Path

from tests.faults.history import HistoryWriter, Line, read_history
from tests.faults.operations import ID, Operation
from tests.faults.snapshot import searchable
from tests.faults.workload import Workload

OPERATION = Operation(id="c0-10000001", kind="delete", app="a", user="u", session="s")


def test_torn_line_of_a_killed_client_is_skipped(tmp_path: Path) -> None:
    path = tmp_path / "c0.history"
    first = HistoryWriter(path)
    first.now([Line(what="begin", id="c0")])
    first.now([Line(what="invoke", id=OPERATION.id, operation=OPERATION)])
    first.close()
    with path.open("ab") as file:
        file.write(b'{"what":"accep')
    second = HistoryWriter(path)
    second.now([Line(what="begin", id="c0")])
    second.soon(Line(what="applied", id=OPERATION.id, number=3))
    second.close()
    history = read_history([path])
    record = history.records[OPERATION.id]
    assert (record.accepted, record.applied, record.number) == (False, True, 3)
    assert history.lives == {"c0": 2}


def test_same_seed_gives_the_same_operations() -> None:
    one, other = Workload("c0", 0, seed=7), Workload("c0", 0, seed=7)
    assert [one.next() for _ in range(300)] == [other.next() for _ in range(300)]


def test_every_failing_operation_can_be_found_in_its_dead_letter() -> None:
    workload = Workload("c0", 0, seed=7)
    failing = [op for op in (workload.next() for _ in range(2000)) if "ok" not in op.allowed]
    for operation in failing:
        if operation.kind in ("delete", "remove"):
            assert operation.id in operation.session + operation.name
        assert ID.fullmatch(operation.id)
    assert {operation.kind for operation in failing} >= {"append", "update", "delete", "create"}


def test_base64_inside_a_dead_letter_is_searched() -> None:
    assert "c0-10000001" in searchable(b'{"body": "YzAtMTAwMDAwMDE="}')
    assert "not json" in searchable(b"not json \xff")
