"""Which shape of a commit Postgres takes best: the same rows, written in different ways.

    python -m loadtests.postgres_shapes --database postgresql://user:password@127.0.0.1/scratch

Every shape checks epochs, writes counters and operations, and is one transaction; those that read what the update said
before they insert need more than one round trip. Prints milliseconds for a commit, and the client's CPU of it.
Makes and drops its tables in a schema of its own.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

import msgspec
import psycopg

from storage.postgres import SESSION, WRITE, numbers, texts

Rows = Sequence[tuple[Any, ...]]

SCHEMA = """
DROP SCHEMA IF EXISTS shapes CASCADE; CREATE SCHEMA shapes; SET search_path = shapes;
CREATE TABLE counter (
    id bigserial PRIMARY KEY, name text COLLATE "C" NOT NULL UNIQUE, value bigint NOT NULL,
    operation_count bigint NOT NULL, epoch bigint NOT NULL, created_at bigint, updated_at bigint, idle_since bigint
) WITH (fillfactor = 50);
CREATE TABLE operation (
    counter_id bigint, seq bigint, type text NOT NULL, amount bigint NOT NULL, value bigint NOT NULL,
    previous_value bigint NOT NULL, at bigint NOT NULL, operation_id text COLLATE "C" NOT NULL, actor text, reason text,
    PRIMARY KEY (counter_id, seq), UNIQUE (operation_id, counter_id)
);
INSERT INTO counter (name, value, operation_count, epoch) SELECT 'c' || n, 0, 0, 1 FROM generate_series(1, 2000) n;
"""

SET = "value = new.value, operation_count = new.seq, updated_at = new.at, idle_since = new.idle, "
SET += "created_at = coalesce(created_at, new.at)"


def _json(types: Sequence[str], names: Sequence[str], alias: str) -> str:
    columns = ", ".join(f"(e ->> {n})::{t} AS {name}" for n, (t, name) in enumerate(zip(types, names, strict=True)))
    return f"(SELECT {columns} FROM json_array_elements(%s::json) AS e) AS {alias}"


COUNTER = (("id", "epoch", "value", "seq", "at", "idle"), ("bigint",) * 6)
OPERATION = (
    ("counter_id", "seq", "type", "amount", "value", "previous_value", "at", "operation_id", "actor", "reason"),
    ("bigint", "bigint", "text", "bigint", "bigint", "bigint", "bigint", "text", "text", "text"),
)
NUMBERS = "%s::bigint[]"
COUNTERS = f"unnest({', '.join([NUMBERS] * 6)}) AS new ({', '.join(COUNTER[0])})"
JSON = (
    f"WITH mine AS MATERIALIZED (SELECT new.* FROM {_json(COUNTER[1], COUNTER[0], 'new')} "
    "JOIN counter ON counter.id = new.id AND counter.epoch = new.epoch ORDER BY counter.name FOR UPDATE OF counter), "
    f"owned AS (UPDATE counter SET {SET} FROM mine AS new "
    "WHERE counter.id = new.id AND counter.epoch = new.epoch RETURNING counter.id), "
    f"written AS (INSERT INTO operation SELECT * FROM {_json(OPERATION[1], OPERATION[0], 'row')} "
    "WHERE (counter_id IN (SELECT id FROM owned)) IS TRUE) SELECT id FROM owned"
)


def unnest_lists(connection: Any, counters: Rows, operations: Rows) -> None:
    arrays = [list(column) for column in chain(zip(*counters, strict=True), zip(*operations, strict=True))]
    connection.execute(WRITE, arrays, prepare=True).fetchall()


def unnest_literals(connection: Any, counters: Rows, operations: Rows) -> None:
    arrays = [numbers(column) for column in zip(*counters, strict=True)]
    for type, column in zip(OPERATION[1], zip(*operations, strict=True), strict=True):
        arrays.append(numbers(column) if type == "bigint" else texts(column))
    connection.execute(WRITE, arrays, prepare=True).fetchall()


def json(connection: Any, counters: Rows, operations: Rows) -> None:
    documents = [msgspec.json.encode(counters).decode(), msgspec.json.encode(operations).decode()]
    connection.execute(JSON, documents, prepare=True).fetchall()


def values(connection: Any, counters: Rows, operations: Rows) -> None:
    connection.execute("BEGIN")
    for part in powers(counters):
        row = f"({', '.join(['%s::bigint'] * 6)})"
        connection.execute(
            f"UPDATE counter SET {SET} FROM (VALUES {', '.join([row] * len(part))}) AS new ({', '.join(COUNTER[0])}) "
            "WHERE counter.id = new.id AND counter.epoch = new.epoch RETURNING counter.id",
            list(chain.from_iterable(part)),
            prepare=True,
        ).fetchall()
    for part in powers(operations):
        row = f"({', '.join(['%s'] * 10)})"
        statement = f"INSERT INTO operation VALUES {', '.join([row] * len(part))}"
        connection.execute(statement, list(chain.from_iterable(part)), prepare=True)
    connection.execute("COMMIT")


def powers(rows: Rows) -> list[Rows]:
    """Parts of which each has a power of two of rows, so that few statements serve all sizes."""
    parts, start = [], 0
    while start < len(rows):
        count = 1 << (len(rows) - start).bit_length() - 1
        parts.append(rows[start : start + count])
        start += count
    return parts


def pipeline(connection: Any, counters: Rows, operations: Rows) -> None:
    with connection.pipeline(), connection.cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.executemany(
            "UPDATE counter SET value = %s, operation_count = %s, updated_at = %s, idle_since = %s, "
            "created_at = coalesce(created_at, %s) WHERE id = %s AND epoch = %s",
            [(value, seq, at, idle, at, id, epoch) for id, epoch, value, seq, at, idle in counters],
        )
        cursor.executemany(f"INSERT INTO operation VALUES ({', '.join(['%s'] * 10)})", operations)
        cursor.execute("COMMIT")


def copy(connection: Any, counters: Rows, operations: Rows) -> None:
    connection.execute("BEGIN")
    statement = "UPDATE counter SET " + SET + f" FROM {COUNTERS}"
    connection.execute(
        statement + " WHERE counter.id = new.id AND counter.epoch = new.epoch RETURNING counter.id",
        [numbers(column) for column in zip(*counters, strict=True)],
        prepare=True,
    ).fetchall()
    with connection.cursor() as cursor, cursor.copy("COPY operation FROM STDIN") as target:
        for row in operations:
            target.write_row(row)
    connection.execute("COMMIT")


SHAPES: tuple[Callable[[Any, Rows, Rows], None], ...] = (
    unnest_literals, unnest_lists, json, values, pipeline, copy,
)  # fmt: skip


def rows(number: int, operations: int, counters: int, ids: list[int]) -> tuple[Rows, Rows]:
    """The rows of one commit: so many operations, spread over so many counters."""
    at = 1_760_000_000_000 + number
    written = [(id, 1, number, number, at, at) for id in ids[:counters]]
    history = [
        (ids[n % counters], number * operations + n, "increment", 1, n, n - 1, at, f"{number:x}-{n}", None, None)
        for n in range(operations)
    ]
    return written, history


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--database", required=True, help="of a Postgres in which to make and drop a schema")
    parser.add_argument("--seconds", type=float, default=1.0, help="for each figure (1)")
    given = parser.parse_args()
    with psycopg.connect(given.database.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute("SELECT set_config('plan_cache_mode', %s, false)", [SESSION["plan_cache_mode"]])
        print("| operations / counters | " + " | ".join(shape.__name__ for shape in SHAPES) + " |")
        print("|---" * (len(SHAPES) + 1) + "|")
        for operations, counters in ((1, 1), (30, 1), (30, 30), (1000, 1), (1000, 1000)):
            cells = []
            for shape in SHAPES:
                connection.execute(SCHEMA)
                ids = [row[0] for row in connection.execute("SELECT id FROM counter ORDER BY id").fetchall()]
                number, spent, cpu = 0, 0.0, 0.0
                while spent < given.seconds:
                    number += 1
                    written, history = rows(number, operations, counters, ids)
                    begun, begun_cpu = time.perf_counter(), time.process_time()
                    shape(connection, written, history)
                    if number > 6:  # The first ones are parsed and planned.
                        spent += time.perf_counter() - begun
                        cpu += time.process_time() - begun_cpu
                cells.append(f"{spent / (number - 6) * 1e3:.2f} ({cpu / (number - 6) * 1e3:.2f})")
            print(f"| {operations} / {counters} | " + " | ".join(cells) + " |", flush=True)
        connection.execute("DROP SCHEMA shapes CASCADE")


if __name__ == "__main__":
    main()
