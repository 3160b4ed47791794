"""The settings: flags, then environment, then `counters.toml`, then defaults. Read once, then frozen.

This is the only file that reads the environment.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from actors.core.policy import Policies
from gateway import policy

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
HOSTS_MAX = 64
RESIDENT_MAX = 10_000_000
DEDICATED_MAX = 1_000  # Each is a process of 50 MB.
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
    known = {field.name: field.default for field in fields(Settings)}
    for name in merged.keys() - known.keys():
        raise ConfigError(f"there is no setting {name!r}")
    settings = Settings(**{name: _cast(name, value, known[name]) for name, value in merged.items()})
    _check(settings)
    return settings


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
    names = {f"COUNTERS_{field.name.upper()}": field.name for field in fields(Settings) if field.name != "policies"}
    return {name: os.environ[variable] for variable, name in names.items() if variable in os.environ}


def _cast(name: str, value: Any, default: Any) -> Any:
    flag = "--" + name.replace("_", "-")
    if name == "policies":
        return _policies(value)
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
    try:
        wrong = settings.rules.complaint()
    except ValueError as error:
        raise ConfigError(f"--reset-after: {error}") from error
    if wrong is not None:
        where, reason = wrong
        raise ConfigError(f"policies: {where} {reason}" if where else f"--reset-after: {reason}")
