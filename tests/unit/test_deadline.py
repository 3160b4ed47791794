"""When a counter resets itself: periods, schedules and time zones, and where a policy is said."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from actors.core import schedule
from actors.core.agenda import RETRY_MAX_MS, Agenda, pause
from actors.core.deadline import NEVER, Deadlines, Moment, armed, deadlines, resets_at, verdict
from actors.core.policy import DEFAULT, Policies, Policy, complaint

HOUR = 3_600_000
PERIOD = Policy(reset_after=20 * 60)
DAILY = Policy(reset_schedule="0 0 * * *")


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).astimezone(UTC).timestamp() * 1000)


def ticks(text: str, start: str, count: int = 3) -> list[str]:
    """The next few times on a schedule, in UTC."""
    found, now = [], at(start)
    for _ in range(count):
        now = schedule.next_tick(text, now)
        found.append(datetime.fromtimestamp(now / 1000, UTC).strftime("%m-%d %H:%M"))
    return found


class TestPeriods:
    def test_it_is_idle_after_its_period_and_not_a_millisecond_before(self) -> None:
        assert verdict(PERIOD, 5, 1_000, None, Moment(1_000 + 1_200_000 - 1, 0)) is None
        assert verdict(PERIOD, 5, 1_000, None, Moment(1_000 + 1_200_000, 0)) == "inactivity"

    @pytest.mark.parametrize("wall", [-HOUR, 0, 50 * HOUR])
    def test_the_wall_clock_does_not_matter(self, wall: int) -> None:
        assert verdict(PERIOD, 5, 0, None, Moment(1_000, wall)) is None
        assert verdict(PERIOD, 5, 0, None, Moment(1_200_000, wall)) == "inactivity"

    def test_at_its_reset_value_it_has_no_deadline(self) -> None:
        assert deadlines(PERIOD, 0, 0, None, Moment(0, 0)) is NEVER
        assert verdict(PERIOD, 0, 0, None, Moment(HOUR, 0)) is None
        assert not armed(Policy(reset_after=1, initial=3), 3)
        assert not armed(Policy(reset_after=1, initial=3, reset_to=7), 7)
        assert armed(Policy(reset_after=1, initial=3, reset_to=7), 3)

    def test_without_a_period_or_a_schedule_there_is_nothing(self) -> None:
        assert deadlines(DEFAULT, 5, 0, None, Moment(0, 0)) is NEVER
        assert resets_at(DEFAULT, 5, 0, None, Moment(0, 0)) is None

    def test_the_next_reset_is_told_in_wall_time(self) -> None:
        assert resets_at(PERIOD, 5, 1_000, None, Moment(2_000, 900_000)) == 900_000 - 1_000 + 1_200_000


class TestSchedules:
    def test_it_is_served_when_its_time_has_come(self) -> None:
        tick = at("2025-01-02T00:00:00Z")
        assert deadlines(DAILY, 5, 0, None, Moment(0, at("2025-01-01T13:00:00Z"))) == Deadlines(None, tick)
        assert verdict(DAILY, 5, 0, tick, Moment(0, tick - 1)) is None
        assert verdict(DAILY, 5, 0, tick, Moment(0, tick)) == "schedule"

    def test_the_tick_that_is_waited_for_stays_until_it_is_served(self) -> None:
        tick = at("2025-01-02T00:00:00Z")
        assert deadlines(DAILY, 5, 0, tick, Moment(0, tick + 5 * HOUR)).tick_at == tick
        assert deadlines(DAILY, 5, 0, None, Moment(0, tick)).tick_at == at("2025-01-03T00:00:00Z")

    def test_a_missed_one_is_made_up_for_once_or_skipped(self) -> None:
        tick = at("2025-01-02T00:00:00Z")
        late = Moment(0, tick + 80 * HOUR)
        assert verdict(DAILY, 5, 0, tick, late) == "schedule"
        skipping = Policy(reset_schedule="0 0 * * *", missed="skip")
        assert verdict(skipping, 5, 0, tick, late) is None
        assert verdict(skipping, 5, 0, tick, Moment(0, tick + 3_000)) == "schedule"

    def test_the_earlier_of_both_is_told(self) -> None:
        both = Policy(reset_after=7200, reset_schedule="0 0 * * *")
        now = at("2025-01-01T23:00:00Z")
        assert resets_at(both, 5, 0, None, Moment(0, now)) == at("2025-01-02T00:00:00Z")
        assert resets_at(both, 5, 0, None, Moment(0, now - 10 * HOUR)) == now - 8 * HOUR

    def test_midnight_in_berlin(self) -> None:
        found = ticks("0 0 * * * Europe/Berlin", "2025-03-29T12:00:00Z")
        assert found == ["03-29 23:00", "03-30 22:00", "03-31 22:00"]

    def test_the_hour_that_does_not_exist_in_spring(self) -> None:
        """03-30: 2:00 becomes 3:00 in Berlin; what is at 2:30 happens at 3:00, which is 1:00 in UTC."""
        found = ticks("30 2 * * * Europe/Berlin", "2025-03-29T12:00:00Z")
        assert found == ["03-30 01:00", "03-31 00:30", "04-01 00:30"]

    def test_the_hour_that_comes_twice_in_autumn(self) -> None:
        """10-26: 3:00 becomes 2:00 in Berlin. Half past two is once; every half past is in both."""
        once = ticks("30 2 * * * Europe/Berlin", "2025-10-25T12:00:00Z")
        assert once == ["10-26 00:30", "10-27 01:30", "10-28 01:30"]
        twice = ticks("30 * * * * Europe/Berlin", "2025-10-26T00:00:00Z")
        assert twice == ["10-26 00:30", "10-26 01:30", "10-26 02:30"]

    def test_seconds_make_no_difference(self) -> None:
        assert ticks("* * * * *", "2025-01-01T00:00:00.001Z", 1) == ["01-01 00:01"]
        assert ticks("* * * * *", "2025-01-01T00:00:59.999Z", 1) == ["01-01 00:01"]
        assert ticks("* * * * *", "2025-01-01T00:01:00Z", 1) == ["01-01 00:02"]

    @pytest.mark.parametrize(
        "text",
        [
            "", "soon", "@daily", "0 0 * *", "0 0 31 2 *", "0 0 30 2 *", "61 * * * *", "* * * * * *", "0 0 0 * * * UTC",
            "0 0 * * * Mars/Olympus", "0 0 * * * ../etc/passwd", "0 0 * * * /etc/localtime", "0 0 * * * Europe",
            "0 0 * * * Europe/Berlin/", "0 0 * * * \0", "9" * 300 + " 0 * * *",
        ],
    )  # fmt: skip
    def test_what_is_no_schedule_says_why(self, text: str) -> None:
        assert schedule.complaint(text)
        found = complaint(Policy(reset_schedule=text))
        assert found is not None and found[0] == "reset_schedule"

    @pytest.mark.parametrize(
        "text", ["0 0 * * *", "*/5 * * * * UTC", "0 0 29 2 *", "30 2 * * MON-FRI America/Argentina/Buenos_Aires"]
    )
    def test_what_is_one_is_left_alone(self, text: str) -> None:
        assert schedule.complaint(text) is None


class TestPolicies:
    def test_own_before_pattern_before_all(self) -> None:
        likes = {"reset_after": 120, "maximum": 9}
        policies = Policies({"reset_after": 60}, (("likes:*", likes), ("*", {"initial": 1})))
        assert policies.of("votes") == Policy(reset_after=60, initial=1)
        assert policies.of("likes:post") == Policy(reset_after=120, maximum=9)
        assert policies.of("likes:post", {"maximum": 5}) == Policy(reset_after=120, maximum=5)
        assert policies.of("likes:post", {"reset_after": None}) == Policy(maximum=9)
        assert Policies().of("votes") is DEFAULT

    def test_a_pattern_fits_whole_names_and_nothing_in_it_is_special_but_the_star(self) -> None:
        policies = Policies({}, (("a.c*", {"maximum": 1}),))
        assert policies.of("a.c").maximum == policies.of("a.c:9").maximum == 1
        assert policies.of("abc").maximum is policies.of("xa.c").maximum is None

    def test_two_sound_policies_that_contradict_each_other(self) -> None:
        policies = Policies({}, (("*", {"maximum": 5}),))
        assert policies.of("votes", {"minimum": 7, "initial": 7}) == Policy(minimum=7, initial=7)

    def test_it_says_where_it_is_wrong(self) -> None:
        assert Policies({"reset_after": 0}).complaint() == ("", "must lie between 1 and 31622400 seconds")
        wrong = Policies({}, (("a*", {}), ("b*", {"reset_to": -1})))
        assert wrong.complaint() == ("b* reset_to", "must lie between minimum and maximum")
        assert Policies({"reset_after": 1}, (("a*", {"reset_to": 1}),)).complaint() is None

    def test_its_digest_changes_with_it(self) -> None:
        said = [Policies(), Policies({"reset_after": 1}), Policies({"reset_after": 2}), Policies({}, (("*", {}),))]
        assert len({policies.digest() for policies in said}) == 4
        assert Policies().digest() == ""
        assert Policies({"initial": 1, "minimum": 0}).digest() == Policies({"minimum": 0, "initial": 1}).digest()

    @pytest.mark.parametrize("seconds", [0, -1, 366 * 86400 + 1, 315_360_000])
    def test_periods_that_are_none(self, seconds: int) -> None:
        assert complaint(Policy(reset_after=seconds)) == ("reset_after", "must lie between 1 and 31622400 seconds")


class TestAgenda:
    def test_the_longest_overdue_come_first_and_nothing_early(self) -> None:
        agenda: Agenda[str] = Agenda()
        for key, when in (("c", 30), ("a", 10), ("b", 20)):
            agenda.put(key, when)
        assert agenda.next_at == 10
        assert agenda.take(9) == []
        assert agenda.take(20) == [("a", 10), ("b", 20)]
        assert agenda.next_at == 30

    def test_what_was_taken_is_not_taken_again_until_it_is_done(self) -> None:
        agenda: Agenda[str] = Agenda()
        agenda.put("a", 10)
        assert agenda.take(10) == [("a", 10)]
        agenda.put("a", 10)
        assert agenda.take(99) == [] and len(agenda) == 1
        agenda.done(["a"])
        agenda.put("a", 50)
        assert agenda.take(50) == [("a", 50)]

    def test_what_has_failed_comes_later_and_later(self) -> None:
        agenda: Agenda[str] = Agenda()
        agenda.put("a", 0)
        now, attempts, waits = 0, [], []
        for _ in range(12):
            assert agenda.take(now) == [("a", now)]
            attempts.append(agenda.attempt("a"))
            when = agenda.failed("a", now, 1.0)
            assert agenda.take(when - 1) == []
            waits.append(when - now)
            now = when
        assert attempts == list(range(1, 13))
        assert waits[0] == 200 and waits == sorted(waits) and waits[-1] == RETRY_MAX_MS

    def test_chance_spreads_attempts_over_half_of_the_pause(self) -> None:
        assert [pause(2, chance) for chance in (0.0, 0.5, 1.0)] == [100, 150, 200]

    def test_an_attempt_that_was_none_does_not_count(self) -> None:
        agenda: Agenda[str] = Agenda()
        agenda.put("a", 0)
        agenda.take(0)
        agenda.again("a", 0)
        assert agenda.take(0) == [("a", 0)] and agenda.attempt("a") == 1


class TestHurrying:
    def test_what_has_failed_is_tried_at_once_and_nothing_else(self) -> None:
        agenda: Agenda[str] = Agenda()
        for key, when in (("failed", 1), ("waits", 60_000), ("asked", 2)):
            agenda.put(key, when)
        assert agenda.take(5) == [("failed", 1), ("asked", 2)]
        assert agenda.failed("failed", 5, 1.0) > 100
        agenda.hurry(10)
        assert agenda.next_at == 10
        assert agenda.take(10) == [("failed", 10)]
        assert agenda.attempt("failed") == 2
        assert agenda.next_at == 60_000

    def test_what_is_due_stays_due(self) -> None:
        agenda: Agenda[str] = Agenda()
        agenda.put("a", 1)
        agenda.take(1)
        when = agenda.failed("a", 1, 0.0)
        agenda.hurry(when + 50)
        assert agenda.take(when + 50) == [("a", when)]
