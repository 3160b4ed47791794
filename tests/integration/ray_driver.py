"""A driver that counts from Ray tasks and actors; prints what it saw as one JSON object. Run by test_ray.py."""

from __future__ import annotations

import json
import sys

import ray

from actors.stub import CounterStub


@ray.remote(num_cpus=0)
def count(name: str, times: int) -> list[int]:
    """A task that holds a stub."""
    stub = CounterStub(name)
    return [stub.increment() for _ in range(times)]


@ray.remote(num_cpus=0)
class Clicker:
    """An actor that holds a stub."""

    def __init__(self, name: str) -> None:
        self._stub = CounterStub(name)

    def click(self, id: str) -> int:
        return self._stub.increment(10, id=id)


def main(name: str) -> None:
    ray.init(namespace="counters", log_to_driver=False)
    before = CounterStub(name).value()
    counted = ray.get([count.remote(name, 20) for _ in range(4)])
    clicker = Clicker.remote(name)  # type: ignore[attr-defined]
    clicks = ray.get([clicker.click.remote("once") for _ in range(3)])
    counter = ray.get_actor(f"counter:{name}", namespace="counters")
    direct = ray.get(counter.increment.remote(100))
    named = ray.util.list_named_actors(all_namespaces=True)
    seen = {
        "before": before,
        "counted": sorted(value for each in counted for value in each),
        "clicks": clicks,
        "direct": direct,
        "value": ray.get(counter.value.remote()),
        "stub": CounterStub(name).value(),
        "actors": sorted(each["name"] for each in named if each["namespace"] == "counters"),
    }
    print(json.dumps(seen))


if __name__ == "__main__":
    main(sys.argv[1])
