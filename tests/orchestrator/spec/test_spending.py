import math

import numpy as np
import pytest
from scipy import special

from orchestrator.spec.spending import crossing_probabilities, look_levels, spent

MANY = 4000  # seeds per look, so that t is normal
STEPS = (4, 6, 8, 10, 12, 14, 16, 18, 20)


def two_sided(critical: float) -> float:
    return 2 * float(special.ndtr(-critical))


@pytest.mark.parametrize(("n_looks", "constant"), [(2, 2.178), (3, 2.289), (5, 2.413), (10, 2.555)])
def test_pocock_s_published_constants_spend_five_percent(n_looks: int, constant: float) -> None:
    """Jennison & Turnbull (2000), table 2.1."""
    at = [MANY * (k + 1) for k in range(n_looks)]
    found = crossing_probabilities(at, [two_sided(constant)] * n_looks)
    assert found[-1] == pytest.approx(0.05, rel=3e-3)


@pytest.mark.parametrize(("n_looks", "constant"), [(2, 1.977), (3, 2.004), (5, 2.040), (10, 2.087)])
def test_o_brien_and_fleming_s_constants_spend_five_percent(n_looks: int, constant: float) -> None:
    """Jennison & Turnbull (2000), table 2.3."""
    at = [MANY * (k + 1) for k in range(n_looks)]
    levels = [two_sided(constant * math.sqrt(n_looks / (k + 1))) for k in range(n_looks)]
    assert crossing_probabilities(at, levels)[-1] == pytest.approx(0.05, rel=3e-3)


@pytest.mark.parametrize("at", [STEPS, (3, 4, 5, 6, 7, 8), (4, 5, 8, 20)])
def test_few_normal_differences_cross_as_often_as_simulated(at: tuple[int, ...]) -> None:
    levels = [0.02 / (1 + k) for k in range(len(at))]
    studies = np.random.default_rng(5).standard_normal((200_000, at[-1]))
    crossed = np.zeros(len(studies), dtype=bool)
    for n, level, found in zip(at, levels, crossing_probabilities(at, levels), strict=True):
        seen = studies[:, :n]
        t = seen.mean(axis=1) / seen.std(axis=1, ddof=1) * math.sqrt(n)
        crossed |= 2 * special.stdtr(n - 1, -np.abs(t)) < level
        error = math.sqrt(found / len(studies))
        assert abs(float(crossed.mean()) - found) < 4 * error + 0.004 * found


@pytest.mark.parametrize("n_claims", [1, 3, 20])
def test_levels_spend_what_may_be_spent_at_the_hardest_step_of_the_correction(
    n_claims: int,
) -> None:
    levels = look_levels(STEPS, 0.05, n_claims)
    found = crossing_probabilities(STEPS, [level / n_claims for level in levels])
    allowed = [spent(n / 20, 0.05 / n_claims) for n in STEPS]
    assert found == pytest.approx(allowed, rel=1e-3)
    easier = crossing_probabilities(STEPS, levels)
    assert easier[-1] <= 0.05 * 1.001
    assert sum(levels) > 0.05  # what the correlation of the looks gives


def test_one_look_has_the_whole_error_rate() -> None:
    assert look_levels((7,), 0.05) == (pytest.approx(0.05, rel=1e-5),)
