"""Who is connected to a counter. The gateways know; a host asks all that listen to it and puts the answers together."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from itertools import count
from typing import NamedTuple

from actors.link import HostEnd
from actors.messages import Attend, Attending

PATIENCE_S = 1.0  # A gateway that has not answered by then is left out: it is going down, or frozen.


class Present(NamedTuple):
    """The sessions of one counter."""

    number: int
    sessions: list[bytes]  # Each as JSON, when they were asked for.


class Attendance:
    """The questions of one host."""

    def __init__(self) -> None:
        self._tags = count(1)
        self._questions: dict[int, tuple[HostEnd, asyncio.Future[Attending | None]]] = {}

    async def ask(self, listening: Mapping[HostEnd, list[str]], whole: bool) -> dict[str, Present]:
        """Who is connected to the names that each link listens to; names without anybody are missing."""
        loop = asyncio.get_running_loop()
        answers = []
        for link, names in listening.items():
            tag = next(self._tags)
            answer: asyncio.Future[Attending | None] = loop.create_future()
            self._questions[tag] = (link, answer)
            answers.append(answer)
            loop.call_later(PATIENCE_S, self._answer, tag, None)
            link.ask(Attend(tag, names, whole))
        present: dict[str, Present] = {}
        for message in await asyncio.gather(*answers):
            for name, number, sessions in message.sessions if message is not None else ():
                before = present.get(name, Present(0, []))
                present[name] = Present(before.number + number, before.sessions + sessions)
        return present

    def take(self, message: Attending) -> None:
        """A gateway has answered."""
        self._answer(message.tag, message)

    def link_closed(self, link: HostEnd) -> None:
        """This gateway will not answer any more."""
        for tag in [tag for tag, (asked, _) in self._questions.items() if asked is link]:
            self._answer(tag, None)

    def _answer(self, tag: int, message: Attending | None) -> None:
        question = self._questions.pop(tag, None)
        if question is not None and not question[1].done():
            question[1].set_result(message)
