"""Count words from Ray tasks, each word in a counter of its own: python examples/ray_word_count.py FILE..."""

import sys
from collections import Counter
from pathlib import Path

import ray

from actors.stub import CounterStub


@ray.remote(num_cpus=0)
def count_words(text: str) -> int:
    words = Counter("".join(c if c.isascii() and c.isalnum() else " " for c in text.lower()).split())
    for word, times in words.items():
        CounterStub(f"word:{word}"[:100]).increment(times)
    return sum(words.values())


if __name__ == "__main__":
    ray.init(namespace="counters")
    texts = [Path(path).read_text(encoding="utf-8") for path in sys.argv[1:]]
    print("words counted:", sum(ray.get([count_words.remote(text) for text in texts])))
