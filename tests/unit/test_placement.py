"""Everybody who has the same table computes the same owner, and hosts that come and go move only what they must."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors import placement
from actors.placement import HostEntry, Placement, Table
from tests.support.stage import entry

NAMES = [f"counter-{number}" for number in range(2_000)]
HOSTS = st.lists(st.from_regex(r"host:[0-9]{1,3}", fullmatch=True), min_size=1, max_size=8, unique=True)


def placed(*hosts: HostEntry, dedicate_all: bool = False) -> Placement:
    return Placement(Table(1, hosts, dedicate_all))


def owners(*ids: str) -> dict[str, str | None]:
    table = placed(*map(entry, ids))
    return {name: table.owner(name) for name in NAMES[:200]}


class TestSharedHosts:
    @given(HOSTS, st.data())
    def test_the_order_of_the_table_does_not_matter(self, ids: list[str], data: st.DataObject) -> None:
        assert owners(*ids) == owners(*data.draw(st.permutations(ids)))

    @given(HOSTS, st.data())
    def test_when_a_host_is_lost_only_its_names_move(self, ids: list[str], data: st.DataObject) -> None:
        lost = data.draw(st.sampled_from(ids))
        before, after = owners(*ids), owners(*(id for id in ids if id != lost))
        for name, owner in before.items():
            if owner != lost:
                assert after[name] == owner
            else:
                assert after[name] != lost

    @given(HOSTS, st.data())
    def test_when_a_host_comes_names_move_only_to_it(self, ids: list[str], data: st.DataObject) -> None:
        new = data.draw(st.sampled_from(ids))
        before, after = owners(*(id for id in ids if id != new)), owners(*ids)
        assert all(after[name] in (owner, new) for name, owner in before.items())

    def test_a_host_that_was_started_again_keeps_its_names(self) -> None:
        old = placed(entry("a", "1"), entry("b", "1"))
        new = placed(entry("a", "2"), entry("b", "1"))
        assert [old.owner(name) for name in NAMES] == [new.owner(name) for name in NAMES]

    @pytest.mark.parametrize("hosts", [2, 3, 8])
    def test_names_are_spread_evenly(self, hosts: int) -> None:
        table = placed(*(entry(f"host:{number}") for number in range(hosts)))
        share = Counter(table.owner(name) for name in NAMES)
        assert len(share) == hosts
        assert all(0.7 < count * hosts / len(NAMES) < 1.3 for count in share.values()), share

    def test_one_host_owns_everything_and_none_owns_nothing(self) -> None:
        assert {placed(entry("a")).owner(name) for name in NAMES} == {"a"}
        assert {Placement.empty().owner(name) for name in NAMES} == {None}

    def test_owners_stay_the_same_while_the_cache_is_full(self, monkeypatch: pytest.MonkeyPatch) -> None:
        fresh = owners("a", "b", "c")
        monkeypatch.setattr(placement, "OWNERS_CACHED", 7)
        table = placed(entry("a"), entry("b"), entry("c"))
        for _ in range(2):
            assert {name: table.owner(name) for name in fresh} == fresh
        assert len(table._highest) <= 7


class TestDedicatedHosts:
    def test_a_counter_with_a_host_of_its_own_lives_there_and_nobody_else_does(self) -> None:
        table = placed(entry("a"), entry("counter:votes", dedicated="votes"), entry("b"))
        assert table.owner("votes") == "counter:votes"
        assert {table.owner(name) for name in NAMES} == {"a", "b"}

    def test_it_falls_back_to_the_shared_hosts(self) -> None:
        assert placed(entry("a"), entry("counter:votes", dedicated="votes")).owner("likes") == "a"

    def test_where_all_are_dedicated_the_others_have_no_owner_yet(self) -> None:
        table = placed(entry("a"), entry("counter:votes", dedicated="votes"), dedicate_all=True)
        assert (table.owner("votes"), table.owner("likes")) == ("counter:votes", None)


class TestKeepers:
    def test_the_owner_keeps_the_watchers(self) -> None:
        table = placed(entry("a"), entry("b"), entry("counter:votes", dedicated="votes"))
        assert all(table.keeper(name) == table.owner(name) for name in (*NAMES, "votes"))

    def test_where_all_are_dedicated_those_of_sleeping_counters_are_kept_by_the_shared_hosts(self) -> None:
        hosts = (entry("a"), entry("b"), entry("counter:votes", dedicated="votes"))
        all_alone, shared = placed(*hosts, dedicate_all=True), placed(*hosts)
        assert all(all_alone.keeper(name) == shared.owner(name) for name in (*NAMES, "votes"))

    def test_without_hosts_nobody_does(self) -> None:
        assert Placement.empty().keeper("votes") is None


ENTRIES = st.lists(
    st.builds(
        entry,
        st.sampled_from("abc"),
        st.sampled_from("12"),
    )
    | st.builds(
        lambda name, life: entry(f"counter:{name}", life, name), st.sampled_from(NAMES[:4]), st.sampled_from("12")
    ),
    max_size=6,
    unique_by=lambda host: host.id,
)


class TestOneTableAfterAnother:
    @given(st.lists(ENTRIES, min_size=2, max_size=5), st.booleans())
    def test_owners_are_the_same_whatever_was_remembered(self, hosts: list[list[HostEntry]], all_alone: bool) -> None:
        placement = Placement.empty()
        for each in hosts:
            table = Table(placement.version + 1, tuple(each), all_alone)
            placement, fresh = placement.followed_by(table), Placement(table)
            for name in NAMES[:20]:
                assert (placement.owner(name), placement.keeper(name)) == (fresh.owner(name), fresh.keeper(name))

    @given(ENTRIES, ENTRIES, st.booleans())
    def test_moved_is_what_another_process_keeps(
        self, old: list[HostEntry], new: list[HostEntry], all_alone: bool
    ) -> None:
        before = Placement(Table(1, tuple(old), all_alone))
        after = before.followed_by(Table(2, tuple(new), all_alone))
        names = NAMES[:20]
        told = after.moved(before, names)
        assert sorted(told) == sorted(
            name
            for name in names
            if after.hosts.get(after.keeper(name) or "") != before.hosts.get(before.keeper(name) or "")
        )

    def test_shared_hosts_are_not_computed_again_while_they_stay_the_same(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        before = placed(entry("a"), entry("b"))
        owners = [before.owner(name) for name in NAMES]
        monkeypatch.setattr(placement, "blake2b", None)
        after = before.followed_by(Table(2, (entry("a", "2"), entry("b"), entry("counter:x", dedicated="x"))))
        assert [after.owner(name) for name in NAMES] == owners


class TestAnyHost:
    def test_a_shared_one_if_there_is_one(self) -> None:
        assert placed(entry("counter:x", dedicated="x"), entry("b"), entry("c")).any_host() == "b"
        assert placed(entry("counter:x", dedicated="x")).any_host() == "counter:x"
        assert Placement.empty().any_host() is None
