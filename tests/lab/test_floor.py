"""The noise floor: consistent, blind to what differs between arms and blocks, and robust."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mastery.lab.floor import noise_floor


@pytest.mark.parametrize("arms", [2, 3, 5, 8])
@pytest.mark.parametrize("blocks", [6, 7, 12, 30])
def test_the_spread_is_that_of_a_paired_log_ratio(arms: int, blocks: int) -> None:
    random = np.random.default_rng(8)
    spreads = [noise_floor(random.normal(0.0, 0.1, (blocks, arms))).spread for _ in range(400)]
    assert np.mean(spreads) == pytest.approx(0.1 * math.sqrt(2.0), rel=0.08)


@given(st.integers(0, 2**32 - 1))
def test_levels_of_arms_and_of_blocks_change_nothing(seed: int) -> None:
    random = np.random.default_rng(seed)
    noise = random.normal(0.0, 0.1, (10, 4))
    shifted = noise + random.normal(0.0, 5.0, (10, 1)) + random.normal(0.0, 5.0, (1, 4))
    assert noise_floor(shifted).spread == pytest.approx(noise_floor(noise).spread, rel=1e-9)


def test_one_stalled_block_in_ten_hardly_moves_the_floor() -> None:
    noise = np.random.default_rng(2).normal(0.0, 0.1, (10, 4))
    stalled = noise.copy()
    stalled[3, 1] += 5.0
    assert noise_floor(stalled).spread < 1.25 * noise_floor(noise).spread


def test_equal_arms_pass_the_floor_in_one_of_twenty_runs() -> None:
    random = np.random.default_rng(11)
    passed, runs = 0, 1_000
    for _ in range(runs):
        values = random.normal(0.0, 0.1, (10, 6))
        floor = noise_floor(values)
        passed += abs(float(np.mean(values[:, 1] - values[:, 0]))) > floor.log_floor(10) / math.sqrt(math.pi / 3.0)
    assert 0.02 < passed / runs < 0.09


def test_more_blocks_lower_the_floor_by_their_root() -> None:
    floor = noise_floor(np.random.default_rng(2).normal(0.0, 0.1, (10, 4)))
    assert floor.log_floor(10) == pytest.approx(2.0 * floor.log_floor(40))
    assert floor.ratio_floor(10) == pytest.approx(math.expm1(floor.log_floor(10)))


def test_where_nothing_is_paired_nothing_passes() -> None:
    for values in (np.zeros((5, 1)), np.full((5, 3), math.nan), np.zeros((1, 3))):
        floor = noise_floor(values)
        assert (floor.pairs, floor.log_floor(10)) == (0, math.inf)
    assert noise_floor(np.zeros((6, 2))).log_floor(0) == math.inf


def test_missing_and_infinite_values_are_left_out() -> None:
    values = np.random.default_rng(2).normal(0.0, 0.1, (12, 3))
    values[4, 1], values[7, 2] = math.nan, -math.inf
    assert noise_floor(values).spread == pytest.approx(0.14, abs=0.06)
