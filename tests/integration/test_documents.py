"""The code of README, docs and examples runs as it stands."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.conftest import Site, open_site
from tests.support.documents import ROOT, python_blocks
from tests.support.programs import run_python

# All programs use the same worker, and sessions of their own.
pytestmark = pytest.mark.xdist_group("documents")


@pytest.fixture(scope="module")
def staffed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A site with a worker, and an outbox folder as ``zdk up`` sets it."""
    folder = tmp_path_factory.mktemp("documents")
    with open_site(folder, f"sqlite:///{folder / 'zdk.db'}") as site:
        site.environment["ZDK_OUTBOX"] = f"{folder / 'outbox'}/"
        with site.worker():
            yield site


@pytest.mark.parametrize("number", range(len(python_blocks("README.md"))))
def test_readme_programs(staffed: Site, number: int) -> None:
    program = python_blocks("README.md")[number]
    done = run_python(["-c", program], environment=staffed.environment, cwd=staffed.folder)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("number", range(len(python_blocks("docs/providers.md"))))
def test_provider_programs(tmp_path: Path, number: int) -> None:
    (tmp_path / "report.pdf").write_bytes(b"%PDF-1.4")
    program = python_blocks("docs/providers.md")[number].replace("/tmp/blobs", f"{tmp_path}/blobs")
    done = run_python(["-c", program], environment={}, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_fire_and_forget_agent(staffed: Site) -> None:
    program = str(ROOT / "examples" / "fire_and_forget_agent.py")
    done = run_python([program], environment=staffed.environment, cwd=staffed.folder)
    assert done.returncode == 0, done.stderr
    assert "100 events, state {'step': 99}" in done.stdout


def test_artifact_usage(tmp_path: Path) -> None:
    program = str(ROOT / "examples" / "artifact_usage.py")
    done = run_python([program, str(tmp_path)], environment={}, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "latest: '# Final'" in done.stdout
    assert "the next is 3" in done.stdout


def test_database_session(tmp_path: Path) -> None:
    program = str(ROOT / "examples" / "database_session.py")
    done = run_python([program, f"sqlite:///{tmp_path}/s.db"], environment={}, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "duplicate=True, seq 2" in done.stdout
