"""When not to ask at all."""

from counters_client.core.breaker import Breaker


def opened() -> Breaker:
    breaker = Breaker(failures=3, cooldown_s=5)
    for _ in range(3):
        assert breaker.admits(0)
        breaker.failed(0)
    return breaker


def test_it_opens_after_failures_in_a_row() -> None:
    breaker = Breaker(failures=3, cooldown_s=5)
    for now in range(20):
        breaker.failed(now)
        breaker.failed(now)
        assert breaker.admits(now)
        breaker.succeeded()
    assert opened().open
    assert not opened().admits(4.9)


def test_one_at_a_time_is_let_through_until_one_succeeds() -> None:
    breaker = opened()
    assert breaker.admits(5)
    assert not breaker.admits(5)
    breaker.failed(6)
    assert not breaker.admits(10.9)
    assert breaker.admits(11)
    breaker.succeeded()
    assert breaker.admits(11)
    assert breaker.admits(11)


def test_one_that_never_reports_back_does_not_keep_it_open() -> None:
    breaker = opened()
    assert breaker.admits(5)
    assert breaker.admits(10)
