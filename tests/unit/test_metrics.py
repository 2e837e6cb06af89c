"""What is counted, and where it is kept."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from api_client import SessionKey, StorageClient
from api_client.metrics import OutboxCollector
from tests.support.programs import run_python

_TWO_TURNS = """
import os
from worker.metrics import folder, work

place = folder.prepare_folder()
for turn in range(3):
    child = os.fork()
    if not child:
        folder._place = "pool0"
        work.counts().wrote(10)
        os._exit(0)
    os.waitpid(child, 0)

from prometheus_client import CollectorRegistry
from prometheus_client.multiprocess import MultiProcessCollector

registry = CollectorRegistry()
MultiProcessCollector(registry, str(place))
print(registry.get_sample_value("zdk_blob_bytes_total", {"way": "written"}))
print(len(list(place.iterdir())), flush=True)
os.kill(os.getpid(), 9)
"""


def test_a_process_goes_on_with_the_counts_of_the_one_in_its_place(tmp_path: Path) -> None:
    done = run_python(["-c", _TWO_TURNS], environment=_environment(tmp_path), cwd=tmp_path)
    # Two files: counters and histograms.
    assert done.stdout.split() == ["30.0", "2"], done.stderr


def test_what_a_killed_worker_has_left_is_removed_and_what_is_in_use_is_not(
    tmp_path: Path,
) -> None:
    run_python(["-c", _TWO_TURNS], environment=_environment(tmp_path), cwd=tmp_path)
    assert len(list(tmp_path.glob("zdk-metrics-*"))) == 1
    command = [
        *(sys.executable, "-c"),
        "from worker.metrics.folder import prepare_folder\nprint(prepare_folder())\ninput()",
    ]
    environment = {**os.environ, **_environment(tmp_path)}
    found = []
    for _ in range(2):
        holder = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert holder.stdout is not None
        found.append((holder, Path(holder.stdout.readline().strip())))
    try:
        assert {*tmp_path.glob("zdk-metrics-*")} == {folder for _, folder in found}
    finally:
        for holder, _ in found:
            holder.communicate("\n", timeout=30)


def test_the_outbox_of_a_client(tmp_path: Path) -> None:
    registry = CollectorRegistry()
    with StorageClient.local(max_operations=70, max_bytes=5000) as client:
        registry.register(OutboxCollector(client))
        client.sessions.create(SessionKey("a", "u", "s")).result(10)
        with pytest.raises(Exception, match="exists already"):
            client.sessions.create(SessionKey("a", "u", "s")).result(10)
        found = {
            (sample.name, sample.labels.get("outcome")): sample.value
            for metric in registry.collect()
            for sample in metric.samples
        }
    assert found == {
        ("zdk_outbox_operations", None): 0,
        ("zdk_outbox_bytes", None): 0,
        ("zdk_outbox_max_operations", None): 70,
        ("zdk_outbox_max_bytes", None): 5000,
        ("zdk_outbox_oldest_seconds", None): 0,
        ("zdk_outbox_outcomes_total", "applied"): 1,
        ("zdk_outbox_outcomes_total", "failed"): 1,
    }
    assert b"zdk_outbox_operations 0.0" in generate_latest(registry)


def test_an_outbox_tells_the_age_of_what_it_holds(tmp_path: Path) -> None:
    # Nobody listens at that port.
    with StorageClient("redis://127.0.0.1:1/0", outbox=str(tmp_path / "outbox.db")) as client:
        client.sessions.create(SessionKey("a", "u", "s")).accepted.result(30)
        usage = client.usage
        assert usage.operations == 1
        assert usage.bytes > 0
        assert usage.oldest is not None
        client.close(0)


def _environment(folder: Path) -> dict[str, str]:
    root = Path(__file__).resolve().parents[2]
    return {"TMPDIR": str(folder), "PYTHONPATH": str(root)}


def test_without_prometheus_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client.core", None)
    monkeypatch.delitem(sys.modules, "api_client.metrics", raising=False)
    with pytest.raises(ImportError, match=r"pip install 'zdk-storage\[metrics\]'"):
        importlib.import_module("api_client.metrics")
