"""What to do about what a database says. The service goes on by itself when it is done, unless this says otherwise."""

from __future__ import annotations

import sqlite3

import psycopg

_RESTORE = "stop the service and restore a backup: see docs/operations.md"
_SERVER = "the service goes on when the server answers"

# By the beginning of SQLite's name for the error.
_SQLITE = {
    "SQLITE_FULL": "make room on the disk of the database",
    "SQLITE_READONLY": "let the user that the service runs as write the file and its folder",
    "SQLITE_CANTOPEN": "let the user that the service runs as read and write the file and its folder",
    "SQLITE_PERM": "let the user that the service runs as read and write the file",
    "SQLITE_BUSY": "another program is in the middle of a transaction on the file: let it finish, or end it",
    "SQLITE_LOCKED": "another program is in the middle of a transaction on the file: let it finish, or end it",
    "SQLITE_IOERR": "look at the disk, and at what the kernel says of it (dmesg)",
    "SQLITE_CORRUPT": _RESTORE,
    "SQLITE_NOTADB": f"this is no database, or not any more; name another file, or {_RESTORE}",
}

# By the beginning of Postgres's SQLSTATE.
_POSTGRES = {
    "25006": "the server may only read: is it a standby, or default_transaction_read_only?",
    "40P01": "another session took the same rows in another order; it is tried again",
    "55P03": "another session holds the rows: see pg_stat_activity and pg_locks",
    "42501": "the tables belong to another role: grant it, or connect as their owner",
    "42P01": f"a table is missing: {_RESTORE}",
    "42703": f"a column is missing: {_RESTORE}",
    "53100": "make room on the disk of the server",
    "53300": "raise max_connections (or the role's limit), or run fewer --hosts and --dedicated",
    "57P": _SERVER,
}

# What is said when there is no connection comes without a code.
_WORDS = {
    "password authentication failed": "look at user and password in --database, COUNTERS_DATABASE or ~/.pgpass",
    "no password supplied": "give a password in COUNTERS_DATABASE or ~/.pgpass",
    "too many clients": _POSTGRES["53300"],
    "too many connections": _POSTGRES["53300"],
    "remaining connection slots": _POSTGRES["53300"],
    "session is read-only": _POSTGRES["25006"],
    "no such table": f"a table is missing: {_RESTORE}",
    "no such column": f"a column is missing: {_RESTORE}",
    "Connection refused": "start the server, or look at host and port in --database",
    "could not translate host name": "look at the host in --database",
    "failed to resolve host": "look at the host in --database",
    "timeout expired": "is the server there, and does a firewall let us through?",
    "starting up": _SERVER,
    "server closed the connection": _SERVER,
    "connection is closed": _SERVER,
}


def advice(error: BaseException) -> str:
    """What an operator can do about this; empty when we do not know."""
    text = str(error)
    if isinstance(error, sqlite3.Error):
        found = _by_beginning(_SQLITE, getattr(error, "sqlite_errorname", ""))
    elif isinstance(error, psycopg.Error):
        found = _by_beginning(_POSTGRES, error.sqlstate or "")
        if not found and 'database "' in text and "does not exist" in text:
            found = "make it (CREATE DATABASE …), or look at its name in --database"
    else:
        return ""
    return found or next((what for words, what in _WORDS.items() if words in text), "")


def _by_beginning(table: dict[str, str], code: str) -> str:
    return next((what for beginning, what in table.items() if code.startswith(beginning)), "")
