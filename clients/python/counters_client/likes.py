"""Likes: counters whose value is the number of their members."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Protocol, TypeVar

import msgspec

from counters_client.core import wire
from counters_client.records import Liked, MemberPage

T = TypeVar("T")


class Operate(Protocol):
    """How a client operates on a counter."""

    async def __call__(self, procedure: str, input: Mapping[str, Any], shape: type[T], key: str | None) -> T: ...


class Ask(Protocol):
    """How a client asks a question."""

    async def __call__(self, procedure: str, input: Mapping[str, Any], shape: type[T]) -> T: ...


class _IsLiked(msgspec.Struct, rename="camel"):
    is_liked: bool


class _Count(msgspec.Struct):
    count: int


class _Counts(msgspec.Struct):
    counts: dict[str, int]


class _Statuses(msgspec.Struct):
    statuses: dict[str, bool]


class Likes:
    """`client.like`. A member has 1 to 256 characters, and counts once. Every method raises CounterError."""

    def __init__(self, operate: Operate, ask: Ask) -> None:
        self._operate = operate
        self._ask = ask

    async def toggle(self, name: str, member: str, *, key: str | None = None) -> Liked:
        """Like, or take it back. A `key` names the operation, for you to repeat it, as with `increment`."""
        return await self._operate("like.toggle", {"name": name, "member": member}, Liked, key)

    async def add(self, name: str, member: str, *, key: str | None = None) -> Liked:
        """Like, unless `member` does already."""
        return await self._operate("like.add", {"name": name, "member": member}, Liked, key)

    async def remove(self, name: str, member: str, *, key: str | None = None) -> Liked:
        """Take a like back, if there is one."""
        return await self._operate("like.remove", {"name": name, "member": member}, Liked, key)

    async def is_liked(self, name: str, member: str) -> bool:
        """Whether `member` likes it."""
        return (await self._ask("like.isLiked", {"name": name, "member": member}, _IsLiked)).is_liked

    async def get_count(self, name: str) -> int:
        """How many like it."""
        return (await self._ask("like.getCount", {"name": name}, _Count)).count

    async def get_counts(self, names: Collection[str]) -> dict[str, int]:
        """How many like each of these, at most 1,000."""
        return (await self._ask("like.getCounts", {"names": wire.checked_names(names)}, _Counts)).counts

    async def get_statuses(self, names: Collection[str], member: str) -> dict[str, bool]:
        """Which of these, at most 1,000, `member` likes."""
        input = {"names": wire.checked_names(names), "member": member}
        return (await self._ask("like.getStatuses", input, _Statuses)).statuses

    async def members(self, name: str, limit: int = 100, cursor: str | None = None) -> MemberPage:
        """Who likes it, by name, at most 1,000 at a time."""
        input = {"name": name, "limit": limit} | ({} if cursor is None else {"cursor": cursor})
        return await self._ask("like.members", input, MemberPage)
