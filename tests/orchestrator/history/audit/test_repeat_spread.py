"""`orchestrator.history.audit.repeat_spread`: the spread of repeats, by hand and by simulation."""

import math

import numpy as np
import pytest

from orchestrator.history.audit.repeat_spread import RepeatSpread, expected_best, pooled_spread


def test_the_pooled_spread_is_within_groups() -> None:
    groups = [[0.1, 0.12, 0.11], [0.3, 0.34], [0.5]]
    spread = pooled_spread(groups)
    assert spread is not None
    squares = sum(np.var(g, ddof=1) * (len(g) - 1) for g in groups if len(g) > 1)
    assert spread.sd == pytest.approx(math.sqrt(squares / 3))
    assert (spread.freedom, spread.n_runs, spread.n_configurations) == (3, 5, 2)
    assert pooled_spread([[0.1], [0.2]]) is None


def test_runs_of_one_configuration_exceed_the_limit_once_in_twenty() -> None:
    rng = np.random.default_rng(7)
    n_beyond = n_pairs = 0
    for _ in range(400):
        spread = pooled_spread(rng.normal(0.2, 0.01, (2, 3)).tolist())
        assert isinstance(spread, RepeatSpread)
        pairs = rng.normal(0.2, 0.01, (25, 2))
        n_beyond += int((np.abs(np.diff(pairs)) > spread.chance_limit()).sum())
        n_pairs += len(pairs)
    assert n_beyond / n_pairs == pytest.approx(0.05, abs=0.01)


def test_the_lowest_of_more_runs_is_further_below_the_mean() -> None:
    assert expected_best(2, 1.0) == pytest.approx(1 / math.sqrt(math.pi))
    assert expected_best(24, 0.01) == pytest.approx(0.0195, abs=2e-4)
