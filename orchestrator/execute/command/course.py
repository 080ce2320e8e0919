"""What a trainer of the user's reported so far: the values of the mapped metrics, step by step.

A value belongs to a step. A trainer that goes back, as one that continues from a checkpoint does,
replaces what it had reported from there on. A row of the history is an evaluation: a step at which
the trainer reported any metric that is not one of training alone. Metrics of training since the
evaluation before join it.
"""

import math
from collections.abc import Iterable, Mapping
from itertools import pairwise

from decoder.pack import HISTORY_COLUMNS, HistoryRow

# Metrics of training steps, in which every step may be reported: how those since the evaluation
# before become one number.
_OF_TRAINING = {
    "train_loss": "mean",
    "grad_norm": "mean",
    "grad_norm_max": "max",
    "clipped_share": "mean",
    "update_norm": "last",
    "epsilon_over_grad_rms": "last",
    "learning_dose": "last",
    "lr": "last",
}
_RATES = ("per", "wer", "cer")
_MOST_RATE = 10.0  # no trainer emits ten times the target


class Course:
    """The course of one run.

    Args:
        metrics: the mapped metrics, without `step`.

    Attributes:
        step: the step that was mentioned last; None before the first.
    """

    def __init__(self, metrics: Iterable[str]) -> None:
        self._values: dict[str, list[tuple[int, float]]] = {name: [] for name in metrics}
        self.step: int | None = None
        self._evaluations = [name for name in self._values if name not in _OF_TRAINING]
        self._evaluations = self._evaluations or list(self._values)
        self._n_unnumbered = self._n_values = 0

    def add(self, values: Mapping[str, float], step: float | None = None) -> None:
        """Add what one line says.

        Args:
            values: metric → value.
            step: the step that it mentions. Without one, it is the step mentioned last, or, where
                none ever is, the number of the evaluation.
        """
        if step is not None and math.isfinite(step):
            self.step = int(step)
        at = self.step
        if at is None:
            is_new = any(
                name in self._evaluations and self._last(name) == self._n_unnumbered
                for name in values
            )
            self._n_unnumbered += is_new or not self._n_unnumbered
            at = self._n_unnumbered
        for name, value in values.items():
            series = self._values[name]
            while series and series[-1][0] >= at:
                series.pop()
            series.append((at, value))
            self._n_values += 1

    def _last(self, name: str) -> int | None:
        series = self._values[name]
        return series[-1][0] if series else None

    @property
    def lacking(self) -> tuple[str, ...]:
        """The mapped metrics that were never reported."""
        return tuple(name for name, series in self._values.items() if not series)

    @property
    def last_step(self) -> int:
        """The last step with a value; 0 without any."""
        return max((series[-1][0] for series in self._values.values() if series), default=0)

    @property
    def last_evaluation(self) -> int:
        """The step of the last evaluation; 0 without any."""
        return max((at for at in map(self._last, self._evaluations) if at is not None), default=0)

    @property
    def n_values(self) -> int:
        """How many values were added; it changes whenever the history may have."""
        return self._n_values

    def not_finite(self) -> tuple[int, str, float] | None:
        """The first metric that ends in NaN or Inf: its step, its name, its value.

        Metrics of the last evaluation count, and losses.
        """
        last = self.last_evaluation
        for name, series in self._values.items():
            is_judged = "loss" in name or (name in self._evaluations and self._last(name) == last)
            if series and is_judged and not math.isfinite(series[-1][1]):
                at = len(series) - 1  # the first of those at its end
                while at and not math.isfinite(series[at - 1][1]):
                    at -= 1
                return series[at][0], name, series[-1][1]
        return None

    def history(self) -> tuple[HistoryRow, ...]:
        """One row per evaluation: `HISTORY_COLUMNS` and the other metrics, NaN where unknown."""
        steps = sorted({at for name in self._evaluations for at, _ in self._values[name]})
        names = dict.fromkeys((*HISTORY_COLUMNS, *self._values))
        rows = [{**dict.fromkeys(names, math.nan), "step": float(at)} for at in steps]
        position = {at: index for index, at in enumerate(steps)}
        for name, series in self._values.items():
            if name in self._evaluations:
                for at, value in series:
                    rows[position[at]][name] = value
            else:
                _join(rows, name, series)
        return tuple(rows)

    def unlikely(self) -> str:
        """What is odd about the values, in a sentence; empty if nothing is."""
        for name, series in self._values.items():
            largest = max((v for _, v in series if math.isfinite(v)), default=0.0)
            if name.split("_")[0] in _RATES and largest > _MOST_RATE:
                return (
                    f"{name} is a rate, but the trainer reported {largest:g}; if that is a "
                    f"percentage, write 'unit: percent' under trainer.metrics.{name}"
                )
        return ""


def _join(rows: list[HistoryRow], name: str, series: list[tuple[int, float]]) -> None:
    """Give each evaluation the values of a metric of training since the one before."""
    ends = [-math.inf, *(row["step"] for row in rows)]
    at = 0
    for (_, end), row in zip(pairwise(ends), rows, strict=True):
        since = []
        while at < len(series) and series[at][0] <= end:
            since.append(series[at][1])
            at += 1
        if since:
            how = _OF_TRAINING[name]
            row[name] = since[-1] if how == "last" else max(since)
            if how == "mean":
                row[name] = sum(since) / len(since)
