"""The next version is rolled out under load, with another schema: nobody notices.

    python -m tests.faults.migration

In the order of docs/operations.md: `counters migrate` of the next version, while the hosts of this one work; then its
code is installed; then `counters restart-hosts`. The next version is a copy of this tree with a migration that adds a
column, a table and an index. On a Postgres of the test's own.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from loadtests.verdict import Verdict
from storage import schema
from tests.faults.command import chosen, options
from tests.faults.crowd import Crowd
from tests.faults.mutations import Mutation, copy_tree, mutate
from tests.faults.mutations import run as run_in
from tests.faults.upgrade import replace_hosts
from tests.support.postgres_server import PostgresServer
from tests.support.service_process import Service, run_command

NEXT = "9999"
MIGRATION = f'''
from alembic import op
from sqlalchemy import BigInteger, Column, Text

revision = "{NEXT}"
down_revision = "{schema.NEWEST}"


def upgrade() -> None:
    op.add_column("counter", Column("later", BigInteger, nullable=False, server_default="5"))
    op.add_column("operation", Column("later", Text))
    op.create_table("later", Column("name", Text, primary_key=True))
    op.create_index("counter_later", "counter", ["later"])
'''


@dataclass(frozen=True)
class Sizes:
    counters: int = field(default=200, metadata={"help": "counters that are written"})
    sockets: int = field(default=400, metadata={"help": "open sockets, spread over the counters"})
    rate: int = field(default=500, metadata={"help": "operations a second in all"})
    hosts: int = field(default=3, metadata={"help": "shared hosts"})


QUICK = Sizes(counters=20, sockets=20, rate=100, hosts=2)


def make_next(tree: Path) -> None:
    """Turn a tree of this version into one of the next."""
    (tree / "storage" / "migrations" / "versions" / f"{NEXT}_later.py").write_text(MIGRATION)
    mutate(tree, Mutation("next", "storage/schema.py", f'"{schema.NEWEST}")', f'"{schema.NEWEST}", "{NEXT}")'))


@contextmanager
def stage(sizes: Sizes) -> Iterator[tuple[Service, Path]]:
    """A service of this version, and the place where its code is installed."""
    with PostgresServer(flushed=True) as server, tempfile.TemporaryDirectory(prefix="install-") as folder:
        tree = copy_tree(Path(folder) / "tree")
        url = server.start().new_database()
        with Service(tree=tree, database=url, hosts=sizes.hosts, dedicated=0).start() as service:
            yield service, tree


async def run(service: Service, installed: Path, sizes: Sizes, verdict: Verdict) -> None:
    """See the module."""
    crowd = Crowd(service, "rolled", sizes.counters, sizes.rate)
    await crowd.start(sizes.sockets)
    with tempfile.TemporaryDirectory(prefix="next-") as folder:
        tree = copy_tree(Path(folder) / "tree")
        make_next(tree)
        migrate = "-m", "gateway.cli", "migrate", "--database", service.database
        done = await asyncio.to_thread(run_in, tree, *migrate)
        verdict.require("migrated under load", done.returncode == 0, (done.stdout + done.stderr).rpartition(": ")[2])
    await crowd.acknowledged(2 * len(crowd.names))  # By hosts of this version, on the schema of the next.
    refused = await asyncio.to_thread(run_command, "migrate", "--database", service.database)
    verdict.exactly("this version, newly started, is refused", refused.returncode, 1)
    make_next(installed)
    verdict.figure("replacing all hosts takes", await replace_hosts(service), "s")
    await crowd.acknowledged(2 * len(crowd.names))
    await crowd.judge(verdict)


def main() -> int:
    """The command."""
    sizes = chosen(options(__doc__, Sizes()).parse_args(), Sizes(), QUICK)
    verdict = Verdict()
    with stage(sizes) as (service, installed):
        asyncio.run(run(service, installed, sizes, verdict))
        verdict.exactly("exit code of the service, which left nothing behind", service.stop(), 0)
    return 0 if verdict.kept else 1


if __name__ == "__main__":
    sys.exit(main())
