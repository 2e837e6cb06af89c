"""What becomes of artifact operations, decided in memory."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec
import pytest

from api_client.contract.errors import InvalidRequest, NotFound, StorageError, TooLarge
from api_client.contract.keys import ArtifactKey
from api_client.contract.limits import (
    MAX_ARTIFACT_BYTES,
    MAX_COUNT,
    MAX_INLINE_BYTES,
    MAX_METADATA_BYTES,
    MAX_MIME_TYPE_BYTES,
)
from api_client.contract.operations import BlobReference, DeleteArtifact, SaveArtifact
from api_client.contract.outcomes import ArtifactDeleted, ArtifactSaved
from worker.artifacts.evaluate import (
    ArtifactPlace,
    ArtifactPlan,
    ArtifactRow,
    Decoded,
    DecodedSave,
    check,
    evaluate,
)

KEY = ArtifactKey("app", "user", "session", "report.pdf")
OTHER = ArtifactKey("app", "user", "session", "other.pdf")
HASH = hashlib.sha256(b"bytes").hexdigest()
BLOB = BlobReference(HASH, 5)
PK = 7


def row(*versions: int, pk: int = PK, last: int | None = None) -> ArtifactRow:
    return ArtifactRow(pk, max(versions, default=0) if last is None else last, set(versions))


def saved(key: ArtifactKey = KEY, blob: BlobReference = BLOB) -> DecodedSave:
    return DecodedSave(key, blob, "application/pdf", "{}")


def deleted(version: int | None = None, key: ArtifactKey = KEY) -> DeleteArtifact:
    return DeleteArtifact(key=key, version=version)


def run(rows: dict[ArtifactKey, ArtifactRow], *operations: Decoded | StorageError) -> ArtifactPlan:
    return evaluate(operations, {ArtifactPlace.of(key): found for key, found in rows.items()})


class TestPlaces:
    def test_an_artifact_of_the_user_is_the_same_in_all_sessions(self) -> None:
        places = {
            ArtifactPlace.of(ArtifactKey("app", "user", session, "user:photo"))
            for session in ("a", "b", "user")
        }
        assert places == {ArtifactPlace("app", "user", "", "user:photo")}

    def test_seed_fault_a_session_called_user_collides_with_user_scope(self) -> None:
        of_session = ArtifactPlace.of(ArtifactKey("app", "user", "user", "photo"))
        of_user = ArtifactPlace.of(ArtifactKey("app", "user", "session", "user:photo"))
        assert of_session != of_user
        assert of_session.session == "user"

    def test_seed_fault_separators_become_underscores_so_names_collide(self) -> None:
        names = ["a/b", "a\\b", "a:b", "a_b", "..", "."]
        places = {ArtifactPlace.of(ArtifactKey("app", "user", "session", n)) for n in names}
        assert {place.name for place in places} == set(names)


class TestSave:
    def test_the_first_version_is_one(self) -> None:
        found = row()
        plan = run({KEY: found}, saved())
        assert plan.results == [ArtifactSaved(1, 5, HASH)]
        assert found.last_version == 1
        (new,) = plan.saved.values()
        assert (new.artifact_pk, new.version, new.blob) == (PK, 1, BLOB)
        assert (new.mime_type, new.metadata) == ("application/pdf", "{}")

    def test_saves_of_one_batch_get_one_number_each(self) -> None:
        plan = run({KEY: row(1, 2), OTHER: row(pk=8)}, saved(), saved(OTHER), saved())
        assert [r.version for r in plan.results if isinstance(r, ArtifactSaved)] == [3, 1, 4]
        assert set(plan.saved) == {(PK, 3), (8, 1), (PK, 4)}

    def test_seed_fault_deleted_version_numbers_are_reused(self) -> None:
        plan = run({KEY: row(last=3)}, saved())
        assert plan.results == [ArtifactSaved(4, 5, HASH)]

    def test_a_number_deleted_in_the_same_batch_is_not_reused_either(self) -> None:
        found = row(1)
        plan = run({KEY: found}, saved(), deleted(2), saved(), deleted(), saved())
        numbers = [r.version for r in plan.results if isinstance(r, ArtifactSaved)]
        assert numbers == [2, 3, 4]
        assert found.last_version == 4
        assert set(plan.saved) == {(PK, 4)}


class TestDelete:
    def test_one_version_goes_and_the_others_stay(self) -> None:
        found = row(1, 2, 3)
        plan = run({KEY: found}, deleted(2))
        assert plan.results == [ArtifactDeleted([2])]
        assert plan.deleted == [(PK, 2)]
        assert found.versions == {1, 3}

    def test_all_versions_go_together_in_order(self) -> None:
        plan = run({KEY: row(1, 3, 11, last=12)}, deleted())
        assert plan.results == [ArtifactDeleted([1, 3, 11])]
        assert sorted(plan.deleted) == [(PK, 1), (PK, 3), (PK, 11)]

    def test_a_version_saved_in_the_same_batch_is_never_written(self) -> None:
        plan = run({KEY: row(1)}, saved(), deleted())
        assert plan.results[1] == ArtifactDeleted([1, 2])
        assert plan.saved == {}
        assert plan.deleted == [(PK, 1)]

    @pytest.mark.parametrize("version", [None, 1])
    @pytest.mark.parametrize("rows", [{}, {KEY: row()}, {KEY: row(last=3)}, {OTHER: row(1)}])
    def test_where_nothing_is_there_it_is_not_found(
        self, rows: dict[ArtifactKey, ArtifactRow], version: int | None
    ) -> None:
        plan = run(rows, deleted(version))
        (error,) = plan.results
        assert isinstance(error, NotFound)
        assert error.field == "key"
        assert plan.deleted == []

    def test_a_version_is_deleted_once(self) -> None:
        plan = run({KEY: row(1, 2)}, deleted(1), deleted(1), deleted(), deleted())
        kinds = [type(result) for result in plan.results]
        assert kinds == [ArtifactDeleted, NotFound, ArtifactDeleted, NotFound]
        assert sorted(plan.deleted) == [(PK, 1), (PK, 2)]

    def test_a_bad_operation_does_not_block_its_neighbours(self) -> None:
        refused = InvalidRequest("no")
        plan = run({KEY: row(1)}, refused, deleted(9), saved())
        assert plan.results[0] is refused
        assert isinstance(plan.results[1], NotFound)
        assert plan.results[2] == ArtifactSaved(2, 5, HASH)


class TestCheck:
    def save(self, **fields: Any) -> SaveArtifact:
        defaults: dict[str, Any] = {"key": KEY, "mime_type": "text/plain", "data": b""}
        return SaveArtifact(**defaults | fields)

    @pytest.mark.parametrize(
        "fields",
        [
            {},
            {"data": b"x" * MAX_INLINE_BYTES},
            {"data": None, "blob": BLOB},
            {"data": None, "blob": BlobReference(HASH, MAX_ARTIFACT_BYTES)},
            {"mime_type": "x" * MAX_MIME_TYPE_BYTES},
            {"metadata": {"k": msgspec.Raw(b'"' + b"x" * (MAX_METADATA_BYTES - 8) + b'"')}},
        ],
    )
    def test_what_keeps_the_rules_passes(self, fields: dict[str, Any]) -> None:
        check(self.save(**fields))

    @pytest.mark.parametrize(
        ("fields", "field"),
        [
            ({"mime_type": ""}, "mime_type"),
            ({"mime_type": "a/b\x00"}, "mime_type"),
            ({"mime_type": "x" * (MAX_MIME_TYPE_BYTES + 1)}, "mime_type"),
            ({"data": None}, "data"),
            ({"blob": BLOB}, "data"),
            ({"metadata": {"k": msgspec.Raw(b"1e999")}}, "metadata"),
            ({"metadata": {"k": msgspec.Raw(b"[" * 500 + b"]" * 500)}}, "metadata"),
            ({"data": None, "blob": BlobReference(HASH, -1)}, "blob.size"),
            ({"data": None, "blob": BlobReference(HASH.upper(), 5)}, "blob.sha256"),
            ({"data": None, "blob": BlobReference(HASH[:-1], 5)}, "blob.sha256"),
            ({"data": None, "blob": BlobReference("../" + HASH[3:], 5)}, "blob.sha256"),
            ({"data": None, "blob": BlobReference("٠" * 64, 5)}, "blob.sha256"),
            ({"data": None, "blob": BlobReference("", 5)}, "blob.sha256"),
        ],
    )
    def test_what_breaks_a_rule_is_refused_by_its_field(
        self, fields: dict[str, Any], field: str
    ) -> None:
        with pytest.raises(InvalidRequest) as caught:
            check(self.save(**fields))
        assert caught.value.field == field

    @pytest.mark.parametrize(
        ("fields", "limit"),
        [
            ({"data": b"x" * (MAX_INLINE_BYTES + 1)}, MAX_INLINE_BYTES),
            (
                {"data": None, "blob": BlobReference(HASH, MAX_ARTIFACT_BYTES + 1)},
                MAX_ARTIFACT_BYTES,
            ),
            (
                {"metadata": {"k": msgspec.Raw(b'"' + b"x" * (MAX_METADATA_BYTES - 7) + b'"')}},
                MAX_METADATA_BYTES,
            ),
        ],
    )
    def test_what_is_too_large_is_refused_with_the_limit(
        self, fields: dict[str, Any], limit: int
    ) -> None:
        with pytest.raises(TooLarge) as caught:
            check(self.save(**fields))
        assert caught.value.limit == limit

    @pytest.mark.parametrize("version", [None, 1, MAX_COUNT])
    def test_a_version_that_can_be_is_deleted(self, version: int | None) -> None:
        check(deleted(version))

    @pytest.mark.parametrize("version", [0, -1, MAX_COUNT + 1])
    def test_a_version_that_cannot_be_is_refused(self, version: int) -> None:
        with pytest.raises(InvalidRequest) as caught:
            check(deleted(version))
        assert caught.value.field == "version"
