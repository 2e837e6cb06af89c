"""``zdk doctor`` names the part that is broken, and only that."""

from __future__ import annotations

import json
import os
import re
import stat
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from tests.integration.conftest import Site
from tests.support.programs import invoke_zdk, run_zdk
from worker.database import Database, DatabaseOptions
from worker.embedded.server import free_port


def examine(site: Site, *options: str, code: int) -> dict[str, Any]:
    """The findings by name."""
    # In a process of its own: making a Celery app replaces kombu's JSON decoder in its process.
    words = ["doctor", "--json", "--timeout=5", *options]
    done = run_zdk(*words, environment=site.environment, cwd=site.folder)
    assert done.returncode == code, done.stderr
    report = json.loads(done.stdout)
    assert report["ok"] is (code == 0)
    return {check["name"]: check for check in report["checks"]}


def failed(findings: dict[str, Any]) -> list[str]:
    return [name for name, finding in findings.items() if finding["ok"] is False]


def test_all_is_well(site: Site) -> None:
    with site.worker():
        findings = examine(site, code=0)
    parts = ["broker", "results", "safety", "database", "schema", "blob store", "round trip"]
    assert list(findings) == parts
    assert all(finding["ok"] for finding in findings.values())


def test_no_worker(site: Site) -> None:
    findings = examine(site, code=5)
    assert failed(findings) == ["round trip"]
    assert "zdk worker" in findings["round trip"]["advice"]


def test_round_trip_can_be_left_out(site: Site) -> None:
    assert examine(site, "--skip=round-trip", code=0)["round trip"]["ok"] is None


def test_broker_down(site: Site) -> None:
    site.environment.setdefault("ZDK_RESULT_URL", site.broker_url)
    site.environment["ZDK_BROKER_URL"] = f"redis://127.0.0.1:{free_port()}/0"
    findings = examine(site, code=5)
    assert failed(findings) == ["broker"]
    assert "ZDK_BROKER_URL" in findings["broker"]["advice"]
    assert findings["round trip"]["ok"] is None


def test_results_down(site: Site) -> None:
    site.environment["ZDK_RESULT_URL"] = f"redis://127.0.0.1:{free_port()}/0"
    findings = examine(site, code=5)
    assert failed(findings) == ["results"]
    assert "ZDK_RESULT_URL" in findings["results"]["advice"]


def test_database_down(site: Site) -> None:
    url = f"postgresql://nobody:secret-word@127.0.0.1:{free_port()}/none"
    site.environment["ZDK_DATABASE_URL"] = url
    findings = examine(site, code=5)
    assert failed(findings) == ["database"]
    assert "secret-word" not in json.dumps(findings)
    # One line of the table, though libpq says it in two.
    assert "\n" not in findings["database"]["detail"]


def test_postgresql_tells_of_its_connections(postgres_site: Site) -> None:
    findings = examine(postgres_site, "--skip=round-trip", code=0)
    detail = findings["database"]["detail"]
    # The server takes 300, and keeps three for its superusers.
    assert re.fullmatch(
        r"postgresql answers; [1-9]\d* of 297 connections taken, a process takes up to 1", detail
    )


def test_schema_behind(site: Site) -> None:
    database = Database(DatabaseOptions(site.environment["ZDK_DATABASE_URL"]))
    with database.write.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '0000'"))
    database.close()
    findings = examine(site, code=5)
    assert failed(findings) == ["schema"]
    assert "zdk migrate" in findings["schema"]["advice"]


def test_schema_missing(site: Site) -> None:
    site.environment["ZDK_DATABASE_URL"] = f"sqlite:///{site.folder / 'empty.db'}"
    assert failed(examine(site, code=5)) == ["schema"]


def test_blob_folder_not_writable(site: Site, tmp_path: Path) -> None:
    # Root may write to a folder without permissions, but nobody can write into a file.
    blocked = tmp_path / "blocked"
    blocked.mkdir(mode=stat.S_IRUSR | stat.S_IXUSR)
    if os.geteuid() == 0:
        (tmp_path / "file").write_text("no folder")
        blocked = tmp_path / "file"
    site.environment["ZDK_ARTIFACTS_URL"] = f"file://{blocked}"
    with site.worker():
        findings = examine(site, code=5)
    assert failed(findings) == ["blob store"]
    assert "ZDK_ARTIFACTS_URL" in findings["blob store"]["advice"]


def test_people_get_lines_with_advice(site: Site) -> None:
    site.environment["ZDK_ARTIFACTS_URL"] = "file:///proc/nowhere"
    done = run_zdk("doctor", "--skip=round-trip", environment=site.environment, cwd=site.folder)
    assert done.returncode == 5
    lines = done.stdout.splitlines()
    assert any("FAILED" in line and "blob store" in line for line in lines)
    assert any("-> make the folder writable" in line for line in lines)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ZDK_POOL_SIZE", "many"),
        ("ZDK_DATABASE_URL", "mysql://x/y"),
        ("ZDK_ARTIFACTS_URL", "ftp://x"),
    ],
)
def test_worker_refuses_a_wrong_environment(site: Site, name: str, value: str) -> None:
    environment = {**site.environment, name: value}
    done = invoke_zdk("worker", environment=environment)
    assert isinstance(done.exception, SystemExit)
    assert done.exit_code == 2
    assert name in done.stderr or value.split(":")[0] in done.stderr


def test_worker_refuses_a_schema_that_is_behind(site: Site) -> None:
    environment = {**site.environment, "ZDK_DATABASE_URL": f"sqlite:///{site.folder}/new.db"}
    done = run_zdk("worker", environment=environment, cwd=site.folder)
    assert done.returncode == 5
    assert "zdk migrate" in done.stderr


def test_migrate_says_what_it_did(site: Site) -> None:
    environment = {"ZDK_DATABASE_URL": f"sqlite:///{site.folder}/new.db"}
    checked = invoke_zdk("migrate", "--check", environment=environment)
    assert checked.exit_code == 1
    migrated = invoke_zdk("migrate", "--json", environment=environment)
    assert migrated.exit_code == 0
    assert json.loads(migrated.stdout)["before"] is None
    again = invoke_zdk("migrate", environment=environment)
    assert "up to date" in again.stdout
