"""What a Ray caller may ask for."""

from __future__ import annotations

import pytest

from actors.errors import Refused
from actors.stub import operation


@pytest.mark.parametrize("id", ["a\0b", "report-\udcff.csv"])
def test_an_id_that_no_database_can_keep_is_refused(id: str) -> None:
    with pytest.raises(Refused) as caught:
        operation("votes", "increment", 1, id)
    assert caught.value.data["field"] == "id"


def test_any_other_id_is_taken_as_one_that_may_have_come_before() -> None:
    wish = operation("votes", "increment", 1, "заказ 7")
    assert (wish.id, wish.repeated) == ("key:заказ 7", True)
