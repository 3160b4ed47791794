"""Who waits for whom: clients for a small portion of what the timer wants, and not for what others have to load."""

from __future__ import annotations

from actors.inbox import ROUND_MAX, TIMED_MAX, Call, Inbox
from actors.messages import Status
from tests.support.link import RecordingLink
from tests.support.loop import jumping, settle
from tests.support.stage import operation, stage

LINK = RecordingLink()


def calls(*ids: str, type: str = "increment", name: str = "votes") -> list[Call]:
    return [(LINK, operation(type, name=name, id=id)) for id in ids]


def filled(*groups: list[Call]) -> Inbox:
    box = Inbox()
    for each in (call for group in groups for call in group):
        box.add(each)
    return box


def ids(taken: list[Call]) -> list[str]:
    return [operation.id for _, operation in taken]


class TestTheLines:
    def test_clients_first_and_some_of_the_timer_s_behind_them(self) -> None:
        timed = [f"t{n}" for n in range(2 * TIMED_MAX)]
        box = filled(calls(*timed, type="expire"), calls("a", "b"))
        assert len(box) == 2 * TIMED_MAX + 2
        assert ids(box.take()) == ["a", "b", *timed[:TIMED_MAX]]
        assert not box.ready, "it rests"
        assert len(box) == TIMED_MAX
        box.add(*calls("c"))
        assert box.ready
        assert ids(box.take()) == ["c"]
        box.rests = False
        assert box.ready
        assert ids(box.take()) == timed[TIMED_MAX:]
        assert not box.ready
        assert box.take() == []

    def test_a_round_has_a_limit(self) -> None:
        box = filled(calls(*map(str, range(ROUND_MAX + 1))))
        assert len(box.take()) == ROUND_MAX
        assert ids(box.take()) == [str(ROUND_MAX)]

    def test_what_comes_again_comes_first(self) -> None:
        box = filled(calls("c"))
        box.again(calls("a", "b"))
        assert ids(box.take()) == ["a", "b", "c"]

    def test_everything_can_be_taken_out(self) -> None:
        box = filled(calls("t", type="alarm"), calls("a"))
        assert ids(box.empty()) == ["a", "t"]
        assert (len(box), box.ready) == (0, False)

    def test_those_that_are_ready_join_in_their_order(self) -> None:
        box = filled(calls("a", "b"), calls("x", name="other"), calls("c"))
        assert ids(box.join(5, lambda each: each.name == "votes")) == ["a", "b"]
        assert ids(box.join(ROUND_MAX - 1, lambda _: True)) == ["x"]
        assert ids(box.join(ROUND_MAX, lambda _: True)) == []
        assert ids(box.take()) == ["c"]


class TestJoining:
    @jumping
    async def test_a_counter_in_memory_does_not_wait_for_one_that_is_loaded(self) -> None:
        async with stage() as s:
            await s.call(operation())
            [cold] = s.send(operation(name="cold"))
            await settle()
            tags = s.send(operation(), operation(id="mine", repeated=True), operation(name="another"), operation())
            await s.thread.finish("prepare", "conclude")
            assert [s.link.value(tag) for tag in (cold, *tags[:2])] == [1, 2, 3]
            assert not s.link.answers.keys() & set(tags[2:]), "the order is kept"
            await s.work()
            assert [s.link.value(tag) for tag in tags[2:]] == [1, 4]

    @jumping
    async def test_an_id_that_was_applied_does_not_slip_in(self) -> None:
        async with stage() as s:
            await s.call(operation(), operation(id="mine"))
            s.send(operation(name="cold"))
            await settle()
            [tag] = s.send(operation(id="mine", repeated=True))
            await s.work()
            assert s.link.value(tag) == 2
            assert s.store.read(["votes"])["votes"].value == 2

    @jumping
    async def test_what_needs_a_question_waits(self) -> None:
        async with stage() as s:
            await s.call(operation())
            s.send(operation(name="cold"))
            await settle()
            [tag] = s.send(operation("like.toggle", 0, "votes", member="ann"))
            await s.thread.finish("prepare", "commit")
            assert tag not in s.link.answers
            assert s.thread.names == ["prepare"]
            await s.work()
            assert s.link.answers[tag][0] is Status.REFUSED

    @jumping
    async def test_nor_does_what_has_moved_meanwhile(self) -> None:
        async with stage() as s:
            await s.call(operation())
            s.send(operation(name="cold"))
            await settle()
            tags = s.send(operation(), operation())
            s.place(2, "another")
            await s.work()
            assert [s.link.answers[tag][0] for tag in tags] == [Status.MOVED] * 2
            assert s.store.read(["votes"])["votes"].value == 1
