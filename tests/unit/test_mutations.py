"""What the commands break on purpose is still there to be broken."""

from __future__ import annotations

import pytest

from tests.faults.mutations import MUTATIONS, ROOT, Mutation
from tests.faults.removals import REMOVALS

ALL = [*MUTATIONS, *(each for removal in REMOVALS for each in removal.mutations)]


@pytest.mark.parametrize("mutation", ALL, ids=lambda each: each.name)
def test_there_is_something_to_break(mutation: Mutation) -> None:
    assert mutation.text in (ROOT / mutation.file).read_text()
