"""The best evaluation of a run, and how much choosing it flatters its PER.

Pure Python over history rows, so that tables can use it without PyTorch.
"""

import math
from collections.abc import Mapping, Sequence

Row = Mapping[str, float]


def best_row(history: Sequence[Row]) -> int | None:
    """Index of the evaluation with the lowest PER; of equal ones that with the lowest validation
    loss, of these the first. None for a run without evaluations.
    """
    if not history:
        return None
    return min(range(len(history)), key=lambda i: (history[i]["per"], history[i]["val_loss"]))


def selection_optimism(history: Sequence[Row]) -> float | None:
    """Estimate of how much lower the best evaluation's PER is for having been chosen by it.

    A checkpoint chosen by its PER on some trials does worse on others. With E and O the PER on
    validation trials with an even and an odd place, a the evaluation with the lowest E and b that
    with the lowest O::

        optimism = sqrt(1/2) * ((O[a] - E[a]) + (E[b] - O[b])) / 2

    Each half judges the other's choice (two-fold cross-fitting), and what makes one half harder
    than the other cancels in the sum. A half of the trials is noisier than all of them by
    sqrt(2), and where evaluations differ by noise alone so is the optimism, whence the factor;
    where they differ in truth too, noise decides less, and the estimate errs upwards. It can be
    negative by chance: average it over runs.

    Args:
        history: rows with "n_edits", "n_reference", "n_edits_even", "n_reference_even".

    Returns:
        What to add to the best PER, or None where the halves are not known (older histories,
        fewer than two trials, no evaluation).
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
