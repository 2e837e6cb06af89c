"""What the artifact service does beyond ADK's own ones, and where its limits are."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from google.adk.errors.input_validation_error import InputValidationError
from google.genai import types

from api_client import ArtifactKey, InvalidRequest, SessionKey, StorageClient, TooLarge
from api_client.adapters.adk import ZdkArtifactService
from api_client.adapters.adk.parts import PART
from api_client.artifact_uri import ANY_SESSION, parse_artifact_uri
from api_client.contract.limits import MAX_METADATA_BYTES, MAX_NAME_BYTES
from api_client.contract.records import new_id
from tests.adapters.adk.artifact_contract import PNG, TEXT, Place, run
from tests.conformance.conftest import NASTY
from tests.support.programs import clean_environment
from tests.support.workers import Stack

STACKS = ("sqlite_file-local", "postgresql-celery")
pytestmark = pytest.mark.parametrize("stack", STACKS, indirect=True)


@pytest.fixture
def client(stack: Stack) -> StorageClient:
    return stack.clients(1)[0]


@pytest.fixture
def place(client: StorageClient) -> Place:
    return Place(ZdkArtifactService(client), f"app-{new_id()}")


def test_numbers_are_not_used_again(place: Place) -> None:
    async def scenario() -> None:
        assert [await place.save("file", TEXT) for _ in range(3)] == [0, 1, 2]
        await place.delete("file")
        assert await place.save("file", PNG) == 3
        assert await place.versions("file") == [3]
        assert await place.load("file", 0) is None
        assert await place.load("file", 3) == PNG

    run(scenario())


def test_any_name_is_kept_and_none_is_another_s(place: Place) -> None:
    names = [*NASTY, "metadata.json", "versions", "a/versions/1", "user:../x", "user:", "USER:a"]

    async def scenario() -> None:
        for name in names:
            assert await place.save(name, types.Part(text=name)) == 0
        assert await place.keys() == sorted(names)
        for name in names:
            assert await place.load(name) == types.Part(text=name)

    run(scenario())


def test_a_session_called_user_is_not_the_user(place: Place) -> None:
    async def scenario() -> None:
        at = place.at(session_id="user")
        await at.save("file", TEXT)
        await at.save("user:file", PNG)
        assert await at.load("file") == TEXT
        assert await place.keys() == ["user:file"]

    run(scenario())


def test_without_a_session_a_file_is_the_user_s(place: Place) -> None:
    async def scenario() -> None:
        of_user = place.at(session_id=None)
        assert await of_user.save("file", TEXT) == 0
        assert await of_user.save("user:file", PNG) == 1
        assert await place.save("file", types.Part(text="the session's")) == 0
        await place.at(session_id=ANY_SESSION).save("file", TEXT)
        assert await of_user.load("file", 0) == await place.load("user:file", 0) == TEXT
        assert await of_user.versions("file") == [0, 1]
        assert await of_user.keys() == ["user:file"]
        assert await place.keys() == ["file", "user:file"]
        await of_user.delete("file")
        assert await place.keys() == ["file"]

    run(scenario())


def test_space_around_a_session_s_id_does_not_count(place: Place) -> None:
    """ADK drops it when it creates the session."""

    async def scenario() -> None:
        padded = place.at(session_id=" session\n")
        await padded.save("file", TEXT)
        assert await place.load("file") == await padded.load("file") == TEXT
        assert await place.keys() == await padded.keys() == ["file"]
        await padded.save("reference", {"file_data": {"file_uri": place.uri("file")}})
        assert await padded.load("reference") == TEXT

    run(scenario())


@pytest.mark.parametrize(
    "part",
    [
        types.Part(text="t", thought=True, thought_signature=b"\x00\xff"),
        types.Part(inline_data=types.Blob(data=b"x")),
        types.Part(inline_data=types.Blob(data=b"x", mime_type="")),
        types.Part(
            inline_data=types.Blob(
                data=b"", mime_type="application/octet-stream", display_name="empty"
            )
        ),
        types.Part(
            inline_data=types.Blob(data=b"x" * 1000, mime_type="video/mp4"),
            video_metadata=types.VideoMetadata(fps=2.5, start_offset="1s"),
            part_metadata={"nested": [1, {"é": None}], "NUL": "\x00"},
        ),
        types.Part(
            file_data=types.FileData(file_uri="gs://b/x", mime_type="video/mp4"),
            video_metadata=types.VideoMetadata(fps=1.0),
        ),
    ],
    ids=["thought", "no type", "empty type", "named and empty", "video", "video elsewhere"],
)
def test_parts_come_back_whole(place: Place, part: types.Part) -> None:
    async def scenario() -> None:
        await place.save("file", part, custom_metadata={"a": 1})
        loaded = await place.load("file")
        assert loaded == part
        assert loaded.model_dump() == part.model_dump()
        known = await place.description("file")
        assert known.custom_metadata == {"a": 1}
        blob = part.inline_data or part.file_data
        assert known.mime_type == (blob.mime_type if blob else "text/plain")

    run(scenario())


def test_more_versions_and_names_than_a_page(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    # A page of the listings has 1000 at most; here it has two.
    own: Any = place.service._artifacts

    def small(method: Any) -> Any:
        return lambda key, *, cursor=None: method(key, limit=2, cursor=cursor)

    async def scenario() -> None:
        for n in range(5):
            await place.save("file", types.Part(text=f"{n}"))
            await place.save(f"{n}", TEXT)
        monkeypatch.setattr(own, "list", small(own.list))
        monkeypatch.setattr(own, "versions", small(own.versions))
        assert await place.versions("file") == [*range(5)]
        assert [known.version for known in await place.described("file")] == [*range(5)]
        assert await place.keys() == [*"01234", "file"]

    run(scenario())


def test_large_data_is_handed_over_in_a_thread(
    place: Place, client: StorageClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be held up by the disk, and the event loop may not."""
    threads: list[int] = []
    save = client.artifacts.save

    def noting(*arguments: Any, **options: Any) -> Any:
        threads.append(threading.get_ident())
        return save(*arguments, **options)

    monkeypatch.setattr(client.artifacts, "save", noting)
    small = types.Part.from_bytes(data=b"x" * client.artifacts.inline_bytes, mime_type="a/b")
    large = types.Part.from_bytes(data=bytes(range(256)) * 12_000, mime_type="a/b")

    async def scenario() -> None:
        for number, part in enumerate((small, large)):
            assert await place.save("file", part) == number
            assert await place.load("file") == part

    run(scenario())
    assert [thread == threading.get_ident() for thread in threads] == [True, False]


def test_limits_are_named(place: Place) -> None:
    async def scenario() -> None:
        text = types.Part(text="a\ud800b")
        metadata = {"custom_metadata": {"a": "x" * MAX_METADATA_BYTES}}
        own: dict[str, Any] = {"custom_metadata": {PART: {}}}
        typed = types.Part.from_bytes(data=b"x", mime_type="x" * 257)
        cases: list[tuple[Place, str, Any, dict[str, Any], type[Exception], str]] = [
            (place, "", TEXT, {}, InvalidRequest, "filename"),
            (place, "a\x00b", TEXT, {}, InvalidRequest, "filename"),
            (place, "a\ud800b", TEXT, {}, InvalidRequest, "filename"),
            (place, "x" * (MAX_NAME_BYTES + 1), TEXT, {}, InvalidRequest, "filename"),
            (place.at(user_id="x" * 257), "file", TEXT, {}, InvalidRequest, "user"),
            (place, "file", text, {}, InvalidRequest, "artifact.text"),
            (place, "file", TEXT, metadata, TooLarge, "metadata"),
            (place, "file", TEXT, {"custom_metadata": {"a": {1}}}, InvalidRequest, "metadata"),
            (place, "file", TEXT, own, InvalidRequest, "custom_metadata"),
            (place, "file", typed, {}, InvalidRequest, "mime_type"),
        ]
        for at, name, part, options, kind, field in cases:
            with pytest.raises(kind) as raised:
                await at.save(name, part, **options)
            assert getattr(raised.value, "field", None) == field
        for unusable in (
            types.Part(inline_data=types.Blob(mime_type="a/b")),
            types.Part(file_data=types.FileData(mime_type="a/b")),
            "text",
        ):
            with pytest.raises(InputValidationError):
                await place.save("file", unusable)
        assert await place.keys() == []

    run(scenario())


def test_a_client_or_the_url_of_a_broker(stack: Stack) -> None:
    nothing: Any = None
    with pytest.raises(InvalidRequest) as raised:
        ZdkArtifactService(nothing)
    assert raised.value.field == "client"
    url = stack.broker_url
    if url is None:
        return

    async def scenario() -> None:
        async with ZdkArtifactService(url, wait_timeout=30.0) as service:
            assert await Place(service, f"app-{new_id()}").save("file", TEXT) == 0

    run(scenario())


def test_other_programs_read_what_was_saved_and_the_other_way_round(
    place: Place, client: StorageClient
) -> None:
    app = place.owner["app_name"]
    key = SessionKey(app, "user", "session")

    async def scenario() -> None:
        await place.save("text", types.Part(text="é"), custom_metadata={"a": 1})
        await place.save("link", types.Part(file_data=types.FileData(file_uri="gs://b/x")))
        found = await client.artifacts.load(ArtifactKey(app, "user", "session", "text"))
        assert (found.text, found.mime_type, found.version) == ("é", "text/plain", 1)
        assert found.metadata["a"] == 1
        link = await client.artifacts.load(ArtifactKey(app, "user", "session", "link"))
        assert (link.text, link.mime_type) == ("gs://b/x", "text/uri-list")

        await client.artifacts.save(
            ArtifactKey(key.app, key.user, key.session, "a.png"),
            b"\x89PNG",
            mime_type="image/png",
            metadata={"pages": 3},
        )
        assert await place.load("a.png") == types.Part.from_bytes(
            data=b"\x89PNG", mime_type="image/png"
        )
        known = await place.description("a.png")
        assert (known.custom_metadata, known.mime_type) == ({"pages": 3}, "image/png")

    run(scenario())


def test_zdk_artifacts_get_takes_the_canonical_uri(place: Place, stack: Stack) -> None:
    async def scenario() -> str:
        await place.save("user:a/b %.png", TEXT)
        await place.save("user:a/b %.png", PNG)
        await place.save("user:a/b %.png", TEXT)
        known = await place.described("user:a/b %.png")
        assert [parse_artifact_uri(each.canonical_uri)[1] for each in known] == [1, 2, 3]
        return str(known[1].canonical_uri)

    uri = run(scenario())
    got = subprocess.run(
        [sys.executable, "-m", "api_client", "artifacts", "get", uri, *_where(stack)],
        env=clean_environment({}),
        cwd=Path(__file__).parents[3],
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert (got.returncode, got.stdout, got.stderr) == (0, PNG.inline_data.data, b"")


def _where(stack: Stack) -> list[str]:
    if stack.broker_url is not None:
        return ["--broker", stack.broker_url]
    return ["--local", "--database", stack.database_url, "--artifacts", stack.artifacts_url]
