"""Learning rate schedules: the rate of a run at a step, as a fraction of its largest rate.

Every schedule is a function of the step and the run's history and has no state of its own, so a
resumed run continues exactly.
"""

import math
from collections.abc import Sequence

from decoder.model.decoder import ParameterGroup
from decoder.pack import HistoryRow
from decoder.training_sections import OptimConfig, Schedule

# A PER is an improvement if it is below this fraction of the best (ReduceLROnPlateau: threshold).
BETTER = 1 - 1e-4


def learning_rates(
    config: OptimConfig, step: int, history: Sequence[HistoryRow] = ()
) -> dict[ParameterGroup, float]:
    """Learning rate of each parameter group.

    Args:
        config: resolved.
        step: optimizer step, from 0.
        history: the run's evaluations so far, which ``plateau`` follows.
    """
    assert config.lr_max_day is not None and config.lr_min_day is not None
    assert config.lr_decay_steps is not None and config.lr_decay_steps_day is not None
    assert config.lr_warmup_steps_day is not None
    rest = config.lr_max * _share(
        config,
        config.schedule,
        step,
        history,
        config.lr_warmup_steps,
        config.lr_decay_steps,
        config.lr_min / config.lr_max,
    )
    day = config.lr_max_day * _share(
        config,
        config.schedule_day or config.schedule,
        step,
        history,
        config.lr_warmup_steps_day,
        config.lr_decay_steps_day,
        config.lr_min_day / config.lr_max_day,
    )
    return {"bias": rest, "day": day, "weight": rest}


def _share(
    config: OptimConfig,
    schedule: Schedule,
    step: int,
    history: Sequence[HistoryRow],
    warmup_steps: int,
    decay_steps: int,
    min_ratio: float,
) -> float:
    if schedule == "one_cycle":
        return one_cycle(step, warmup_steps, decay_steps, config.one_cycle_start_ratio, min_ratio)
    if schedule == "plateau":
        pers = [row["per"] for row in history]
        reached = plateau(pers, config.plateau_patience, config.plateau_factor, min_ratio)
        return warmup(step, warmup_steps) * reached
    if step < warmup_steps:
        return warmup(step, warmup_steps)
    if schedule == "warmup_cosine":
        return cosine(step, warmup_steps, decay_steps, min_ratio)
    if schedule == "linear":
        return linear(step, warmup_steps, decay_steps, min_ratio)
    if schedule == "step":
        return config.step_factor ** ((step - warmup_steps) // config.step_every_steps)
    assert schedule == "constant"
    return 1.0


def warmup(step: int, warmup_steps: int) -> float:
    """Rise linearly from 0 at the first step to 1 after `warmup_steps`, then stay at 1."""
    return step / warmup_steps if step < warmup_steps else 1.0


def cosine(step: int, warmup_steps: int, decay_steps: int, min_ratio: float) -> float:
    """Half a cosine from 1 at the end of warm-up to `min_ratio` at `decay_steps`, then constant.

    Together with `warmup` it is ``create_cosine_lr_scheduler`` of nejm-brain-to-text.
    """
    if step >= decay_steps:
        return min_ratio
    progress = (step - warmup_steps) / max(1, decay_steps - warmup_steps)
    return max(min_ratio, min_ratio + (1 - min_ratio) * 0.5 * (1 + math.cos(math.pi * progress)))


def linear(step: int, warmup_steps: int, decay_steps: int, min_ratio: float) -> float:
    """A straight line from 1 at the end of warm-up to `min_ratio` at `decay_steps`, then constant.

    Without a warm-up it is `torch.optim.lr_scheduler.LinearLR`, as in neural_seq_decoder.
    """
    if step >= decay_steps:
        return min_ratio
    return 1 + (min_ratio - 1) * (step - warmup_steps) / max(1, decay_steps - warmup_steps)


def one_cycle(
    step: int, rise_steps: int, total_steps: int, start_ratio: float, min_ratio: float
) -> float:
    """Half a cosine from `start_ratio` up to 1, another down to `min_ratio`, then constant.

    The maximum is at the last of `rise_steps`, the minimum at the last of `total_steps`. Follows
    `torch.optim.lr_scheduler.OneCycleLR` without its cycling of momentum; its ``pct_start`` is
    ``rise_steps / total_steps`` and its ``final_div_factor`` is ``start_ratio / min_ratio``.
    Smith & Topin 2017, arXiv:1708.07120.
    """
    top, bottom = rise_steps - 1, total_steps - 1
    if step <= top:
        return _half_cosine(start_ratio, 1.0, step / top if top else 1.0)
    if step < bottom:
        return _half_cosine(1.0, min_ratio, (step - top) / (bottom - top))
    return min_ratio


def plateau(pers: Sequence[float], patience: int, factor: float, min_ratio: float) -> float:
    """The fraction of `torch.optim.lr_scheduler.ReduceLROnPlateau` after these evaluations.

    The fraction is multiplied by `factor`, down to `min_ratio`, after more than `patience`
    evaluations in a row without a better PER than the best so far.

    Args:
        pers: validation PER of each evaluation so far.
        patience: number of evaluations without improvement to wait for.
        factor: below 1.
        min_ratio: the lowest fraction.
    """
    share, best, n_worse = 1.0, math.inf, 0
    for per in pers:
        if per < best * BETTER:
            best, n_worse = per, 0
        else:
            n_worse += 1
        if n_worse > patience:
            share, n_worse = max(share * factor, min_ratio), 0
    return share


def _half_cosine(start: float, end: float, progress: float) -> float:
    return end + (start - end) / 2 * (1 + math.cos(math.pi * progress))
