"""Two runs side by side: their difference of PER, and whether they trained for equally long."""

import math
from typing import NamedTuple

from orchestrator.history.audit.setting_changes import SettingChange
from orchestrator.history.reading.columns import PER, PER_ROUNDING, STEP
from orchestrator.history.reading.record import ImportedRun

_MANY_STEPS = 50  # from this step on, one step more or less does not matter
_FEWEST_EVALUATIONS = 3  # of a learning curve; shorter ones may be equal by chance
BUDGET_TOLERANCE = 0.02  # relative; last steps this close count as the same budget


class RunPair(NamedTuple):
    """Two runs, and the changes of settings from `a` to `b`."""

    a: ImportedRun
    b: ImportedRun
    changes: tuple[SettingChange, ...]

    @property
    def gap(self) -> float | None:
        """PER of `b` minus that of `a`, as they are compared; None if one has none."""
        if self.a.compared_per is None or self.b.compared_per is None:
            return None
        return self.b.compared_per - self.a.compared_per


def same_budget(a: ImportedRun, b: ImportedRun) -> bool:
    """Whether two runs end at the same step, within 2 %; a diverged run counts as complete."""
    if "diverged" in (a.outcome, b.outcome) or a.last_step is None or b.last_step is None:
        return True
    tolerance = max(1, BUDGET_TOLERANCE * max(a.last_step, b.last_step))
    return a.step_unit == b.step_unit and abs(a.last_step - b.last_step) <= tolerance


def same_course(a: ImportedRun, b: ImportedRun) -> bool:
    """Whether two learning curves are equal but for rounding, and not by chance."""
    one, two = a.pers(), b.pers()
    return len(one) == len(two) >= _FEWEST_EVALUATIONS and all(
        step == other and abs(per - of_other) <= PER_ROUNDING
        for (step, per), (other, of_other) in zip(one, two, strict=True)
    )


def at_common_step(a: ImportedRun, b: ImportedRun) -> tuple[float, float, float] | None:
    """The last step at which both were evaluated, and the PER of each there."""
    if a.step_unit != b.step_unit:
        return None
    one = {row[STEP]: row[PER] for row in a.history if PER in row}
    two = {row[STEP]: row[PER] for row in b.history if PER in row}
    # The official trainers also evaluate after the last of n steps, and number that step n - 1.
    near = {step + 1: per for step, per in two.items() if step >= _MANY_STEPS} | two
    shared = [step for step in one if step in near or (step >= _MANY_STEPS and step + 1 in near)]
    if not shared:
        return None
    step = max(shared)
    return step, one[step], near.get(step, near.get(step + 1, math.nan))
