"""Events that nobody has read yet."""

import pytest

from counters_client.core.backlog import Backlog
from counters_client.core.follow import Follow, Verdict
from counters_client.records import Event
from tests.unit.client.messages import told


def drained(backlog: Backlog) -> list[Event]:
    return [backlog.pop() for _ in range(len(backlog))]


def test_in_order() -> None:
    backlog = Backlog(3)
    for seq in (1, 2, 3):
        backlog.push(told(seq=seq))
    assert [event.value for event in drained(backlog)] == [1, 2, 3]
    with pytest.raises(IndexError):
        backlog.pop()


def test_beyond_its_size_the_newest_stands_for_what_came_before() -> None:
    backlog = Backlog(3)
    for seq in range(1, 101):
        backlog.push(told(seq=seq))
    first, second, third = drained(backlog)
    assert (first.value, second.value, third.value) == (1, 2, 100)
    assert (third.operations, third.previous_value) == (98, 2)


def test_each_counter_is_joined_with_itself() -> None:
    backlog = Backlog(2)
    for seq in range(1, 11):
        backlog.push(told(seq=seq, name="a"))
        backlog.push(told(seq=seq, name="b"))
    events = drained(backlog)
    assert [(event.name, event.value, event.operations) for event in events] == [("a", 10, 10), ("b", 10, 10)]


@pytest.mark.parametrize("size", [1, 2, 3, 7])
@pytest.mark.parametrize("reads_every", [1, 2, 5, 50])
def test_what_is_read_is_a_stream_without_gaps(size, reads_every) -> None:
    """With a snapshot on the way, and an end of the counter."""
    backlog, follow = Backlog(size), Follow()
    said = [
        told(seq=3, type="snapshot"),
        *(told(seq=seq) for seq in range(4, 15)),
        told(seq=30, type="snapshot"),
        *(told(seq=seq) for seq in range(31, 40)),
        told(seq=40, type="reset", reason="deleted"),
        *(told(seq=seq, life=2) for seq in range(1, 9)),
    ]
    read = []
    for number, event in enumerate(said):
        backlog.push(event)
        if number % reads_every == 0:
            read.append(backlog.pop())
    read += drained(backlog)
    assert [follow.take(event) for event in read] == [Verdict.NEW] * len(read)
    assert read[-1].position == (2, 8)
