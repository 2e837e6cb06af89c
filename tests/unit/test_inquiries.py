"""Queries on their way: asked again while no reply comes, given up at their deadline."""

from __future__ import annotations

import pytest

from api_client.outbox.inquiries import Inquiries, Inquiry
from api_client.receipts import Receipt

ASK_AGAIN = 5.0


@pytest.fixture
def inquiries() -> Inquiries:
    return Inquiries(ASK_AGAIN)


def inquiry(name: str = "q", deadline: float = 100.0) -> Inquiry:
    return Inquiry(name, b"{}", Receipt(1.0), deadline)


def test_a_query_that_waits_for_writes_is_not_sent(inquiries: Inquiries) -> None:
    waiting = inquiry()
    inquiries.add(waiting)
    assert inquiries.due(99) == []
    assert inquiries.next_due() == 100


def test_a_released_query_is_due_at_once_and_then_again_later(inquiries: Inquiries) -> None:
    asked = inquiry()
    inquiries.add(asked)
    inquiries.release(asked, now=10)
    assert inquiries.next_due() == 10
    assert inquiries.due(10) == [asked]
    assert inquiries.due(10) == []
    assert inquiries.next_due() == 15
    assert inquiries.due(14.9) == []
    assert inquiries.due(15) == [asked]


def test_an_answered_query_is_forgotten(inquiries: Inquiries) -> None:
    asked = inquiry()
    inquiries.add(asked)
    inquiries.release(asked, now=0)
    assert inquiries.take("q") is asked
    assert inquiries.take("q") is None, "a second reply finds nobody"
    assert inquiries.due(50) == []
    assert inquiries.expired(1000) == []
    assert inquiries.next_due() is None


def test_a_query_is_given_up_at_its_deadline_once(inquiries: Inquiries) -> None:
    asked = inquiry(deadline=20)
    inquiries.add(asked)
    inquiries.release(asked, now=0)
    assert inquiries.expired(19.9) == []
    assert inquiries.expired(20) == [asked]
    assert inquiries.expired(20) == []
    assert inquiries.take("q") is None


def test_one_that_still_waits_for_writes_is_given_up_too(inquiries: Inquiries) -> None:
    waiting = inquiry(deadline=20)
    inquiries.add(waiting)
    assert inquiries.expired(20) == [waiting]
    inquiries.release(waiting, now=21)
    assert inquiries.due(22) == [], "released too late, it is not asked any more"


def test_the_next_time_is_the_earliest_of_all(inquiries: Inquiries) -> None:
    late, soon = inquiry("late", deadline=30), inquiry("soon", deadline=90)
    inquiries.add(late)
    inquiries.add(soon)
    assert inquiries.next_due() == 30
    inquiries.release(soon, now=7)
    assert inquiries.next_due() == 7
    inquiries.due(28)
    assert inquiries.next_due() == 30, "a deadline comes before the next asking at 33"


def test_one_that_was_asked_is_given_up_before_it_would_be_asked_again(
    inquiries: Inquiries,
) -> None:
    asked = inquiry(deadline=12)
    inquiries.add(asked)
    inquiries.release(asked, now=10)
    inquiries.due(10)
    assert inquiries.next_due() == 12


def test_all_open_ones_are_known(inquiries: Inquiries) -> None:
    first, second = inquiry("1"), inquiry("2")
    inquiries.add(first)
    inquiries.add(second)
    inquiries.take("1")
    assert inquiries.all() == [second]
