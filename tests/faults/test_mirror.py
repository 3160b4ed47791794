"""The mirror while Redis is stopped and emptied and a host is killed: the short version, which has to be exact."""

from __future__ import annotations

from functools import partial

import pytest

from loadtests.service import raise_open_files
from loadtests.verdict import Verdict
from tests.faults import mirror
from tests.faults.command import Command
from tests.faults.test_bars import missed
from tests.support.redis_server import MISSING, RedisServer
from tests.support.service_process import Service

pytestmark = pytest.mark.skipif(MISSING, reason="redis-server is not installed")


def run(sizes: mirror.Sizes) -> Verdict:
    verdict = Verdict()
    with RedisServer() as redis, Service(hosts=2, redis_url=redis.url).start() as service:
        Command("", sizes, sizes, lambda _: {}, partial(mirror.run, redis)).on_loop(service, sizes, verdict)
        assert service.stop() == 0, service.tail()
    return verdict


def test_the_mirror_is_true_again() -> None:
    assert missed(run(mirror.QUICK), timed=False) == []


@pytest.mark.long
def test_every_bar_of_the_mirror_is_kept() -> None:
    raise_open_files()
    assert missed(run(mirror.Sizes()), timed=True) == []
