"""What importing the client does not do."""

from __future__ import annotations

from pathlib import Path

from tests.support.programs import run_python

_HEAVY = ("sqlalchemy", "alembic", "celery", "kombu", "typer", "rich", "puremagic", "worker")


def test_importing_the_client_leaves_heavy_packages_alone(tmp_path: Path) -> None:
    program = f"import sys, api_client; print([n for n in {_HEAVY} if n in sys.modules])"
    done = run_python(["-c", program], environment={}, cwd=tmp_path)
    assert done.stdout.strip() == "[]", done.stderr


def test_a_celery_client_needs_no_sqlalchemy(tmp_path: Path) -> None:
    program = (
        "import sys; sys.modules['sqlalchemy'] = sys.modules['worker'] = None\n"
        "from api_client import StorageClient\n"
        "StorageClient('redis://127.0.0.1:1/0').close(0)\n"
    )
    done = run_python(["-c", program], environment={}, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
