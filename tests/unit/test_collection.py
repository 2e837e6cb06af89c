"""Python's search for cycles is held off for a block, and for nothing else."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from api_client.adapters.adk.collection import collection_held_off


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    enabled = gc.isenabled()
    gc.enable()
    yield
    (gc.enable if enabled else gc.disable)()


def test_it_goes_on_after_the_last_of_several_blocks() -> None:
    with collection_held_off():
        assert not gc.isenabled()
        with collection_held_off():
            pass
        assert not gc.isenabled()
    assert gc.isenabled()


def test_it_goes_on_after_an_error() -> None:
    with pytest.raises(KeyError), collection_held_off():
        raise KeyError
    assert gc.isenabled()


def test_a_program_that_wants_none_has_none() -> None:
    gc.disable()
    with collection_held_off():
        pass
    assert not gc.isenabled()
