"""What trials of a part gave, and where two of them differ that must agree."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from decoder.entries import OWN_METRIC
from decoder.pack import HistoryRow
from decoder.parts import Kind

_RTOL = 1e-3  # between a run alone and the same run in a pack


class Steps(NamedTuple):
    """What some steps of a pack gave.

    Attributes:
        losses: (R,) of each step.
        gradients: name → (R, ...) of each step.
        parameters: name → whether it is trained.
    """

    losses: list[Tensor]
    gradients: list[dict[str, Tensor]]
    parameters: dict[str, bool]


def apart(
    kind: Kind,
    together: Steps,
    singles: Sequence[Steps],
    whole: Sequence[HistoryRow],
    rows: Sequence[Sequence[HistoryRow]],
) -> str:
    """Where a run in a pack differs from the run alone; empty if nowhere.

    Args:
        kind: of the part.
        together, singles: the steps of the pack, and of each run.
        whole, rows: the evaluations of the pack, run after run, and of each run.
    """
    mends = {
        "augmentation": "draw without the axis of runs, from the generator it gets",
        "loss": "do not average over the axis of runs",
        "metric": "do not average over the axis of runs",
    }
    mend = mends.get(kind, "keep nothing between calls, and draw from torch alone")
    for row, single in enumerate(singles):
        for step in range(len(single.losses)):
            a, b = together.losses[step][row], single.losses[step][0]
            if not torch.allclose(a, b, rtol=_RTOL):
                return (
                    f"at step {step + 1} run {row + 1} of the pack has the loss {a:.6g}, and "
                    f"{b:.6g} alone; {mend}"
                )
        for name, gradient in single.gradients[0].items():
            a, b = together.gradients[0][name][row], gradient[0]
            scale = float(b.abs().max())
            if not torch.allclose(a, b, rtol=_RTOL, atol=_RTOL * scale + 1e-6):
                return (
                    f"the gradient of {name} of run {row + 1} differs by up to "
                    f"{float((a - b).abs().max()):.3g} from that alone (largest: {scale:.3g}); "
                    f"{mend}"
                )
    for one, two in zip(whole, (row for own in rows for row in own), strict=True):
        for column in ("val_loss", *(name for name in one if name.startswith(OWN_METRIC))):
            if not _is_close(one[column], two[column], _RTOL):
                return (
                    f"at step {one['step']:.0f} {column} is {one[column]:.6g} in the pack, and "
                    f"{two[column]:.6g} alone; {mend}"
                )
    return ""


def not_repeated(one: Steps, two: Steps) -> str:
    """Where the same steps do not repeat exactly; empty if nowhere."""
    for step in range(len(one.losses)):
        if not torch.equal(one.losses[step], two.losses[step]):
            return (
                f"at step {step + 1} the same run has the loss {float(one.losses[step]):.9g}, "
                f"then {float(two.losses[step]):.9g}; draw from the generator it gets or from "
                "torch alone, and keep nothing between calls"
            )
    return ""


def not_resumed(whole: Sequence[HistoryRow], resumed: Sequence[HistoryRow]) -> str:
    """Where evaluations differ from those of the same pack with a pause at step 2."""
    for one, two in zip(whole, resumed, strict=True):
        for column, value in one.items():
            if not _is_close(value, two[column], 0):
                return (
                    f"after a pause at step 2, {column} is {two[column]:.9g} at step "
                    f"{one['step']:.0f}, but {value:.9g} without the pause; keep what "
                    "changes in training in parameters or registered buffers"
                )
    return ""


def _is_close(one: float, two: float, tolerance: float) -> bool:
    both_missing = math.isnan(one) and math.isnan(two)
    return both_missing or math.isclose(one, two, rel_tol=tolerance, abs_tol=tolerance)
