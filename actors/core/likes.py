"""Counters of likes: each member counts once, and the value is the number of members.

So nothing but a like, or a reset, which takes all of them away, may change the value. Who is a member is known to
storage; whoever applies a like says what it knew.
"""

from __future__ import annotations

from typing import NamedTuple

from actors.core.counter import ANOTHER_OPERATION, Change, Counter, Refusal
from actors.core.policy import Policy

MEMBER_MAX = 256
# Anything but control characters and line ends; the last lookahead as in a counter's name.
MEMBER_PATTERN = rf"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]{{1,{MEMBER_MAX}}}$(?!\n)"

# The types of operations, and the reasons that their changes have in the history.
TOGGLE, ADD, REMOVE = "like.toggle", "like.add", "like.remove"
TYPES = frozenset({TOGGLE, ADD, REMOVE})

NOT_LIKES = Refusal("COUNTER_VALIDATION_ERROR", "this counter counts other things than likes", "name")
ONLY_LIKES = Refusal(
    "COUNTER_VALIDATION_ERROR", "this counter counts likes: use like.add, like.remove and like.toggle", "name"
)


class Unchanged(NamedTuple):
    """A like that was there already, or the taking back of one that was not. It leaves no trace."""

    value: int
    liked: bool


class LikeCounter(Counter):
    """A counter of likes. What likes did is an increment or a decrement by 1, whose actor is the member."""

    __slots__ = ()

    def apply(
        self,
        type: str,
        amount: int,
        operation_id: str,
        at: int,
        actor: str | None = None,
        reason: str | None = None,
        source: str | None = None,
    ) -> Change | Refusal:
        """Apply a reset: all members are gone. Everything else is refused."""
        if type != "reset":
            return ONLY_LIKES
        return super().apply(type, amount, operation_id, at, actor, reason, source)

    def sync(
        self, wanted: int, operation_id: str, at: int, actor: str | None, reason: str, source: str | None
    ) -> Change | Refusal | None:
        """Refused: the members are what there is to count."""
        return ONLY_LIKES

    def like(
        self, type: str, member: str, there: bool, operation_id: str, at: int, source: str | None
    ) -> Change | Unchanged | Refusal:
        """Apply one of TYPES by `member`, who is `there` among the members or is not."""
        done = answered(self, type, member, operation_id)
        if done is not None:
            return done
        wanted = not there if type == TOGGLE else type == ADD
        if wanted == there:
            return Unchanged(self.value, there)
        if not wanted:
            return self._change("decrement", 1, self.value - 1, operation_id, at, member, type, source)
        maximum = self.policy.maximum
        if maximum is not None and self.value >= maximum:
            return Refusal("LIMIT_REACHED", f"the value must stay within its limits; {self.value + 1} does not")
        return self._change("increment", 1, self.value + 1, operation_id, at, member, type, source)


def answered(counter: Counter, type: str, member: str, operation_id: str) -> Change | Refusal | None:
    """What is said to a like that came before, perhaps in an earlier life of the counter; None: it did not."""
    done = counter.recall(operation_id)
    return done if done is None or (done.reason, done.actor) == (type, member) else ANOTHER_OPERATION


def counter_of(value: int, seq: int, policy: Policy) -> Counter:
    """A counter of the kind that its policy says."""
    return (LikeCounter if policy.likes else Counter)(value, seq, policy)


def member_of(reason: str | None, actor: str | None) -> str | None:
    """The member whose like, or taking back of one, a change was; None: it was something else."""
    return actor if reason in TYPES else None
