"""What storage may raise.

StorageError
├── StorageUnavailable   the world: disk full, database locked or away. Retry later; the outcome may be unknown.
└── StorageMisconfigured  the operator: a URL that names no database we know, a directory that cannot be written.
"""

from __future__ import annotations


class StorageError(Exception):
    """Base of everything that this room raises on purpose."""


class StorageUnavailable(StorageError):
    """The database did not answer or refused the work.

    Whether a commit happened is unknown: send the same operation ids again.
    """


class StorageMisconfigured(StorageError):
    """The database cannot be used as configured; the message says what to change."""


NOT_MEMBERS = "who was to leave a counter is not there"
