"""Operations without an answer."""

import pytest

from counters_client.core.outbox import Entry, Outbox
from counters_client.errors import OutboxFull


def filled(number: int, size: int = 100, window: int = 3) -> Outbox:
    outbox = Outbox(size, window)
    for each in range(number):
        outbox.add(Entry(str(each), f"text {each}", deadline=10 + each))
    return outbox


def taken(outbox: Outbox) -> list[str]:
    return [entry.id for entry in outbox.take()]


def test_in_order_and_no_more_on_their_way_than_the_window() -> None:
    outbox = filled(5)
    assert taken(outbox) == ["0", "1", "2"]
    assert taken(outbox) == []
    assert outbox.remove("1") is not None
    assert taken(outbox) == ["3"]
    assert len(outbox) == 4


def test_a_full_one_takes_nothing() -> None:
    outbox = filled(3, size=3)
    with pytest.raises(OutboxFull):
        outbox.add(Entry("x", "", 0))
    outbox.remove("0")
    outbox.add(Entry("x", "", 20))


def test_what_was_on_its_way_is_sent_again_first_and_in_order() -> None:
    outbox = filled(5)
    taken(outbox)
    outbox.remove("1")
    outbox.rewind()
    first, second, third = outbox.take()
    assert [(each.id, each.sends) for each in (first, second, third)] == [("0", 2), ("2", 2), ("3", 1)]


def test_an_answer_is_taken_once() -> None:
    outbox = filled(1)
    assert outbox.remove("0") is not None
    assert outbox.remove("0") is None
    assert outbox.due is None


def test_what_was_withdrawn_before_it_was_sent_is_not_sent() -> None:
    outbox = filled(3)
    outbox.remove("1")
    assert taken(outbox) == ["0", "2"]


def test_it_rests_and_is_sent_again() -> None:
    outbox = filled(4, window=1)
    [entry] = outbox.take()
    outbox.rest(entry, until=5)
    assert outbox.due == 5
    assert taken(outbox) == ["1"]
    assert outbox.tick(4.9) == []
    outbox.remove("1")
    outbox.tick(5)
    assert taken(outbox) == ["2"]
    outbox.remove("2")
    outbox.remove("3")
    assert taken(outbox) == ["0"]


def test_who_rests_stays_in_bed_when_the_connection_breaks() -> None:
    outbox = filled(2)
    first, _ = outbox.take()
    outbox.rest(first, until=5)
    outbox.rewind()
    assert taken(outbox) == ["1"]
    outbox.tick(5)
    assert taken(outbox) == ["0"]


def test_time_runs_out_in_every_stage() -> None:
    outbox = filled(5, window=2)
    first, _ = outbox.take()
    outbox.rest(first, until=99)
    assert outbox.due == 10
    assert [entry.id for entry in outbox.tick(12)] == ["0", "1", "2"]
    assert taken(outbox) == ["3", "4"]
    assert [entry.sends for entry in outbox.clear()] == [1, 1]
    assert (len(outbox), outbox.due) == (0, None)
    outbox.tick(99)
    assert taken(outbox) == []
