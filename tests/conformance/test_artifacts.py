"""Saving, loading, listing and deleting artifacts."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import json
import os
import re
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import pytest

from api_client import (
    Artifact,
    ArtifactKey,
    NotFound,
    SessionKey,
    StorageClient,
    TooLarge,
    Unavailable,
)
from api_client.contract.limits import (
    MAX_ARTIFACT_BYTES,
    MAX_INLINE_BYTES,
    MAX_METADATA_BYTES,
    MAX_REPLY_BYTES,
    MIB,
)
from tests.conformance.conftest import EXACT, NASTY
from tests.conftest import FILE_STACKS
from tests.support.workers import Stack

MakeKey = Callable[[str], ArtifactKey]

PNG = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x01\x00\x00\x00\x01\x08\x02\x00\x00\x00"


def pattern(size: int, seed: str = "") -> bytes:
    """Bytes of which no two megabytes are alike, and which no other seed gives."""
    block = b"".join(
        hashlib.sha256(f"{seed}{n}".encode()).digest() for n in range(min(size, MIB) // 32 + 1)
    )
    parts = (bytes([n % 256]) + block[: MIB - 1] for n in range(size // MIB + 1))
    return b"".join(parts)[:size]


def names(client: StorageClient, key: ArtifactKey) -> list[str]:
    session = SessionKey(key.app, key.user, key.session)
    return [version.name for version in client.artifacts.list(session).result()]


def session_of(key: ArtifactKey) -> SessionKey:
    return SessionKey(key.app, key.user, key.session)


class _Stream(io.RawIOBase):
    """Bytes that can only be read, a few at a time, as from a socket."""

    def __init__(self, data: bytes):
        self._data = io.BytesIO(data)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        part = self._data.read(min(len(buffer), 1000))
        buffer[: len(part)] = part
        return len(part)


def _path(folder: Path, data: bytes) -> Path:
    path = folder / "source"
    path.write_bytes(data)
    return path


def _compressed(folder: Path, data: bytes, module: Any) -> IO[bytes]:
    path = folder / "compressed"
    with module.open(path, "wb") as file:
        file.write(data)
    opened: IO[bytes] = module.open(path, "rb")
    return opened


def _half_read(folder: Path, data: bytes) -> IO[bytes]:
    file = open(_path(folder, b"already read" + data), "rb")  # noqa: SIM115
    file.read(len(b"already read"))
    return file


def _just_written(folder: Path, data: bytes) -> IO[bytes]:
    file = open(folder / "written", "w+b")  # noqa: SIM115
    file.write(data)
    file.seek(0)
    return file


def _half_read_memory(folder: Path, data: bytes) -> IO[bytes]:
    file = io.BytesIO(b"already read" + data)
    file.seek(len(b"already read"))
    return file


SOURCES: dict[str, Callable[[Path, bytes], Any]] = {
    "bytes": lambda _, data: data,
    "bytearray": lambda _, data: bytearray(data),
    "memoryview": lambda _, data: memoryview(data),
    "strided memoryview": lambda _, data: memoryview(b"".join(b"%c." % b for b in data))[::2],
    "path": _path,
    "open file": lambda folder, data: _path(folder, data).open("rb"),
    "unbuffered file": lambda folder, data: _path(folder, data).open("rb", buffering=0),
    "half-read file": _half_read,
    "file just written": _just_written,
    "BytesIO": lambda _, data: io.BytesIO(data),
    "half-read BytesIO": _half_read_memory,
    "stream": lambda _, data: io.BufferedReader(_Stream(data)),
    "gzip file": lambda folder, data: _compressed(folder, data, gzip),
    "bz2 file": lambda folder, data: _compressed(folder, data, bz2),
}


class TestSources:
    @pytest.mark.parametrize("make", SOURCES.values(), ids=SOURCES)
    def test_each_gives_its_bytes(
        self,
        client: StorageClient,
        artifact: MakeKey,
        tmp_path: Path,
        make: Callable[[Path, bytes], Any],
    ) -> None:
        for version, size in enumerate((0, 1, 20_000, 200_000), 1):
            data = pattern(size)
            source = make(tmp_path, data)
            receipt = client.artifacts.save(artifact("name"), source)
            # The caller may let go of it as soon as save has returned.
            if hasattr(source, "close"):
                source.close()
            for path in tmp_path.iterdir():
                path.unlink()
            assert receipt.result() == version
            loaded = client.artifacts.load(artifact("name")).result()
            assert loaded.data == data
            assert loaded.size == size
            assert loaded.sha256 == hashlib.sha256(data).hexdigest()

    @pytest.mark.parametrize("text", ["", "text", "é 😀 \x00 \r\n", "é" * 100_000])
    def test_text(self, client: StorageClient, artifact: MakeKey, text: str) -> None:
        client.artifacts.save(artifact("name"), text).result()
        loaded = client.artifacts.load(artifact("name")).result()
        assert loaded.text == text
        assert loaded.data == text.encode()
        assert loaded.mime_type == "text/plain; charset=utf-8"

    def test_a_str_is_text_even_if_it_names_a_file(
        self, client: StorageClient, artifact: MakeKey, tmp_path: Path
    ) -> None:
        path = _path(tmp_path, b"content")
        client.artifacts.save(artifact("name"), str(path)).result()
        assert client.artifacts.load(artifact("name")).result().text == str(path)

    def test_bytes_changed_after_the_call_are_saved_as_they_were(
        self, client: StorageClient, artifact: MakeKey
    ) -> None:
        for size in (10, 200_000):
            data = bytearray(b"x" * size)
            receipt = client.artifacts.save(artifact("name"), data)
            data[:] = b"y" * size
            receipt.result()
            assert client.artifacts.load(artifact("name")).result().data == b"x" * size

    def test_seed_fault_there_is_no_size_limit(
        self, client: StorageClient, artifact: MakeKey, tmp_path: Path
    ) -> None:
        path = tmp_path / "sparse"
        with open(path, "wb") as file:
            file.truncate(MAX_ARTIFACT_BYTES + 1)
        with open(path, "rb") as opened:
            for source in (path, opened):
                with pytest.raises(TooLarge) as caught:
                    client.artifacts.save(artifact("name"), source)
                assert caught.value.field == "data"
                assert caught.value.limit == MAX_ARTIFACT_BYTES
        assert names(client, artifact("name")) == []


@pytest.mark.parametrize("size", [0, 1, MAX_INLINE_BYTES, MAX_INLINE_BYTES + 1, 5 * MIB])
def test_sizes_around_the_limits(client: StorageClient, artifact: MakeKey, size: int) -> None:
    data = pattern(size)
    client.artifacts.save(artifact("name"), data).result()
    loaded = client.artifacts.load(artifact("name")).result()
    assert loaded.data == data
    (listed,) = client.artifacts.list(session_of(artifact("name"))).result()
    assert (listed.size, listed.sha256) == (size, hashlib.sha256(data).hexdigest())


@pytest.mark.parametrize("size", [0, 10, 5 * MIB])
def test_byte_ranges(client: StorageClient, artifact: MakeKey, size: int) -> None:
    data = pattern(size)
    key = artifact("name")
    client.artifacts.save(key, data).result()
    starts = {0, 1, size // 2, max(0, size - 1), size, size + 1, MAX_REPLY_BYTES - 2}
    ranges = [(start, length) for start in starts for length in (0, 1, 5)]
    ranges += [(0, size), (0, size + 1), (1, size), (size, 1), (size // 2, size)]
    ranges += [(7, MAX_REPLY_BYTES), (7, MAX_REPLY_BYTES + 1), (MAX_ARTIFACT_BYTES, 1)]
    parts = [client.artifacts.load(key, start=start, length=n) for start, n in ranges]
    for (start, length), part in zip(ranges, parts, strict=True):
        assert part.result().data == data[start : start + length], (start, length)
        assert part.result().size == size
    assert client.artifacts.load(key, start=3).result().data == data[3:]


class TestInto:
    """Loading into a file."""

    @pytest.mark.parametrize("size", [0, 10, 5 * MIB])
    def test_a_path(
        self, client: StorageClient, artifact: MakeKey, tmp_path: Path, size: int
    ) -> None:
        data = pattern(size)
        client.artifacts.save(artifact("name"), data).result()
        target = tmp_path / "target"
        target.write_bytes(b"former content" * 1000)
        loaded = client.artifacts.load(artifact("name"), into=target).result()
        assert target.read_bytes() == data
        assert loaded.data == b""
        assert (loaded.size, loaded.version) == (size, 1)

    def test_an_open_file(self, client: StorageClient, artifact: MakeKey, tmp_path: Path) -> None:
        data = pattern(5 * MIB)
        client.artifacts.save(artifact("name"), data).result()
        with open(tmp_path / "target", "wb") as file:
            file.write(b"before ")
            client.artifacts.load(artifact("name"), into=file).result()
            file.write(b" after")
        assert (tmp_path / "target").read_bytes() == b"before " + data + b" after"

    def test_a_range(self, client: StorageClient, artifact: MakeKey) -> None:
        data = pattern(100_000)
        client.artifacts.save(artifact("name"), data).result()
        target = io.BytesIO()
        client.artifacts.load(artifact("name"), start=10, length=90_000, into=target).result()
        assert target.getvalue() == data[10:90_010]

    def test_a_version_that_is_not_there_leaves_the_file_alone(
        self, client: StorageClient, artifact: MakeKey, tmp_path: Path
    ) -> None:
        target = tmp_path / "target"
        target.write_bytes(b"precious")
        with pytest.raises(NotFound):
            client.artifacts.load(artifact("missing"), into=target).result()
        assert target.read_bytes() == b"precious"

    @pytest.mark.parametrize("stack", ["sqlite_file-celery", "postgresql-local"], indirect=True)
    def test_seed_fault_all_bytes_are_held_in_memory(
        self, client: StorageClient, artifact: MakeKey, tmp_path: Path
    ) -> None:
        size = 64 * MIB
        source, target = tmp_path / "source", tmp_path / "target"
        with open(source, "wb") as file:
            file.truncate(size)
        client.artifacts.load(artifact("warm-up")).exception()
        tracemalloc.start()
        try:
            client.artifacts.save(artifact("name"), source).result()
            client.artifacts.load(artifact("name"), into=target).result()
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert target.stat().st_size == size
        # A few copies of one reply's bytes, however large the artifact.
        assert peak < 12 * MAX_REPLY_BYTES < size


@pytest.mark.parametrize("name", ["name", "user:name"])
def test_a_missing_artifact(client: StorageClient, artifact: MakeKey, name: str) -> None:
    key = artifact(name)
    client.artifacts.save(artifact(f"{name}2"), "other").result()
    for receipt in (
        client.artifacts.load(key),
        client.artifacts.load(key, version=1),
        client.artifacts.load(artifact(f"{name}2"), version=2),
        client.artifacts.versions(key),
        client.artifacts.delete(key),
        client.artifacts.delete(key, version=1),
        client.artifacts.delete(artifact(f"{name}2"), version=2),
    ):
        error = receipt.exception()
        assert type(error) is NotFound
        assert (error.code, error.field) == ("not_found", "key")
    assert names(client, key) == [f"{name}2"]


class TestNames:
    def test_seed_fault_names_fold_together_or_escape_as_paths(
        self, stack: Stack, client: StorageClient, artifact: MakeKey
    ) -> None:
        nasty = [*NASTY, *(f"user:{name}" for name in NASTY if len(name.encode()) < 1000)]
        for name in nasty:
            client.artifacts.save(artifact(name), name, metadata={"name": name})
        page = client.artifacts.list(session_of(artifact("x"))).result()
        # Every name is listed once, in the order of its bytes, and what is listed can be loaded.
        assert [listed.name for listed in page] == sorted(nasty, key=str.encode)
        receipts = [client.artifacts.load(artifact(listed.name)) for listed in page]
        for listed, receipt in zip(page, receipts, strict=True):
            loaded = receipt.result()
            assert loaded.text == loaded.name == listed.name
            assert loaded.version == 1
            assert loaded.metadata == {"name": listed.name}
        if stack.blob_folder is not None:
            assert_only_blobs(stack.blob_folder)

    def test_seed_fault_deleting_two_dots_empties_a_tree(
        self, client: StorageClient, artifact: MakeKey
    ) -> None:
        kept = ["a", "a/b", "../x", "user:a"]
        for name in [*kept, "..", ".", "user:.."]:
            client.artifacts.save(artifact(name), name).result()
        other = artifact("a")
        other = ArtifactKey(other.app, other.user, "other", "a")
        client.artifacts.save(other, "other").result()
        for name in ("..", ".", "user:.."):
            client.artifacts.delete(artifact(name)).result()
        assert names(client, artifact("a")) == sorted(kept)
        for name in kept:
            assert client.artifacts.load(artifact(name)).result().text == name
        assert client.artifacts.load(other).result().text == "other"

    def test_ids_may_be_nasty_too(self, client: StorageClient, app: str) -> None:
        short = [name for name in NASTY if len(name.encode()) <= 256]
        keys = [ArtifactKey(app, name, "session", "name") for name in short]
        keys += [ArtifactKey(app, "user", name, "name") for name in short if name != "session"]
        for key in keys:
            client.artifacts.save(key, f"{key.user} {key.session}")
        receipts = [client.artifacts.load(key) for key in keys]
        for key, receipt in zip(keys, receipts, strict=True):
            loaded = receipt.result()
            assert (loaded.text, loaded.version) == (f"{key.user} {key.session}", 1)


class TestUserScope:
    def test_it_spans_the_users_sessions(self, client: StorageClient, app: str) -> None:
        one, two = (ArtifactKey(app, "user", session, "user:x") for session in ("one", "two"))
        assert client.artifacts.save(one, "first").result() == 1
        assert client.artifacts.save(two, "second").result() == 2
        for key in (one, two):
            assert client.artifacts.load(key).result().text == "second"
            assert client.artifacts.load(key, version=1).result().text == "first"
            assert names(client, key) == ["user:x"]
        client.artifacts.delete(one).result()
        for key in (one, two):
            assert isinstance(client.artifacts.load(key).exception(), NotFound)
            assert names(client, key) == []

    def test_it_ends_at_the_user_and_the_app(self, client: StorageClient, app: str) -> None:
        keys = [
            ArtifactKey(one, user, "session", "user:x")
            for one in (app, f"{app}-2")
            for user in ("user", "user-2")
        ]
        for n, key in enumerate(keys[:3]):
            assert client.artifacts.save(key, str(n)).result() == 1
        for n, key in enumerate(keys[:3]):
            assert client.artifacts.load(key).result().text == str(n)
        assert isinstance(client.artifacts.load(keys[3]).exception(), NotFound)
        assert names(client, keys[3]) == []

    def test_seed_fault_a_session_called_user_collides_with_user_scope(
        self, client: StorageClient, app: str
    ) -> None:
        keys = [
            ArtifactKey(app, "user", session, name)
            for session in ("user", "user:", "other")
            for name in ("x", "user", "user/x")
        ]
        shared = ArtifactKey(app, "user", "other", "user:x")
        for key in keys:
            client.artifacts.save(key, f"{key.session} {key.name}").result()
        client.artifacts.save(shared, "shared").result()
        for key in keys:
            loaded = client.artifacts.load(key).result()
            assert (loaded.text, loaded.version) == (f"{key.session} {key.name}", 1)
            assert names(client, key) == ["user", "user/x", "user:x", "x"]
        for key in keys:
            client.artifacts.delete(key).result()
        assert client.artifacts.load(shared).result().text == "shared"
        assert names(client, keys[0]) == ["user:x"]

    @pytest.mark.parametrize("name", ["User:x", "user", "xuser:x", " user:x"])
    def test_other_names_belong_to_the_session(
        self, client: StorageClient, artifact: MakeKey, name: str
    ) -> None:
        key = artifact(name)
        client.artifacts.save(key, "x").result()
        other = ArtifactKey(key.app, key.user, "other", name)
        assert isinstance(client.artifacts.load(other).exception(), NotFound)

    def test_the_prefix_alone_is_a_name(self, client: StorageClient, artifact: MakeKey) -> None:
        client.artifacts.save(artifact("user:"), "x").result()
        assert client.artifacts.load(artifact("user:")).result().text == "x"


@pytest.mark.parametrize("other", ["app", "user", "session"])
def test_artifacts_of_others_are_not_there(
    client: StorageClient, artifact: MakeKey, other: str
) -> None:
    key = artifact("name")
    client.artifacts.save(key, "mine").result()
    parts = {part: getattr(key, part) for part in ("app", "user", "session", "name")}
    foreign = ArtifactKey(**parts | {other: f"{parts[other]}-2"})
    for receipt in (
        client.artifacts.load(foreign),
        client.artifacts.versions(foreign),
        client.artifacts.delete(foreign),
    ):
        assert isinstance(receipt.exception(), NotFound)
    assert names(client, foreign) == []
    assert client.artifacts.save(foreign, "theirs").result() == 1
    assert client.artifacts.load(key).result().text == "mine"


class TestMimeTypes:
    @pytest.mark.parametrize(
        ("name", "data", "expected"),
        [
            ("a.png", b"", "image/png"),
            ("a.PNG", b"text", "image/png"),
            ("dir/a.json", b"{}", "application/json"),
            ("../a.html", b"", "text/html"),
            ("user:report.pdf", b"", "application/pdf"),
            ("http://host/a.png", b"", "image/png"),
            ("data:text/html,a", b"\x00\x01\x02", "application/octet-stream"),
            ("name", PNG, "image/png"),
            ("name", b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", "application/pdf"),
            ("name", b"plain text", "text/plain; charset=utf-8"),
            ("name", "é".encode() * 10_000, "text/plain; charset=utf-8"),
            ("name", b"\x00\x01\x02\x03", "application/octet-stream"),
            ("name", b"", "application/octet-stream"),
            ("a.unheard-of", b"\x00\x01\x02\x03", "application/octet-stream"),
        ],
    )
    def test_guessed(
        self, client: StorageClient, artifact: MakeKey, name: str, data: bytes, expected: str
    ) -> None:
        client.artifacts.save(artifact(name), data).result()
        assert client.artifacts.load(artifact(name)).result().mime_type == expected

    def test_large_files_are_guessed_by_their_beginning(
        self, client: StorageClient, artifact: MakeKey, tmp_path: Path
    ) -> None:
        client.artifacts.save(artifact("name"), _path(tmp_path, PNG + bytes(100_000))).result()
        assert client.artifacts.load(artifact("name")).result().mime_type == "image/png"

    @pytest.mark.parametrize("given", ["x", "text/html", "a/b; c=d", "é", " ", "x" * 256])
    def test_given(self, client: StorageClient, artifact: MakeKey, given: str) -> None:
        client.artifacts.save(artifact("a.png"), PNG, mime_type=given).result()
        assert client.artifacts.load(artifact("a.png")).result().mime_type == given
        (listed,) = client.artifacts.list(session_of(artifact("a.png"))).result()
        assert listed.mime_type == given


class TestMetadata:
    def test_none_is_an_empty_object(self, client: StorageClient, artifact: MakeKey) -> None:
        client.artifacts.save(artifact("a"), "x").result()
        client.artifacts.save(artifact("b"), "x", metadata={}).result()
        for name in "ab":
            assert client.artifacts.load(artifact(name)).result().metadata == {}

    def test_it_comes_back_exactly(self, client: StorageClient, artifact: MakeKey) -> None:
        client.artifacts.save(artifact("a"), "x", metadata=EXACT).result()
        expected = json.dumps(EXACT)
        assert json.dumps(client.artifacts.load(artifact("a")).result().metadata) == expected
        (listed,) = client.artifacts.list(session_of(artifact("a"))).result()
        assert json.dumps(listed.metadata) == expected
        (version,) = client.artifacts.versions(artifact("a")).result()
        assert json.dumps(version.metadata) == expected

    def test_it_may_be_as_large_as_the_limit(
        self, client: StorageClient, artifact: MakeKey
    ) -> None:
        metadata = {"x": "y" * (MAX_METADATA_BYTES - len('{"x":""}'))}
        client.artifacts.save(artifact("a"), "x", metadata=metadata).result()
        assert client.artifacts.load(artifact("a")).result().metadata == metadata
        with pytest.raises(TooLarge) as caught:
            client.artifacts.save(artifact("a"), "x", metadata={**metadata, "z": 1})
        assert (caught.value.field, caught.value.limit) == ("metadata", MAX_METADATA_BYTES)


class TestList:
    @pytest.mark.parametrize("limit", [1, 2, 7, 10, 1000])
    def test_paging(self, client: StorageClient, artifact: MakeKey, limit: int) -> None:
        wanted = sorted([*(f"{n}" for n in range(6)), "user:a", "user:b", "z", "😀"])
        for name in wanted:
            client.artifacts.save(artifact(name), name)
        found: list[str] = []
        cursor = None
        while True:
            page = client.artifacts.list(
                session_of(artifact("x")), limit=limit, cursor=cursor
            ).result()
            found += [version.name for version in page]
            cursor = page.next_cursor
            if cursor is None:
                break
            assert len(page) == limit
        assert found == wanted

    def test_it_shows_each_artifacts_latest_version(
        self, client: StorageClient, artifact: MakeKey
    ) -> None:
        for n in range(3):
            client.artifacts.save(artifact("a"), "x" * n, metadata={"n": n}, mime_type=f"a/{n}")
        client.artifacts.save(artifact("b"), "b")
        client.artifacts.delete(artifact("a"), version=3)
        a, b = client.artifacts.list(session_of(artifact("a"))).result()
        loaded = client.artifacts.load(artifact("a")).result()
        assert (a.version, a.size, a.metadata, a.mime_type) == (2, 1, {"n": 1}, "a/1")
        for field in type(a).__struct_fields__:
            assert getattr(loaded, field) == getattr(a, field)
        assert (b.name, b.version) == ("b", 1)

    def test_a_session_need_not_exist(self, client: StorageClient, key: SessionKey) -> None:
        assert client.artifacts.list(key).result().items == []

    def test_a_page_ends_where_the_names_end(
        self, client: StorageClient, artifact: MakeKey
    ) -> None:
        for name in "abcd":
            client.artifacts.save(artifact(name), name)
        first = client.artifacts.list(session_of(artifact("a")), limit=2).result()
        assert first.next_cursor is not None
        second = client.artifacts.list(
            session_of(artifact("a")), limit=2, cursor=first.next_cursor
        ).result()
        assert [version.name for version in second] == ["c", "d"]
        assert second.next_cursor is None


class TestSharedContent:
    def test_deleting_one_name_leaves_the_other(
        self, client: StorageClient, artifact: MakeKey
    ) -> None:
        for data in (b"small and the same", pattern(200_000)):
            for name in ("a", "b"):
                client.artifacts.save(artifact(name), data).result()
            client.artifacts.delete(artifact("a")).result()
            assert client.artifacts.load(artifact("b")).result().data == data
            # What was deleted can be saved again.
            client.artifacts.save(artifact("a"), data).result()
            assert client.artifacts.load(artifact("a")).result().data == data

    @pytest.mark.parametrize("stack", FILE_STACKS, indirect=True)
    def test_seed_fault_bytes_are_kept_as_base64_under_their_names(
        self, stack: Stack, client: StorageClient, artifact: MakeKey
    ) -> None:
        datas = [b"", b"same", pattern(200_000)]
        for data in datas:
            for name in ("a/../../b", "c"):
                client.artifacts.save(artifact(name), data).result()
        assert stack.blob_folder is not None
        for data in datas:
            sha256 = hashlib.sha256(data).hexdigest()
            assert [p.read_bytes() for p in stack.blob_folder.rglob(sha256)] == [data]

    @pytest.mark.parametrize("stack", FILE_STACKS, indirect=True)
    @pytest.mark.parametrize("size", [100, 5 * MIB])
    def test_seed_fault_there_is_no_checksum(
        self, stack: Stack, client: StorageClient, artifact: MakeKey, size: int
    ) -> None:
        data = pattern(size, seed=artifact("name").app)
        client.artifacts.save(artifact("name"), data).result()
        blob = blob_of(stack, data)
        blob.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        with pytest.raises(Unavailable, match="damaged"):
            client.artifacts.load(artifact("name")).result()
        blob.write_bytes(data[:-1])
        with pytest.raises(Unavailable):
            client.artifacts.load(artifact("name")).result()
        blob.unlink()
        with pytest.raises(Unavailable, match="missing"):
            client.artifacts.load(artifact("name")).result()
        # A save of the same bytes puts them right.
        assert client.artifacts.save(artifact("again"), data).result() == 1
        assert client.artifacts.load(artifact("name")).result().data == data

    @pytest.mark.parametrize("stack", FILE_STACKS, indirect=True)
    def test_seed_fault_files_are_written_in_place(
        self, stack: Stack, client: StorageClient, artifact: MakeKey
    ) -> None:
        client.artifacts.save(artifact("a"), pattern(200_000)).result()
        client.artifacts.save(artifact("b"), "x").result()
        assert stack.blob_folder is not None
        assert_only_blobs(stack.blob_folder)


def assert_only_blobs(folder: Path) -> None:
    """Every file is a whole blob under the hash of its content; nothing is left half-written."""
    files = [path for path in folder.rglob("*") if not path.is_dir()]
    assert files
    for path in files:
        assert re.fullmatch("[0-9a-f]{64}", path.name), path
        assert path.parent == folder / path.name[:2]
        assert hashlib.sha256(path.read_bytes()).hexdigest() == path.name


def blob_of(stack: Stack, data: bytes) -> Path:
    assert stack.blob_folder is not None
    (path,) = stack.blob_folder.rglob(hashlib.sha256(data).hexdigest())
    assert path.stat().st_size == len(data)
    return path


def test_everything_of_an_artifact_comes_back(client: StorageClient, artifact: MakeKey) -> None:
    metadata = {"by": "agent"}
    client.artifacts.save(artifact("a"), b"data", mime_type="x/y", metadata=metadata).result()
    loaded = client.artifacts.load(artifact("a")).result()
    assert loaded == Artifact(
        name="a",
        version=1,
        mime_type="x/y",
        size=4,
        sha256=hashlib.sha256(b"data").hexdigest(),
        metadata=metadata,
        created_at=loaded.created_at,
        data=b"data",
    )
    assert loaded.created_at.utcoffset() is not None


def test_an_artifact_needs_no_session(client: StorageClient, artifact: MakeKey) -> None:
    client.artifacts.save(artifact("a"), "x").result()
    assert isinstance(client.sessions.load(session_of(artifact("a"))).exception(), NotFound)
    assert os.fspath("a") == client.artifacts.load(artifact("a")).result().name
