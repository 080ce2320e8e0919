"""The best evaluation of a run, and the optimism of selecting it by its PER.

Pure Python on history rows, so that tables can use it without PyTorch.
"""

import math
from collections.abc import Mapping, Sequence

Row = Mapping[str, float]


def best_row(history: Sequence[Row]) -> int | None:
    """Index of the evaluation with the lowest PER; None for a run without a PER.

    Ties are broken by the lowest validation loss, then by the earliest step.
    """
    with_per = [i for i, row in enumerate(history) if not math.isnan(row["per"])]
    return min(with_per, key=lambda i: (history[i]["per"], history[i]["val_loss"]), default=None)


def selection_optimism(history: Sequence[Row]) -> float | None:
    """Estimate the optimism of selection: how much the best PER is too low because it was chosen.

    A checkpoint chosen by its PER on some trials does worse on other trials. Let E and O be the
    PER on validation trials at even and at odd positions, a the evaluation with the lowest E, and b
    the evaluation with the lowest O::

        optimism = sqrt(1/2) * ((O[a] - E[a]) + (E[b] - O[b])) / 2

    Each half judges the choice of the other half (two-fold cross-fitting), and a difference in
    difficulty between the halves cancels in the sum. The PER of half the trials is noisier by
    sqrt(2) than that of all trials. If evaluations differ only by noise, the optimism is larger by
    the same factor, hence the sqrt(1/2). If they also differ in truth, noise matters less and the
    estimate is too high. The estimate can be negative by chance, so average it over runs.

    Args:
        history: rows with "n_edits", "n_reference", "n_edits_even", "n_reference_even".

    Returns:
        The amount to add to the best PER; None if the counts of the halves are missing (older
        histories, fewer than two trials, no evaluation).
    """
    if not history or any(math.isnan(row.get("n_edits_even", math.nan)) for row in history):
        return None
    n_even = history[0]["n_reference_even"]
    n_odd = history[0]["n_reference"] - n_even
    if n_even <= 0 or n_odd <= 0:
        return None
    even = [row["n_edits_even"] / n_even for row in history]
    odd = [(row["n_edits"] - row["n_edits_even"]) / n_odd for row in history]
    a, b = even.index(min(even)), odd.index(min(odd))
    return math.sqrt(0.5) * ((odd[a] - even[a]) + (even[b] - odd[b])) / 2
