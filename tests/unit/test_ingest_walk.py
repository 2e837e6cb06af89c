"""Walking a folder: order, patterns, links, what cannot be read."""

from __future__ import annotations

import os
import socket
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api_client.contract.errors import InvalidRequest
from api_client.ingest.patterns import Selection
from api_client.ingest.walk import Walk, in_order

#: Bytes around the slash, which decides whether folders come in the order of the names in them.
_PART = st.binary(min_size=1, max_size=4).filter(
    lambda name: not set(name) & {0, ord("/")} and name not in (b".", b"..")
) | st.sampled_from([b"a", b"a-", b"a.", b"a0", b"ab", "é".encode(), "😀".encode()])
_NAMES = st.lists(st.lists(_PART, min_size=1, max_size=3).map(b"/".join), max_size=20)

#: For the patterns.
_TREE = ("a.md", "a.pyc", "build/x", "docs/a.md", "docs/b/c.md", "docs/b/d.pyc", "src/build/y")


def names_in(
    root: Path, selection: Selection | None = None, *, follow: bool = False
) -> list[bytes]:
    """The names that a walk finds where nothing fails."""
    return [file.name for file in walk(root, selection, follow=follow)]


def walk(root: Path, selection: Selection | None = None, *, follow: bool = False) -> Walk:
    def trouble(name: bytes, error: OSError) -> None:
        pytest.fail(f"{name!r}: {error}")

    return Walk(str(root), selection or Selection(), follow_links=follow, on_trouble=trouble)


def put(root: Path, *names: str, data: bytes = b"x") -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)


@settings(max_examples=200, deadline=None)
@given(_NAMES)
def test_names_come_in_the_order_of_their_bytes(names: list[bytes]) -> None:
    with TemporaryDirectory() as folder:
        made = set()
        for name in names:
            path = os.path.join(os.fsencode(folder), name)
            try:
                os.makedirs(os.path.dirname(path), exist_ok=True)
                with open(path, "xb"):
                    made.add(name)
            except (FileExistsError, NotADirectoryError, IsADirectoryError):
                # A name that is a folder's already, or lies within a file.
                continue
        assert names_in(Path(folder)) == sorted(made)


@given(st.sets(st.binary(max_size=3)), st.integers(1, 10))
def test_order_does_not_depend_on_how_much_is_held_at_a_time(keys: set[bytes], part: int) -> None:
    assert [*in_order(lambda: keys, part)] == sorted(keys)


def test_sorting_holds_only_a_part() -> None:
    count = 50_000

    def keys() -> Iterator[bytes]:
        return (b"%06d" % (number * 7919 % count) for number in range(count))

    def most_held(part: int) -> int:
        tracemalloc.start()
        try:
            assert sum(1 for _ in in_order(keys, part)) == count
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert most_held(count // 10) < most_held(count) / 5


def test_size_and_time_are_those_of_the_file(tmp_path: Path) -> None:
    put(tmp_path, "a/.hidden", data=b"12345")
    os.utime(tmp_path / "a/.hidden", (1, 1234.5))
    (found,) = walk(tmp_path)
    assert (found.name, found.size, found.mtime) == (b"a/.hidden", 5, 1234.5)


def test_links_are_skipped_or_followed(tmp_path: Path) -> None:
    root = tmp_path / "root"
    put(root, "file", "folder/inner")
    put(tmp_path, "outside/far")
    (root / "l-file").symlink_to("file")
    (root / "l-folder").symlink_to("../outside")

    skipping = walk(root)
    assert [file.name for file in skipping] == [b"file", b"folder/inner"]
    assert skipping.skipped.links == 2
    assert names_in(root, follow=True) == [b"file", b"folder/inner", b"l-file", b"l-folder/far"]


def test_links_never_loop(tmp_path: Path) -> None:
    put(tmp_path, "a/file", "b/file")
    (tmp_path / "a/up").symlink_to("..")
    (tmp_path / "a/self").symlink_to(".")
    (tmp_path / "a/b").symlink_to("../b")
    (tmp_path / "b/a").symlink_to("../a")
    following = walk(tmp_path, follow=True)
    assert [file.name for file in following] == [b"a/b/file", b"a/file", b"b/a/file", b"b/file"]
    # up and self from a, a from a/b; up, self and b from b/a.
    assert following.skipped.links == 6


def test_special_files_are_skipped_and_never_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
    put(tmp_path, "file")
    for follow in (False, True):
        walked = walk(tmp_path, follow=follow)
        assert [file.name for file in walked] == [b"file"]
        assert walked.skipped.special == 2


def test_what_cannot_be_read_is_told_and_the_rest_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, "a/file", "closed/file", "z")
    (tmp_path / "dangling").symlink_to("nowhere")
    scandir = os.scandir

    # Permission bits do not hold for root, as which tests may run.
    def guarded(path: bytes) -> os._ScandirIterator[bytes]:
        if path.endswith(b"closed/"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", guarded)
    told: dict[bytes, str] = {}

    def trouble(name: bytes, error: OSError) -> None:
        told[name] = str(error.strerror)

    walked = Walk(str(tmp_path), Selection(), follow_links=True, on_trouble=trouble)
    assert [file.name for file in walked] == [b"a/file", b"z"]
    assert told == {b"closed/": "Permission denied", b"dangling": "No such file or directory"}


@pytest.mark.parametrize(
    ("include", "exclude", "expected"),
    [
        ([], [], " ".join(_TREE)),
        (["*.md"], [], "a.md docs/a.md docs/b/c.md"),
        (["/*.md"], [], "a.md"),
        (["docs/"], [], "docs/a.md docs/b/c.md docs/b/d.pyc"),
        (["docs/*.md"], [], "docs/a.md"),
        (["docs/**/*.md"], [], "docs/a.md docs/b/c.md"),
        ([], ["*.pyc", "build/"], "a.md docs/a.md docs/b/c.md"),
        ([], ["/build"], "a.md a.pyc docs/a.md docs/b/c.md docs/b/d.pyc src/build/y"),
        ([], ["*.md", "!docs/a.md"], "a.pyc build/x docs/a.md docs/b/d.pyc src/build/y"),
        # What is in an excluded folder cannot be taken back.
        ([], ["docs/", "!docs/a.md"], "a.md a.pyc build/x src/build/y"),
        (["*.md"], ["docs/b"], "a.md docs/a.md"),
        (["*", "!*.md"], [], "a.pyc build/x docs/b/d.pyc src/build/y"),
    ],
)
def test_patterns_are_those_of_gitignore(
    tmp_path: Path, include: list[str], exclude: list[str], expected: str
) -> None:
    put(tmp_path, *_TREE)
    found = names_in(tmp_path, Selection(include, exclude))
    assert found == expected.encode().split()


def test_excluded_folders_are_not_entered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, "node_modules/deep/file", "src/node_modules/file", "src/a.py", "src/b.pyc")
    entered: list[bytes] = []
    scandir = os.scandir

    def noted(path: bytes) -> os._ScandirIterator[bytes]:
        entered.append(path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", noted)
    walked = walk(tmp_path, Selection(exclude=["node_modules/", "*.pyc"]))
    assert [file.name for file in walked] == [b"src/a.py"]
    assert not [path for path in entered if b"node_modules" in path]
    assert walked.skipped.excluded == 3


def test_patterns_take_names_that_are_not_utf8(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"\xff.log")).touch()
    (tmp_path / "a\nb.log").touch()
    assert names_in(tmp_path, Selection(include=["*.log"])) == [b"a\nb.log", b"\xff.log"]
    assert names_in(tmp_path, Selection(exclude=["*.log"])) == []


@pytest.mark.parametrize(
    "pattern", ["", "   ", "# comment", "!", "/", "a\\", "[z-a]", "\0", "\ud800"]
)
def test_what_is_no_pattern_is_refused(pattern: str) -> None:
    for field in ("include", "exclude"):
        with pytest.raises(InvalidRequest) as refused:
            Selection(**{field: [pattern]})
        assert refused.value.field == field
