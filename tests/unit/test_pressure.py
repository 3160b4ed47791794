"""How many calls a host may have under way: judged by how long they take."""

from __future__ import annotations

import pytest

from actors.pressure import LEAST, MOST, PATIENCE_S, STALLED_S, TARGET_S, Lately, Pressure


class Host:
    """Answers `rate` calls a second, a round after the other; as many as may are under way."""

    def __init__(self, rate: float, round_s: float = 0.002, begins_at: float = 0.0) -> None:
        self.pressure = Pressure()
        self.rate = rate
        self.round_s = round_s
        self.now = begins_at
        self.waiting = 0.0

    def delay(self) -> float:
        return self.round_s + self.waiting / self.rate

    def work(self, offered: float, seconds: float) -> tuple[float, float]:
        """So many calls are offered a second. The share that was let in, and the delay at the end."""
        end, let_in, total = self.now + seconds, 0.0, 0.0
        while self.now < end:
            self.now += self.round_s
            total += offered * self.round_s
            some = min(offered * self.round_s, max(0.0, self.pressure.limit - self.waiting))
            if some < offered * self.round_s:
                self.pressure.refused = True
            let_in += some
            self.waiting += some
            delay, busy = self.delay(), round(self.waiting)
            self.waiting = max(0.0, self.waiting - self.rate * self.round_s)
            self.pressure.answered(self.now, delay, busy)
        return let_in / total, self.delay()


@pytest.mark.parametrize("rate", [40_000, 100_000, 400_000])
def test_three_times_too_much_is_cut_to_what_keeps_the_delay(rate: float) -> None:
    host = Host(rate)
    host.work(3 * rate, 1.0)
    share, delay = host.work(3 * rate, 5.0)
    assert 0.25 < share < 0.4
    assert delay < 3 * TARGET_S


def test_a_host_that_keeps_up_turns_nobody_away() -> None:
    host = Host(30_000)
    share, _ = host.work(29_000, 10.0)
    assert (share, host.pressure.limit) == (1.0, MOST)


def test_it_does_not_take_long_to_notice() -> None:
    host = Host(30_000)
    host.work(90_000, 0.4)
    _, delay = host.work(90_000, 0.001)
    assert delay < 3 * TARGET_S


def test_a_second_after_the_load_is_normal_so_is_the_limit() -> None:
    host = Host(30_000)
    host.work(90_000, 5.0)
    host.work(15_000, 1.0)
    assert host.pressure.limit == MOST
    assert host.work(15_000, 5.0)[0] == 1.0


def test_what_was_is_forgotten_while_nothing_is_to_do() -> None:
    host = Host(30_000)
    host.work(90_000, 5.0)
    assert host.pressure.limit < MOST
    host.waiting = 0.0
    host.now += 1.0
    host.pressure.begun(host.now)
    assert host.work(15_000, 1.0) == (1.0, pytest.approx(host.delay()))


def test_a_burst_is_no_overload() -> None:
    host = Host(30_000)
    for _ in range(20):
        host.waiting += 1_000  # 33 ms of work at once.
        host.work(10_000, 0.2)
        assert host.pressure.limit == MOST


def test_a_slow_disk_is_no_overload() -> None:
    host = Host(3_000, round_s=0.030)
    assert host.work(1_000, 30.0)[0] == 1.0
    assert host.pressure.limit == MOST


def test_it_never_strangles() -> None:
    host = Host(100)
    host.work(1_000, 20.0)
    assert host.pressure.limit >= LEAST


def test_calls_that_tell_nothing_change_nothing() -> None:
    pressure = Pressure()
    for step in range(1_000):
        pressure.answered(step * 0.01, None, 5_000)
    assert pressure.limit == MOST


def test_a_delay_has_to_last() -> None:
    pressure = Pressure()
    pressure.answered(0.0, 0.001, 1)
    now = 0.1
    while now < 0.1 + PATIENCE_S:
        pressure.answered(now, 0.05, 500)
        assert pressure.limit == MOST
        now += 0.01
    for _ in range(10):
        pressure.answered(now, 0.05, 500)
        now += 0.03
    assert pressure.limit == LEAST


def test_a_full_queue_is_not_waited_for() -> None:
    host = Host(30_000)
    host.work(15_000, 1.0)
    host.work(90_000, 2 * MOST / 60_000)  # 60,000 a second are too much: it is full after half of this time.
    host.work(90_000, MOST / host.rate)  # What was let in has to be done first.
    assert host.pressure.limit < MOST / 4
    assert host.delay() < 3 * TARGET_S


def test_who_answers_nothing_is_away_and_not_slow() -> None:
    pressure = Pressure()
    assert pressure.stalled(5.0)
    pressure.answered(5.0, None, 0)
    assert not pressure.stalled(5.0 + 0.9 * STALLED_S)
    assert pressure.stalled(5.0 + 1.1 * STALLED_S)


def test_who_was_slow_before_is_not_taken_for_away() -> None:
    host = Host(30_000)
    host.work(90_000, 2.0)
    assert not host.pressure.stalled(host.now + 10 * STALLED_S)
    host.pressure.relax()
    assert host.pressure.stalled(host.now + 10 * STALLED_S)


def test_names_are_known_for_a_while() -> None:
    lately = Lately()
    lately.roll(0.0)
    assert "a" not in lately
    assert not lately.add("a")
    assert lately.add("a")
    lately.roll(Lately.SPAN_S * 0.9)
    lately.roll(Lately.SPAN_S)
    assert "a" in lately
    assert lately.add("a")
    lately.roll(Lately.SPAN_S * 2)
    assert "a" in lately
    lately.roll(Lately.SPAN_S * 3)
    assert "a" not in lately
