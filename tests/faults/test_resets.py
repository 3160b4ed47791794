"""Counters that reset themselves in a service whose hosts and timer are killed, and very many of them."""

from __future__ import annotations

import pytest

from loadtests.service import raise_open_files
from loadtests.verdict import Verdict
from tests.faults import deadlines, resets
from tests.faults.test_bars import check, missed
from tests.support.service_process import Service


def test_few_are_reset_as_they_should_be() -> None:
    command, verdict = resets.COMMAND, Verdict()
    with Service(**command.flags(command.quick)).start() as service:
        command.on_loop(service, command.quick, verdict)
        assert service.stop() == 0, service.tail()
    assert missed(verdict, timed=False) == []


@pytest.mark.long
def test_thousands_are() -> None:
    check(resets.COMMAND)


@pytest.mark.long
def test_a_million_deadlines_wait() -> None:
    raise_open_files()
    verdict = Verdict()
    deadlines.check(deadlines.Sizes(), verdict)
    assert missed(verdict, timed=True) == []
