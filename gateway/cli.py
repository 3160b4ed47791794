"""The command `counters`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.config import Settings


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    try:
        arguments = _parser().parse_args(_command_first(sys.argv[1:] if argv is None else argv))
        code: int = arguments.run(arguments)
    except KeyboardInterrupt:
        return 130  # What a shell expects of a program ended by Ctrl-C.
    return code


def _command_first(argv: Sequence[str]) -> Sequence[str]:
    """`--url` may stand before the command, too; it is an option of the command."""
    match argv:
        case ["--url", url, command, *rest]:
            return [command, f"--url={url}", *rest]
        case [url, command, *rest] if url.startswith("--url="):
            return [command, url, *rest]
    return argv


def _parser() -> argparse.ArgumentParser:
    # Imported here, where Ctrl-C is no traceback: it takes a while.
    from importlib.metadata import version

    from gateway.commands.arguments import add_commands

    parser = argparse.ArgumentParser(prog="counters", description="Live, shared, durable counters by name.")
    parser.add_argument("--version", action="version", version=version("durable-counters"))
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_serve(commands)
    _add_stop(commands)
    _add_migrate(commands)
    _add_export(commands)
    _add_import(commands)
    _add_mirror(commands)
    add_commands(commands)
    _add_bench(commands)
    return parser


def _add_serve(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    serve = commands.add_parser("serve", help="run the service until Ctrl-C")
    serve.add_argument("--host", help="address to listen on (127.0.0.1)")
    serve.add_argument("--port", help="port to listen on (8094)")
    serve.add_argument("--database", metavar="URL", help="SQLAlchemy URL (a SQLite file in the data directory)")
    serve.add_argument("--data-dir", metavar="DIR", help="database and logs (./data)")
    serve.add_argument("--address", metavar="A", help="Ray: local starts one (default), auto or HOST:PORT joins one")
    serve.add_argument("--gateways", metavar="N", help="gateway processes on the port (1)")
    serve.add_argument("--hosts", metavar="N", help="host processes that run counters (1)")
    serve.add_argument(
        "--dedicated",
        metavar="N|all",
        help="the N busiest counters have a Ray actor of their own; all: each awake one (the number of CPUs)",
    )
    serve.add_argument("--dedicated-from", metavar="N", help="that busy: so many operations a second (1000)")
    serve.add_argument("--hibernate-after", metavar="T", help="idle counters leave memory: 500ms, 10s, 2m (10s)")
    serve.add_argument("--max-resident", metavar="N", help="counters in the memory of one host (100000)")
    serve.add_argument("--reset-after", metavar="T", help="counters left alone for so long reset themselves: 20m, 12h")
    serve.add_argument("--default-counter", metavar="NAME", help="the counter that /api/reset-counter means")
    serve.add_argument("--reset-secret-file", metavar="FILE", help="turns /api/reset-counter on; or set RESET_SECRET")
    serve.add_argument("--redis-url", metavar="URL", help="mirror values into this Redis; or set REDIS_URL")
    serve.add_argument("--counter-key", metavar="KEY", help="a second such key, for the default counter")
    serve.add_argument("--dashboard", action="store_const", const=True, help="start Ray's dashboard too")
    serve.add_argument("--allowed-origins", metavar="O,O", help="foreign origins whose pages may use the service")
    serve.add_argument("--config", metavar="FILE", help="settings as TOML (counters.toml, if there is one)")
    serve.set_defaults(run=_serve)


def _add_stop(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    stop = commands.add_parser("stop", help="end a service that was left behind in a Ray cluster")
    stop.add_argument("--address", default="auto", help="of the cluster (auto)")
    stop.set_defaults(run=_stop)


def _add_migrate(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    migrate = commands.add_parser("migrate", help="bring the schema of a database up to date")
    _add_database(migrate)
    migrate.set_defaults(run=_migrate)


def _add_export(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    export = commands.add_parser("export", help="write all counters of a database as lines of JSON")
    export.add_argument("file", nargs="?", default="-", metavar="FILE", help="where to (standard output)")
    export.add_argument("--history", action="store_true", help="with every operation that is kept")
    _add_database(export)
    export.set_defaults(run=_export)


def _add_import(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    load = commands.add_parser("import", help="make counters in a database: from a file, or from another database")
    load.add_argument("file", nargs="?", metavar="FILE", help="what `counters export` has written; - is standard input")
    load.add_argument("--source", metavar="URL", help="copy from this database instead")
    load.add_argument("--counts", metavar="SQL", help="--source is an application's: SELECT name, number …")
    load.add_argument("--members", metavar="SQL", help="who likes what there: SELECT name, member[, since] …")
    load.add_argument("--history", action="store_true", help="with --source: every operation that is kept, too")
    load.add_argument("--replace", action="store_true", help="replace counters that are there and different")
    _add_database(load)
    load.set_defaults(run=_import)


def _add_mirror(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    mirror = commands.add_parser("mirror", help="compare the values in Redis with the database, or set them all")
    verbs = mirror.add_subparsers(required=True, metavar="verify|rebuild")
    for verb, summary, run in (
        ("verify", "print what Redis has that is not so; exit code 1 if there is something", _verify),
        ("rebuild", "set every counter in Redis, and remove what is none", _rebuild),
    ):
        parser = verbs.add_parser(verb, help=summary)
        parser.add_argument("--redis-url", metavar="URL", help="the Redis; or set REDIS_URL")
        _add_database(parser)
        parser.set_defaults(run=run)


def _add_database(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--database", metavar="URL", help="SQLAlchemy URL (a SQLite file in the data directory)")
    parser.add_argument("--data-dir", metavar="DIR", help="where that file is (./data)")
    parser.add_argument("--config", metavar="FILE", help="settings as TOML (counters.toml, if there is one)")


def _add_bench(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    # No argument may look like an option here: all of them, --help too, are the bench's.
    bench = commands.add_parser(
        "bench", help="measure this service and its peers", add_help=False, prefix_chars="\0"
    )
    bench.add_argument("rest", nargs="*")
    bench.set_defaults(run=_bench)


def _serve(arguments: argparse.Namespace) -> int:
    from gateway.serve import serve  # Ray takes half a second to import; the other commands do not need it.

    return _with_settings(serve, arguments)


def _migrate(arguments: argparse.Namespace) -> int:
    from gateway.database import migrate

    return _with_settings(migrate, arguments)


def _export(arguments: argparse.Namespace) -> int:
    from gateway.transfer.commands import export

    return _with_settings(lambda settings: export(settings, arguments.file, arguments.history), arguments)


def _import(arguments: argparse.Namespace) -> int:
    from gateway.transfer.application import Queries
    from gateway.transfer.commands import copy, import_file, import_queries

    queries = Queries(arguments.counts, arguments.members)
    if (arguments.file is None) == (arguments.source is None) or (any(queries) and arguments.source is None):
        print("counters: either FILE (- for standard input) or --source URL", file=sys.stderr)
        return 2
    if arguments.source is None:
        return _with_settings(lambda settings: import_file(settings, arguments.file, arguments.replace), arguments)
    url, replace = arguments.source, arguments.replace
    if any(queries):
        return _with_settings(lambda settings: import_queries(settings, url, queries, replace), arguments)
    return _with_settings(lambda settings: copy(settings, url, arguments.history, replace), arguments)


def _verify(arguments: argparse.Namespace) -> int:
    from gateway.database import verify

    return _with_settings(verify, arguments)


def _rebuild(arguments: argparse.Namespace) -> int:
    from gateway.database import rebuild

    return _with_settings(rebuild, arguments)


def _with_settings(run: Callable[[Settings], int], arguments: argparse.Namespace) -> int:
    from dataclasses import fields

    from gateway.config import ConfigError, Settings, read

    known = {each.name for each in fields(Settings)}
    flags = {name: value for name, value in vars(arguments).items() if name in known}
    try:
        settings = read(flags, arguments.config)
    except ConfigError as error:
        print(f"counters: {error}", file=sys.stderr)
        return 2
    return run(settings)


def _stop(arguments: argparse.Namespace) -> int:
    from gateway.serve import stop

    return stop(arguments.address)


def _bench(arguments: argparse.Namespace) -> int:
    # A process of its own: the load tests stand outside of the rooms, and no import points up.
    os.execv(sys.executable, [sys.executable, "-m", "loadtests.bench", *arguments.rest])


if __name__ == "__main__":
    sys.exit(main())
