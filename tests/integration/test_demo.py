"""The demonstration, on a small repository and on a plain folder."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from tests.support.programs import invoke_zdk, run_zdk


def fill(folder: Path) -> None:
    for number in range(20):
        (folder / f"part-{number % 4}").mkdir(exist_ok=True)
        (folder / f"part-{number % 4}" / f"{number} ü.bin").write_bytes(bytes([number]) * 5000)
    (folder / "big.bin").write_bytes(bytes(300_000))
    (folder / "empty").touch()


def git(folder: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=T", "-c", "user.email=t@example.org"]
    subprocess.run(["git", "-C", folder, *identity, *arguments], check=True, timeout=60)


def demo(folder: Path, cwd: Path) -> dict[str, object]:
    done = run_zdk("demo", "--json", str(folder), environment={}, cwd=cwd)
    assert done.returncode == 0, done.stderr
    found: dict[str, object] = json.loads(done.stdout)
    return found


def test_repository(tmp_path: Path) -> None:
    fill(tmp_path)
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "--message=first")
    git(tmp_path, "commit", "--quiet", "--message=second", "--allow-empty")
    (tmp_path / "untracked").write_text("not stored")
    found = demo(tmp_path, tmp_path)
    assert found["operations"] == found["accepted"] == found["applied"] == 1 + 22 + 2
    assert found["lost"] == found["duplicated"] == found["failed"] == []
    assert found["bytes_compared"] == 20 * 5000 + 300_000


def test_plain_folder(tmp_path: Path) -> None:
    fill(tmp_path)
    found = demo(tmp_path, tmp_path)
    assert found["operations"] == found["applied"] == 1 + 22 + 22


def test_empty_folder_is_refused(tmp_path: Path) -> None:
    done = invoke_zdk("demo", str(tmp_path), environment={})
    assert done.exit_code == 2
    assert "holds no file" in done.stderr
