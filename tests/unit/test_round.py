"""A real host, its storage thread in the hands of the test: what is durable, who hears of it, and in which order."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors import host as host_module
from actors import inbox
from actors.core.policy import VALUE_MAX
from actors.host import AUDIT_S
from actors.messages import Operation, Status, Watch
from storage.memory import MemoryStore
from storage.records import Commit, CounterWrite
from tests.support.link import RecordingLink
from tests.support.loop import jumping, settle
from tests.support.stage import Stage, operation, stage

MOVED: Any = (Status.MOVED, None)
UNAVAILABLE: Any = (Status.UNAVAILABLE, None)


def again(one: Operation) -> Operation:
    """The same operation, sent by somebody who does not know whether it was applied."""
    return operation(one.type, one.amount, one.name, one.id, repeated=True, policy=one.policy)


def code_of(answer: tuple[Status, Any]) -> str:
    status, body = answer
    assert status == Status.REFUSED, answer
    code = body["code"]
    assert isinstance(code, str)
    return code


async def steal(stage: Stage, name: str, value: int | None = None) -> None:
    """Another host takes the counter over, and perhaps changes it."""
    [row] = stage.store.claim([name], 1)
    if value is not None:
        assert not stage.store.commit(Commit([CounterWrite(row.id, row.epoch, value, row.seq, 1)]))


class TestTheOrderOfThings:
    @jumping
    async def test_nobody_hears_of_a_value_before_it_is_durable(self) -> None:
        async with stage() as s:
            s.watch("votes")
            await s.work()
            s.link.said.clear()
            tags = s.send(*(operation() for _ in range(3)))
            await settle()
            await s.thread.finish("prepare")
            commit = s.thread.jobs[0].arguments[0]
            assert [row.seq for row in commit.operations] == [1, 2, 3]  # Three requests, one commit.
            assert [(write.value, write.seq) for write in commit.counters] == [(3, 3)]
            assert s.link.said == []
            await s.thread.finish("commit")  # The disk says yes, now.
            assert [s.link.value(tag) for tag in tags] == [1, 2, 3]
            assert [event["value"] for event in s.link.events] == [1, 2, 3]

    @jumping
    async def test_what_arrives_while_the_disk_works_rides_together_on_the_next_commit(self) -> None:
        async with stage() as s:
            s.send(operation())
            await settle()
            await s.thread.finish("prepare")
            later = [tag for _ in range(4) for tag in s.send(operation())]
            other = RecordingLink("other")
            s.host.link_opened(other)  # type: ignore[arg-type]
            later += s.send(operation(), link=other)
            await settle()
            assert s.thread.names == ["commit"]
            await s.thread.finish("commit")
            assert s.thread.names == ["commit"]
            assert len(s.thread.jobs[0].arguments[0].operations) == 5
            await s.thread.finish("commit")
            assert [s.link.value(tag) for tag in later[:4]] == [2, 3, 4, 5]
            assert other.value(later[4]) == 6

    @jumping
    async def test_one_commit_for_all_counters_of_a_round(self) -> None:
        async with stage() as s:
            s.send(*(operation(name=f"c{n}") for n in range(50)))
            await settle()
            assert sorted(s.thread.jobs[0].arguments[2]) == sorted(f"c{n}" for n in range(50))
            await s.thread.finish("prepare")
            assert len(s.thread.jobs[0].arguments[0].counters) == 50
            await s.thread.finish("commit")
            assert s.thread.jobs == []

    @jumping
    async def test_readers_see_the_last_committed_state_while_the_disk_works(self) -> None:
        async with stage() as s:
            await s.call(operation(amount=5))
            s.send(operation(amount=7))
            await settle()
            tag = s.ask("value", "votes")
            await settle()
            assert s.thread.names == ["commit", "answer"]
            commit, read = s.thread.jobs
            s.thread.jobs.clear()
            await read.finish()
            assert s.link.answers[tag] == (Status.OK, {"name": "votes", "value": 5})
            await commit.finish()
            assert await s.asked("value", "votes") == (Status.OK, {"name": "votes", "value": 12})

    @jumping
    async def test_answers_and_events_are_in_the_order_of_the_operations(self) -> None:
        async with stage() as s:
            s.watch("votes")
            await s.work()
            steps = [("increment", 5), ("decrement", 2), ("setValue", 40), ("reset", 0), ("increment", 1)]
            answers = await s.call(*(operation(type, amount) for type, amount in steps))
            assert [body["value"] for _, body in answers] == [5, 3, 40, 0, 1]
            assert [body["previousValue"] for _, body in answers] == [0, 5, 3, 40, 0]
            assert [body["metadata"]["operationCount"] for _, body in answers] == [1, 2, 3, 4, 5]
            assert [event["type"] for event in s.link.events] == [type for type, _ in steps]
            [burst] = s.link.bursts
            assert (burst.seq, burst.types) == (1, [type for type, _ in steps])

    @jumping
    async def test_a_transaction_has_a_limit_and_nothing_is_lost_at_it(self) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(inbox, "ROUND_MAX", 4)
            async with stage() as s:
                tags = s.send(*(operation() for _ in range(10)))
                await settle()
                await s.thread.finish("prepare")
                assert [len(s.thread.jobs[0].arguments[0].operations)] == [4]
                await s.thread.finish("commit", "commit", "commit")
                assert [s.link.value(tag) for tag in tags] == list(range(1, 11))

    @jumping
    async def test_a_full_inbox_stops_the_reading_and_an_empty_one_resumes_it(self) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(inbox, "ROUND_MAX", 4)
            patch.setattr(host_module, "INBOX_MAX", 10)
            async with stage() as s:
                s.send(operation())
                await settle()
                await s.thread.finish("prepare")
                s.send(*(operation() for _ in range(10)))
                assert s.link.reading
                s.send(operation())
                assert not s.link.reading
                late = RecordingLink("late")
                s.host.link_opened(late)  # type: ignore[arg-type]
                assert not late.reading
                await s.thread.finish("commit")
                assert not s.link.reading
                await s.thread.finish("commit")
                assert s.link.reading and late.reading
                await s.work()
                assert len(s.link.answers) == 12

    @jumping
    async def test_the_ray_door_gives_the_same_answers(self) -> None:
        async with stage() as s:
            door = asyncio.ensure_future(s.host.operate(1, [operation(), operation()]))
            await s.work()
            assert sorted(json.loads(body)["value"] for _, _, body in await door) == [1, 2]
            assert await s.host.operate(1, []) == []

    @jumping
    async def test_the_ray_door_is_sent_away_like_everybody_else(self) -> None:
        async with stage() as s:
            s.place(2, "other")
            [(_, status, _)] = await s.host.operate(1, [operation()])
            assert status == Status.MOVED


class TestFailedCommits:
    @jumping
    async def test_the_callers_hear_unavailable_and_the_counter_is_loaded_anew(self) -> None:
        async with stage() as s:
            s.watch("votes")
            await s.call(operation(amount=5))
            seen = len(s.link.events)
            tags = s.send(operation(amount=7), operation(amount=1))
            await settle()
            await s.thread.take("commit").fail()
            assert [s.link.answers[tag] for tag in tags] == [UNAVAILABLE] * 2
            assert len(s.link.events) == seen
            tag = s.send(operation())[0]
            await settle()
            assert "prepare" in s.thread.names
            await s.work()
            assert s.link.value(tag) == 6

    @jumping
    async def test_a_commit_that_happened_and_seemed_to_fail_is_answered_when_it_is_asked_again(self) -> None:
        async with stage() as s:
            one, other = operation(amount=5), operation(amount=7)
            s.send(one, other)
            await settle()
            await s.thread.finish("prepare")
            job = s.thread.take("commit")
            job.work()
            await job.fail()
            answers = await s.call(again(other), operation(), again(one))
            assert [body["value"] for _, body in answers] == [12, 13, 5]
            assert [body["metadata"]["operationCount"] for _, body in answers] == [2, 3, 1]

    @jumping
    async def test_watchers_hear_of_a_commit_that_happened_and_seemed_to_fail(self) -> None:
        async with stage() as s:
            s.watch("votes")
            await s.work()
            one = operation(amount=5)
            s.send(one)
            await settle()
            await s.thread.finish("prepare")
            job = s.thread.take("commit")
            job.work()
            await job.fail()
            await s.call(again(one))
            told = [position.seq for position in s.link.positions]
            told += [burst.seq + len(burst.bodies) - 1 for burst in s.link.bursts]
            assert max(told) == 1

    @jumping
    async def test_counters_that_were_only_read_in_the_failed_round_stay(self) -> None:
        async with stage() as s:
            full = operation("create", 0, "full", policy={"maximum": 1, "on_limit": "reject"})
            await s.call(full, operation(name="full"), operation(name="votes"))
            tags = s.send(operation(name="full"), operation(name="votes"))
            await settle()
            await s.thread.take("conclude").fail()
            assert [s.link.answers[tag] for tag in tags] == [UNAVAILABLE] * 2
            s.send(operation(name="full"))
            await settle()
            assert s.thread.names == ["conclude"]  # It need not be loaded again.

    @jumping
    async def test_a_failed_load_is_unavailable_too(self) -> None:
        async with stage() as s:
            tags = s.send(operation(), operation(name="other"))
            await settle()
            await s.thread.take("prepare").fail()
            assert [s.link.answers[tag] for tag in tags] == [UNAVAILABLE] * 2
            assert (await s.call(operation()))[0][1]["value"] == 1

    @jumping
    async def test_the_host_goes_on_after_any_number_of_failures(self) -> None:
        async with stage() as s:
            one = operation()
            for _ in range(5):
                s.send(again(one))
                await settle()
                await s.thread.finish("prepare")
                await s.thread.take("commit").fail()
            assert (await s.call(again(one)))[0][1]["value"] == 1

    @jumping
    async def test_a_repeat_that_shared_a_failed_round_is_looked_up_again(self) -> None:
        async with stage() as s:
            one = operation()
            [first] = await s.call(one)
            s.send(again(one), operation(name="other"))
            await settle()
            await s.thread.finish("prepare")
            await s.thread.take("commit").fail()  # It takes "other" along, and forgets what was recalled of "votes".
            late = operation(one.type, one.amount, one.name, one.id)  # The first copy, held up on a link that is lost.
            [answer] = await s.call(late)
            assert answer in (UNAVAILABLE, first)
            assert (await s.call(operation()))[0][1]["value"] == 2


class TestFencing:
    @jumping
    async def test_a_fenced_owner_answers_moved_and_applies_nothing(self) -> None:
        async with stage() as s:
            s.watch("votes")
            await s.call(operation(amount=5))
            seen = len(s.link.events)
            await steal(s, "votes", 100)
            tags = s.send(operation(), operation())
            await s.work()
            assert [s.link.answers[tag] for tag in tags] == [MOVED] * 2
            assert len(s.link.events) == seen
            assert s.store.read(["votes"])["votes"].value == 100

    @jumping
    async def test_a_fenced_counter_is_loaded_anew(self) -> None:
        async with stage() as s:
            await s.call(operation(amount=5))
            await steal(s, "votes", 100)
            await s.call(operation())
            assert (await s.call(operation()))[0][1]["value"] == 101

    @jumping
    async def test_the_others_of_the_round_do_not_notice(self) -> None:
        async with stage() as s:
            await s.call(operation(name="votes"), operation(name="stolen"))
            await steal(s, "stolen")
            answers = await s.call(operation(name="votes"), operation(name="stolen"), operation(name="votes"))
            assert [answer if answer == MOVED else answer[1]["value"] for answer in answers] == [2, MOVED, 3]

    @jumping
    async def test_a_fenced_owner_may_not_refuse_either(self) -> None:
        """What it knows is out of date: the true owner might have said yes."""
        async with stage() as s:
            policy = {"maximum": 5, "on_limit": "reject"}
            await s.call(operation("create", 0, policy=policy), operation(amount=5))
            await steal(s, "votes", 2)
            assert (await s.call(operation()))[0] == MOVED
            assert (await s.call(operation()))[0][1]["value"] == 3


class TestTables:
    @jumping
    async def test_what_belongs_elsewhere_leaves_memory(self) -> None:
        async with stage() as s:
            await s.call(operation(amount=5))
            s.place(2, "other")
            await settle()
            await steal(s, "votes", 100)
            s.place(3, "h")
            assert (await s.call(operation()))[0][1]["value"] == 101

    @jumping
    async def test_a_sender_with_an_older_table_is_sent_away(self) -> None:
        async with stage() as s:
            s.place(2, "other")
            tags = s.send(operation(), version=1)
            await settle()
            assert (s.link.answers[tags[0]], s.thread.names) == (MOVED, [])

    @jumping
    async def test_what_a_newer_table_gives_us_waits_for_that_table(self) -> None:
        async with stage() as s:
            s.place(2, "other")
            tags = s.send(operation(), operation(name="word"), version=3)
            await s.work()
            assert s.link.answers == {}
            s.place(3, "h")
            await s.work()
            assert [s.link.value(tag) for tag in tags] == [1, 1]

    @jumping
    async def test_what_waits_for_a_table_that_gives_it_to_others_is_sent_on(self) -> None:
        async with stage() as s:
            s.place(2, "other")
            tags = s.send(operation(), version=3)
            s.place(4, "other")
            await s.work()
            assert s.link.answers[tags[0]][0] is Status.MOVED

    @jumping
    async def test_what_waits_for_a_table_goes_with_its_link(self) -> None:
        """It is sent again on another link, with the word that it was sent before; two of it would be one too many."""
        async with stage() as s:
            s.place(2, "other")
            s.send(operation(), version=3)
            s.host.link_closed(s.link)  # type: ignore[arg-type]
            s.place(3, "h")
            await s.work()
            assert s.store.read(["votes"]) == {}

    @jumping
    async def test_what_was_claimed_by_a_newer_table_is_left_alone_and_reported(self) -> None:
        async with stage() as s:
            heard: list[int] = []
            s.host._on_newer = heard.append
            s.store.claim(["votes"], 9)
            assert (await s.call(operation(), operation(name="word")))[0][0] is Status.MOVED
            assert heard == [9]
            assert s.store.claim(["votes"], 9)[0].epoch == 2  # Only this claim came after the first.
            assert s.store.read(["word"])["word"].value == 1

    @jumping
    async def test_what_waits_while_its_counter_moves_away_does_not_bring_it_back(self) -> None:
        async with stage() as s:
            s.send(operation())
            await settle()
            waiting = s.send(operation())  # In the inbox, while the first round is being loaded.
            s.place(2, "other")
            await s.work()
            assert s.link.answers[waiting[0]] == MOVED
            await steal(s, "votes", 100)
            assert await s.asked("value", "votes") == (Status.OK, {"name": "votes", "value": 100})

    @jumping
    async def test_two_tables_at_once_are_followed_one_by_one(self) -> None:
        """Between the two, somebody else was the owner, and what is in memory is out of date."""
        async with stage() as s:
            await s.call(operation(amount=5))
            s.place(2, "other")
            await steal(s, "votes", 100)
            s.place(3, "h")
            await settle()
            assert await s.asked("value", "votes") == (Status.OK, {"name": "votes", "value": 100})

    @jumping
    async def test_a_table_that_passed_unseen_leaves_nothing_stale_behind(self) -> None:
        """Tables come from one who only tells the newest: from 1 to 3, and in 2 somebody else was the owner."""
        async with stage() as s:
            await s.call(operation(amount=5))
            await steal(s, "votes", 100)
            s.place(3, "h")
            await s.work()
            assert await s.asked("value", "votes") == (Status.OK, {"name": "votes", "value": 100})


class TestLeaving:
    @jumping
    async def test_a_host_that_is_left_out_has_finished_when_what_it_began_is_answered_and_let_go(self) -> None:
        async with stage() as s:
            [tag] = s.send(operation())
            await settle()
            await s.thread.jobs.pop(0).finish()  # Loaded; now it commits.
            s.place(2, "other")
            finished = asyncio.create_task(s.host.finished())
            await settle()
            assert (finished.done(), s.host.resident) == (False, 1)
            await s.work()
            assert (finished.done(), s.host.resident) == (True, 0)
            assert s.link.value(tag) == 1

    @jumping
    async def test_one_that_has_nothing_to_do_has_finished_at_once(self) -> None:
        async with stage() as s:
            await s.host.finished()
            await s.host.finished()


class TestAudit:
    @jumping
    async def test_a_counter_that_was_taken_unseen_is_found_out(self) -> None:
        """By a host that followed the table late; nobody writes the counter afterwards."""
        async with stage() as s:
            s.watch("votes")
            await s.work()
            await s.call(operation(amount=5))
            await steal(s, "votes", 100)
            await asyncio.sleep(AUDIT_S)
            await s.work()
            assert await s.asked("value", "votes") == (Status.OK, {"name": "votes", "value": 100})
            assert b'"value":100' in s.link.positions[-1].snapshot

    @jumping
    async def test_what_is_ours_stays(self) -> None:
        async with stage() as s:
            await s.call(operation(amount=5))
            await asyncio.sleep(AUDIT_S)
            await s.work()
            s.send(operation())
            await settle()
            assert s.thread.names == ["commit"]  # Not loaded again.


class TestRepeats:
    @jumping
    async def test_in_the_same_round(self) -> None:
        async with stage() as s:
            one = operation(amount=3)
            tags = s.send(one, operation(), operation(one.type, one.amount, id=one.id), again(one))
            await s.work()
            assert s.link.bodies[tags[0]] == s.link.bodies[tags[2]] == s.link.bodies[tags[3]]
            assert s.store.read(["votes"])["votes"][2:4] == (4, 2)

    @jumping
    async def test_in_a_later_round(self) -> None:
        async with stage() as s:
            one = operation(amount=3)
            first = s.send(one)[0]
            await s.work()
            s.clock.ms += 5_000
            await s.call(*(operation() for _ in range(9)))
            for _ in range(2):
                repeated = s.send(again(one))[0]
                await s.work()
                assert s.link.bodies[repeated] == s.link.bodies[first]
            assert s.store.read(["votes"])["votes"].value == 12

    @jumping
    async def test_after_the_host_was_started_again(self) -> None:
        one = operation(amount=3)
        store = MemoryStore()
        async with stage(store) as s:
            await s.call(operation(), operation())
            first = s.send(one)[0]
            await s.work()
            kept = Copy(store)
        async with stage(kept) as fresh:
            fresh.clock.ms += 5_000
            await fresh.call(operation())
            repeated = fresh.send(again(one))[0]
            await fresh.work()
            assert fresh.link.bodies[repeated] == s.link.bodies[first]
            assert kept.read(["votes"])["votes"].value == 6

    @jumping
    async def test_an_id_that_was_used_for_something_else_is_refused(self) -> None:
        async with stage() as s:
            one = operation(amount=3)
            await s.call(one)
            for type, amount in (("increment", 4), ("decrement", 3)):
                [answer] = await s.call(operation(type, amount, id=one.id, repeated=True))
                assert code_of(answer) == "COUNTER_VALIDATION_ERROR"
                assert answer[1]["data"]["field"] == "id"
            assert s.store.read(["votes"])["votes"].value == 3

    @jumping
    async def test_one_id_on_two_counters_is_two_operations(self) -> None:
        async with stage() as s:
            for _ in range(2):
                answers = await s.call(
                    operation(name="a", id="x", repeated=True), operation(name="b", id="x", repeated=True)
                )
                assert [body["value"] for _, body in answers] == [1, 1]

    @jumping
    async def test_a_repeat_makes_no_event(self) -> None:
        async with stage() as s:
            s.watch("votes")
            await s.work()
            one = operation()
            await s.call(one)
            await s.call(again(one))
            assert len(s.link.events) == 1

    @jumping
    async def test_a_repeated_sync_says_what_it_said_first(self) -> None:
        async with stage() as s:
            one = operation("sync", 9)
            _, first = await s.call(operation(amount=4), one)
            await s.call(operation())
            assert await s.call(again(one)) == [first]
            assert first == (Status.OK, {"oldCount": 4, "newCount": 9, "difference": 5})

    @given(
        st.lists(
            st.one_of(
                st.tuples(st.just("new"), st.integers(0, 1), st.integers(1, 9)),
                st.tuples(st.just("repeat"), st.integers(0, 30), st.booleans()),
                st.tuples(st.just("work"), st.just(0), st.just(0)),
                st.tuples(st.sampled_from(["fail", "lie"]), st.just(0), st.just(0)),
            ),
            max_size=30,
        )
    )
    def test_whatever_happens_in_between(self, steps: list[tuple[str, int, int]]) -> None:
        """Repeats are answered with the first result, bit by bit, and the value is the sum of all that counted."""
        jumping(self.play)(steps)

    async def play(self, steps: list[tuple[str, int, int]]) -> None:
        async with stage() as s:
            operations: list[Operation] = []
            copies: dict[str, list[int]] = {}

            def send(one: Operation) -> None:
                copies.setdefault(one.id, []).extend(s.send(one))

            for kind, which, amount in steps:
                if kind == "new":
                    operations.append(operation(amount=amount, name=f"c{which}"))
                    send(operations[-1])
                elif kind == "repeat" and operations:
                    send(again(operations[which % len(operations)]))
                elif kind == "work":
                    await s.work()
                elif kind in ("fail", "lie"):
                    await settle()
                    if s.thread.names == ["prepare"]:
                        await s.thread.finish("prepare")
                    if s.thread.names == ["commit"]:
                        job = s.thread.take("commit")
                        if kind == "lie":
                            job.work()
                        await job.fail()
            for one in operations:
                send(again(one))
            await s.work()
            for one in operations:
                bodies = {s.link.bodies[tag] for tag in copies[one.id]} - {b""}
                assert len(bodies) == 1, one
            for name in ("c0", "c1"):
                expected = [one.amount for one in operations if one.name == name]
                row = s.store.read([name]).get(name)
                assert (row is None and not expected) or (row and row[2:4] == (sum(expected), len(expected)))


class Copy(MemoryStore):
    """A store with what another one held: the database after its last user closed it."""

    def __init__(self, other: MemoryStore) -> None:
        super().__init__()
        for name, value in vars(other).items():
            setattr(self, name, value.copy() if isinstance(value, dict) else value)


class TestDeletion:
    @jumping
    async def test_what_stands_behind_a_deletion_waits_for_the_next_life(self) -> None:
        async with stage() as s:
            await s.call(operation(amount=5))
            old = s.store.read(["votes"])["votes"].id
            answers = await s.call(
                operation(amount=1), operation("delete"), operation(amount=7), operation(name="other"), operation()
            )
            assert [answer[1].get("value", answer[1]) for answer in answers] == [
                6,
                {"success": True, "name": "votes"},
                7,
                1,
                8,
            ]
            new = answers[2][1]["metadata"]
            assert (new["operationCount"], new["id"] > old) == (1, True)

    @jumping
    async def test_what_waits_keeps_its_place_before_what_comes_later(self) -> None:
        async with stage() as s:
            await s.call(operation(amount=5))
            s.send(operation("delete"), operation("setValue", 10))
            await settle()
            later = s.send(operation(amount=1))[0]
            await s.work()
            assert s.link.value(later) == 11

    @jumping
    async def test_what_waits_behind_a_deletion_that_failed_is_answered_all_the_same(self) -> None:
        async with stage() as s:
            await s.call(operation(amount=5))
            tags = s.send(operation("delete"), operation(amount=7))
            await settle()
            await s.thread.take("commit").fail()
            await s.work()
            assert s.link.answers[tags[0]] == UNAVAILABLE
            assert tags[1] in s.link.answers, "it is neither answered nor waiting"

    @jumping
    async def test_subscribers_hear_of_the_end(self) -> None:
        async with stage() as s:
            s.watch("votes")
            await s.work()
            await s.call(operation(amount=5), operation("delete"), operation(amount=2))
            events = s.link.events
            assert [(e["type"], e["value"], e["previousValue"], e.get("reason")) for e in events] == [
                ("increment", 5, 0, None),
                ("reset", 0, 5, "deleted"),
                ("increment", 2, 0, None),
            ]
            assert [(burst.seq, len(burst.bodies)) for burst in s.link.bursts] == [(1, 2), (1, 1)]
            assert s.link.bursts[0].counter_id < s.link.bursts[1].counter_id

    @jumping
    async def test_a_counter_that_is_not_there_cannot_be_deleted(self) -> None:
        async with stage() as s:
            [answer] = await s.call(operation("delete"))
            assert code_of(answer) == "COUNTER_NOT_FOUND"
            assert await s.asked("metadata", "votes") == answer

    @jumping
    async def test_a_deletion_that_may_have_happened_is_not_refused(self) -> None:
        async with stage() as s:
            await s.call(operation())
            one = operation("delete")
            await s.call(one)
            assert await s.call(again(one)) == [(Status.OK, {"success": True, "name": "votes"})]

    @jumping
    async def test_a_repeated_deletion_spares_the_next_life(self) -> None:
        """The first copy did it, and its answer was lost; meanwhile somebody has begun anew."""
        async with stage() as s:
            await s.call(operation())
            one = operation("delete")
            await s.call(one)
            await s.call(operation(amount=42))
            await s.call(again(one))
            assert await s.asked("value", "votes") == (Status.OK, {"name": "votes", "value": 42})

    @jumping
    async def test_what_a_deleted_counter_has_done_is_not_done_to_the_next_life(self) -> None:
        async with stage() as s:
            one = operation(amount=5, id="key:a")
            first = await s.call(one)
            await s.call(operation("delete"))
            assert await s.call(again(one)) == first  # There is nobody now,
            assert await s.asked("value", "votes") == (Status.OK, {"name": "votes", "value": 0})
            await s.call(operation(amount=42))
            assert await s.call(again(one)) == first  # and now there is somebody else.
            [other] = await s.call(again(operation(amount=6, id="key:a")))
            assert other[0] == Status.REFUSED
            assert await s.asked("value", "votes") == (Status.OK, {"name": "votes", "value": 42})

    @jumping
    async def test_undoing_is_of_one_life(self) -> None:
        async with stage() as s:
            for _ in range(2):
                await s.call(operation(amount=5))
                [answer] = await s.call(again(operation("undo", 1, id="undo:1")))
                assert answer[1]["value"] == 0
                await s.call(operation("delete"))

    @jumping
    async def test_a_fenced_deletion_deletes_nothing(self) -> None:
        async with stage() as s:
            await s.call(operation(amount=5))
            await steal(s, "votes", 6)
            answers = await s.call(operation("delete"), operation())
            assert answers[0] == MOVED
            assert answers[1][1]["value"] == 7


class TestPolicies:
    @jumping
    async def test_create_makes_a_counter_with_its_initial_value(self) -> None:
        async with stage() as s:
            answers = await s.call(operation("create", 0, policy={"initial": 5, "minimum": 2}, actor="ann"))
            assert answers == [(Status.OK, {"success": True, "name": "votes"})]
            row = s.store.read(["votes"])["votes"]
            assert (row.value, row.seq, row.created_by) == (5, 0, "ann")
            assert (await s.call(operation("decrement", 9)))[0][1]["value"] == 2

    @jumping
    async def test_create_tells_those_who_watch_with_what_it_begins(self) -> None:
        async with stage() as s:
            s.watch("full")
            await s.call(operation("create", 0, "full", policy={"initial": 5}))
            [before, after] = s.link.positions
            assert (before.counter_id, before.seq) == (0, 0)
            assert (after.counter_id, after.seq) == (1, 0)
            assert msgspec.json.decode(after.snapshot)["value"] == 5

    @jumping
    async def test_create_leaves_a_counter_as_it_is(self) -> None:
        async with stage() as s:
            await s.call(operation(amount=9))
            [answer] = await s.call(operation("create", 0, policy={"maximum": 3, "initial": 1}))
            assert answer == (Status.OK, {"success": True, "name": "votes"})
            assert (await s.call(operation()))[0][1]["value"] == 10

    @jumping
    async def test_create_twice_in_one_round_is_create_once(self) -> None:
        async with stage() as s:
            answers = await s.call(
                operation("create", 0, policy={"initial": 5}),
                operation("create", 0, policy={"initial": 7}),
                operation(),
            )
            assert [status for status, _ in answers] == [Status.OK] * 3
            assert answers[2][1]["value"] == 6

    @jumping
    async def test_create_without_a_policy(self) -> None:
        async with stage() as s:
            await s.call(operation("create", 0))
            row = s.store.read(["votes"])["votes"]
            assert (row.value, row.policy) == (0, None)
            status, body = await s.asked("metadata", "votes")
            assert (status, body["operationCount"]) == (Status.OK, 0)

    @jumping
    async def test_configure_changes_what_is_said_and_keeps_the_rest(self) -> None:
        async with stage() as s:
            await s.call(operation("create", 0, policy={"maximum": 9, "initial": 4}))
            [answer] = await s.call(operation("configure", 0, policy={"on_limit": "reject", "minimum": 3}))
            policy = {"minimum": 3, "maximum": 9, "on_limit": "reject", "initial": 4}
            policy |= {"reset_after": None, "reset_schedule": None, "reset_to": None, "missed": "once"}
            policy |= {"history_limit": 100_000, "history_max_age": None, "likes": False}
            assert answer == (Status.OK, {"success": True, "name": "votes", "policy": policy})
            [answer] = await s.call(operation("configure", 0, policy={"maximum": None}))
            assert answer[1]["policy"] == policy | {"maximum": None}

    @jumping
    async def test_a_policy_outlives_the_activation(self) -> None:
        async with stage() as s:
            await s.call(operation("configure", 0, policy={"maximum": 2, "on_limit": "reject"}))
            s.place(2, "other")
            await settle()
            s.place(3, "h")
            answers = await s.call(operation(), operation(), operation())
            assert [status for status, _ in answers] == [Status.OK, Status.OK, Status.REFUSED]

    @jumping
    async def test_configure_does_not_touch_the_value_until_the_next_operation(self) -> None:
        async with stage() as s:
            await s.call(operation(amount=50), operation("configure", 0, policy={"maximum": 10}))
            assert (await s.asked("value", "votes"))[1]["value"] == 50
            assert (await s.call(operation()))[0][1]["value"] == 10

    @pytest.mark.parametrize(
        ("policy", "field"),
        [
            ({"minimum": 5}, "initial"),
            ({"maximum": -1}, "maximum"),
            ({"minimum": -3, "maximum": -1}, "initial"),
            ({"initial": VALUE_MAX + 1}, "initial"),
        ],
    )
    @pytest.mark.parametrize("type", ["create", "configure"])
    def test_an_impossible_policy_is_refused_and_makes_no_counter(
        self, type: str, policy: dict[str, Any], field: str
    ) -> None:
        @jumping
        async def play() -> None:
            async with stage() as s:
                [answer] = await s.call(operation(type, 0, policy=policy))
                assert code_of(answer) == "COUNTER_VALIDATION_ERROR"
                assert answer[1]["data"]["field"] == f"policy.{field}"
                assert s.store.read(["votes"]) == {}

        play()

    @jumping
    async def test_a_policy_is_judged_as_a_whole(self) -> None:
        async with stage() as s:
            await s.call(operation("create", 0, policy={"minimum": -9, "maximum": 9}))
            [answer] = await s.call(operation("configure", 0, policy={"minimum": 10, "initial": 10}))
            assert answer[1]["data"]["field"] == "policy.maximum"

    @jumping
    async def test_sync_sets_the_value_and_says_by_how_much_it_was_wrong(self) -> None:
        async with stage() as s:
            s.watch("votes")
            await s.work()
            answers = await s.call(operation(amount=12), operation("sync", 9), operation("sync", 9))
            assert [body for _, body in answers[1:]] == [
                {"oldCount": 12, "newCount": 9, "difference": -3},
                {"oldCount": 9, "newCount": 9, "difference": 0},
            ]
            assert [(e["type"], e["value"], e.get("reason")) for e in s.link.events[1:]] == [
                ("setValue", 9, "sync"),
            ]

    @jumping
    async def test_a_refused_operation_leaves_no_trace(self) -> None:
        async with stage() as s:
            _, answer = await s.call(operation(amount=VALUE_MAX), operation())
            assert code_of(answer) == "OUT_OF_RANGE"
            _, history = await s.asked("history", "votes", limit=9)
            assert [each["id"] for each in history] == [1]


class TestWatching:
    @jumping
    async def test_a_watcher_is_told_where_the_counter_stands(self) -> None:
        async with stage() as s:
            await s.call(operation(amount=5))
            s.watch("votes")
            await s.work()
            [position] = s.link.positions
            assert (position.name, position.seq) == ("votes", 1)
            s.watch("nobody")
            await s.work()
            assert s.link.positions[1].seq == 0

    @jumping
    async def test_a_watcher_who_was_away_gets_what_it_missed(self) -> None:
        async with stage() as s:
            await s.call(*(operation() for _ in range(5)))
            id = s.store.read(["votes"])["votes"].id
            s.watch("votes", id, 2)
            await s.work()
            [burst] = s.link.bursts
            assert (burst.seq, [event["value"] for event in s.link.events]) == (3, [3, 4, 5])

    @jumping
    async def test_a_replayed_event_is_the_event_that_was_sent(self) -> None:
        async with stage() as s:
            s.watch("votes")
            await s.work()
            steps = [("increment", 1), ("decrement", 1), ("setValue", 9), ("reset", 0), ("sync", 4)]
            await s.call(*(operation(type, amount) for type, amount in steps))
            late = RecordingLink("late")
            s.host.link_opened(late)  # type: ignore[arg-type]
            s.watch("votes", s.store.read(["votes"])["votes"].id, 0, late)
            await s.work()
            assert late.bursts == s.link.bursts

    @jumping
    async def test_too_much_missed_is_one_snapshot(self) -> None:
        async with stage() as s:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("actors.queries.MISSED_MAX", 3)
                await s.call(*(operation() for _ in range(5)))
                id = s.store.read(["votes"])["votes"].id
                s.watch("votes", id, 1)
                s.watch("votes", id, 2)
                await s.work()
            assert [position.seq for position in s.link.positions] == [5]
            assert [(burst.seq, len(burst.bodies)) for burst in s.link.bursts] == [(3, 3)]

    @jumping
    async def test_whoever_watches_while_the_disk_works_learns_of_that_commit(self) -> None:
        """Its event was not made, because nobody watched; so what the watcher is told has to include it."""
        async with stage() as s:
            await s.call(operation())
            id = s.store.read(["votes"])["votes"].id
            s.send(operation())
            await settle()
            assert s.thread.names == ["commit"]
            s.watch("votes", id, 1)
            await s.work()
            told = [burst.seq + len(burst.bodies) - 1 for burst in s.link.bursts]
            told += [position.seq for position in s.link.positions]
            assert max(told) == 2

    @jumping
    async def test_whoever_watches_after_a_move_is_told_when_nobody_else_can_commit_any_more(self) -> None:
        """Even while a round is under way, and what has moved to and fro is still in memory."""
        for busy in (False, True):
            async with stage() as s:
                await s.call(operation(amount=5))
                if busy:
                    s.send(operation(name="other"))
                    await settle()
                s.place(2, "other")
                [stolen] = s.store.claim(["votes"], 1)
                s.place(3, "h")
                s.host.receive(s.link, Watch([("votes", stolen.id, 1)], True))  # type: ignore[arg-type]
                await s.work()
                late = Commit([CounterWrite(stolen.id, stolen.epoch, 9, 2, 1)])
                assert s.link.positions[-1].seq == 1
                assert s.store.commit(late) == {stolen.id}

    @jumping
    async def test_whoever_watches_a_counter_that_is_just_leaving_is_not_told_that_it_is_gone(self) -> None:
        async with stage() as s:
            await s.call(operation(amount=5))
            s.watch("votes")
            await settle()
            s.place(2, "other")
            await s.work()
            assert [position.seq for position in s.link.positions] == [1]

    @jumping
    async def test_every_watcher_hears_everything_until_it_leaves(self) -> None:
        async with stage() as s:
            other = RecordingLink("other")
            s.host.link_opened(other)  # type: ignore[arg-type]
            for link in (s.link, other):
                s.watch("votes", link=link)
            await s.work()
            await s.call(operation())
            s.host.link_closed(other)  # type: ignore[arg-type]
            await s.call(operation())
            assert ([e["value"] for e in s.link.events], [e["value"] for e in other.events]) == ([1, 2], [1])

    @jumping
    async def test_a_watch_that_cannot_be_answered_ends_the_link(self) -> None:
        async with stage() as s:
            s.watch("votes")
            await settle()
            [job] = s.thread.jobs
            s.thread.jobs.clear()
            await job.fail()
            assert s.link.closed

    @jumping
    async def test_between_the_position_and_the_events_nothing_is_left_out(self) -> None:
        async with stage() as s:
            await s.call(operation())
            s.watch("votes")
            s.send(operation())
            await s.work()
            [position] = s.link.positions
            assert position.seq + 1 >= s.link.bursts[0].seq
            assert s.link.events[-1]["value"] == 2


class TestQuestions:
    @jumping
    async def test_of_a_sleeping_counter_the_answer_comes_from_storage_and_nobody_wakes(self) -> None:
        async with stage() as s:
            await s.call(operation(amount=5), operation(amount=1))
            asked = ("value", "metadata", "history", "values")
            awake = [await s.asked(kind, "votes", limit=9) for kind in asked]
            s.place(2, "other")
            await settle()
            assert [await s.asked(kind, "votes", limit=9) for kind in asked] == awake
            assert s.store.claim(["votes"], 1)[0].epoch == 2

    @jumping
    async def test_values_of_many(self) -> None:
        async with stage() as s:
            await s.call(operation(name="a", amount=5), operation(name="b"))
            assert await s.asked("values", "b", "nobody", "a") == (
                Status.OK,
                {"values": {"b": 1, "nobody": 0, "a": 5}},
            )

    @jumping
    async def test_history_newest_first_and_page_by_page(self) -> None:
        async with stage() as s:
            await s.call(*(operation() for _ in range(7)))
            _, newest = await s.asked("history", "votes", limit=3)
            assert [each["id"] for each in newest] == [7, 6, 5]
            _, older = await s.asked("history", "votes", limit=3, before=5)
            assert [each["id"] for each in older] == [4, 3, 2]

    @pytest.mark.parametrize("kind", ["metadata", "history"])
    def test_of_a_counter_that_is_not_there(self, kind: str) -> None:
        @jumping
        async def play() -> None:
            async with stage() as s:
                assert code_of(await s.asked(kind, "nobody", limit=5)) == "COUNTER_NOT_FOUND"
                assert await s.asked("value", "nobody") == (Status.OK, {"name": "nobody", "value": 0})

        play()

    @jumping
    async def test_a_page_says_where_the_next_one_begins(self) -> None:
        async with stage() as s:
            await s.call(*(operation(name=name) for name in ("a", "b", "c")))
            _, page = await s.asked("page", "", limit=2)
            assert ([c["name"] for c in page["counters"]], page["count"], page["cursor"]) == (["a", "b"], 2, "b")
            _, rest = await s.asked("page", "", limit=2, text="b")
            assert ([c["name"] for c in rest["counters"]], "cursor" in rest) == (["c"], False)

    @jumping
    async def test_a_question_that_storage_cannot_answer_is_unavailable(self) -> None:
        async with stage() as s:
            tag = s.ask("value", "votes")
            await settle()
            await s.thread.take("answer").fail()
            assert s.link.answers[tag] == UNAVAILABLE
