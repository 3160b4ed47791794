"""The Python client, both of its faces, on a running service."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from itertools import islice

import pytest

from counters_client import (
    CircuitOpen,
    ClientClosed,
    CounterClient,
    Invalid,
    LimitReached,
    Limits,
    NotFound,
    Refused,
    State,
    SyncCounterClient,
    TimedOut,
    UnexpectedAnswer,
    Unreachable,
)
from counters_client.core.retry import Backoff
from tests.support.service_process import ROOT, Service, environment, free_port

NewService = Callable[..., Service]
HURRIED = Limits(backoff=Backoff(0.01, 0.05), answer_s=2.0)


def running(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """An async test, on a loop of its own."""

    def run(service: Service, counter: str) -> None:
        asyncio.run(test(service, counter))  # type: ignore[arg-type]

    run.__name__ = test.__name__
    return run


@running
async def test_every_procedure(service: Service, counter: str) -> None:
    async with CounterClient(service.url) as client:
        await client.create(counter, {"maximum": 100, "on_limit": "reject"})
        assert (await client.increment(counter)).value == 1
        enriched = await client.increment(counter, 41)
        assert (enriched.previous_value, enriched.value, enriched.metadata.operation_count) == (1, 42, 2)
        assert [item.operation for item in enriched.latest_history] == ["increment(41)", "increment(1)"]
        assert enriched.timestamp.tzinfo is not None
        assert (await client.decrement(counter)).value == 41
        assert (await client.set_value(counter, 7)).value == 7
        assert (await client.reset(counter)).value == 0
        assert await client.get_value(counter) == 0
        assert await client.get_values([counter, "nobody"]) == {counter: 0, "nobody": 0}
        described = await client.get_metadata(counter)
        assert (described.operation_count, described.policy.maximum) == (5, 100)
        history = await client.get_history(counter, limit=2)
        assert [item.id for item in history] == [5, 4]
        assert [item.id for item in await client.get_history(counter, limit=2, before=4)] == [3, 2]
        page = await client.list_all(prefix=counter, limit=1)
        assert [each.name for each in page.counters] == [counter]
        assert (await client.configure(counter, {"minimum": -5})).maximum == 100
        synced = await client.sync(counter, 12)
        assert (synced.old_count, synced.new_count, synced.difference) == (0, 12, 12)
        assert (await client.get_value_at(counter, datetime.now(UTC))).value == 12
        assert counter in {each.name for each in await client.ps()}
        await client.delete(counter)
        with pytest.raises(NotFound):
            await client.get_metadata(counter)


@running
async def test_alarms(service: Service, counter: str) -> None:
    async with CounterClient(service.url) as client:
        at = datetime.now(UTC).replace(microsecond=0) + timedelta(days=30)
        alarm = await client.set_alarm(counter, {"type": "setValue", "value": 7}, id="noon", at=at)
        assert (alarm.id, alarm.next) == ("noon", at)
        daily = await client.set_alarm(counter, {"type": "reset"}, every="1d")
        listed = {alarm.id: (alarm.operation, alarm.every) for alarm in (await client.list_alarms(counter)).alarms}
        assert listed == {
            "noon": ({"type": "setValue", "value": 7}, None),
            daily.id: ({"type": "reset"}, 86_400),
        }
        assert (counter, "alarm", at) in {(due.name, due.reason, due.at) for due in await client.list_due(1_000)}
        often = await client.set_alarm(counter, {"type": "reset"}, every=timedelta(minutes=5), id="often")
        assert timedelta(minutes=4) < often.next - datetime.now(UTC) <= timedelta(minutes=5)
        assert await client.cancel_alarm(counter, "noon")
        assert not await client.cancel_alarm(counter, "noon")
        with pytest.raises(Invalid):
            await client.set_alarm(counter, {"type": "reset"}, every="soon")


@running
async def test_errors_are_typed(service: Service, counter: str) -> None:
    async with CounterClient(service.url) as client:
        await client.create(counter, {"maximum": 1, "on_limit": "reject"})
        with pytest.raises(LimitReached) as refused:
            await client.increment(counter, 2)
        assert not refused.value.uncertain
        for wrong in (client.increment("no name"), client.increment(counter, 0), client.get_value("no name")):
            with pytest.raises(Invalid) as invalid:
                await wrong
            assert invalid.value.field in ("name", "amount")
        with pytest.raises(Invalid):
            client.watch("<script>")
        with pytest.raises(Refused):
            await client.increment(counter, key="k" * 201)


@running
async def test_a_key_of_the_callers_counts_once(service: Service, counter: str) -> None:
    for _ in range(3):
        async with CounterClient(service.url) as client:
            assert (await client.increment(counter, 5, key="ballot-17")).value == 5


@running
async def test_everybody_hears_everything(service: Service, counter: str) -> None:
    other = f"{counter}-2"
    async with CounterClient(service.url) as one, CounterClient(service.url) as two:
        watches = [one.watch(counter, other), one.watch(counter), two.watch(counter)]
        # Events of one counter are in order; which of two counters comes first is nobody's promise.
        firsts = [await anext(watch) for watch in (watches[0], *watches)]
        assert [each.type for each in firsts] == ["snapshot"] * 4
        assert sorted(each.name for each in firsts) == [counter] * 3 + [other]
        await asyncio.gather(*(client.increment(counter) for client in (one, two) for _ in range(200)))
        for watch in watches:
            values = [(await anext(watch)).value for _ in range(400)]
            assert values == list(range(1, 401))
        late = one.watch(counter)
        first = await anext(late)
        assert (first.type, first.value) == ("snapshot", 400)


@running
async def test_it_goes_on_from_a_place(service: Service, counter: str) -> None:
    async with CounterClient(service.url) as client:
        async with client.watch(counter) as watch:
            await client.increment(counter)
            seen = [await anext(watch), await anext(watch)][-1].position
        for _ in range(3):
            await client.increment(counter)
    async with CounterClient(service.url) as client:
        watch = client.watch(counter, since={counter: seen})
        assert [(await anext(watch)).value for _ in range(3)] == [2, 3, 4]
        with pytest.raises(Invalid):
            client.watch(counter, since={counter: seen})


@running
async def test_who_is_not_listened_to_any_more_is_let_go(service: Service, counter: str) -> None:
    """Closed, left, or forgotten."""
    async with CounterClient(service.url) as client:
        async with client.watch(counter) as watch:
            await anext(watch)
        assert [event async for event in watch] == []
        async for _ in client.watch(counter):
            break
        client.watch(counter).close()
        gc.collect()
        await client.set_attachment(None)  # What was said before has been read.
        assert (await client.get_sessions(counter)).count == 0


@running
async def test_what_others_are_told(service: Service, counter: str) -> None:
    async with CounterClient(service.url, attachment={"nick": "Ada"}, events=["reset"]) as client:
        watch = client.watch(counter)
        await anext(watch)
        [session] = (await client.get_sessions(counter)).sessions
        assert (session.attachment, session.events) == ({"nick": "Ada"}, ["reset"])
        assert await client.set_attachment("<b>") == session.id
        await client.increment(counter)
        await client.reset(counter)
        assert (await anext(watch)).type == "reset"
        with pytest.raises(Invalid):
            await client.set_attachment("x" * 70_000)


@running
async def test_the_end(service: Service, counter: str) -> None:
    client = CounterClient(service.url)
    with pytest.raises(ClientClosed):
        await client.increment(counter)
    async with client:
        watch = client.watch(counter)
        await anext(watch)
        reading = asyncio.create_task(anext(watch, "the end"))
        await asyncio.sleep(0)
    assert await reading == "the end"
    assert client.state is State.CLOSED
    with pytest.raises(ClientClosed):
        await client.get_value(counter)
    with pytest.raises(ClientClosed):
        async with client:
            pass


def test_nobody_there() -> None:
    async def ask() -> None:
        states: list[State] = []
        nobody = f"http://127.0.0.1:{free_port()}"
        async with CounterClient(nobody, limits=HURRIED, on_state=lambda state, _: states.append(state)) as client:
            with pytest.raises(Unreachable):
                await client.get_value("votes")
            with pytest.raises(TimedOut) as late:
                await client.increment("votes")
            assert not late.value.uncertain and "Connect call failed" in late.value.message
            with pytest.raises(CircuitOpen):
                await client.get_value("votes")
            assert client.metrics.failures > 1
        assert {State.CONNECTING, State.WAITING} <= set(states)

    asyncio.run(ask())


@pytest.mark.parametrize("url", ["ftp://x", "http://", "http://x:99999", "http://x?y=1", "http://x:0"])
def test_what_is_no_address(url: str) -> None:
    with pytest.raises(ValueError, match="is not an address"):
        CounterClient(url)


@running
async def test_a_service_at_another_place(service: Service, counter: str) -> None:
    async with CounterClient(f"{service.url}/elsewhere") as client:
        with pytest.raises((UnexpectedAnswer, Refused)):
            await client.increment(counter)
        with pytest.raises((UnexpectedAnswer, Refused)):
            await client.get_value(counter)


# Without asyncio


def test_scripts(service: Service, counter: str) -> None:
    with SyncCounterClient(service.url) as client:
        assert client.increment(counter, 2).value == 2
        assert client.get_value(counter) == 2
        threads = [threading.Thread(target=lambda: client.increment(counter)) for _ in range(8)]
        for thread in threads:
            thread.start()
        heard = [event.value for event in islice(client.watch(counter), 1)]
        for thread in threads:
            thread.join()
        assert 2 <= heard[0] <= client.get_value(counter) == 10
        for event in client.watch(counter):
            if event.value == 12:
                break
            client.increment(counter)
        with pytest.raises(NotFound):
            client.get_metadata("nobody")
        assert (client.state, client.metrics.connects) == (State.OPEN, 1)
    with pytest.raises(ClientClosed):
        client.increment(counter)
    client.close()


def test_it_is_small(counter: str) -> None:
    """A bot imports the client, and nothing of the service."""
    code = "import sys, counters_client; print({'ray', 'starlette', 'sqlmodel', 'gateway'} & sys.modules.keys())"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, env=environment())
    assert (run.stdout, run.stderr) == ("set()\n", "")


def test_a_gateway_that_is_told_to_end(new_service: NewService, counter: str) -> None:
    """Its clients come back within the window, and notice a pause."""
    service = new_service(gateways=1).start()

    async def ask() -> None:
        async with CounterClient(service.url) as client:
            watch = client.watch(counter)
            await anext(watch)
            [gateway] = service.pids("gateway")
            os.kill(gateway, signal.SIGTERM)
            values = [(await client.increment(counter)).value for _ in range(20)]
            assert values == list(range(1, 21))
            assert [(await anext(watch)).value for _ in range(20)] == values
            while not client.metrics.reconnects:
                await client.increment(counter)

    asyncio.run(ask())
    assert service.stop() == 0
