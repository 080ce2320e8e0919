"""The best evaluation, and the optimism of selecting it, by hand and by simulation."""

import math

import numpy as np
import pytest

from decoder.selection import best_row, selection_optimism


def row(per: float, val_loss: float = 1.0) -> dict[str, float]:
    return {"per": per, "val_loss": val_loss}


def halves(even: float, odd: float, n_even: float = 500, n_odd: float = 500) -> dict[str, float]:
    """A row with these PERs on the halves."""
    n_edits, n_reference = even * n_even + odd * n_odd, n_even + n_odd
    return {
        "per": n_edits / n_reference,
        "val_loss": 1.0,
        "n_edits": n_edits,
        "n_reference": n_reference,
        "n_edits_even": even * n_even,
        "n_reference_even": n_even,
    }


def test_best_is_the_lowest_per_then_the_lowest_loss_then_the_first() -> None:
    assert best_row([row(0.3), row(0.2), row(0.4)]) == 1
    assert best_row([row(0.2, 5.0), row(0.3, 1.0), row(0.2, 4.0)]) == 2
    assert best_row([row(0.3), row(0.2), row(0.2)]) == 1
    assert best_row([]) is None


def test_optimism_by_hand() -> None:
    history = [halves(0.30, 0.20), halves(0.10, 0.24), halves(0.28, 0.16)]
    # Even trials choose row 1, where the odd ones are .14 higher; odd ones row 2, .12 lower.
    assert selection_optimism(history) == pytest.approx(math.sqrt(0.5) * (0.14 + 0.12) / 2)


def test_a_half_that_is_harder_throughout_gives_no_optimism() -> None:
    history = [halves(0.5, 0.3), halves(0.4, 0.2), halves(0.45, 0.25)]
    assert selection_optimism(history) == pytest.approx(0.0)
    assert selection_optimism([halves(0.5, 0.3)]) == pytest.approx(0.0)  # nothing to choose from


def test_halves_of_different_size_are_divided_by_their_references() -> None:
    history = [halves(0.2, 0.4, n_even=300), halves(0.4, 0.2, n_even=300)]
    assert selection_optimism(history) == pytest.approx(math.sqrt(0.5) * 0.2)


def test_unknown_halves_give_none() -> None:
    assert selection_optimism([]) is None
    older = {k: v for k, v in halves(0.2, 0.3).items() if not k.endswith("_even")}
    assert selection_optimism([older]) is None
    assert selection_optimism([{**halves(0.2, 0.3), "n_edits_even": math.nan}]) is None
    assert selection_optimism([halves(0.2, 0.0, n_odd=0)]) is None


def test_the_estimate_is_unbiased_if_evaluations_only_differ_by_noise() -> None:
    """Constant true PERs, .30 on one half and .20 on the other, measured with independent noise."""
    rng = np.random.default_rng(0)
    estimates, truths = [], []
    for noise in rng.normal(0.0, 0.01, (3000, 12, 2)):
        history = [halves(0.30 + even, 0.20 + odd) for even, odd in noise]
        estimate, best = selection_optimism(history), best_row(history)
        assert estimate is not None and best is not None
        estimates.append(estimate)
        truths.append(0.25 - history[best]["per"])
    error = np.array(estimates) - np.array(truths)
    assert np.mean(truths) > 0.01  # 1.63 standard deviations of the mean of two halves
    assert abs(error.mean()) < 3 * error.std() / len(error) ** 0.5


def test_an_evaluation_without_a_per_is_never_the_best() -> None:
    unknown = {"per": math.nan, "val_loss": 1.0}
    assert best_row([unknown, {"per": 0.5, "val_loss": math.nan}, unknown]) == 1
    assert best_row([unknown]) is None
