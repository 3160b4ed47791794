"""Who gets a host of its own and who loses it: never in a hurry, never back and forth."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.core.ranking import BETTER, COOL_S, FLOOR, HOT_S, KEEPS, MOVES_MAX, SHARE, Standing, Verdict, rank

NAMES = st.sampled_from("abcdefgh")
RATES = st.dictionaries(NAMES, st.floats(0, 20 * FLOOR), max_size=8)
PLACES = st.integers(0, 5)
ROUND_S = 1.0
SETTLED_S = COOL_S + HOT_S + 20 * ROUND_S


class Rounds:
    """One round a second."""

    def __init__(self, places: int = 2, **seated: float | None) -> None:
        self.places = places
        self.now = 0.0
        self.standing = Standing(seated, {})
        self.history: list[tuple[float, tuple[str, ...], tuple[str, ...]]] = []

    def round(self, rates: Mapping[str, float]) -> Verdict:
        verdict = rank(self.standing, rates, self.places, self.now)
        self.standing = verdict.standing
        if verdict.gets or verdict.loses:
            self.history.append((self.now, verdict.gets, verdict.loses))
        self.now += ROUND_S
        return verdict

    def run(self, seconds: float, **rates: float) -> list[tuple[float, tuple[str, ...], tuple[str, ...]]]:
        """The moves of so many seconds at these rates, in multiples of the floor."""
        self.history = []
        end = self.now + seconds
        while self.now < end:
            self.round({name: rate * FLOOR for name, rate in rates.items()})
        return self.history

    @property
    def seated(self) -> set[str]:
        return set(self.standing.seated)


class TestGetting:
    def test_a_counter_that_stays_hot_gets_a_host(self) -> None:
        assert Rounds().run(60, a=1.0) == [(HOT_S, ("a",), ())]

    def test_a_burst_gets_none(self) -> None:
        rounds = Rounds()
        for _ in range(5):
            assert rounds.run(HOT_S, a=50) == []
            assert rounds.run(1, a=0.9) == []

    def test_nobody_below_the_floor_gets_one(self) -> None:
        assert Rounds().run(60, a=0.99, b=0.99) == []

    def test_one_of_many_equals_gets_none(self) -> None:
        assert Rounds().run(60, **{f"n{number}": 5.0 for number in range(int(1 / SHARE) + 1)}) == []
        assert len(Rounds().run(60, **{f"n{number}": 5.0 for number in range(int(1 / SHARE))})) == 1

    def test_the_hottest_come_first_and_few_at_a_time(self) -> None:
        rounds = Rounds(places=3)
        rates = {name: 1.0 + number for number, name in enumerate("abcdef")}
        assert rounds.run(60, **rates) == [(HOT_S, ("f", "e"), ()), (HOT_S + 1, ("d",), ())]

    def test_without_places_nobody_gets_one(self) -> None:
        assert Rounds(places=0).run(60, a=100) == []

    def test_the_floor_may_be_another(self) -> None:
        hot = Standing({}, {"a": 0.0})
        assert rank(hot, {"a": 5.0}, 1, HOT_S, floor=5.0).gets == ("a",)
        assert rank(hot, {"a": 5.0}, 1, HOT_S, floor=5.1).gets == ()


class TestKeeping:
    def test_it_is_kept_through_a_pause(self) -> None:
        rounds = Rounds()
        rounds.run(10, a=4)
        for _ in range(5):
            assert rounds.run(COOL_S - 1, a=0) == []
            assert rounds.run(1, a=0.3) == []

    def test_it_is_lost_by_who_stays_cool(self) -> None:
        rounds = Rounds()
        rounds.run(10, a=4)
        assert rounds.run(60, a=KEEPS * 0.99) == [(10 + COOL_S, (), ("a",))]

    def test_a_rate_between_the_floors_neither_gets_nor_loses_one(self) -> None:
        assert Rounds(a=None).run(100, a=0.5, b=0.5) == []

    def test_who_has_no_rate_at_all_is_cool(self) -> None:
        assert Rounds(a=None).run(COOL_S + 1) == [(COOL_S, (), ("a",))]


class TestChallenging:
    def test_a_challenger_has_to_be_clearly_hotter(self) -> None:
        assert Rounds(1, a=None).run(60, a=2, b=2 * BETTER * 0.99) == []
        assert Rounds(1, a=None).run(60, a=2, b=2 * BETTER) == [(HOT_S, ("b",), ("a",))]

    def test_the_coolest_has_to_go(self) -> None:
        assert Rounds(3, a=None, b=None, c=None).run(60, a=5, b=3, c=4, d=9) == [(HOT_S, ("d",), ("b",))]

    def test_two_that_swing_do_not_take_turns(self) -> None:
        rounds = Rounds(1)
        rounds.run(10, a=2.0, b=1.9)
        for _ in range(20):
            assert rounds.run(2, a=1.5, b=2.5) == []
            assert rounds.run(2, a=2.5, b=1.5) == []

    def test_one_that_leaves_by_itself_makes_room_enough(self) -> None:
        assert Rounds(2, a=None, b=None, c=-COOL_S).run(1, a=2, b=2) == [(0.0, (), ("c",))]

    def test_fewer_places_than_before_are_left_to_the_hottest(self) -> None:
        rounds = Rounds(1, a=None, b=None, c=None, d=None)
        rounds.run(10, a=2, b=3, c=4, d=5)
        assert rounds.seated == {"d"}


@given(st.dictionaries(NAMES, st.none() | st.floats(0, 100)), st.dictionaries(NAMES, st.floats(0, 100)), RATES, PLACES)
def test_one_round(
    seated: dict[str, float | None], rising: dict[str, float], rates: dict[str, float], places: int
) -> None:
    verdict = rank(Standing(seated, rising), rates, places, 100.0)
    after = set(verdict.standing.seated)
    assert set(verdict.gets).isdisjoint(seated)
    assert set(verdict.loses) <= set(seated)
    assert after == (set(seated) | set(verdict.gets)) - set(verdict.loses)
    assert len(verdict.gets) <= MOVES_MAX
    assert len(verdict.loses) <= MOVES_MAX
    assert len(after) <= max(places, len(seated) - MOVES_MAX)
    assert after.isdisjoint(verdict.standing.rising)
    assert all(rates[name] >= FLOOR for name in verdict.gets)


@given(st.dictionaries(NAMES, st.none() | st.floats(0, 100)), RATES, PLACES, st.data())
def test_the_order_of_names_does_not_matter(
    seated: dict[str, float | None], rates: dict[str, float], places: int, data: st.DataObject
) -> None:
    def shuffled(names: dict[str, float]) -> dict[str, float]:
        return {name: names[name] for name in data.draw(st.permutations(sorted(names)))}

    rising = {name: 0.0 for name in rates}
    first = rank(Standing(seated, rising), rates, places, 100.0)
    assert rank(Standing(shuffled(seated), shuffled(rising)), shuffled(rates), places, 100.0) == first  # type: ignore[arg-type]


@given(st.dictionaries(NAMES, st.none()), RATES, PLACES)
def test_steady_rates_come_to_rest_with_the_hottest_seated(
    seated: dict[str, None], rates: dict[str, float], places: int
) -> None:
    rounds = Rounds(places, **seated)
    while rounds.now < SETTLED_S:
        rounds.round(rates)
    rounds.history = []
    while rounds.now < 3 * SETTLED_S:
        rounds.round(rates)
    assert rounds.history == []
    inside = [rates.get(name, 0.0) for name in rounds.seated]
    enough = max(FLOOR, SHARE * sum(rates.values()))
    outside = [rate for name, rate in rates.items() if name not in rounds.seated and rate >= enough]
    assert len(inside) <= places
    assert all(rate >= KEEPS * FLOOR for rate in inside)
    if outside and places:
        assert len(inside) == places
        assert max(outside) < BETTER * min(inside)


@pytest.mark.parametrize("swing", [1.1, 1.4])
@given(st.dictionaries(NAMES, st.floats(2 * FLOOR, 20 * FLOOR), min_size=1), PLACES, st.data())
def test_rates_that_swing_a_little_move_nobody(
    swing: float, rates: dict[str, float], places: int, data: st.DataObject
) -> None:
    rounds = Rounds(places)
    while rounds.now < SETTLED_S:
        rounds.round(rates)
    settled = rounds.seated
    inside = [rates[name] for name in settled]
    outside = [rate for name, rate in rates.items() if name not in settled]
    if inside and outside and max(outside) * swing >= BETTER * min(inside) / swing:
        return  # So far apart that they may well change places.
    if outside and max(outside) * swing >= SHARE * sum(rates.values()) / swing and len(settled) < places:
        return  # So near the share that it may well come to it.
    for _ in range(10):
        rounds.round({name: rate * data.draw(st.floats(1 / swing, swing)) for name, rate in rates.items()})
    assert rounds.seated == settled
