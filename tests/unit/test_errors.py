"""The error tree: stable codes, records that cross the wire, exceptions that can be pickled."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator

import pytest

from api_client.contract import codec
from api_client.contract.errors import (
    ERRORS,
    AlreadyExists,
    Conflict,
    ErrorRecord,
    Forbidden,
    InvalidRequest,
    NotFound,
    OutboxFull,
    StorageError,
    TooLarge,
    Unavailable,
    from_record,
    to_record,
)

#: Codes are part of the wire: programs in other languages compare with them.
CODES: dict[str, type[StorageError]] = {
    "invalid_request": InvalidRequest,
    "too_large": TooLarge,
    "not_found": NotFound,
    "already_exists": AlreadyExists,
    "conflict": Conflict,
    "forbidden": Forbidden,
    "outbox_full": OutboxFull,
    "unavailable": Unavailable,
}


def tree(kind: type[StorageError] = StorageError) -> Iterator[type[StorageError]]:
    """The errors of the contract, without what a part of the code derives for its own use."""
    for child in kind.__subclasses__():
        if child.__module__ == StorageError.__module__:
            yield child
            yield from tree(child)


def test_the_codes_are_those_of_the_wire() -> None:
    assert ERRORS == CODES


def test_every_error_of_the_tree_has_a_code_of_its_own() -> None:
    assert sorted(kind.code for kind in tree()) == sorted(CODES)


def test_too_large_is_an_invalid_request_and_all_else_stands_beside() -> None:
    parents = {kind: kind.__bases__ for kind in CODES.values()}
    assert parents.pop(TooLarge) == (InvalidRequest,)
    assert set(parents.values()) == {(StorageError,)}


def test_an_error_reads_as_its_message() -> None:
    error = TooLarge("data takes 9 bytes; the limit is 8", field="data", limit=8)
    assert str(error) == error.message == "data takes 9 bytes; the limit is 8"
    assert (error.field, error.limit) == ("data", 8)


@pytest.mark.parametrize("kind", CODES.values())
@pytest.mark.parametrize(("field", "limit"), [("events[0].author", 256), (None, None)])
def test_an_error_crosses_the_wire(
    kind: type[StorageError], field: str | None, limit: int | None
) -> None:
    error = kind("what is wrong", field=field, limit=limit)
    record = codec.decode(codec.encode(to_record(error)), ErrorRecord)
    back = from_record(record)
    assert type(back) is kind
    assert (back.message, back.field, back.limit) == ("what is wrong", field, limit)


def test_a_code_of_a_later_release_is_a_plain_failure() -> None:
    error = from_record(ErrorRecord("quota_exceeded", "too much", "app", 3))
    assert type(error) is StorageError
    assert (error.message, error.field, error.limit) == ("too much", "app", 3)


def test_a_record_has_no_more_than_it_needs() -> None:
    assert codec.encode(to_record(NotFound("gone"))) == b'{"code":"not_found","message":"gone"}'


@pytest.mark.parametrize("kind", [StorageError, *CODES.values()])
def test_an_error_survives_pickling_and_copying(kind: type[StorageError]) -> None:
    error = kind("what is wrong", field="app", limit=7)
    for back in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(back) is kind
        assert (str(back), back.field, back.limit) == ("what is wrong", "app", 7)


def test_seed_fault_not_found_looks_like_a_database_failure() -> None:
    assert not issubclass(NotFound, Unavailable)
    assert from_record(to_record(NotFound("gone"))).code == "not_found"
