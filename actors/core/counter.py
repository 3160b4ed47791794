"""The rules of one counter.

Rule 1: whatever decides what a counter does is in this file.
Rule 2: this file never waits, never reads a clock, never talks to anyone. Time and identity are arguments.

An operation goes in through `apply`; what comes out is a `Change`, which must be durable before anybody hears of it,
or a `Refusal`, which changed nothing. There is no way back: when a change cannot be made durable, the counter is
thrown away and loaded again, because memory would be ahead of the disk.
"""

from __future__ import annotations

from typing import NamedTuple

from actors.core.deadline import target
from actors.core.policy import VALUE_MAX, Policy


class Change(NamedTuple):
    """One applied operation: a row of history, the source of a result and of an event."""

    seq: int
    type: str
    amount: int
    value: int
    previous_value: int
    at: int  # Milliseconds since 1970-01-01 UTC.
    operation_id: str
    actor: str | None
    reason: str | None
    source: str | None = None


class Refusal(NamedTuple):
    """An operation that cannot be applied, and why. The counter is as it was."""

    code: str
    message: str
    field: str | None = None  # The part of the input that is to blame.


ANOTHER_OPERATION = Refusal("COUNTER_VALIDATION_ERROR", "this operation id was used for another operation", "id")


class Counter:
    """One counter in memory: value, seq, policy, and the operations it may be asked about again.

    `seq` grows by one with each applied operation, never repeats and has no gaps.
    """

    __slots__ = ("_answers", "policy", "seq", "value")

    def __init__(self, value: int, seq: int, policy: Policy) -> None:
        self.value = value
        self.seq = seq
        self.policy = policy
        self._answers: dict[str, Change] = {}

    def remember(self, change: Change) -> None:
        """Let a later operation with this id be answered by `change` instead of being applied."""
        self._answers[change.operation_id] = change

    def forget(self) -> None:
        """Drop what was remembered. Call it when the changes are durable: storage remembers them from then on."""
        self._answers = {}

    def recall(self, operation_id: str) -> Change | None:
        """What an operation with this id did, if it is remembered."""
        return self._answers.get(operation_id)

    def knows(self, operation_id: str) -> bool:
        """Whether an operation with this id is remembered."""
        return operation_id in self._answers

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
        """Apply one operation, or answer a repeated one with its first change.

        `amount` is what to add or take for increment and decrement, the new value for setValue, unused for reset.
        Nothing may leave before the returned change is durable.
        """
        answer = self._answers.get(operation_id)
        if answer is not None:
            if (answer.type, answer.amount) != (type, amount):
                return ANOTHER_OPERATION
            return answer
        previous = self.value
        if type == "increment":
            wanted = previous + amount
        elif type == "decrement":
            wanted = previous - amount
        elif type == "setValue":
            wanted = amount
        elif type == "reset":
            wanted = self.policy.initial
        else:
            raise AssertionError(f"no such operation: {type}")  # Doors validate; this is our own mistake.
        value = self._bounded(wanted)
        if isinstance(value, Refusal):
            return value
        return self._change(type, amount, value, operation_id, at, actor, reason, source)

    def sync(
        self, wanted: int, operation_id: str, at: int, actor: str | None, reason: str, source: str | None
    ) -> Change | Refusal | None:
        """Set the value to what was counted elsewhere. None: it is that already, and nothing has happened."""
        if operation_id not in self._answers and self._bounded(wanted) == self.value:
            return None
        return self.apply("setValue", wanted, operation_id, at, actor, reason, source)

    def reset_itself(self, at: int, reason: str) -> Change:
        """Nobody has asked for it: the counter was left alone for too long, or its schedule says so."""
        return self._change("reset", 0, target(self.policy), f"{reason}:{at}:{self.seq}", at, None, reason)

    def _change(
        self,
        type: str,
        amount: int,
        value: int,
        operation_id: str,
        at: int,
        actor: str | None,
        reason: str | None,
        source: str | None = None,
    ) -> Change:
        previous = self.value
        self.value = value
        self.seq += 1
        change = Change(self.seq, type, amount, value, previous, at, operation_id, actor, reason, source)
        self._answers[operation_id] = change
        return change

    def _bounded(self, wanted: int) -> int | Refusal:
        """`wanted` as the policy lets it be."""
        policy = self.policy
        bound = wanted
        if wanted < policy.minimum:
            bound = policy.minimum
        elif policy.maximum is not None and wanted > policy.maximum:
            bound = policy.maximum
        if bound != wanted and policy.on_limit == "reject":
            return Refusal("LIMIT_REACHED", f"the value must stay within its limits; {wanted} does not")
        if abs(bound) > VALUE_MAX:
            return Refusal("OUT_OF_RANGE", f"the value must lie within ±{VALUE_MAX}; {wanted} does not")
        return bound
