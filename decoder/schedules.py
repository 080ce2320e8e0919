"""Learning rate of a run at a step: linear warm-up, then one of several schedules.

Every schedule is a function of the step alone, so that a resumed run continues exactly.
"""

import math

from decoder.config import OptimConfig, Schedule
from decoder.model.decoder import ParameterGroup


def learning_rates(config: OptimConfig, step: int) -> dict[ParameterGroup, float]:
    """Learning rate of each parameter group at `step` (from 0); `config` is resolved."""
    assert config.lr_max_day is not None and config.lr_min_day is not None
    assert config.lr_decay_steps is not None and config.lr_decay_steps_day is not None
    assert config.lr_warmup_steps_day is not None
    rest = config.lr_max * share_of_largest(
        config.schedule,
        step,
        config.lr_warmup_steps,
        config.lr_decay_steps,
        config.lr_min / config.lr_max,
    )
    day = config.lr_max_day * share_of_largest(
        config.schedule_day or config.schedule,
        step,
        config.lr_warmup_steps_day,
        config.lr_decay_steps_day,
        config.lr_min_day / config.lr_max_day,
    )
    return {"bias": rest, "day": day, "weight": rest}


def share_of_largest(
    schedule: Schedule, step: int, warmup_steps: int, decay_steps: int, min_ratio: float
) -> float:
    """Learning rate at `step`, over the largest.

    All schedules rise linearly from 0 over the warm-up. Then, until `decay_steps`:

    - ``warmup_cosine``: half a cosine down to `min_ratio` (``create_cosine_lr_scheduler`` of
      nejm-brain-to-text);
    - ``linear``: a straight line down to `min_ratio` (without a warm-up
      `torch.optim.lr_scheduler.LinearLR`, as in neural_seq_decoder);
    - ``constant``: 1, for ever.
    """
    if step < warmup_steps:
        return step / max(1, warmup_steps)
    if schedule == "constant":
        return 1.0
    if step >= decay_steps:
        return min_ratio
    progress = (step - warmup_steps) / max(1, decay_steps - warmup_steps)
    if schedule == "linear":
        return 1 + (min_ratio - 1) * progress
    cosine = 0.5 * (1 + math.cos(math.pi * progress))
    return max(min_ratio, min_ratio + (1 - min_ratio) * cosine)
