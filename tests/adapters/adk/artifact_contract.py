"""What ADK's artifact services promise, stated once. `test_artifacts` runs it over ours, and over
ADK's own services, which shows that it is ADK's contract and not merely what ours does."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest
from google.adk.artifacts import BaseArtifactService
from google.adk.errors.input_validation_error import InputValidationError
from google.genai import types

T = TypeVar("T")

TEXT = types.Part.from_text(text="Grüße, 日本語\n\x00 and NUL")
PNG = types.Part.from_bytes(data=bytes(range(256)), mime_type="image/png")

#: Parts that every service gives back as they were.
PARTS = {
    "text": TEXT,
    "empty text": types.Part.from_text(text=""),
    "JSON in text": types.Part.from_text(text='{"a": [1, null]}'),
    "bytes": PNG,
    "bytes of text": types.Part.from_bytes(data="é".encode(), mime_type="text/plain"),
    "no bytes": types.Part.from_bytes(data=b"", mime_type="application/pdf"),
    "some bytes of no type": types.Part.from_bytes(
        data=b"\x00", mime_type="application/octet-stream"
    ),
    "display name": types.Part(
        inline_data=types.Blob(data=b"x", mime_type="image/png", display_name="Bild (1) é.png")
    ),
}

#: Ids that no service of ADK's takes.
BAD_IDS = ("", " ", ".", "..", "../x", "a/../b", "/x", "\\x", "C:\\x", "a\x00b", "x/sessions/s")


def run(call: Coroutine[Any, Any, T]) -> T:
    """The result of ``call``, which has a minute."""
    return asyncio.run(asyncio.wait_for(call, 60))


class Place:
    """One session's artifacts in a service, or one user's if ``session_id`` is None."""

    def __init__(
        self,
        service: BaseArtifactService,
        app: str,
        user: str = "user",
        session_id: str | None = "session",
    ):
        self.service = service
        self.owner: dict[str, Any] = {"app_name": app, "user_id": user, "session_id": session_id}

    def at(self, **owner: Any) -> Place:
        """Another place of the same service."""
        place = Place(self.service, "")
        place.owner = {**self.owner, **owner}
        return place

    async def save(self, name: str, part: Any, **options: Any) -> int:
        version: int = await self.service.save_artifact(
            **self.owner, filename=name, artifact=part, **options
        )
        return version

    async def load(self, name: str, version: int | None = None) -> types.Part | None:
        return await self.service.load_artifact(**self.owner, filename=name, version=version)

    async def keys(self) -> list[str]:
        keys: list[str] = await self.service.list_artifact_keys(**self.owner)
        return keys

    async def delete(self, name: str) -> None:
        await self.service.delete_artifact(**self.owner, filename=name)

    async def versions(self, name: str) -> list[int]:
        versions: list[int] = await self.service.list_versions(**self.owner, filename=name)
        return versions

    async def described(self, name: str) -> list[Any]:
        described: list[Any] = await self.service.list_artifact_versions(
            **self.owner, filename=name
        )
        return described

    async def description(self, name: str, version: int | None = None) -> Any:
        return await self.service.get_artifact_version(**self.owner, filename=name, version=version)

    def uri(self, name: str, version: int = 0) -> str:
        """The reference of a version, as ADK writes it."""
        session = self.owner["session_id"]
        between = "" if session is None else f"/sessions/{session}"
        return (
            f"artifact://apps/{self.owner['app_name']}/users/{self.owner['user_id']}{between}"
            f"/artifacts/{name}/versions/{version}"
        )


def reference(uri: str) -> types.Part:
    """A part that stands for another artifact."""
    return types.Part(file_data=types.FileData(file_uri=uri, mime_type="text/plain"))


class ArtifactContract:
    """What all of them promise. A subclass has a fixture ``place``."""

    @pytest.mark.parametrize("kind", PARTS)
    def test_parts_come_back_as_they_were(self, place: Place, kind: str) -> None:
        async def scenario() -> None:
            for name in ("file", "user:file"):
                assert await place.save(name, PARTS[kind]) == 0
                assert await place.load(name) == PARTS[kind]
                assert await place.load(name, 0) == PARTS[kind]

        run(scenario())

    @pytest.mark.parametrize(
        "artifact",
        [
            {"inlineData": {"mimeType": "image/png", "data": base64.b64encode(b"x").decode()}},
            {"inline_data": {"mime_type": "image/png", "data": base64.b64encode(b"x").decode()}},
        ],
    )
    def test_parts_may_be_dicts(self, place: Place, artifact: dict[str, Any]) -> None:
        async def scenario() -> None:
            assert await place.save("file", artifact) == 0
            assert await place.load("file") == types.Part.model_validate(artifact)
            assert await place.save("file", {"text": "t"}) == 1
            assert await place.load("file") == types.Part(text="t")

        run(scenario())

    def test_versions_count_from_zero(self, place: Place) -> None:
        async def scenario() -> None:
            assert await place.versions("a/b") == []
            assert [await place.save("a/b", types.Part(text=f"{n}")) for n in range(12)] == [
                *range(12)
            ]
            assert await place.versions("a/b") == [*range(12)]
            assert await place.load("a/b") == types.Part(text="11")
            assert await place.load("a/b", 3) == types.Part(text="3")
            for version in (12, -1, 2**63, 2**70):
                assert await place.load("a/b", version) is None
                assert await place.description("a/b", version) is None

        run(scenario())

    def test_an_artifact_that_is_not_there(self, place: Place) -> None:
        async def scenario() -> None:
            assert await place.load("none") is None
            assert await place.load("none", 0) is None
            assert await place.versions("none") == []
            assert await place.described("none") == []
            assert await place.description("none") is None
            assert await place.keys() == []
            await place.delete("none")

        run(scenario())

    def test_delete(self, place: Place) -> None:
        async def scenario() -> None:
            for name in ("doc", "doc", "doc/nested", "user:doc"):
                await place.save(name, TEXT)
            await place.delete("doc")
            assert await place.load("doc") is None
            assert await place.versions("doc") == []
            assert await place.keys() == ["doc/nested", "user:doc"]
            await place.delete("user:doc")
            assert await place.keys() == ["doc/nested"]
            assert await place.load("doc/nested") == TEXT

        run(scenario())

    def test_listing_is_of_the_session_and_the_user_by_name(self, place: Place) -> None:
        async def scenario() -> None:
            names = ["Z", "a", "a/b", "b", "user:a", "user:b/c", "é", "日本"]
            for name in reversed(names):
                await place.save(name, PNG)
            assert await place.keys() == names
            assert await place.at(session_id="other").keys() == ["user:a", "user:b/c"]
            assert await place.at(session_id=None).keys() == ["user:a", "user:b/c"]
            assert await place.at(user_id="other").keys() == []
            assert await place.at(app_name=place.owner["app_name"] + "x").keys() == []

        run(scenario())

    def test_files_of_a_user_are_the_same_in_all_sessions(self, place: Place) -> None:
        async def scenario() -> None:
            assert await place.save("user:me", TEXT) == 0
            for session in ("other", None):
                assert await place.at(session_id=session).load("user:me") == TEXT
                assert await place.at(session_id=session).versions("user:me") == [0]
            assert await place.at(session_id="other").save("user:me", PNG) == 1
            assert await place.load("user:me") == PNG
            assert await place.load("me") is None
            assert await place.at(user_id="other").load("user:me") is None

        run(scenario())

    def test_sessions_users_and_apps_are_apart(self, place: Place) -> None:
        async def scenario() -> None:
            app = place.owner["app_name"]
            places = [
                place,
                place.at(session_id="other"),
                place.at(user_id="other"),
                place.at(user_id="group/user"),
                place.at(app_name=f"projects/1/{app}"),
            ]
            for number, at in enumerate(places):
                assert await at.save("file", types.Part(text=f"{number}")) == 0
            await places[1].delete("file")
            for number, at in enumerate(places):
                expected = None if number == 1 else types.Part(text=f"{number}")
                assert await at.load("file") == expected

        run(scenario())

    def test_what_is_known_of_versions(self, place: Place) -> None:
        async def scenario() -> None:
            before = time.time() - 1
            about = {"n": 1, "nested": {"list": [1, 2.5, None, "é"]}}
            await place.save("file", PNG, custom_metadata=about)
            await place.save("file", PARTS["bytes of text"])
            first, second = await place.described("file")
            assert [first.version, second.version] == [0, 1]
            assert [first.mime_type, second.mime_type] == ["image/png", "text/plain"]
            assert [first.custom_metadata, second.custom_metadata] == [about, {}]
            assert before < first.create_time <= second.create_time < time.time() + 1
            assert first.canonical_uri != second.canonical_uri
            assert await place.description("file") == second
            assert await place.description("file", 0) == first

        run(scenario())

    def test_custom_metadata_is_as_it_was_at_the_save(self, place: Place) -> None:
        async def scenario() -> None:
            about = {"a": [1]}
            await place.save("file", TEXT, custom_metadata=about)
            about["a"].append(2)
            found = await place.description("file")
            found.custom_metadata["a"].append(3)
            assert (await place.description("file")).custom_metadata == {"a": [1]}

        run(scenario())

    def test_what_a_rewind_has_removed_loads_as_none(self, place: Place) -> None:
        async def scenario() -> None:
            removed = types.Part.from_bytes(data=b"", mime_type="application/octet-stream")
            await place.save("file", TEXT)
            assert await place.save("file", removed) == 1
            assert await place.load("file") is None
            assert await place.load("file", 0) == TEXT
            assert await place.versions("file") == [0, 1]
            assert await place.keys() == ["file"]

        run(scenario())

    @pytest.mark.parametrize("field", ["app_name", "user_id", "session_id"])
    def test_ids_that_no_service_takes(self, place: Place, field: str) -> None:
        async def scenario() -> None:
            for bad in BAD_IDS:
                at = place.at(**{field: bad})
                for call in (
                    at.save("file", TEXT),
                    at.load("file"),
                    at.keys(),
                    at.delete("file"),
                    at.versions("file"),
                    at.described("file"),
                    at.description("file"),
                ):
                    with pytest.raises(InputValidationError, match=field):
                        await call

        run(scenario())

    @pytest.mark.parametrize(
        "part", [types.Part(), types.Part(thought=True), {}], ids=["empty", "thought", "dict"]
    )
    def test_parts_without_anything_to_store(self, place: Place, part: Any) -> None:
        async def scenario() -> None:
            with pytest.raises(InputValidationError):
                await place.save("file", part)
            assert await place.versions("file") == []

        run(scenario())

    def test_saves_at_once_get_a_number_each(self, place: Place) -> None:
        async def scenario() -> None:
            saved = await asyncio.gather(
                *(place.save("file", types.Part(text=f"{n}")) for n in range(20))
            )
            assert sorted(saved) == [*range(20)]
            for n, version in enumerate(saved):
                assert await place.load("file", version) == types.Part(text=f"{n}")

        run(scenario())


class FileDataContract:
    """What those promise that take ``file_data``; ADK's file service does not."""

    def test_file_data_comes_back(self, place: Place) -> None:
        async def scenario() -> None:
            part = types.Part(
                file_data=types.FileData(
                    file_uri="gs://bucket/é.pdf", mime_type="application/pdf", display_name="é"
                )
            )
            plain = types.Part(file_data=types.FileData(file_uri="https://example.com/x"))
            assert await place.save("file", part) == 0
            assert await place.save("file", plain) == 1
            assert await place.load("file", 0) == part
            assert await place.load("file") == plain
            first, second = await place.described("file")
            assert [first.mime_type, second.mime_type] == ["application/pdf", None]

        run(scenario())

    def test_text_has_a_type(self, place: Place) -> None:
        async def scenario() -> None:
            await place.save("file", TEXT)
            assert (await place.description("file")).mime_type == "text/plain"

        run(scenario())

    def test_references_are_followed(self, place: Place) -> None:
        async def scenario() -> None:
            await place.save("folder/target", TEXT)
            await place.save("folder/target", PNG)
            await place.save("user:target", TEXT)
            for name, uri, expected in (
                ("first", place.uri("folder/target"), TEXT),
                ("second", place.uri("folder/target", 1), PNG),
                ("user's", place.at(session_id=None).uri("user:target"), TEXT),
                ("missing", place.uri("folder/target", 9), None),
                ("through", place.uri("first"), TEXT),
            ):
                assert await place.save(name, reference(uri)) == 0
                assert await place.load(name) == expected
                assert (await place.description(name)).mime_type is None

        run(scenario())

    def test_references_lead_nowhere_else(self, place: Place) -> None:
        async def scenario() -> None:
            for uri, why in (
                (place.at(user_id="other").uri("x"), "same app and user"),
                (place.at(app_name="other").uri("x"), "same app and user"),
                (place.at(user_id="other", session_id=None).uri("user:x"), "same app and user"),
                (place.at(session_id="other").uri("x"), "same session"),
                ("artifact://apps/a", "Invalid artifact reference"),
                ("artifact://", "Invalid artifact reference"),
            ):
                with pytest.raises(InputValidationError, match=why):
                    await place.save("file", reference(uri))
            assert await place.versions("file") == []

        run(scenario())

    def test_a_user_s_reference_into_a_session_is_followed_there_only(self, place: Place) -> None:
        async def scenario() -> None:
            await place.save("target", TEXT)
            await place.save("user:file", reference(place.uri("target")))
            assert await place.load("user:file") == TEXT
            for session in ("other", None):
                with pytest.raises(InputValidationError, match="same session"):
                    await place.at(session_id=session).load("user:file")

        run(scenario())

    def test_five_references_in_a_row_are_followed_and_no_more(self, place: Place) -> None:
        async def scenario() -> None:
            await place.save("0", TEXT)
            for n in range(1, 7):
                await place.save(f"{n}", reference(place.uri(f"{n - 1}")))
            assert await place.load("5") == TEXT
            with pytest.raises(InputValidationError, match="maximum recursion depth"):
                await place.load("6")
            await place.save("loop", reference(place.uri("loop")))
            with pytest.raises(InputValidationError, match="maximum recursion depth"):
                await place.load("loop")

        run(scenario())
