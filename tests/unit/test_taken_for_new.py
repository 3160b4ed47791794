"""Ids that clients have chosen: taken for new, seen to beside the commit, and taken back when one was not."""

from __future__ import annotations

from typing import Any

from actors.host import WARY_S
from actors.messages import Operation, Status
from tests.support.link import RecordingLink
from tests.support.loop import jumping, settle
from tests.support.stage import operation, stage


def keyed(id: str, amount: int = 1, type: str = "increment", name: str = "votes", **more: Any) -> Operation:
    return operation(type, amount, name, id, repeated=True, **more)


class TestTakenForNew:
    @jumping
    async def test_a_new_id_costs_no_question_of_its_own(self) -> None:
        async with stage() as s:
            await s.call(operation())
            [tag] = s.send(keyed("a"))
            await settle()
            assert s.thread.names == ["conclude"]
            assert tag not in s.link.answers
            await s.work()
            assert s.link.value(tag) == 2

    @jumping
    async def test_one_that_was_applied_is_answered_as_the_first_time_and_the_others_once(self) -> None:
        async with stage() as s:
            s.watch("votes")
            await s.call(operation())
            [first] = s.send(keyed("a", 5))
            await s.work()
            await s.call(operation(), operation(name="other"))
            tags = s.send(keyed("b"), keyed("a", 5), operation(), keyed("c", name="other"))
            await settle()
            await s.thread.finish("conclude")
            assert not s.link.answers.keys() & set(tags), "nothing is durable, so nobody is told"
            assert s.thread.names == ["prepare"]
            await s.work()
            assert s.link.bodies[tags[1]] == s.link.bodies[first]
            assert [s.link.value(tag) for tag in tags] == [8, 6, 9, 2]
            assert [event["value"] for event in s.link.events] == [1, 6, 7, 8, 9]
            assert [row.operation_id for row in s.store.since(1, 0, 9)].count("a") == 1

    @jumping
    async def test_one_that_was_applied_is_not_refused(self) -> None:
        async with stage() as s:
            await s.call(operation("create", 0, policy={"maximum": 5, "on_limit": "reject"}))
            await s.call(keyed("a", 5))
            assert (await s.call(operation()))[0][0] is Status.REFUSED
            [answer] = await s.call(keyed("a", 5))
            assert (answer[0], answer[1]["value"]) == (Status.OK, 5)

    @jumping
    async def test_one_of_a_life_before_is_not_applied_to_the_next(self) -> None:
        async with stage() as s:
            await s.call(keyed("a", 5))
            await s.call(operation("delete", 0))
            await s.call(operation())
            [answer] = await s.call(keyed("a", 5))
            assert (answer[0], answer[1]["value"]) == (Status.OK, 5)
            assert s.store.read(["votes"])["votes"].value == 1

    @jumping
    async def test_then_everything_is_looked_up_for_a_while(self) -> None:
        async with stage() as s:
            await s.call(keyed("a"))
            await s.call(keyed("a"))
            s.send(keyed("b"))
            await settle()
            assert s.thread.names == ["prepare"]
            await s.work()
            s.clock.ms += int(1000 * WARY_S)
            s.send(keyed("c"))
            await settle()
            assert s.thread.names == ["conclude"]
            await s.work()
            assert s.store.read(["votes"])["votes"].value == 3

    @jumping
    async def test_what_moved_meanwhile_is_left_to_its_new_owner(self) -> None:
        async with stage() as s:
            await s.call(keyed("a"))
            tags = s.send(keyed("a"), keyed("b"))
            await settle()
            s.place(2, "another")
            await s.work()
            assert [s.link.answers[tag][0] for tag in tags] == [Status.MOVED] * 2
            assert s.store.read(["votes"])["votes"].epoch == 1
            assert s.host.resident == 0


class TestLateArrivals:
    """A gateway whose link breaks sends again on the next one, and the kernel still has what was on the first."""

    @jumping
    async def test_what_arrives_after_its_repetition_and_the_end_of_the_counter_is_not_applied(self) -> None:
        async with stage() as s:
            await s.call(operation())
            [tag] = s.send(operation(amount=4, id="g-7", repeated=True))
            await s.work()
            await s.call(operation("delete", 0))
            [late] = s.send(operation(amount=4, id="g-7"))
            await s.work()
            assert s.link.value(late) == s.link.value(tag) == 5
            assert s.store.read(["votes"]) == {}

    @jumping
    async def test_of_two_links_to_a_gateway_the_older_is_closed(self) -> None:
        async with stage() as s:
            first, second, third, other = (
                RecordingLink(gateway, number) for gateway, number in (("x", 1), ("x", 2), ("x", 3), ("y", 1))
            )
            for link in (first, other, third, second):
                s.host.link_opened(link)  # type: ignore[arg-type]
            assert [link.closed for link in (first, second, third, other)] == [True, True, False, False]

    @jumping
    async def test_gateways_that_do_not_count_their_links_keep_them(self) -> None:
        async with stage() as s:
            links = [RecordingLink("x"), RecordingLink("x")]
            for link in links:
                s.host.link_opened(link)  # type: ignore[arg-type]
            assert not any(link.closed for link in links)
