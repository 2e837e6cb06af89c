"""``python -m tests.drill``, which is ``make drill``."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

from rich.console import Console

from tests.drill.account import Account, take_account
from tests.drill.archive import Archive
from tests.drill.site import Site
from tests.support.postgres_binaries import programs

_VERSION = 16
#: Operations of each client between two steps.
_SOME = 150
_console = Console(highlight=False)


def main() -> None:
    """Run the drill; exit with 1 if anything is wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.drill", description=__doc__)
    parser.add_argument(
        "--pitr", action="store_true", help="lose nothing: archive the log, keep the blobs' disk"
    )
    parser.add_argument("--keep", action="store_true", help="keep data and logs")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="zdk-drill-"))
    folder.chmod(0o755)
    _console.print(f"data and logs in {folder}")
    site = Site(folder, programs(_VERSION, 65534 if os.geteuid() == 0 else os.geteuid()))
    try:
        account = (_everything if options.pitr else _one_point)(site)
    finally:
        site.stop()
    _show(account, lossless=options.pitr)
    if account.wrong or (options.pitr and account.behind_the_point):
        _console.print(f"kept: {folder}")
        sys.exit(1)
    if not options.keep:
        shutil.rmtree(folder, ignore_errors=True)


def _one_point(site: Site) -> Account:
    """Back up while clients write; lose database, blobs and broker; restore the point."""
    backups = str(site.folder / "backups")
    pg_bin = f"--pg-bin={site.pg_bin}"
    _start(site)
    site.start_clients()
    before = site.wait_for("applied", _SOME)
    _console.print("under load:  zdk backup")
    site.zdk("backup", backups, pg_bin)
    before = site.wait_for("applied", _SOME)
    # The second one copies what is new, and is the one that counts.
    point = json.loads(site.zdk("backup", backups, pg_bin, "--json"))
    _console.print(f"             zdk backup: {point['copied']['new']} new blobs")
    site.wait_for("applied", _SOME)
    _console.print("destroyed:   workers, database, blobs, broker")
    site.kill_workers()
    site.postgres.drop_database("drill")
    shutil.rmtree(site.artifacts)
    site.lose_broker()
    # Nothing is applied any more, so by then all that was has been written down.
    destroyed = site.wait_for("accepted", _SOME)
    site.postgres.create_database("drill")
    site.zdk("restore", backups, pg_bin, "--dry-run")
    _console.print(site.zdk("restore", backups, pg_bin))
    site.zdk("migrate")
    site.start_workers()
    site.drain()
    _console.print(f"verified:    {site.zdk('artifacts', 'verify')}")
    return take_account(site.url, before, destroyed, site.told)


def _everything(site: Site) -> Account:
    """Archive the log of each commit; lose database and broker; recover all of it."""
    archive = Archive(site.folder / "archive", site.pg_bin)
    try:
        _start(site)
        archive.start(site.postgres)
        site.start_clients()
        site.wait_for("applied", 2 * _SOME)
        _console.print("destroyed:   workers, database, broker")
        site.kill_workers()
        site.postgres.crash()
        shutil.rmtree(site.folder / "postgres" / "data")
        site.lose_broker()
        destroyed = site.wait_for("accepted", _SOME)
        archive.recover(site.postgres, site.folder / "postgres" / "data")
    finally:
        archive.stop()
    _console.print("recovered:   base backup and log")
    site.zdk("migrate", "--check")
    site.start_workers()
    site.drain()
    _console.print(f"verified:    {site.zdk('artifacts', 'verify')}")
    return take_account(site.url, destroyed, destroyed, site.told)


def _start(site: Site) -> None:
    site.postgres.start()
    site.postgres.create_database("drill")
    site.valkey.start()
    site.zdk("migrate")
    site.start_workers()


def _show(account: Account, *, lossless: bool) -> None:
    _console.print(
        f"accounted:   {account.accepted:,} operations accepted, {account.there:,} are there once "
        f"and in order, {account.behind_the_point:,} confirmed after the point are gone"
        f"{', and none may be' if lossless else ' by nature'}"
    )
    for line in account.wrong:
        _console.print(f"wrong:       {line}", style="red")


if __name__ == "__main__":
    main()
