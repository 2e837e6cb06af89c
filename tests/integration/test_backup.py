"""A backup is one point in time, made while others write and sweep, and comes back whole."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text
from typer.testing import CliRunner, Result

from api_client.cli.main import build_app
from api_client.contract.codec import Message
from api_client.contract.errors import InvalidRequest, NotFound, Unavailable
from api_client.contract.records import new_id
from tests.support.artifacts import (
    HOUR,
    apply,
    delete,
    files_below,
    load,
    make_older,
    reference,
    save,
    try_apply,
)
from tests.support.items import append, create
from tests.support.postgres import PostgresServer
from tests.support.postgres_binaries import programs
from tests.support.stores import contents, letters, made, open_store
from worker import fence
from worker.artifacts.blobs import FilesystemBlobStore
from worker.artifacts.sweep import sweep_blobs
from worker.artifacts.verify import Verification
from worker.backup import postgres as postgres_dump
from worker.backup.folder import Backups
from worker.backup.make import Made, back_up
from worker.backup.postgres import Programs
from worker.backup.restore import Restored, restore
from worker.database import Database, DatabaseOptions
from worker.migrate import upgrade
from worker.storage import Storage

#: Those of the server's own version.
PROGRAMS = Programs(programs(16, os.geteuid()))
MakeUrl = Callable[[], str]


@dataclass
class Place:
    """Stores, and a folder for their backups."""

    storage: Storage
    url: str
    blobs: FilesystemBlobStore
    backups: Backups
    opened: list[Database] = field(default_factory=list)

    def back_up(self, source: FilesystemBlobStore | None = None) -> Made:
        """Make a backup."""
        return back_up(self.storage.database, source or self.blobs, self.backups, PROGRAMS)

    def restore(self, *, force: bool = False) -> Restored:
        """Put the latest one back."""
        point = self.backups.point(None)
        self.storage.database.close()
        database = Database(DatabaseOptions(self.url))
        try:
            return restore(database, self.blobs, self.backups, point, PROGRAMS, force=force)
        finally:
            database.close()

    def damaged(self) -> int:
        """How many versions lack their bytes."""
        return len([*Verification(self.storage.database, self.blobs).run()])


@pytest.fixture(params=["sqlite", "postgresql"])
def make_url(request: pytest.FixtureRequest, tmp_path: Path) -> MakeUrl:
    if request.param == "sqlite":
        return lambda: f"sqlite:///{tmp_path / new_id()}.db"
    server: PostgresServer = request.getfixturevalue("postgres")
    return lambda: server.create_database(f"backup_{new_id()}")


@pytest.fixture
def place(make_url: MakeUrl, tmp_path: Path) -> Iterator[Place]:
    url = make_url()
    blobs = FilesystemBlobStore(tmp_path / "artifacts")
    storage = open_store(url, blobs=blobs)
    upgrade(storage.database)
    found = Place(storage, url, blobs, Backups(tmp_path / "backups"))
    yield found
    for database in (storage.database, *found.opened):
        database.close()


def filled(place: Place) -> Message:
    """Sessions and artifacts; returns the last message that was applied."""
    apply(place.storage, made(create("s"), append("s", 1, 2)))
    save(place.storage, "a", b"the first" * 100)
    save(place.storage, "a", b"the second")
    save(place.storage, "empty", b"")
    apply(place.storage, last := made(append("s", 3)))
    return last


def test_what_was_applied_before_comes_back_and_what_came_later_is_gone(
    place: Place, make_url: MakeUrl
) -> None:
    last = filled(place)
    found = place.back_up()
    assert (found.manifest.blobs, found.copied.new, found.copied.missing) == (3, 3, [])
    apply(place.storage, later := made(append("s", 4)))
    save(place.storage, "a", b"the third")
    shutil.rmtree(place.blobs.root)
    place.url = make_url()
    assert place.restore().copied.new == 3

    with_restored = open_store(place.url, blobs=place.blobs)
    place.opened.append(with_restored.database)
    place.storage = with_restored
    assert contents(with_restored, "s") == [1, 2, 3]
    assert (load(with_restored, "a"), load(with_restored, "empty")) == (b"the second", b"")
    assert place.damaged() == 0
    # What clients send again: one that the backup knows, and one that it does not.
    for message in (last, later, later):
        assert try_apply(with_restored, message).outcomes[0].error is None
    assert contents(with_restored, "s") == [1, 2, 3, 4]
    assert save(with_restored, "a", b"another") == 3
    assert letters(with_restored) == []


class Interrupted(FilesystemBlobStore):
    """Something happens before the first blob is read."""

    def __init__(self, root: Path, happens: Callable[[], None]):
        super().__init__(root)
        self._happens: Callable[[], None] | None = happens

    def read(self, sha256: str, start: int, length: int) -> bytes:
        happens, self._happens = self._happens, None
        if happens is not None:
            happens()
        return super().read(sha256, start, length)


def test_nothing_is_swept_under_a_backup(place: Place) -> None:
    filled(place)
    make_older(place.blobs.root, 48 * HOUR)

    def deleted_and_swept() -> None:
        delete(place.storage, "a")
        delete(place.storage, "empty")
        save(place.storage, "b", b"not in the backup")
        with pytest.raises(Unavailable, match="backup"):
            sweep_blobs(place.storage.database, place.blobs, grace=24 * HOUR)

    found = place.back_up(Interrupted(place.blobs.root, deleted_and_swept))
    assert (found.copied.new, found.copied.missing) == (3, [])
    # It had nothing against the sweep itself.
    assert sweep_blobs(place.storage.database, place.blobs, grace=24 * HOUR).removed == 3
    place.restore(force=True)
    assert place.damaged() == 0


def test_a_second_backup_copies_only_what_is_new(place: Place) -> None:
    filled(place)
    place.back_up()
    save(place.storage, "b", b"new")
    found = place.back_up()
    assert (found.manifest.blobs, found.copied.new) == (4, 1)
    assert [point.manifest().blobs for point in place.backups.points()] == [3, 4]


def test_damage_is_reported_and_the_rest_is_kept(place: Place) -> None:
    filled(place)
    (place.blobs.root / "damaged").mkdir()
    second = reference(b"the second")
    path = next(p for p in files_below(place.blobs.root) if p.name == second.sha256)
    path.write_bytes(b"not what i")
    empty = next(p for p in files_below(place.blobs.root) if p.stat().st_size == 0)
    empty.unlink()
    found = place.back_up()
    assert sorted(found.copied.missing) == sorted([second.sha256, empty.name])
    assert found.manifest.missing == found.copied.missing
    assert found.copied.new == 1


def test_a_damaged_blob_is_replaced_by_a_restore(place: Place) -> None:
    filled(place)
    place.back_up()
    path = next(p for p in files_below(place.blobs.root) if p.stat().st_size == 10)
    path.write_bytes(b"not what i")
    found = place.restore(force=True)
    assert (found.copied.new, found.copied.missing, place.damaged()) == (1, [], 0)


def test_nothing_is_swept_under_a_restore(place: Place) -> None:
    filled(place)
    place.back_up()
    shutil.rmtree(place.blobs.root)
    swept: list[bool] = []

    def sweep() -> None:
        database = Database(DatabaseOptions(place.url))
        with (
            pytest.raises(Unavailable, match="going on"),
            database.write.begin() as connection,
            fence.passed(database, connection),
        ):
            raise AssertionError("a removal passes the fence")
        database.close()
        swept.append(True)

    place.backups.blobs = Interrupted(place.backups.blobs.root, sweep)
    place.restore(force=True)
    assert swept


def test_a_restore_of_other_rows_than_were_backed_up_fails(place: Place) -> None:
    filled(place)
    path = place.back_up().point.folder / "manifest.json"
    whole = json.loads(path.read_bytes())
    whole["rows"]["events"] += 1
    path.write_text(json.dumps(whole))
    with pytest.raises(Unavailable, match="restored tables events have other numbers"):
        place.restore(force=True)


def test_rows_are_replaced_only_by_force(place: Place) -> None:
    filled(place)
    place.back_up()
    apply(place.storage, made(append("s", 4)))
    with pytest.raises(InvalidRequest, match="--force"):
        place.restore()
    assert contents(place.storage, "s") == [1, 2, 3, 4]
    place.storage.database.close()
    place.restore(force=True)
    assert contents(place.storage, "s") == [1, 2, 3]


def test_an_unfinished_backup_does_not_count_and_a_damaged_one_is_refused(place: Place) -> None:
    with pytest.raises(NotFound, match="no finished backup"):
        place.restore()
    filled(place)
    point = place.back_up().point
    torn = place.backups.folder / "20991231T000000.000000Z"
    torn.mkdir()
    (torn / "database.dump").write_bytes(b"torn")
    assert place.backups.points() == [point]
    with point.dump.open("ab") as file:
        file.write(b"x")
    with pytest.raises(Unavailable, match="damaged"):
        place.restore(force=True)
    (point.folder / "manifest.json").write_bytes(b'{"format": 1')
    with pytest.raises(Unavailable, match=r"manifest\.json is damaged"):
        place.restore(force=True)


@pytest.mark.parametrize("content", [b"", b"no list\n", b"\xff\xfe\n"])
def test_a_backup_that_has_lost_its_list_of_blobs_is_refused(place: Place, content: bytes) -> None:
    filled(place)
    place.back_up().point.list.write_bytes(content)
    with pytest.raises(Unavailable, match=r"blobs\.txt is damaged"):
        place.restore(force=True)


def test_a_backup_that_fails_leaves_nothing(place: Place) -> None:
    filled(place)
    (place.backups.folder / "blobs").parent.mkdir()
    # Where a folder is needed, there is a file.
    (place.backups.folder / "blobs").touch()
    with pytest.raises(OSError, match="blobs"):
        place.back_up()
    assert {path.name for path in place.backups.folder.iterdir()} == {"blobs", "lock"}


def test_a_backup_of_a_later_release_or_another_kind_is_refused(place: Place) -> None:
    filled(place)
    point = place.back_up().point
    path = point.folder / "manifest.json"
    whole = json.loads(path.read_bytes())
    for change, said in (
        ({"revision": "9999"}, "upgrade zdk-storage"),
        ({"format": 2}, "format 2"),
        ({"database": "another"}, "of the same kind"),
    ):
        path.write_text(json.dumps(whole | change))
        with pytest.raises(InvalidRequest, match=said):
            place.restore(force=True)


def test_two_backups_of_one_database_take_turns(place: Place) -> None:
    filled(place)
    impatient = Database(DatabaseOptions(place.url, lock_timeout=0.1))
    place.opened.append(impatient)
    with fence.hold(place.storage.database), pytest.raises(Unavailable, match="going on"):
        back_up(impatient, place.blobs, place.backups, PROGRAMS)
    assert place.back_up().copied.missing == []


def test_a_database_without_a_schema_is_not_backed_up(make_url: MakeUrl, tmp_path: Path) -> None:
    database = Database(DatabaseOptions(make_url()))
    blobs = FilesystemBlobStore(tmp_path / "artifacts")
    backups = Backups(tmp_path / "backups")
    with pytest.raises(InvalidRequest, match="no schema"):
        back_up(database, blobs, backups, PROGRAMS)
    assert backups.points() == []
    database.close()


class TestPostgres:
    @pytest.fixture
    def make_url(self, postgres: PostgresServer) -> MakeUrl:
        return lambda: postgres.create_database(f"backup_{new_id()}")

    def test_running_workers_are_in_the_way_of_a_restore(
        self, place: Place, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        filled(place)
        place.back_up()
        worker = create_engine(place.url, connect_args={"application_name": "zdk-storage"})
        with worker.connect() as connection:
            connection.execute(text("SELECT 1"))
            monkeypatch.setattr(postgres_dump, "_LEAVE_SECONDS", 0.0)
            with pytest.raises(Unavailable, match="stop all workers"):
                place.restore(force=True)
        worker.dispose()
        monkeypatch.undo()
        place.restore(force=True)

    def test_what_is_committed_while_it_begins_is_not_in_it(
        self, place: Place, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        filled(place)
        run = postgres_dump._run

        def late(*arguments: Any) -> None:
            monkeypatch.undo()
            apply(place.storage, made(append("s", 4)))
            run(*arguments)

        monkeypatch.setattr(postgres_dump, "_run", late)
        assert place.back_up().manifest.rows["events"] == 3
        assert contents(place.storage, "s") == [1, 2, 3, 4]
        place.restore(force=True)
        assert contents(place.storage, "s") == [1, 2, 3]

    def test_a_restore_that_fails_half_way_changes_nothing(self, place: Place) -> None:
        filled(place)
        place.back_up()
        apply(place.storage, made(append("s", 4)))
        # It is dropped after all other tables, and cannot be.
        with place.storage.database.write.begin() as connection:
            connection.execute(text("CREATE VIEW in_the_way AS SELECT * FROM alembic_version"))
        with pytest.raises(Unavailable, match="pg_restore failed"):
            place.restore(force=True)
        assert contents(place.storage, "s") == [1, 2, 3, 4]

    def test_an_older_server_is_refused(self, place: Place) -> None:
        filled(place)
        path = place.back_up().point.folder / "manifest.json"
        path.write_text(json.dumps(json.loads(path.read_bytes()) | {"server": 99}))
        with pytest.raises(InvalidRequest, match="restore into a server that is not older"):
            place.restore(force=True)

    # What 17 makes begins with a setting that a server of 16 refuses when it is restored.
    @pytest.mark.parametrize("version", [None, "9.6.24", "17.2", "18.1"])
    def test_programs_that_do_not_fit_are_named(
        self, place: Place, tmp_path: Path, version: str | None
    ) -> None:
        filled(place)
        folder = tmp_path / "bin"
        folder.mkdir()
        if version is not None:
            program = folder / "pg_dump"
            program.write_text(f"#!/bin/sh\necho 'pg_dump (PostgreSQL) {version}'\n")
            program.chmod(0o755)
        with pytest.raises(InvalidRequest, match="--pg-bin") as caught:
            back_up(place.storage.database, place.blobs, place.backups, Programs(folder))
        assert caught.value.field == "pg_bin"
        assert "of version 16 (Debian: postgresql-client-16)" in caught.value.message

    def test_what_a_newer_program_has_made_of_this_server_does_not_go_back(
        self, place: Place, tmp_path: Path
    ) -> None:
        filled(place)
        newer = programs(18, os.geteuid())
        dump, dsn = tmp_path / "dump", place.url.replace("+psycopg2", "")
        there = [f"{newer}/pg_dump", "--format=custom", f"--file={dump}", dsn]
        subprocess.run(there, check=True, timeout=60)
        back = [f"{newer}/pg_restore", "--clean", "--exit-on-error", f"--dbname={dsn}", str(dump)]
        done = subprocess.run(back, capture_output=True, text=True, timeout=60, check=False)
        # Once it does, Programs.find need not refuse it.
        assert "transaction_timeout" in done.stderr

    def test_the_password_is_not_among_the_arguments(
        self, place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        program = tmp_path / "pg_dump"
        program.write_text(
            '#!/bin/sh\n[ "$1" = --version ] && echo "pg_dump (PostgreSQL) 16.1" && exit\n'
            'echo "$@ ${PGPASSWORD:+hidden}" >&2; exit 1\n'
        )
        program.chmod(0o755)
        database = Database(DatabaseOptions(place.url.replace("postgres@", "postgres:secret@")))
        with pytest.raises(Unavailable, match="hidden") as caught:
            back_up(database, place.blobs, place.backups, Programs(tmp_path))
        assert "secret" not in caught.value.message
        assert "host=127.0.0.1" in caught.value.message
        database.close()


class TestCommand:
    @pytest.fixture
    def run(self, place: Place) -> Callable[..., Result]:
        environment = {
            "ZDK_DATABASE_URL": place.url,
            "ZDK_ARTIFACTS_URL": place.blobs.root.as_uri(),
        }
        own = ("--pg-bin", str(PROGRAMS.folder))

        def invoke(verb: str, *words: str) -> Result:
            arguments = [verb, str(place.backups.folder), *own, *words]
            return CliRunner().invoke(build_app(), arguments, env=environment)

        return invoke

    def test_a_damaged_point_does_not_hide_the_others(
        self, place: Place, run: Callable[..., Result]
    ) -> None:
        filled(place)
        place.back_up()
        damaged = place.back_up().point
        (damaged.folder / "manifest.json").write_text("{")
        done = run("restore", "--list", "--json")
        assert (done.exit_code, len(json.loads(done.stdout)["points"])) == (1, 1)
        assert f"{damaged.folder}/manifest.json is damaged" in done.stderr

    def test_a_folder_without_backups_says_so(self, run: Callable[..., Result]) -> None:
        listed = run("restore", "--list")
        assert (listed.exit_code, listed.stdout) == (0, "")
        assert "holds no finished backup" in listed.stderr
        asked = run("restore", "--point", "20261123T030000.000000Z")
        assert asked.exit_code == 3
        assert "--list names" in asked.stderr

    def test_there_and_back(self, place: Place, run: Callable[..., Result]) -> None:
        filled(place)
        done = run("backup", "--json")
        assert done.exit_code == 0, done.output
        assert json.loads(done.stdout)["manifest"]["rows"]["events"] == 3
        assert json.loads(run("restore", "--list", "--json").stdout)["points"][0]["point"]
        assert "3" in run("restore", "--list").stdout
        assert run("restore").exit_code == 2
        place.storage.database.close()
        for words in (("--dry-run", "--force"), ("--force", "--json"), ("--force",)):
            done = run("restore", *words)
            assert done.exit_code == 0, done.output
        assert "1 sessions, 3 events, 3 versions" in done.stdout
        assert contents(place.storage, "s") == [1, 2, 3]

    def test_old_points_are_dropped_when_a_new_one_is_made(
        self, place: Place, run: Callable[..., Result]
    ) -> None:
        filled(place)
        first = place.back_up().point
        delete(place.storage, "a")
        dropped = json.loads(run("backup", "--keep", "1", "--json").stdout)["dropped"]
        assert dropped == {"points": [first.name], "blobs": 2, "damaged": []}
        with place.backups.shared():
            done = run("backup", "--keep", "1")
        assert (done.exit_code, "nothing is dropped" in done.stderr) == (0, True)
        assert "1 old points dropped, and 0 blobs" in run("backup", "--keep", "2").stdout
        place.backups.point(None).list.unlink()
        done = run("backup", "--keep", "2")
        assert (done.exit_code, "no blobs are dropped, because of damage" in done.stderr) == (
            1,
            True,
        )
        assert run("backup", "--keep", "0").exit_code == 2

    def test_old_points_that_cannot_be_dropped_are_not_to_be_tried_again(
        self, place: Place, run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fails(backups: Backups) -> None:
            raise OSError("no locks available")

        filled(place)
        monkeypatch.setattr(Backups, "alone", fails)
        done = run("backup", "--keep", "1")
        assert (done.exit_code, len(place.backups.points())) == (1, 1)
        assert "the backup is made, but old points cannot be dropped: no locks" in done.stderr

    def test_bytes_that_are_lost_make_it_fail(
        self, place: Place, run: Callable[..., Result]
    ) -> None:
        filled(place)
        gone = files_below(place.blobs.root)[0]
        gone.unlink()
        done = run("backup")
        assert (done.exit_code, gone.name in done.stderr) == (1, True)
        for blob in files_below(place.backups.blobs.root):
            blob.unlink()
        done = run("restore", "--dry-run", "--force", "--json")
        assert (done.exit_code, len(json.loads(done.stdout)["copied"]["missing"])) == (1, 3)
