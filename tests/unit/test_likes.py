"""Likes: the count is the number of members, whatever is done to the counter, and in which order."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.core.counter import Change, Counter, Refusal
from actors.core.likes import ADD, REMOVE, TOGGLE, LikeCounter, Unchanged, counter_of
from actors.core.policy import Policy, complaint
from actors.members import Members
from actors.messages import Operation, Status
from storage.memory import MemoryStore
from storage.records import Commit, CounterWrite
from tests.support.loop import jumping, settle
from tests.support.stage import operation, stage

ACTIONS = (TOGGLE, ADD, REMOVE)


def like(type: str, member: str = "ann", name: str = "post", **more: Any) -> Operation:
    return operation(type, 0, name, member=member, **more)


def members_of(store: MemoryStore, name: str = "post") -> list[str]:
    return [row.member for row in store.members(store.read([name])[name].id, "", 10_000)]


def said(answer: tuple[Status, Any]) -> tuple[int, bool]:
    status, body = answer
    assert (status, body["success"]) == (Status.OK, True), answer
    assert body["metadata"]["value"] == body["newCount"]
    return body["newCount"], body["isLiked"]


def code_of(answer: tuple[Status, Any]) -> tuple[str, str]:
    status, body = answer
    assert status == Status.REFUSED, answer
    return body["code"], body["data"]["field"]


class TestTheRules:
    def test_only_who_is_not_there_is_added_and_only_who_is_there_removed(self) -> None:
        counter = LikeCounter(5, 9, Policy(likes=True))
        added = counter.like(ADD, "ann", False, "a", 1, "http")
        assert added == Change(10, "increment", 1, 6, 5, 1, "a", "ann", ADD, "http")
        assert counter.like(ADD, "ann", True, "b", 1, None) == Unchanged(6, True)
        removed = counter.like(TOGGLE, "ann", True, "c", 1, None)
        assert isinstance(removed, Change)
        assert (removed.type, removed.amount, removed.value) == ("decrement", 1, 5)
        assert counter.like(REMOVE, "ann", False, "d", 1, None) == Unchanged(5, False)

    def test_a_repeated_id_is_answered_and_another_operation_with_it_refused(self) -> None:
        counter = LikeCounter(0, 0, Policy(likes=True))
        first = counter.like(TOGGLE, "ann", False, "a", 1, None)
        assert counter.like(TOGGLE, "ann", True, "a", 2, None) == first
        for type, member in ((ADD, "ann"), (TOGGLE, "bob")):
            assert isinstance(counter.like(type, member, False, "a", 2, None), Refusal)
        assert counter.value == 1

    def test_everything_else_but_a_reset_is_refused(self) -> None:
        counter = LikeCounter(5, 9, Policy(likes=True))
        for type in ("increment", "decrement", "setValue"):
            refused = counter.apply(type, 1, type, 1)
            assert isinstance(refused, Refusal)
            assert (refused.code, refused.field, counter.value) == ("COUNTER_VALIDATION_ERROR", "name", 5)
        assert isinstance(counter.apply("reset", 0, "r", 1), Change)
        assert counter.value == 0

    @pytest.mark.parametrize("on_limit", ["clamp", "reject"])
    def test_a_maximum_refuses_and_never_clamps(self, on_limit: Any) -> None:
        counter = LikeCounter(1, 1, Policy(likes=True, maximum=1, on_limit=on_limit))
        refused = counter.like(ADD, "bob", False, "a", 1, None)
        assert isinstance(refused, Refusal)
        assert refused.code == "LIMIT_REACHED"

    def test_it_begins_with_nobody(self) -> None:
        assert complaint(Policy(likes=True, maximum=5)) is None
        for field, value in (("initial", 1), ("reset_to", 1)):
            wrong = complaint(Policy(likes=True, **{field: value}))
            assert wrong is not None
            assert wrong[0] == field

    def test_a_policy_makes_it(self) -> None:
        assert type(counter_of(0, 0, Policy())) is Counter
        assert type(counter_of(0, 0, Policy(likes=True))) is LikeCounter


class TestWhatIsKnown:
    def test_the_longest_unused_is_forgotten_first(self) -> None:
        members = Members(limit=2)
        members.set(1, 1, "ann", True)
        members.set(1, 1, "bob", False)
        assert members.find(1, 1, "ann") is True
        members.set(2, 1, "ann", True)
        assert [members.find(1, 1, "bob"), members.find(1, 1, "ann"), len(members)] == [None, True, 2]

    def test_under_another_epoch_nothing_is_known(self) -> None:
        members = Members()
        members.set(1, 1, "ann", True)
        assert members.find(1, 2, "ann") is None

    def test_a_counter_is_forgotten_as_a_whole(self) -> None:
        members = Members()
        members.set(1, 1, "ann", True)
        members.set(2, 1, "ann", True)
        members.forget(1)
        assert [members.find(1, 1, "ann"), members.find(2, 1, "ann")] == [None, True]


class TestInAHost:
    @jumping
    async def test_one_that_came_before_the_counter_was_deleted_is_not_applied_to_its_next_life(self) -> None:
        async with stage() as s:
            [first] = await s.call(like(ADD, id="key:k", repeated=True))
            await s.call(operation("delete", 0, "post"))
            assert await s.call(like(ADD, id="key:k", repeated=True)) == [first]
            [other] = await s.call(like(ADD, "bob", id="key:k", repeated=True))
            assert code_of(other) == ("COUNTER_VALIDATION_ERROR", "id")
            assert s.store.read(["post"]) == {}

    @jumping
    async def test_a_like_makes_the_counter_and_is_one_commit_with_its_member(self) -> None:
        async with stage() as s:
            s.watch("post")
            await s.work()
            s.link.said.clear()
            [tag] = s.send(like(TOGGLE, '"ann"'))
            await settle()
            await s.thread.finish("prepare")
            commit: Commit = s.thread.jobs[0].arguments[0]
            assert [(row.type, row.amount, row.actor, row.reason) for row in commit.operations] == [
                ("increment", 1, '"ann"', TOGGLE)
            ]
            assert [row.member for row in commit.joined] == ['"ann"']
            assert s.link.said == []
            await s.thread.finish("commit")
            assert said(s.link.answers[tag]) == (1, True)
            [event] = s.link.events
            assert (event["type"], event["value"], event["reason"], event["member"]) == (
                "increment", 1, TOGGLE, '"ann"'
            )  # fmt: skip
            _, body = await s.asked("metadata", "post")
            assert body["policy"]["likes"] is True

    @jumping
    async def test_what_is_known_is_not_asked_for_again(self) -> None:
        async with stage() as s:
            await s.call(like(ADD), like(ADD, "bob"))
            s.send(like(REMOVE), like(TOGGLE, "bob"))
            await settle()
            assert s.thread.names == ["commit"]
            await s.work()
            s.send(like(TOGGLE, "eve"))
            await settle()
            assert s.thread.names == ["prepare"]
            await s.work()
            assert members_of(s.store) == ["eve"]  # type: ignore[arg-type]

    @jumping
    async def test_many_likes_of_a_round_are_one_question_and_their_sum_one_change(self) -> None:
        async with stage() as s:
            await s.call(like(ADD), like(ADD, "bob"))
            s.host.place(s.host._placement)  # A table was missed: everything is loaded anew.
            tags = s.send(
                like(TOGGLE), like(TOGGLE), like(REMOVE), like(REMOVE, "bob"), like(ADD, "bob"), like(ADD, "eve"),
                like(TOGGLE, "eve"), like(ADD, "joe"),
            )  # fmt: skip
            await settle()
            assert s.thread.names == ["prepare"]
            await s.work()
            answers = [said(s.link.answers[tag]) for tag in tags]
            assert answers == [
                (1, False), (2, True), (1, False), (0, False), (1, True), (2, True), (1, False), (2, True)
            ]  # fmt: skip
            assert members_of(s.store) == ["bob", "joe"]  # type: ignore[arg-type]

    @jumping
    async def test_a_like_that_changes_nothing_commits_nothing(self) -> None:
        async with stage() as s:
            await s.call(like(ADD))
            [first, second] = await s.call(like(ADD), like(REMOVE, "bob"))
            assert [said(first), said(second)] == [(1, True), (1, False)]
            assert first[1]["metadata"]["operationCount"] == 1
            [none] = await s.call(like(REMOVE, name="other"))
            assert said(none) == (0, False)
            assert s.store.read(["other"]) == {}
            assert [row.seq for row in s.store.history(s.store.read(["post"])["post"].id, None, 10)] == [1]

    @jumping
    async def test_a_repeated_id_is_applied_once_also_by_the_next_owner(self) -> None:
        async with stage() as s:
            await s.call(like(TOGGLE, id="key:a"))
            [answer] = await s.call(like(TOGGLE, id="key:a", repeated=True))
            assert said(answer) == (1, True)
            await s.call(like(REMOVE, id="key:b"))
            s.host.place(s.host._placement)  # A table was missed: everything is loaded anew.
            for id, expected in (("key:a", (1, True)), ("key:b", (0, False))):
                type = TOGGLE if id == "key:a" else REMOVE
                [answer] = await s.call(like(type, id=id, repeated=True))
                assert said(answer) == expected
            [answer] = await s.call(like(TOGGLE, "bob", id="key:a", repeated=True))
            assert code_of(answer) == ("COUNTER_VALIDATION_ERROR", "id")
            assert members_of(s.store) == []  # type: ignore[arg-type]

    @jumping
    async def test_a_failed_commit_leaves_nothing_in_memory(self) -> None:
        async with stage() as s:
            await s.call(like(ADD))
            s.send(like(REMOVE, id="x"))
            await settle()
            await s.thread.take("commit").fail()
            await s.work()
            [answer] = await s.call(like(REMOVE, id="x", repeated=True))
            assert said(answer) == (0, False)
            assert members_of(s.store) == []  # type: ignore[arg-type]

    @jumping
    async def test_who_is_fenced_asks_anew(self) -> None:
        async with stage() as s:
            await s.call(like(ADD))
            [row] = s.store.claim(["post"], 1)
            s.store.commit(Commit([CounterWrite(row.id, row.epoch, 0, 2, 1)], left=[(row.id, "ann")]))
            [answer] = await s.call(like(TOGGLE))
            assert answer[0] is Status.MOVED
            [answer] = await s.call(like(ADD))
            assert said(answer) == (1, True)

    @jumping
    async def test_a_reset_takes_all_likes_away_and_what_comes_behind_waits(self) -> None:
        async with stage() as s:
            await s.call(*(like(ADD, who) for who in ("ann", "bob", "eve")))
            answers = await s.call(
                like(REMOVE, "bob"), like(ADD, "joe"), operation("reset", 0, "post"), like(TOGGLE), like(REMOVE, "eve")
            )
            assert answers[2][1]["value"] == 0
            assert [said(each) for each in answers[3:]] == [(1, True), (1, False)]
            assert members_of(s.store) == ["ann"]  # type: ignore[arg-type]

    @jumping
    async def test_a_deletion_takes_them_with_it(self) -> None:
        async with stage() as s:
            await s.call(like(ADD), like(ADD, "bob"))
            answers = await s.call(operation("delete", 0, "post"), like(TOGGLE))
            assert said(answers[1]) == (1, True)
            assert members_of(s.store) == ["ann"]  # type: ignore[arg-type]

    @jumping
    async def test_it_resets_itself_with_all_likes(self) -> None:
        async with stage() as s:
            await s.call(operation("create", 0, "post", policy={"likes": True, "reset_after": 60}))
            await s.call(like(ADD), like(ADD, "bob"))
            s.clock.ms += 61_000
            await s.call(operation("expire", 0, "post"))
            assert (await s.asked("count", "post"))[1] == {"name": "post", "count": 0}
            assert members_of(s.store) == []  # type: ignore[arg-type]

    @jumping
    async def test_plain_operations_on_likes_and_likes_on_plain_counters_are_refused(self) -> None:
        async with stage() as s:
            await s.call(like(ADD), operation(name="votes"))
            wrong = [operation(type, 1, "post") for type in ("increment", "decrement", "setValue", "sync")]
            wrong.append(operation("undo", 1, "post", "undo:1", repeated=True))
            wrong += [like(type, name="votes") for type in ACTIONS]
            for answer in await s.call(*wrong):
                assert code_of(answer) == ("COUNTER_VALIDATION_ERROR", "name")
            counts = await s.asked("values", "post", "votes")
            assert counts[1] == {"values": {"post": 1, "votes": 1}}

    @jumping
    async def test_what_a_counter_counts_is_said_before_it_counts(self) -> None:
        async with stage() as s:
            answers = await s.call(
                operation("create", 0, "post", policy={"likes": True}), operation(name="post"),
                operation("configure", 0, "post", policy={"likes": False}), operation(name="post"), like(ADD),
                operation("configure", 0, "post", policy={"likes": True}),
            )  # fmt: skip
            assert [status for status, _ in answers] == [
                Status.OK, Status.REFUSED, Status.OK, Status.OK, Status.REFUSED, Status.REFUSED,
            ]  # fmt: skip
            assert code_of(answers[5]) == ("COUNTER_VALIDATION_ERROR", "policy.likes")
            await s.call(operation("create", 0, "full", policy={"initial": 3}))
            [answer] = await s.call(like(ADD, name="full"))
            assert code_of(answer) == ("COUNTER_VALIDATION_ERROR", "name")
            await s.call(operation("create", 0, "fits", policy={"maximum": 1}))
            answers = await s.call(like(ADD, name="fits"), like(ADD, "bob", name="fits"))
            assert said(answers[0]) == (1, True)
            assert answers[1][1]["code"] == "LIMIT_REACHED"

    @jumping
    async def test_questions(self) -> None:
        async with stage() as s:
            await s.call(*(like(ADD, f"m{n}") for n in range(5)), like(ADD, "m1", name="other"))
            assert (await s.asked("count", "post"))[1] == {"name": "post", "count": 5}
            assert (await s.asked("counts", "post", "none"))[1] == {"counts": {"post": 5, "none": 0}}
            assert (await s.asked("status", "none", text="m1"))[1] == {"name": "none", "isLiked": False}
            statuses = {"post": True, "other": True, "none": False}
            assert (await s.asked("statuses", *statuses, text="m1"))[1] == {"statuses": statuses}
            assert (await s.asked("counts"))[1] == {"counts": {}}
            _, page = await s.asked("members", "post", limit=3)
            assert ([each["member"] for each in page["members"]], page["cursor"]) == (["m0", "m1", "m2"], "m2")
            _, page = await s.asked("members", "post", limit=3, text="m2")
            assert [each["member"] for each in page["members"]] == ["m3", "m4"]
            assert "cursor" not in page
            assert (await s.asked("members", "none", limit=3))[1] == {"name": "none", "members": []}

    @jumping
    async def test_who_was_away_is_told_the_members_too(self) -> None:
        async with stage() as s:
            await s.call(like(ADD), like(TOGGLE, "bob"), like(REMOVE))
            id = s.store.read(["post"])["post"].id
            s.watch("post", id, 1)
            await s.work()
            assert [(event["type"], event["member"]) for event in s.link.events] == [
                ("increment", "bob"), ("decrement", "ann"),
            ]  # fmt: skip


Step = tuple[str, str]


@given(st.lists(st.lists(st.tuples(st.sampled_from([*ACTIONS, "reset"]), st.sampled_from("abc")), min_size=1)))
def test_the_count_is_the_number_of_members(rounds: list[list[Step]]) -> None:
    @jumping
    async def live() -> None:
        async with stage() as s:
            likers: set[str] = set()
            for number, steps in enumerate([[(ADD, "z")], *rounds]):
                wishes, expected = [], []
                for type, member in steps:
                    wishes.append(operation("reset", 0, "post") if type == "reset" else like(type, member))
                    if type == "reset":
                        likers.clear()
                    elif type == ADD or (type == TOGGLE and member not in likers):
                        likers.add(member)
                    else:
                        likers.discard(member)
                    expected.append(len(likers))
                answers = await s.call(*wishes)
                assert [body.get("newCount", body.get("value")) for _, body in answers] == expected
                assert members_of(s.store) == sorted(likers)  # type: ignore[arg-type]
                if number % 2:
                    s.host.place(s.host._placement)  # A table was missed: everything is loaded anew.

    live()
