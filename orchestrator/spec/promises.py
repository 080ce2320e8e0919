"""What is promised less of runs of a user's trainer than of runs of our decoder, in words."""

from collections.abc import Iterator, Mapping

from orchestrator.spec.schema import ExtraArm
from orchestrator.spec.trainer import TrainerSection


def promised_less(
    trainer: TrainerSection | None, extra_arms: Mapping[str, ExtraArm]
) -> tuple[str, ...]:
    """A sentence or two on each promise that does not hold; none for our decoder.

    Args:
        extra_arms: of the specification, which may repeat an arm with the same seeds.
    """
    return () if trainer is None else tuple(_sentences(trainer, extra_arms))


def _sentences(trainer: TrainerSection, extra_arms: Mapping[str, ExtraArm]) -> Iterator[str]:
    to = " and ".join(trainer.seed) or "{seed}"
    repeats = [name for name, extra in extra_arms.items() if extra.replicate]
    seen = (
        f"arm {repeats[0]} trains a second time with the same seeds, and shows what they leave open"
        if repeats
        else "no arm is trained twice with the same seeds, so this is not measured"
    )
    yield (
        f"The seed is passed on ({to}), and not proven: arms of one seed share initial weights, "
        f"batches and noise only as far as the trainer makes them, and {seen}."
    )
    yield (
        f"That compared arms differ in nothing but the factor is proven on the settings in "
        f"{trainer.base}. Whether the trainer uses a setting, or has others that are not there, is "
        "not known."
    )
    if trainer.pass_ != "file":
        yield (
            f"Only settings that differ from {trainer.base} are passed, so that it must hold what "
            "the trainer uses without them. Where it does not, the settings of a run are not those "
            "that it was trained with."
        )
    if "collapsed" not in trainer.outcomes:
        yield (
            "Collapse and escape are not known, since the trainer's course has no emitted_ratio "
            "and n_distinct under trainer.metrics."
        )
