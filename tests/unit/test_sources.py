"""Where an artifact's bytes come from: bytes, text, a path, an open file, a stream."""

from __future__ import annotations

import array
import bz2
import gzip
import io
import lzma
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import pytest

from api_client.contract.errors import InvalidRequest, TooLarge
from api_client.contract.limits import MAX_ARTIFACT_BYTES, MAX_INLINE_BYTES
from api_client.sources import ArtifactSource, Data, open_source

SMALL = b"small \x00\xff"
LARGE = bytes(range(256)) * 4096 + b"the end"
CONTENTS = {
    "empty": b"",
    "small": SMALL,
    "largest inline": b"i" * MAX_INLINE_BYTES,
    "smallest not inline": b"n" * (MAX_INLINE_BYTES + 1),
    "large": LARGE,
}


def read(source: ArtifactSource) -> bytes:
    try:
        return b"".join(map(bytes, source.chunks()))
    finally:
        source.close()


@pytest.fixture(params=CONTENTS)
def content(request: pytest.FixtureRequest) -> bytes:
    return CONTENTS[request.param]


@pytest.fixture
def file(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "file"
    path.write_bytes(content)
    return path


class TestBytesAndText:
    @pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
    def test_bytes_of_any_kind_are_taken(
        self, kind: Callable[[bytes], Data], content: bytes
    ) -> None:
        assert read(open_source(kind(content))) == content

    def test_a_view_of_other_items_is_taken_as_the_bytes_it_has(self) -> None:
        numbers = array.array("i", [1, 2, 3])
        assert read(open_source(memoryview(numbers))) == numbers.tobytes()
        assert read(open_source(memoryview(b"abcdef")[::2])) == b"ace"

    def test_changes_after_the_call_do_not_matter(self) -> None:
        buffer = bytearray(b"before")
        source = open_source(buffer)
        buffer[:] = b"after!"
        assert read(source) == b"before"

    def test_text_is_utf8_and_never_a_path(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_bytes(b"not this")
        path = str(tmp_path / "file")
        assert read(open_source(path)) == path.encode()
        assert read(open_source("é\x00😀")) == "é\x00😀".encode()

    def test_text_that_has_no_utf8_form_is_refused(self) -> None:
        with pytest.raises(InvalidRequest, match="lone surrogate") as caught:
            open_source("\ud800")
        assert caught.value.field == "data"

    @pytest.mark.parametrize("value", [None, 5, ["bytes"], object(), {"data": b""}])
    def test_anything_else_is_refused_by_its_type(self, value: Any) -> None:
        with pytest.raises(InvalidRequest, match=type(value).__name__) as caught:
            open_source(value)
        assert caught.value.field == "data"

    def test_only_what_fits_rides_in_the_message(self, content: bytes) -> None:
        assert open_source(content).fits(MAX_INLINE_BYTES) is (len(content) <= MAX_INLINE_BYTES)


class TestPaths:
    def test_a_path_is_read(self, file: Path, content: bytes) -> None:
        source = open_source(file)
        assert source.fits(MAX_INLINE_BYTES) is (len(content) <= MAX_INLINE_BYTES)
        assert read(source) == content

    def test_the_file_may_be_replaced_or_removed_at_once(self, file: Path, content: bytes) -> None:
        source = open_source(file)
        file.unlink()
        file.write_bytes(b"another")
        assert read(source) == content

    def test_a_large_file_is_not_in_memory(self, tmp_path: Path) -> None:
        path = tmp_path / "file"
        path.write_bytes(LARGE)
        source = open_source(path)
        assert source.data is None
        assert max(map(len, source.chunks())) < len(LARGE)
        source.close()

    def test_links_are_followed(self, tmp_path: Path, file: Path, content: bytes) -> None:
        (tmp_path / "link").symlink_to(file)
        assert read(open_source(tmp_path / "link")) == content

    @pytest.mark.parametrize("name", ["missing", "missing/file", "nul\x00", "x" * 300])
    def test_a_path_that_cannot_be_read_is_refused(self, tmp_path: Path, name: str) -> None:
        with pytest.raises(InvalidRequest, match="cannot be read") as caught:
            open_source(tmp_path / name)
        assert caught.value.field == "data"

    @pytest.mark.parametrize("place", ["", "/dev/null"])
    def test_what_is_no_regular_file_is_refused(self, tmp_path: Path, place: str) -> None:
        with pytest.raises(InvalidRequest, match="not a regular file"):
            open_source(tmp_path / place)

    def test_a_named_pipe_is_refused_without_waiting_for_its_writer(self, tmp_path: Path) -> None:
        pipe = tmp_path / "pipe"
        os.mkfifo(pipe)
        refused: list[BaseException] = []

        def save() -> None:
            try:
                open_source(pipe)
            except BaseException as error:
                refused.append(error)

        caller = threading.Thread(target=save, daemon=True)
        caller.start()
        caller.join(5)
        hangs = caller.is_alive()
        if hangs:
            os.close(os.open(pipe, os.O_WRONLY))
            caller.join(5)
        assert not hangs
        assert [type(error) for error in refused] == [InvalidRequest]

    def test_a_file_larger_than_an_artifact_may_be_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "sparse"
        path.touch()
        os.truncate(path, MAX_ARTIFACT_BYTES)
        open_source(path).close()
        os.truncate(path, MAX_ARTIFACT_BYTES + 1)
        with pytest.raises(TooLarge) as caught:
            open_source(path)
        assert (caught.value.field, caught.value.limit) == ("data", MAX_ARTIFACT_BYTES)


class TestOpenFiles:
    def test_a_file_is_read_from_its_position_and_may_be_closed_at_once(
        self, file: Path, content: bytes
    ) -> None:
        with open(file, "rb") as opened:
            opened.seek(3)
            source = open_source(opened)
        assert read(source) == content[3:]

    def test_what_was_read_ahead_into_a_buffer_does_not_count(self, file: Path) -> None:
        whole = file.read_bytes()
        with open(file, "rb") as opened:
            read_by_caller = opened.read(2)
            assert read_by_caller + read(open_source(opened)) == whole

    def test_the_callers_position_stays(self, file: Path) -> None:
        with open(file, "rb") as opened:
            opened.seek(2)
            read(open_source(opened))
            assert opened.tell() == 2

    def test_an_unbuffered_file_is_read(self, file: Path, content: bytes) -> None:
        with open(file, "rb", buffering=0) as opened:
            assert read(open_source(opened)) == content

    def test_a_temporary_file_is_read_with_what_was_just_written(self) -> None:
        for size in (10, 3 * MAX_INLINE_BYTES):
            with tempfile.NamedTemporaryFile() as opened:
                opened.write(b"w" * size)
                opened.seek(0)
                assert read(open_source(opened)) == b"w" * size

    def test_what_the_caller_has_written_but_not_flushed_is_read_too(self, tmp_path: Path) -> None:
        path = tmp_path / "file"
        path.write_bytes(b"old old old")
        with open(path, "r+b") as opened:
            opened.write(b"new")
            assert read(open_source(opened)) == b" old old"
            opened.seek(0)
            assert read(open_source(opened)) == b"new old old"

    def test_a_position_behind_the_end_gives_nothing(self, file: Path) -> None:
        with open(file, "rb") as opened:
            opened.seek(10**9)
            assert read(open_source(opened)) == b""

    @pytest.mark.parametrize("text", [io.StringIO("text"), io.StringIO("")])
    def test_a_text_stream_is_refused(self, text: Any) -> None:
        with pytest.raises(InvalidRequest, match="'rb'") as caught:
            open_source(text)
        assert caught.value.field == "data"

    def test_a_file_in_text_mode_is_refused(self, file: Path) -> None:
        with open(file, encoding="latin-1") as opened, pytest.raises(InvalidRequest, match="'rb'"):
            open_source(opened)  # type: ignore[arg-type]

    def test_a_file_that_cannot_be_read_is_refused_by_a_typed_error(self, tmp_path: Path) -> None:
        with open(tmp_path / "file", "wb") as for_writing, pytest.raises(InvalidRequest):
            open_source(for_writing)
        with pytest.raises(InvalidRequest):
            open_source(for_writing)  # closed by now

    @pytest.mark.parametrize("module", [gzip, bz2, lzma], ids=lambda module: module.__name__)
    def test_a_compressed_file_gives_what_its_reader_would_get(
        self, module: Any, tmp_path: Path
    ) -> None:
        # Such a file has the descriptor of the compressed one, whose bytes are others.
        path = tmp_path / "compressed"
        with module.open(path, "wb") as writing:
            writing.write(LARGE)
        with module.open(path, "rb") as opened:
            assert read(open_source(opened)) == LARGE


class Drips(io.RawIOBase):
    """A stream that gives a few bytes at a time and has neither position nor descriptor."""

    def __init__(self, content: bytes):
        self._rest = io.BytesIO(content)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        piece = self._rest.read(min(len(buffer), 1000))
        buffer[: len(piece)] = piece
        return len(piece)


class OnlyRead:
    """An object with nothing but ``read``, as HTTP libraries have them."""

    def __init__(self, content: bytes):
        self._rest = io.BytesIO(content)

    def read(self, size: int = -1) -> bytes:
        return self._rest.read(size)


class TestStreams:
    @pytest.mark.parametrize("kind", [io.BytesIO, Drips, OnlyRead])
    def test_a_stream_is_read_to_its_end(
        self, kind: Callable[[bytes], IO[bytes]], content: bytes
    ) -> None:
        source = open_source(kind(content))
        assert source.fits(MAX_INLINE_BYTES) is (len(content) <= MAX_INLINE_BYTES)
        assert read(source) == content

    def test_a_buffer_is_read_from_its_position(self) -> None:
        buffer = io.BytesIO(b"0123456789")
        buffer.seek(4)
        source = open_source(buffer)
        buffer.close()
        assert read(source) == b"456789"

    def test_a_pipe_is_read_here_and_now(self, content: bytes) -> None:
        code = "import sys; sys.stdout.buffer.write(sys.stdin.buffer.read())"
        with (
            tempfile.TemporaryFile() as given,
            subprocess.Popen(
                [sys.executable, "-c", code], stdin=given, stdout=subprocess.PIPE
            ) as program,
        ):
            given.write(content)
            given.seek(0)
            assert program.stdout is not None
            source = open_source(program.stdout)
        assert read(source) == content


class TestDescriptors:
    def test_none_is_left_open(self, file: Path, tmp_path: Path) -> None:
        def descriptors() -> set[str]:
            return set(os.listdir("/proc/self/fd"))

        before = descriptors()
        read(open_source(file))
        with open(file, "rb") as opened:
            read(open_source(opened))
        read(open_source(io.BytesIO(LARGE)))
        for refused in (tmp_path, tmp_path / "missing"):
            with pytest.raises(InvalidRequest):
                open_source(refused)
        assert descriptors() == before

    def test_closing_twice_closes_nothing_of_others(self, tmp_path: Path) -> None:
        path = tmp_path / "file"
        path.write_bytes(LARGE)
        source = open_source(path)
        source.close()
        with open(path, "rb") as reusing_the_number:
            source.close()
            assert reusing_the_number.read() == LARGE


PNG = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"
PDF = b"%PDF-1.7\n"


class TestMimeType:
    @pytest.mark.parametrize(
        ("name", "expected"),
        [
            ("report.pdf", "application/pdf"),
            ("user:report.pdf", "application/pdf"),
            ("folder/photo.PNG", "image/png"),
            ("a\\b.json", "application/json"),
            ("http://[x/page.html", "text/html"),
            ("ünï.txt", "text/plain"),
        ],
    )
    def test_the_ending_of_the_name_comes_first(self, name: str, expected: str) -> None:
        assert open_source(b"whatever").mime_type(name) == expected

    @pytest.mark.parametrize(
        ("data", "expected"),
        [
            (PNG, "image/png"),
            (PDF, "application/pdf"),
            (b"plain words, nothing else\n", "text/plain; charset=utf-8"),
            ("wörds\n".encode(), "text/plain; charset=utf-8"),
            (b"", "application/octet-stream"),
            (b"\x00\x01\x02\x03", "application/octet-stream"),
            (b"text, then \x00", "application/octet-stream"),
            (b"caf\xe9, in another charset", "application/octet-stream"),
        ],
    )
    @pytest.mark.parametrize("name", ["report", "x.unknown-ending", "..", "a:b"])
    def test_then_the_first_bytes(self, data: bytes, expected: str, name: str) -> None:
        assert open_source(data).mime_type(name) == expected

    @pytest.mark.parametrize("data", [b"\xff", b"ab\xe9", b"words\xff\xfe\xfd"])
    def test_bytes_that_are_no_text_to_their_end_are_not_called_text(self, data: bytes) -> None:
        assert open_source(data).mime_type("x") == "application/octet-stream"

    def test_a_character_cut_by_the_end_of_the_head_is_still_text(self) -> None:
        for padding in range(4):
            data = b"a" * padding + "é😀".encode() * 3000
            assert open_source(data).mime_type("x") == "text/plain; charset=utf-8"

    @pytest.mark.parametrize("text", ["", "words", "%PDF-1.7"])
    def test_what_was_given_as_text_is_text(self, text: str) -> None:
        assert open_source(text).mime_type("notes") == "text/plain; charset=utf-8"
        assert open_source(text).mime_type("notes.html") == "text/html"

    def test_a_compressed_ending_does_not_hide_the_compression(self) -> None:
        data = gzip.compress(b"x" * 100)
        assert "gzip" in open_source(data).mime_type("data.csv.gz")

    def test_a_large_file_is_guessed_by_its_beginning(self, tmp_path: Path) -> None:
        (tmp_path / "x").write_bytes(PNG + LARGE)
        source = open_source(tmp_path / "x")
        assert source.mime_type("x") == "image/png"
        source.close()
