"""The repeat of the base that an ablation of a user's trainer gets: the same seeds, once more.

That a seed makes a foreign script repeat itself is not proven, so the plan measures it.
"""

from decoder.errors import ConfigError
from orchestrator.spec.cells import design_cells
from orchestrator.spec.limits import check_counts
from orchestrator.spec.schema import AblationSpec, ExtraArm, levels_of
from orchestrator.spec.trainer import TrainerSection

_NAME = "repeat"
_NOTE = (
    "The base once more, with the same seeds: how much results vary without any change. Added "
    "since a trainer of your own is not proven to repeat itself; trainer.repeat: false leaves it "
    "out."
)


def with_repeat(spec: AblationSpec, trainer: TrainerSection) -> AblationSpec:
    """The specification with an extra arm that repeats its base.

    It stays as it is if the trainer's section says so, if the file has such an arm itself, or if
    its design cannot be made.
    """
    if not trainer.repeat or any(extra.replicate for extra in spec.extra_arms.values()):
        return spec
    if any(len(levels) < 2 for levels in spec.factors.values()):
        return spec
    try:
        cells = [] if list(check_counts(spec)) else list(design_cells(spec))
    except ConfigError:
        cells = []
    if not cells:
        return spec
    first = {factor: names[0] for factor, names in levels_of(spec).items()}
    base = next((cell for cell in cells if dict(cell.levels) == first), cells[0])
    taken = {*spec.extra_arms, *(cell.arm_id for cell in cells)}
    name = next(n for n in (_NAME, *(f"{_NAME}-{k}" for k in range(2, 10**6))) if n not in taken)
    again = ExtraArm(levels=dict(base.levels), replicate=1, note=_NOTE)
    return spec.model_copy(update={"extra_arms": {**spec.extra_arms, name: again}})
