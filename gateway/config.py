"""The settings: flags, then environment, then `counters.toml`, then defaults. Read once, then frozen.

This is the only file that reads the environment.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from actors.core import name as names
from actors.core.policy import Policies
from actors.source import TIMEOUT_S, Source, complaint
from gateway import policy

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
HOSTS_MAX = 64
RESIDENT_MAX = 10_000_000
DEDICATED_MAX = 1_000  # Each is a process of 50 MB.
# Names that other programs use, too. COUNTERS_… goes before them.
KNOWN = {"REDIS_URL": "redis_url", "COUNTER_KEY": "counter_key", "RESET_SECRET": "reset_secret",
         "RESET_SECRET_FILE": "reset_secret_file"}  # fmt: skip
ONLY_IN_THE_FILE = ("policies", "sources")
CPUS = len(os.sched_getaffinity(0))


class ConfigError(Exception):
    """A setting that cannot be used; the message names it and says what would do."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything a service can be told when it starts."""

    host: str = "127.0.0.1"
    port: int = 8094
    database: str = ""  # SQLAlchemy URL; empty: a SQLite file in the data directory.
    data_dir: str = "data"
    address: str = "local"  # Of Ray: local starts one, auto or HOST:PORT joins one.
    gateways: int = 1
    hosts: int = 1
    dedicated: str = str(CPUS)  # How many of the busiest counters have a host of their own; all: each awake one.
    dedicated_from: int = 1_000  # Operations per second. Below it no counter gets a host of its own for being busy.
    hibernate_after: float = 10.0  # Seconds without an operation after which a counter leaves memory.
    max_resident: int = 100_000  # Counters in the memory of one host; above it the least recently used sleep first.
    reset_after: str = ""  # A time without an operation after which counters reset themselves; empty: they do not.
    policies: tuple[tuple[str, Mapping[str, Any]], ...] = ()  # For names that fit a pattern; only in the file.
    sources: tuple[tuple[str, Source], ...] = field(default=(), repr=False)  # By counter; only in the file.
    default_counter: str = ""  # The counter that POST /api/reset-counter means when it names none.
    redis_url: str = field(default="", repr=False)  # Where inactivity keys are kept; empty: nowhere.
    counter_key: str = ""  # The key in Redis that a worker knows already for the default counter.
    reset_secret: str = field(default="", repr=False)  # For POST /api/reset-counter; empty: there is no such route.
    reset_secret_file: str = ""  # Where to read it instead.
    dashboard: bool = False
    allowed_origins: tuple[str, ...] = ()  # Foreign origins whose pages may use the service; "*" lets all in.

    @property
    def database_url(self) -> str:
        """The database, wherever it is."""
        return self.database or f"sqlite:///{Path(self.data_dir).resolve() / 'counters.db'}"

    @property
    def rules(self) -> Policies:
        """What holds for counters that say nothing themselves."""
        return Policies({"reset_after": policy.seconds(self.reset_after)} if self.reset_after else {}, self.policies)

    @property
    def dedicate_all(self) -> bool:
        """Every awake counter has a host of its own."""
        return self.dedicated == "all"

    @property
    def dedicate_most(self) -> int:
        """How many of the busiest counters have a host of their own, unless all of them have."""
        return 0 if self.dedicate_all else int(self.dedicated)


def read(flags: Mapping[str, Any], config: str | None = None) -> Settings:
    """The settings from all sources. Raises ConfigError.

    `flags` holds what was given on the command line; None means not given. `config` is the path of a TOML file; without
    it `counters.toml` is read when there is one.
    """
    merged: dict[str, Any] = {}
    for source in (_file(config), _environment(), {k: v for k, v in flags.items() if v is not None}):
        merged |= source
    known = {each.name: each.default for each in fields(Settings)}
    for name in merged.keys() - known.keys():
        raise ConfigError(f"there is no setting {name!r}")
    settings = Settings(**{name: _cast(name, value, known[name]) for name, value in merged.items()})
    _check(settings)
    return replace(settings, reset_secret=_secret(settings)) if settings.reset_secret_file else settings


def _file(path: str | None) -> dict[str, Any]:
    try:
        with open(path or "counters.toml", "rb") as file:
            return {name.replace("-", "_"): value for name, value in tomllib.load(file).items()}
    except FileNotFoundError:
        if path is None:
            return {}
        raise ConfigError(f"there is no file {path}") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"cannot read {path or 'counters.toml'}: {error}") from error


def _environment() -> dict[str, Any]:
    own = {f"COUNTERS_{each.name.upper()}": each.name for each in fields(Settings) if each.name not in ONLY_IN_THE_FILE}
    known = {name: os.environ[variable] for variable, name in KNOWN.items() if os.environ.get(variable)}
    if "redis_url" not in known and os.environ.get("REDIS_HOST"):
        known["redis_url"] = _redis_url(os.environ)
    return known | {name: os.environ[variable] for variable, name in own.items() if variable in os.environ}


def _is_redis(url: str) -> bool:
    """Whether it can be the URL of a Redis; one that is none keeps every host from starting."""
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - Raises when it is none. Kubernetes sets REDIS_PORT to tcp://… for a service `redis`.
    except ValueError:
        return False
    return parts.scheme in ("redis", "rediss", "unix") and bool(parts.hostname or parts.path)


def _redis_url(environ: Mapping[str, str]) -> str:
    """One made of what others call their settings."""
    password = environ.get("REDIS_PASSWORD")
    user = f":{quote(password, safe='')}@" if password else ""
    host = environ["REDIS_HOST"]
    return f"redis://{user}{f'[{host}]' if ':' in host else host}:{environ.get('REDIS_PORT') or 6379}/0"


def _secret(settings: Settings) -> str:
    try:
        secret = Path(settings.reset_secret_file).read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--reset-secret-file: cannot read {settings.reset_secret_file}: {error}") from error
    if not secret:
        raise ConfigError(f"--reset-secret-file: {settings.reset_secret_file} is empty")
    return secret


def _cast(name: str, value: Any, default: Any) -> Any:
    flag = "--" + name.replace("_", "-")
    if name == "policies":
        return _policies(value)
    if name == "sources":
        return _sources(value)
    if isinstance(default, bool):
        if isinstance(value, bool):
            return value
        if str(value).lower() in ("1", "true", "yes", "0", "false", "no"):
            return str(value).lower() in ("1", "true", "yes")
        raise ConfigError(f"{flag}: {value!r} is neither true nor false")
    if isinstance(default, int):
        if isinstance(value, bool) or not re.fullmatch(r"\d{1,9}", str(value)):
            raise ConfigError(f"{flag}: {value!r} is not a number")
        return int(value)
    if isinstance(default, float):
        return _seconds(flag, value)
    if isinstance(default, tuple):
        listed = [each for each in value.split(",") if each] if isinstance(value, str) else value
        if not isinstance(listed, list) or not all(isinstance(each, str) for each in listed):
            raise ConfigError(f"{flag}: {value!r} is not a list of strings")
        return tuple(listed)
    if name in ("dedicated", "reset_after") and isinstance(value, int) and not isinstance(value, bool):
        return str(value)  # What TOML makes of it.
    if not isinstance(value, str):
        raise ConfigError(f"{flag}: {value!r} is not a string")
    return value


def _policies(value: Any) -> tuple[tuple[str, Mapping[str, Any]], ...]:
    """The tables `[policies."likes:*"]` of the file."""
    if not isinstance(value, dict) or not all(isinstance(each, dict) for each in value.values()):
        raise ConfigError('policies: write them as tables, [policies."likes:*"]')
    read = []
    for pattern, table in value.items():
        if not re.fullmatch(r"[A-Za-z0-9_.:*-]{1,100}", pattern):
            raise ConfigError(f"policies: no name fits {pattern!r}; * stands for any characters")
        try:
            read.append((pattern, policy.from_table(table)))
        except ValueError as error:
            raise ConfigError(f"policies: {pattern}: {error}") from error
    return tuple(read)


def _sources(value: Any) -> tuple[tuple[str, Source], ...]:
    """The tables `[sources."total:users"]` of the file."""
    if not isinstance(value, dict) or not all(isinstance(each, dict) for each in value.values()):
        raise ConfigError('sources: write them as tables, [sources."total:users"]')
    return tuple((name, _source(name, table)) for name, table in value.items())


def _source(name: str, table: Mapping[str, Any]) -> Source:
    if not names.valid(name):
        raise ConfigError(f"sources: {name!r} is not the name of a counter")
    said = dict(table)
    timeout_s = _seconds(f"sources: {name}: timeout", said.pop("timeout", TIMEOUT_S))
    for field_name, text in said.items():
        if field_name not in ("database", "query", "schedule"):
            raise ConfigError(f"sources: {name}: there is no {field_name!r}; say database, query, schedule, timeout")
        if not isinstance(text, str):
            raise ConfigError(f"sources: {name}: {field_name} is not a string")
    if not {"database", "query"} <= said.keys():
        raise ConfigError(f"sources: {name}: say a database and a query")
    source = Source(**said, timeout_s=timeout_s)
    wrong = complaint(source)
    if wrong is not None:
        raise ConfigError(f"sources: {name}: {wrong[0]}: {wrong[1]}")
    return source


def _seconds(flag: str, value: Any) -> float:
    """A duration: 10s, 500ms, 2m, 1h; a bare number is seconds."""
    text = "" if isinstance(value, bool) else str(value)
    parts = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?)(ms|s|m|h)?", text)
    if parts is None:
        raise ConfigError(f"{flag}: {value!r} is not a duration like 10s, 500ms or 2m")
    return float(parts[1]) * UNITS_S[parts[2] or "s"]


def _check(settings: Settings) -> None:
    if not 0 < settings.port < 65_536:
        raise ConfigError(f"--port: {settings.port} is not between 1 and 65535")
    for name in ("gateways", "hosts"):
        if not 1 <= getattr(settings, name) <= HOSTS_MAX:
            raise ConfigError(f"--{name}: {getattr(settings, name)} is not between 1 and {HOSTS_MAX}")
    if settings.dedicated != "all" and not re.fullmatch(r"\d{1,9}", settings.dedicated):
        raise ConfigError(f"--dedicated: {settings.dedicated!r} is neither a number nor all")
    if settings.dedicate_most > DEDICATED_MAX:
        raise ConfigError(f"--dedicated: {settings.dedicated} is not between 0 and {DEDICATED_MAX}")
    if not settings.dedicated_from >= 1:
        raise ConfigError("--dedicated-from: 0 operations a second are not busy; --dedicated all is for every counter")
    if not 0.001 <= settings.hibernate_after <= 1e9:
        raise ConfigError(f"--hibernate-after: {settings.hibernate_after:g} s is not between 1ms and 1e9 s")
    if not 1 <= settings.max_resident <= RESIDENT_MAX:
        raise ConfigError(f"--max-resident: {settings.max_resident} is not between 1 and {RESIDENT_MAX}")
    if settings.default_counter and not names.valid(settings.default_counter):
        raise ConfigError(f"--default-counter: {settings.default_counter!r} is not the name of a counter")
    if settings.counter_key and not settings.default_counter:
        raise ConfigError("--counter-key: name the counter that it stands for with --default-counter")
    if settings.redis_url and not _is_redis(settings.redis_url):
        raise ConfigError(
            "--redis-url, REDIS_URL or REDIS_HOST and REDIS_PORT: not a URL like redis://:PASSWORD@HOST:6379/0"
        )
    try:
        wrong = settings.rules.complaint()
    except ValueError as error:
        raise ConfigError(f"--reset-after: {error}") from error
    if wrong is not None:
        where, reason = wrong
        raise ConfigError(f"policies: {where} {reason}" if where else f"--reset-after: {reason}")
