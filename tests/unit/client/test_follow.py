"""How far a stream has come."""

import pytest

from counters_client.core.follow import Follow, Verdict
from counters_client.records import Position
from tests.unit.client.messages import told

NEW, OLD, GAP = Verdict.NEW, Verdict.OLD, Verdict.GAP


def after(seq: int, life: int = 1) -> Follow:
    follow = Follow()
    assert follow.take(told(seq=seq, life=life, type="snapshot")) is NEW
    return follow


def test_one_after_the_other() -> None:
    follow = after(3)
    assert [follow.take(told(seq=seq)) for seq in (4, 5, 6)] == [NEW, NEW, NEW]
    assert follow.position == Position(1, 6)


def test_what_was_heard_before_is_old() -> None:
    follow = after(3)
    assert [follow.take(told(seq=seq)) for seq in (1, 3, 4, 4, 3)] == [OLD, OLD, NEW, OLD, OLD]


def test_what_comes_too_early_is_not_taken_and_comes_again() -> None:
    follow = after(3)
    assert follow.take(told(seq=5)) is GAP
    assert follow.position == Position(1, 3)
    assert [follow.take(told(seq=seq)) for seq in (4, 5)] == [NEW, NEW]


def test_before_the_first_snapshot_nothing_is_taken() -> None:
    follow = Follow()
    assert follow.take(told(seq=1)) is GAP
    assert follow.take(told(seq=1, type="snapshot")) is NEW


@pytest.mark.parametrize(("seq", "operations", "verdict"), [(6, 3, NEW), (6, 2, GAP), (6, 5, NEW), (3, 2, OLD)])
def test_an_event_that_stands_for_several(seq, operations, verdict) -> None:
    assert after(3).take(told(seq=seq, operations=operations)) is verdict


def test_a_filter_or_a_rate_leaves_gaps_and_no_repetitions() -> None:
    follow = Follow(every=False)
    follow.take(told(seq=3, type="snapshot"))
    assert [follow.take(told(seq=seq)) for seq in (9, 9, 20, 4)] == [NEW, OLD, NEW, OLD]


def test_it_goes_on_from_a_place() -> None:
    follow = Follow(Position(1, 7))
    assert follow.take(told(seq=7)) is OLD
    assert follow.take(told(seq=8)) is NEW


def test_a_snapshot_stands_for_what_was_missed() -> None:
    follow = after(3)
    assert follow.take(told(seq=900, type="snapshot")) is NEW
    assert follow.take(told(seq=900, type="snapshot")) is OLD
    assert follow.take(told(seq=901)) is NEW


def test_a_snapshot_is_right_even_if_it_is_behind() -> None:
    """The service was restored from a backup."""
    follow = after(900)
    assert follow.take(told(seq=3, type="snapshot")) is NEW
    assert follow.take(told(seq=4)) is NEW


def test_a_counter_that_is_deleted_and_made_anew_begins_with_1() -> None:
    follow = after(3)
    assert follow.take(told(seq=4, type="reset", reason="deleted")) is NEW
    assert follow.take(told(seq=4, type="reset", reason="deleted")) is OLD
    assert follow.take(told(seq=2, life=5)) is GAP
    assert follow.take(told(seq=1, life=5)) is NEW
    assert follow.take(told(seq=5, life=1)) is OLD
    assert follow.take(told(seq=2, life=5)) is NEW


def test_a_new_life_without_the_end_of_the_old_one() -> None:
    assert after(3).take(told(seq=1, life=2)) is NEW
    assert after(3).take(told(seq=2, life=2)) is GAP
    assert after(3, life=2).take(told(seq=9, life=1)) is OLD


def test_a_counter_that_was_never_written() -> None:
    follow = after(0, life=0)
    assert follow.take(told(seq=0, life=0, type="snapshot")) is OLD
    assert follow.take(told(seq=1, life=1)) is NEW
