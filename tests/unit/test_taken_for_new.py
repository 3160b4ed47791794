"""Ids that clients have chosen: taken for new, seen to beside the commit, and taken back when one was not."""

from __future__ import annotations

from typing import Any

from actors.host import WARY_S
from actors.messages import Operation, Status
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
