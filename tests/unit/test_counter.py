"""The rules of one counter, operation by operation, and against a model that is too simple to be wrong."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.core.counter import Change, Counter, Refusal
from actors.core.policy import DEFAULT, VALUE_MAX, Policy, complaint

AT = 1_735_689_600_000


def counter(value: int = 0, policy: Policy = DEFAULT, seq: int = 0) -> Counter:
    return Counter(value, seq, policy)


def changed(one: Counter, type: str, amount: int = 0, id: str = "") -> Change:
    """The change that an operation with a new id makes."""
    outcome = one.apply(type, amount, id or f"o{one.seq}", AT)
    assert isinstance(outcome, Change), outcome
    return outcome


def refused(one: Counter, type: str, amount: int = 0, id: str = "new") -> str:
    """The code of the refusal; whatever is refused has changed nothing."""
    before = (one.value, one.seq, one.policy)
    outcome = one.apply(type, amount, id, AT)
    assert isinstance(outcome, Refusal), outcome
    assert (one.value, one.seq, one.policy) == before
    return outcome.code


class TestOperations:
    @pytest.mark.parametrize(
        ("value", "type", "amount", "expected"),
        [
            (0, "increment", 1, 1),
            (40, "increment", 2, 42),
            (5, "decrement", 2, 3),
            (5, "decrement", 5, 0),
            (5, "setValue", 9, 9),
            (5, "setValue", 5, 5),
            (5, "setValue", 0, 0),
            (5, "reset", 0, 0),
            (0, "reset", 0, 0),
        ],
    )
    def test_what_each_does(self, value: int, type: str, amount: int, expected: int) -> None:
        one = counter(value, seq=7)
        assert changed(one, type, amount) == (8, type, amount, expected, value, AT, "o7", None, None, None)
        assert (one.value, one.seq) == (expected, 8)

    def test_a_change_remembers_who_and_why(self) -> None:
        change = counter(3).apply("reset", 0, "o1", AT, "ann", "inactivity")
        assert change == Change(1, "reset", 0, 0, 3, AT, "o1", "ann", "inactivity")

    def test_an_operation_that_nobody_knows_is_our_own_mistake(self) -> None:
        with pytest.raises(AssertionError):
            counter().apply("double", 1, "o1", AT)


class TestBounds:
    def test_a_counter_does_not_go_below_zero_unless_told(self) -> None:
        assert changed(counter(2), "decrement", 5).value == 0
        assert changed(counter(2, Policy(minimum=-10)), "decrement", 5).value == -3

    @pytest.mark.parametrize(
        ("type", "amount", "expected"),
        [
            ("increment", 100, 9),
            ("decrement", 100, 3),
            ("setValue", 10, 9),
            ("setValue", 2, 3),
            ("setValue", -5, 3),
            ("increment", 4, 9),
            ("decrement", 2, 3),
        ],
    )
    def test_clamp_stops_at_the_bound_and_counts_as_an_operation(self, type: str, amount: int, expected: int) -> None:
        one = counter(5, Policy(3, 9, "clamp", 4))
        change = changed(one, type, amount)
        assert (change.value, change.amount, change.seq, one.value) == (expected, amount, 1, expected)

    @pytest.mark.parametrize(
        ("type", "amount"), [("increment", 5), ("decrement", 3), ("setValue", 10), ("setValue", 2)]
    )
    def test_reject_refuses_and_changes_nothing(self, type: str, amount: int) -> None:
        assert refused(counter(5, Policy(3, 9, "reject", 4)), type, amount) == "LIMIT_REACHED"

    @pytest.mark.parametrize(("type", "amount"), [("increment", 4), ("decrement", 2), ("setValue", 9), ("reset", 0)])
    def test_reject_lets_pass_what_stays_within(self, type: str, amount: int) -> None:
        changed(counter(5, Policy(3, 9, "reject", 4)), type, amount)

    def test_a_value_outside_a_new_policy_stays_until_it_is_touched(self) -> None:
        one = counter(50, Policy(maximum=10))
        assert one.value == 50
        assert changed(one, "increment", 1).value == 10
        assert refused(counter(50, Policy(maximum=10, on_limit="reject")), "increment", 1) == "LIMIT_REACHED"

    def test_reset_goes_to_the_initial_value(self) -> None:
        assert changed(counter(9, Policy(initial=4)), "reset").value == 4


class TestRange:
    """Beyond ±(2^53 - 1) a JSON client would see another number than we hold."""

    FREE = Policy(minimum=-VALUE_MAX)

    def test_the_ends_themselves_can_be_reached(self) -> None:
        assert changed(counter(VALUE_MAX - 1), "increment", 1).value == VALUE_MAX
        assert changed(counter(1 - VALUE_MAX, self.FREE), "decrement", 1).value == -VALUE_MAX
        assert changed(counter(0, self.FREE), "setValue", -VALUE_MAX).value == -VALUE_MAX

    @pytest.mark.parametrize("on_limit", ["clamp", "reject"])
    @pytest.mark.parametrize("amount", [1, VALUE_MAX])
    def test_one_further_is_out_of_range_and_changes_nothing(self, on_limit: str, amount: int) -> None:
        policy = Policy(on_limit=on_limit)  # type: ignore[arg-type]
        assert refused(counter(VALUE_MAX, policy), "increment", amount) == "OUT_OF_RANGE"

    def test_a_minimum_at_the_end_of_the_range_still_clamps(self) -> None:
        assert changed(counter(-VALUE_MAX, self.FREE), "decrement", 1).value == -VALUE_MAX

    def test_a_bound_answers_before_the_range_does(self) -> None:
        assert changed(counter(8, Policy(maximum=10)), "increment", VALUE_MAX).value == 10


class TestRepeatedIds:
    def test_a_repeated_operation_is_answered_with_its_first_change(self) -> None:
        one = counter()
        first = changed(one, "increment", 5, "x")
        changed(one, "increment", 1, "y")
        assert one.apply("increment", 5, "x", AT + 99) is first
        assert (one.value, one.seq) == (6, 2)

    @pytest.mark.parametrize(("type", "amount"), [("increment", 6), ("decrement", 5), ("setValue", 5), ("reset", 0)])
    def test_the_same_id_with_another_operation_is_refused(self, type: str, amount: int) -> None:
        one = counter()
        changed(one, "increment", 5, "x")
        assert refused(one, type, amount, "x") == "COUNTER_VALIDATION_ERROR"
        outcome = one.apply(type, amount, "x", AT)
        assert isinstance(outcome, Refusal)
        assert outcome.field == "id"

    def test_a_refused_operation_may_be_tried_again(self) -> None:
        one = counter(5, Policy(maximum=5, on_limit="reject"))
        assert refused(one, "increment", 1, "x") == "LIMIT_REACHED"
        changed(one, "decrement", 1)
        assert changed(one, "increment", 1, "x").value == 5

    def test_what_was_remembered_from_storage_is_answered_too(self) -> None:
        one = counter(9, seq=4)
        change = Change(2, "increment", 3, 7, 4, AT, "x", None, None)
        one.remember(change)
        assert one.apply("increment", 3, "x", AT + 1) is change
        assert (one.value, one.seq) == (9, 4)

    def test_after_forgetting_storage_has_to_remember(self) -> None:
        one = counter()
        changed(one, "increment", 5, "x")
        one.forget()
        assert changed(one, "increment", 5, "x").seq == 2


POLICIES = st.builds(
    Policy,
    minimum=st.integers(-8, 2),
    maximum=st.none() | st.integers(2, 8),
    on_limit=st.sampled_from(["clamp", "reject"]),
    initial=st.just(2),
)
OPERATIONS = st.lists(
    st.tuples(
        st.sampled_from(["increment", "decrement", "setValue", "reset"]),
        st.integers(0, 12) | st.sampled_from([VALUE_MAX, VALUE_MAX - 1]),
        st.integers(0, 9).map("o{}".format),
    ),
    max_size=40,
)


@given(POLICIES, OPERATIONS)
def test_it_does_what_a_simple_model_does(policy: Policy, operations: list[tuple[str, int, str]]) -> None:
    one = counter(policy.initial, policy)
    value, log = policy.initial, []
    first: dict[str, tuple[str, int, int]] = {}
    low, high = policy.minimum, VALUE_MAX if policy.maximum is None else policy.maximum
    for type, amount, id in operations:
        outcome = one.apply(type, amount, id, AT)
        if id in first:
            if first[id][:2] == (type, amount):
                assert isinstance(outcome, Change)
                assert outcome.seq == first[id][2]
            else:
                assert isinstance(outcome, Refusal)
        else:
            wanted = {"increment": value + amount, "decrement": value - amount, "setValue": amount, "reset": 2}[type]
            fits = low <= wanted <= high
            beyond = policy.maximum is None and wanted > VALUE_MAX
            if (policy.on_limit == "reject" and not fits) or beyond:
                assert isinstance(outcome, Refusal)
                assert outcome.code == ("OUT_OF_RANGE" if beyond else "LIMIT_REACHED")
            else:
                assert isinstance(outcome, Change)
                log.append(outcome)
                bounded = sorted((low, wanted, high))[1]
                assert (outcome.previous_value, outcome.value) == (value, bounded)
                value, first[id] = bounded, (type, amount, outcome.seq)
        assert one.value == value
    assert [change.seq for change in log] == list(range(1, one.seq + 1))


class TestPolicy:
    @pytest.mark.parametrize(
        ("policy", "field"),
        [
            (Policy(minimum=VALUE_MAX + 1, initial=VALUE_MAX + 1), "minimum"),
            (Policy(minimum=-VALUE_MAX - 1), "minimum"),
            (Policy(maximum=VALUE_MAX + 1), "maximum"),
            (Policy(minimum=5, maximum=4, initial=5), "maximum"),
            (Policy(minimum=1), "initial"),
            (Policy(maximum=-1, minimum=-2), "initial"),
            (Policy(initial=-1), "initial"),
            (Policy(maximum=9, initial=10), "initial"),
            (Policy(initial=VALUE_MAX + 1), "initial"),
        ],
    )
    def test_the_impossible_names_its_field(self, policy: Policy, field: str) -> None:
        found = complaint(policy)
        assert found is not None
        assert found[0] == field

    @pytest.mark.parametrize(
        "policy", [DEFAULT, Policy(5, 5, "reject", 5), Policy(-VALUE_MAX, VALUE_MAX), Policy(-2, 0), Policy(initial=9)]
    )
    def test_the_possible_is_left_alone(self, policy: Policy) -> None:
        assert complaint(policy) is None
