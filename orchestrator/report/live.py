"""The page of an ablation or search while it trains: counts, curves, claims, failures.

It shows no estimate and no verdict of a claim that is still open.
"""

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np

from decoder.atomic import write_atomically
from orchestrator.report.claim_states import ClaimProgress
from orchestrator.report.pages import html_page
from orchestrator.report.small_curve import SmallCurve, small_curve
from orchestrator.spec.units import RATES, is_error_rate, noun
from orchestrator.terminal import time_text

_MOST_CURVES = 60
_MOST_FAILURES = 50
_MOST_CLAIMS = 200

Course = Mapping[float, float]  # step → value


class LiveCurve(NamedTuple):
    """The curve of an arm so far, over `n_seeds` seeds."""

    arm: str
    n_seeds: int
    drawing: SmallCurve


class Failure(NamedTuple):
    """A run that failed or diverged: which it is, and its first line."""

    run: str
    line: str


class Live(NamedTuple):
    """What is known of training that goes on.

    Attributes:
        kind: what trains: ``ablation`` or ``search``.
        written: when the page is written.
        every_seconds: how often it is written at most.
        ended: why training has ended without a report; "" while it goes on.
        n_runs, n_done, n_failed, n_running: runs that are planned, with a result, failed, training.
        steps: training steps done and to do in this call, of a search candidates; (0, 0) if they
            are not known.
        next_look: seeds of the look that is due next, up to which `steps` and `seconds_left`
            count, as what trains after it depends on it; None without looks that stop arms.
        seconds_left: the estimate of the time left; None if there is none.
        candidates: of a search, how many candidates there are of each kind.
        claims: in the order of the file.
        curves: see `live_curves`.
        metric: what the curves show.
        faults: what of the page could not be made.
    """

    name: str
    question: str
    kind: str
    written: datetime
    every_seconds: float
    ended: str = ""
    n_runs: int = 0
    n_done: int = 0
    n_failed: int = 0
    n_running: int = 0
    steps: tuple[int, int] = (0, 0)
    next_look: int | None = None
    seconds_left: float | None = None
    candidates: Mapping[str, int] = {}
    claims: Sequence[ClaimProgress] = ()
    curves: Sequence[LiveCurve] = ()
    metric: str = "per"
    failures: Sequence[Failure] = ()
    faults: Sequence[str] = ()

    @property
    def n_to_do(self) -> int:
        """Runs that have neither ended nor begun."""
        return max(0, self.n_runs - self.n_done - self.n_failed - self.n_running)

    @property
    def left(self) -> str:
        """The time left as text; "" if it is not known."""
        known = self.seconds_left is not None and not self.ended
        return time_text(self.seconds_left or 0.0) if known else ""

    @property
    def written_text(self) -> str:
        return self.written.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")

    @property
    def written_ms(self) -> int:
        """Milliseconds since 1970, as a browser counts them."""
        return int(self.written.timestamp() * 1000)

    @property
    def outcome(self) -> str:
        """What the curves show, in words."""
        return "PER" if self.metric == "per" else noun(self.metric).removeprefix("final ")


def write_live_page(folder: Path, live: Live) -> Path:
    """Write ``report.html`` of training that goes on, in one piece.

    Raises:
        StorageError: the file cannot be written.
    """
    path = folder / "report.html"
    view = {
        "live": live,
        "claims": live.claims[:_MOST_CLAIMS],
        "claims_left_out": max(0, len(live.claims) - _MOST_CLAIMS),
        "curves": live.curves[:_MOST_CURVES],
        "curves_left_out": max(0, len(live.curves) - _MOST_CURVES),
        "failures": live.failures[:_MOST_FAILURES],
        "failures_left_out": max(0, len(live.failures) - _MOST_FAILURES),
    }
    write_atomically(path, html_page("live", view).encode())
    return path


def live_curves(
    courses: Mapping[str, Mapping[int, Course]],
    metric: str,
    diverged: frozenset[tuple[str, int]] = frozenset(),
) -> list[LiveCurve]:
    """One curve per arm with an evaluation: the median over its seeds, and the band of all.

    Args:
        courses: arm → seed → its evaluations so far.
        diverged: (arm, seed) of runs that count with an error rate of 1 from their end on.
    """
    is_rate = is_error_rate(metric)
    known = {
        arm: {seed: one for seed, course in of_arm.items() if (one := _finite(course))}
        for arm, of_arm in courses.items()
    }
    known = {arm: of_arm for arm, of_arm in known.items() if of_arm}
    values = [v for of_arm in known.values() for one in of_arm.values() for v in one.values()]
    if not values:
        return []
    last = max(step for of_arm in known.values() for one in of_arm.values() for step in one)
    limits = (0.0, 1.0) if metric in RATES else (min(values), max(values))
    curves = []
    for arm, of_arm in known.items():
        steps = sorted({step for one in of_arm.values() for step in one})
        table = np.full((len(steps), len(of_arm)), math.nan)  # (n_steps, n_seeds)
        for column, (seed, one) in enumerate(of_arm.items()):
            beyond = 1.0 if is_rate and (arm, seed) in diverged else math.nan
            end = max(one)
            table[:, column] = [one.get(s, beyond if s > end else math.nan) for s in steps]
        drawing = small_curve(
            np.array(steps, dtype=float),
            np.nanmedian(table, axis=1),
            np.nanmin(table, axis=1),
            np.nanmax(table, axis=1),
            last,
            metric,
            limits,
        )
        curves.append(LiveCurve(arm, len(of_arm), drawing))
    return curves


def _finite(course: Course) -> dict[float, float]:
    return {step: value for step, value in course.items() if math.isfinite(value)}
