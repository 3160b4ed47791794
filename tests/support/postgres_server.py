"""A real Postgres for tests: made, started, killed and removed by them.

The binaries are the machine's own: `initdb` on the PATH or where Debian puts it. Postgres refuses to run as root, so
root's tests run it as `postgres` or, where there is no such user, `nobody`.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from itertools import count
from pathlib import Path
from typing import Any, Self

import psutil
import psycopg

from tests.support.service_process import free_port, wait_for

PASSWORD = "let me in"  # With spaces, so that a URL has to quote it.
START_S = 30.0
ABSENT = "no Postgres here: there is no initdb on the PATH or in /usr/lib/postgresql (`apt-get install postgresql`)"


def binaries() -> Path | None:
    """The folder of initdb and postgres, of the newest version there is; None: none is installed."""
    found = [Path(path).resolve().parent for path in [shutil.which("initdb")] if path]
    installed = Path("/usr/lib/postgresql").glob("*/bin/initdb")
    found += sorted((path.parent for path in installed), key=lambda path: -int(path.parent.name.split(".")[0]))
    return found[0] if found else None


class PostgresServer:
    """One server on a port of its own; it can be started again after it was stopped or killed.

    `flushed=False` leaves out waiting for the disk: its data outlives a killed server, but not a power cut.
    """

    def __init__(self, flushed: bool = False) -> None:
        folder = binaries()
        assert folder is not None, ABSENT
        self._binaries = folder
        self._folder = Path(tempfile.mkdtemp(prefix="pg-"))
        self._data = self._folder / "data"
        self._databases = count(1)
        self._process: subprocess.Popen[bytes] | None = None
        self.port = free_port()
        user = _unprivileged() if os.getuid() == 0 else None
        self._as: dict[str, Any] = {} if user is None else {"user": user, "group": user.pw_gid, "extra_groups": []}
        if user is not None:
            self._as["user"] = user.pw_uid
            os.chown(self._folder, user.pw_uid, user.pw_gid)
        password = self._folder / "password"
        password.write_text(PASSWORD)
        password.chmod(0o644)
        flags = ["-U", "postgres", "-E", "UTF8", "--locale=C.UTF-8", "--auth=scram-sha-256", f"--pwfile={password}"]
        self._run("initdb", "--no-sync", *flags, "-D", str(self._data))
        self._settings = {
            "listen_addresses": "127.0.0.1",
            "port": self.port,
            "unix_socket_directories": "",
            "max_connections": 60,
            "shared_buffers": "128MB",
            "fsync": "on" if flushed else "off",
        }

    def _run(self, program: str, *arguments: str) -> None:
        made = subprocess.run(
            [self._binaries / program, *arguments], cwd=self._folder, capture_output=True, text=True, **self._as
        )
        assert made.returncode == 0, made.stderr

    def url(self, database: str = "postgres", password: str = PASSWORD) -> str:
        """For SQLAlchemy, as a user without privileges."""
        return f"postgresql+psycopg://counters:{password.replace(' ', '%20')}@127.0.0.1:{self.port}/{database}"

    def connect(self, database: str = "postgres") -> psycopg.Connection[Any]:
        """A connection for the operator, in autocommit."""
        return psycopg.connect(
            host="127.0.0.1", port=self.port, user="postgres", password=PASSWORD, dbname=database, autocommit=True
        )

    def new_database(self) -> str:
        """Make an empty database and return its URL."""
        name = f"test{next(self._databases)}"
        with self.connect() as connection:
            connection.execute(f"CREATE DATABASE {name} OWNER counters")
        return self.url(name)

    def drop_database(self, url: str) -> None:
        """Remove a database, whoever is still connected."""
        with self.connect() as connection:
            connection.execute(f"DROP DATABASE {url.rpartition('/')[2]} WITH (FORCE)")

    def start(self, **settings: object) -> Self:
        """Start it and wait until it answers."""
        flags = [flag for name, value in {**self._settings, **settings}.items() for flag in ("-c", f"{name}={value}")]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._binaries / "postgres", "-D", self._data, *flags],
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                **self._as,
            )
        wait_for("Postgres answers", self._answers, START_S)
        with self.connect() as connection:
            if not connection.execute("SELECT 1 FROM pg_roles WHERE rolname = 'counters'").fetchone():
                connection.execute(f"CREATE ROLE counters LOGIN PASSWORD '{PASSWORD}'")
        return self

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self._folder / "log").read_text()[-2000:]
        try:
            self.connect().close()
        except psycopg.OperationalError:
            return False
        return True

    def stop(self) -> None:
        """Stop it as an operator does who does not wait for its clients."""
        assert self._process is not None
        self._process.send_signal(signal.SIGINT)
        self._process.wait(30)

    def kill(self) -> None:
        """`kill -9` for every process of it."""
        if self._process is None:
            return
        with contextlib.suppress(psutil.NoSuchProcess):
            processes = [psutil.Process(self._process.pid), *psutil.Process(self._process.pid).children()]
            for process in processes:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            self._process.wait()
            psutil.wait_procs(processes[1:], 10)

    def close(self) -> None:
        """End it and remove what it left."""
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _unprivileged() -> pwd.struct_passwd:
    """Whom Postgres runs as when root's tests start it."""
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    raise AssertionError("there is neither a user postgres nor nobody to run Postgres as")
