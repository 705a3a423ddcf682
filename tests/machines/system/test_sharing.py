"""Max-min fair shares against their definition."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from npubench.errors import MappingError
from npubench.machines.system.sharing import max_min_shares

RATES = st.floats(0, 1e3, allow_nan=False)


def test_small_demands_are_met_and_the_rest_is_divided() -> None:
    assert max_min_shares(10, [2, 8, 8]) == [2, 4, 4]
    assert max_min_shares(10, [8, 1, 8, 2]) == [3.5, 1, 3.5, 2]
    assert max_min_shares(10, [3, 4]) == [3, 4]
    assert max_min_shares(12.8, [12.8, 12.8]) == [6.4, 6.4]


@given(capacity=st.floats(1e-3, 1e3), demands=st.lists(RATES, max_size=6))
def test_no_share_can_grow_but_at_the_cost_of_one_no_larger(
    capacity: float, demands: list[float]
) -> None:
    shares = max_min_shares(capacity, demands)
    assert all(share <= demand for share, demand in zip(shares, demands, strict=True))
    assert sum(shares) == pytest.approx(min(capacity, sum(demands)))
    for share, demand in zip(shares, demands, strict=True):
        # Whoever wants more has the largest share there is, and nothing is left over.
        if share < demand * (1 - 1e-9):
            assert share >= max(shares) * (1 - 1e-9)


@pytest.mark.parametrize(("capacity", "demands"), [(0.0, [1.0]), (1.0, [-1.0]), (1.0, [1e999])])
def test_rates_out_of_range_are_refused(capacity: float, demands: list[float]) -> None:
    with pytest.raises(MappingError, match="no shares of"):
        max_min_shares(capacity, demands)
