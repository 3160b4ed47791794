"""What a counter can be called."""

from __future__ import annotations

import re

# "." and ".." are what a browser resolves before it asks. The last lookahead keeps Python's `$` from accepting a line
# break at the end; JavaScript reads the pattern the same way.
PATTERN = r"^(?!\.{1,2}$)[A-Za-z0-9_.:-]{1,100}$(?!\n)"

_matches = re.compile(PATTERN).match


def valid(name: str) -> bool:
    """Whether a counter can be called this. Nothing in a valid name needs escaping, in JSON or in a URL."""
    return _matches(name) is not None
