"""What a Ray task, another actor or a script holds of a counter: `CounterStub("votes").increment()`.

The same hosts, the same guarantees as through a gateway: every operation has an id, is sent again with it when an
answer fails to come, and is applied once.
"""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import msgspec
import ray
from ray.exceptions import GetTimeoutError, RayError

from actors.clock import SystemClock
from actors.core import name as names
from actors.core.policy import VALUE_MAX
from actors.directory import NAMESPACE, supervisor
from actors.errors import Refused, Unavailable
from actors.messages import Operation, Query, Status
from actors.placement import Placement

TIMEOUT_S = 15.0
_clock = SystemClock()
PAUSE_S = 0.05  # Between two attempts, while a host is being replaced.


def operation(name: str, type: str, amount: int, id: str | None) -> Operation:
    """A checked operation. An `id` that somebody chose may have been used before. Raises Refused."""
    least = -VALUE_MAX if type == "setValue" else 0 if type == "reset" else 1
    if isinstance(amount, bool) or not isinstance(amount, int) or not least <= amount <= VALUE_MAX:
        reason = f"an integer from {least} to {VALUE_MAX}"
        raise Refused("COUNTER_VALIDATION_ERROR", f"amount: {reason}", {"field": "amount", "reason": reason})
    chosen = id is not None
    if id is not None and not _storable(id):
        reason = "no NUL characters and no lone surrogates"
        raise Refused("COUNTER_VALIDATION_ERROR", f"id: {reason}", {"field": "id", "reason": reason})
    return Operation(
        tag=0,
        name=name,
        type=type,
        amount=amount,
        id=f"key:{id}" if chosen else f"ray:{uuid4().hex}",
        repeated=chosen,
        reason="manual" if type == "reset" else None,
        source="ray",
    )


def _storable(text: str) -> bool:
    """Whether a database can keep it: Postgres no NUL, none what UTF-8 cannot say, such as `os.listdir` may bring."""
    try:
        return b"\0" not in text.encode()
    except UnicodeEncodeError:
        return False


def value_of(status: int, body: bytes) -> int:
    """The value in an answer. Raises Refused or Unavailable when there is none."""
    if status == Status.OK:
        value: int = msgspec.json.decode(body)["value"]
        return value
    if status == Status.REFUSED:
        said = msgspec.json.decode(body)
        raise Refused(said["code"], said["message"], said["data"])
    raise Unavailable("the counter's host gave no answer; ask again with the same id")


class CounterStub:
    """A counter by name, from anywhere in the Ray cluster that runs the service.

    Every method returns the counter's value and may raise Refused (nothing changed) or Unavailable (outcome unknown:
    call again with the same `id`).
    """

    _placement = Placement.empty()  # Shared by all stubs of a process.

    def __init__(self, name: str, timeout_s: float = TIMEOUT_S) -> None:
        if not names.valid(name):
            reason = "1 to 100 letters, digits and _ - . :"
            raise Refused("COUNTER_VALIDATION_ERROR", f"name: {reason}", {"field": "name", "reason": reason})
        self.name = name
        self._timeout_s = timeout_s

    def increment(self, amount: int = 1, id: str | None = None) -> int:
        """Add `amount`."""
        return self._operate("increment", amount, id)

    def decrement(self, amount: int = 1, id: str | None = None) -> int:
        """Take `amount`."""
        return self._operate("decrement", amount, id)

    def set_value(self, value: int, id: str | None = None) -> int:
        """Set the value."""
        return self._operate("setValue", value, id)

    def reset(self, id: str | None = None) -> int:
        """Set the initial value."""
        return self._operate("reset", 0, id)

    def value(self) -> int:
        """The committed value; 0 for a counter never written."""
        return self._attempt(lambda host, _: host.query.remote(Query(0, "value", [self.name])), wake=False)

    def _operate(self, type: str, amount: int, id: str | None) -> int:
        wish = operation(self.name, type, amount, id)

        def send(host: Any, version: int) -> Any:
            return host.operate.remote(version, [wish])

        return self._attempt(send, wake=True, wish=wish)

    def _attempt(self, send: Any, wake: bool, wish: Operation | None = None) -> int:
        deadline = _clock.monotonic() + self._timeout_s
        while True:
            try:
                host = self._host(wake)
                if host is not None:
                    answer = ray.get(send(host, CounterStub._placement.version), timeout=deadline - _clock.monotonic())
                    status, body = answer[0][1:] if isinstance(answer, list) else answer
                    if status in (Status.OK, Status.REFUSED):
                        return value_of(status, body)
            except (RayError, ValueError, GetTimeoutError):
                pass  # Lost on the way or never sent; the loop asks again, and the owner knows the id.
            if wish is not None:
                wish.repeated = True
            if _clock.monotonic() > deadline:
                raise Unavailable(f"{self.name}: no answer within {self._timeout_s} s; ask again with the same id")
            _clock.sleep(PAUSE_S)
            CounterStub._placement = Placement.empty()

    def _host(self, wake: bool) -> Any:
        if not CounterStub._placement.version:
            CounterStub._placement = Placement(ray.get(supervisor().newer_table.remote(0)))
        placement = CounterStub._placement
        owner = placement.owner(self.name)
        if owner is None and wake:
            ray.get(supervisor().dedicate.remote(self.name))
            return None
        owner = owner or placement.any_host()
        return None if owner is None else ray.get_actor(owner, namespace=NAMESPACE)
