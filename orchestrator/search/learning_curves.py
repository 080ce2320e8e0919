"""The learning curve of each run of a search: the files that keep it, and its score.

A run that ended has its curve in the ledger. A run that paused at a rung, to be trained on or to
be stopped, is no result yet: its curve lies in the search's folder.

A collapsed run scores what was measured, a diverged run the worst value there is. Both are
results: a sampler that did not see them would propose the same settings again.
"""

import csv
import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from decoder.atomic import write_atomically
from decoder.collapse import CollapseThresholds, is_collapsed
from decoder.errors import StorageError
from decoder.pack import HistoryRow
from decoder.regular import read_regular
from orchestrator.search.schema import SECONDS, Sense
from orchestrator.spec.units import RATES
from orchestrator.store.ledger import history_csv, read_history, read_records
from orchestrator.store.paths import Results
from orchestrator.store.record import Record
from orchestrator.terminal import Say

Ending = Literal["ok", "collapsed", "diverged"]

# The worst value of a metric without a natural limit, before any run has shown a finite one.
_NOTHING_SEEN = 1e6


@dataclass(frozen=True)
class LearningCurve:
    """The evaluations of one run so far.

    Attributes:
        history: one row an evaluation, by step.
        diverged_step: the step at which the run diverged; None if it has not.
        seconds: the run's share of its pack's wall time, scaled to the full budget if it
            diverged; NaN until the run ends.
    """

    history: tuple[HistoryRow, ...]
    diverged_step: int | None = None
    seconds: float = math.nan

    def reaches(self, step: int) -> bool:
        """Whether the run was evaluated at this step, or has diverged."""
        return self.diverged_step is not None or any(row["step"] == step for row in self.history)

    def lacks(self, objectives: Iterable[str]) -> list[str]:
        """Those of the objectives that its run did not record, because it is older than they."""
        return [
            name
            for name in objectives
            if name != SECONDS and any(name not in row for row in self.history)
        ]


def read_curves(
    results: Results, name: str, run_ids: Iterable[str], say: Say
) -> dict[str, LearningCurve]:
    """Run id → learning curve; runs without an evaluation and failed runs are left out.

    Raises:
        StorageError: a file cannot be read.
    """
    wanted = list(dict.fromkeys(run_ids))
    records = read_records(results, wanted, say)
    curves = {}
    for run_id in wanted:
        record = records.get(run_id)
        if record is not None and record["status"] != "failed":
            curves[run_id] = _recorded_curve(results, record)
        elif (rows := _read_paused(results, name, run_id)) is not None:
            curves[run_id] = LearningCurve(rows)
    return curves


def write_paused(results: Results, name: str, run_id: str, rows: tuple[HistoryRow, ...]) -> None:
    """Keep the evaluations of a run that pauses at a rung."""
    path = results.course(name, run_id)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, history_csv(rows))


def _recorded_curve(results: Results, record: Record) -> LearningCurve:
    seconds, step = record["timing"]["run_seconds"], record["diverged_step"]
    if step is not None:
        seconds *= int(record["config"]["train"]["n_steps"]) / max(step, 1)
    return LearningCurve(tuple(read_history(results, record["run_id"])), step, seconds)


def _read_paused(results: Results, name: str, run_id: str) -> tuple[HistoryRow, ...] | None:
    path = results.course(name, run_id)
    try:
        reader = csv.DictReader(io.StringIO(read_regular(path).decode()))
        return tuple({key: float(value) for key, value in row.items()} for row in reader)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        raise StorageError(
            f"{path}: cannot be read ({error}); delete it, and its run is trained again"
        ) from None


def ending_of(curve: LearningCurve, thresholds: CollapseThresholds) -> Ending:
    """How a run stands at its last evaluation.

    Before the end of its budget, ``collapsed`` means that the run is still on the blank plateau.
    """
    if curve.diverged_step is not None:
        return "diverged"
    return "collapsed" if is_collapsed(curve.history, thresholds) else "ok"


def mean_score(
    objective: str,
    sense: Sense,
    curves: Sequence[LearningCurve],
    step: int,
    others: Sequence[float] = (),
) -> float:
    """The mean of an objective over the seeds at one evaluation; always finite.

    Args:
        objective: a metric of the evaluations, or ``seconds``, which is one number a run.
        sense: whether it is minimized or maximized.
        curves: one a seed; none lacks the objective.
        step: an evaluation that all of them reach.
        others: finite scores of other candidates, for the worst value of a metric without limit.
    """
    scores = [_score(objective, curve, step) for curve in curves]
    finite = [score for score in scores if math.isfinite(score)]
    if len(finite) < len(scores):
        worst = _worst(objective, sense, [*others, *finite])
        scores = [score if math.isfinite(score) else worst for score in scores]
    return math.fsum(scores) / len(scores)


def _score(objective: str, curve: LearningCurve, step: int) -> float:
    """The objective of one run; NaN for a metric of a run that diverged before `step`."""
    if objective == SECONDS:
        return curve.seconds
    return next((row[objective] for row in curve.history if row["step"] == step), math.nan)


def _worst(objective: str, sense: Sense, seen: Sequence[float]) -> float:
    """The worst value an objective can have, or the worst seen where it has no limit."""
    if sense == "maximize":
        return min([0.0, *seen])
    if objective in RATES:
        return max([1.0, *seen])
    return max(seen, default=_NOTHING_SEEN)
